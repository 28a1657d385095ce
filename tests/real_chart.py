"""The real helm and the real chart: KNS_HELM or helm in PATH, KNS_VCLUSTER_CHART or where the image has it."""

import os
import shutil
from pathlib import Path

import pytest

from kns.settings import DEFAULT_CHART

HELM = shutil.which(os.environ.get("KNS_HELM") or "helm")
CHART = Path(os.environ.get("KNS_VCLUSTER_CHART") or DEFAULT_CHART)
real = pytest.mark.skipif(
    HELM is None or not CHART.is_file(),
    reason="NOT TESTED against the real chart: no helm (set KNS_HELM) or no chart (set KNS_VCLUSTER_CHART)",
)
