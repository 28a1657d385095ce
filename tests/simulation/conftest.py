"""What a simulation needs to be quick."""

import logging
from functools import lru_cache

import pytest
import structlog

from kns.objects import kubeconfig

_READ_ONCE = lru_cache(kubeconfig._read_certificates)


@pytest.fixture(autouse=True)
def _be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Millions of passes have nothing to say here, and the fake syncer writes the same file for each job: to parse that
    YAML at every pass would be a third of all the time.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    monkeypatch.setattr(kubeconfig, "_read_certificates", _READ_ONCE)
