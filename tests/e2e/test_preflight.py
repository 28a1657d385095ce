"""
`kns preflight` against the real host, as the administrator who installs kns runs it. In kns's own pod:
test_replicas.py.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.overlay import NAMESPACE
from demo.target import ROOT
from tests.e2e.scheduler import CONFIG
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

_IN = f"--namespace={NAMESPACE}"
_WEBHOOK = "kns-e2e-preflight"
_OUTSIDE = {"KNS_HELM", "KNS_VCLUSTER_CHART"}  # in the scheduler's image, and not where an administrator runs this
_LIMIT_S = 60


def _verdicts(found: list[dict[str, Any]], verdict: str) -> list[str]:
    return [f"{each['check']}: {each['said']}" for each in found if each["verdict"] == verdict]


def _ask_as_administrator(site: Site, folder: Path, **variables: str) -> list[dict[str, Any]]:
    """With the settings of the installed kns, and these besides."""
    config = site.kubectl.get("configmap", CONFIG, _IN)["data"]
    environ = {**os.environ, **config, "KUBECONFIG": str(site.target.kubeconfig), "KNS_CATALOG_DIR": str(folder)}
    command = [sys.executable, "-m", "kns", "preflight", "--json"]
    done = subprocess.run(
        command,
        env={**environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S * PATIENCE,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture
def catalogue(site: Site, tmp_path: Path) -> Path:
    """As it is installed."""
    for name, content in site.kubectl.get("secret", "kns-catalog", _IN)["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    return tmp_path


def test_an_administrator_sees_all(site: Site, catalogue: Path) -> None:
    """The demo's machine kns-nowhere has no node, which is a fault."""

    def ask() -> list[dict[str, Any]]:
        found = _ask_as_administrator(site, catalogue)
        if unknown := _verdicts(found, "unknown"):  # also where the API server did not answer
            raise NotYetError(f"unknown: {unknown}")
        return found

    found = wait_for(ask, timeout_s=_LIMIT_S, what="checks that all have an answer")
    assert {each["check"] for each in found if each["verdict"] == "fault"} - _OUTSIDE == {"nodes for kns-nowhere"}
    checks = {each["check"] for each in found if each["verdict"] == "ok"}
    assert {"admission policy kns-scheduler", "admission policy kns-job-endpoints", "nodes for kns-small"} <= checks


def test_what_is_missing_on_the_host_is_named(site: Site, catalogue: Path) -> None:
    found = _ask_as_administrator(
        site,
        catalogue,
        JARVICE_KNS_DEFAULT_STORAGE_CLASS="none-such",
        JARVICE_JOBS_INGRESS_CLASS="none-such",
        JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC="none-such",
        KNS_SERVICE_ACCOUNT="somebody",
    )
    faults = {each["check"]: each for each in found if each["verdict"] == "fault"}
    assert {"StorageClass none-such", "IngressClass none-such", "RuntimeClass none-such"} <= faults.keys()
    assert any("somebody" in each["said"] for each in faults.values()), faults
    assert all(each["todo"] for each in faults.values())


@pytest.fixture
def webhook(site: Site) -> Iterator[str]:
    """A webhook that would refuse pods when its server is away, but only in a namespace that does not exist."""
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": _WEBHOOK},
        "webhooks": [
            {
                "name": "pods.example.org",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {"service": {"namespace": "default", "name": "none-such", "path": "/"}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "matchConditions": [{"name": "never", "expression": "request.namespace == 'kns-e2e-no-such'"}],
            }
        ],
    }
    site.kubectl.run("apply", "--filename=-", stdin=json.dumps(configuration))
    yield _WEBHOOK
    site.kubectl.run("delete", "validatingwebhookconfiguration", _WEBHOOK)


def test_a_webhook_that_could_stop_a_jobs_pods_is_named(site: Site, catalogue: Path, webhook: str) -> None:
    found = _ask_as_administrator(site, catalogue)
    assert any(webhook in f"{each['check']} {each['said']}" for each in found if each["verdict"] != "ok"), found
