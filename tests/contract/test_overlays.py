"""The overlays over manifests/ say what they say they do."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.model import names

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
SCC = "system:openshift:scc:nonroot-v2"


def render(name: str) -> list[dict[str, Any]]:
    kubectl = shutil.which(os.environ.get("KNS_KUBECTL") or "kubectl")
    if kubectl is None:
        pytest.skip(f"NOT TESTED, overlays/{name}: no kubectl (set KNS_KUBECTL)")
    command = [kubectl, "kustomize", str(OVERLAYS / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def test_on_openshift_the_syncers_and_kns_may_use_what_their_pods_need() -> None:
    """Only the syncers may run pods as any user, and nobody gets a privileged SecurityContextConstraint."""
    objects = render("openshift")
    using = {
        (obj["metadata"]["name"], tuple(rule["resourceNames"]))
        for obj in objects
        if obj["kind"] in ("ClusterRole", "Role")
        for rule in obj["rules"]
        if "securitycontextconstraints" in rule["resources"]
    }
    assert using == {(names.SYNCER_CLUSTER_ROLE, ("anyuid",))}
    bound = {
        (obj["kind"], obj["roleRef"]["name"], subject["name"])
        for obj in objects
        if obj["kind"].endswith("RoleBinding") and ":scc:" in obj["roleRef"]["name"]
        for subject in obj["subjects"]
    }
    assert bound == {("RoleBinding", SCC, "kns-sa"), ("ClusterRoleBinding", SCC, "system:serviceaccounts")}
