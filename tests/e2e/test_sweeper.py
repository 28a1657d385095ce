"""
Orphans on a real cluster: an object of this installation without a record is removed; what merely looks like one stays.

The orphans are made by hand, with numbers that no job has. Live jobs are beside them: one of this test, and those of
all tests that run meanwhile.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE
from kns.model import names
from tests.e2e import evidence
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import Settings, await_leader
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

pytestmark = pytest.mark.proves(
    "main",
    "Orphans of every kind are removed; unmarked objects and those of other installations stay",
)

_SHORT = {"KNS_SWEEP_INTERVAL": "2", "KNS_SWEEP_GRACE": "1"}
_SWEPT_S = 60.0
_SYSTEM = f"--namespace={NAMESPACE}"
_NUMBER = 900_000_000_000_000_000
_GONE = "00000000-0000-4000-8000-000000000000"  # the uid of no record
_CLAIM = "00000000-0000-4000-8000-000000000001"

OURS, THEIRS, UNMARKED, NOBODYS = (f"kns-job-{_NUMBER + index}" for index in range(4))
VOLUME, RETAINED = names.vault_volume(names.job_object_name(_NUMBER), _CLAIM), "kns-e2e-retained"
SECRET, OWNERLESS = f"{OURS}-tokens", f"{OURS}-output"

ORPHANS = [("namespace", OURS), ("persistentvolume", VOLUME), ("secret", SECRET)]
OTHERS = [
    ("namespace", THEIRS),
    ("namespace", UNMARKED),
    ("namespace", NOBODYS),
    ("persistentvolume", RETAINED),
    ("secret", OWNERLESS),
]


def _labels(namespace: str, **more: str) -> dict[str, str]:
    return {names.MANAGED_BY_LABEL: "kns", names.JOB_LABEL: namespace.removeprefix("kns-job-"), **more}


def _namespace(name: str, labels: dict[str, str]) -> dict[str, Any]:
    meta = {"name": name, "labels": labels, "annotations": {names.RECORD_UID_ANNOTATION: _GONE}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def _volume(name: str, **meta: Any) -> dict[str, Any]:
    """A volume whose claim is gone, so that Kubernetes calls it Released. Nothing ever mounts it."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "kns-e2e",
        "claimRef": {"namespace": OURS, "name": name, "uid": _CLAIM},
        "nfs": {"server": "192.0.2.1", "path": "/none"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, **meta}, "spec": spec}


def _secret(name: str, **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": _labels(OURS), **meta},
        "stringData": {"password": "none"},
    }


def _build_all() -> list[dict[str, Any]]:
    ours = {names.INSTALLATION_LABEL: NAMESPACE}
    # The cluster does not know this version, so its own garbage collection leaves the Secret to kns.
    owner = {"apiVersion": f"{names.GROUP}/v1alpha0", "kind": names.RECORD_KIND, "name": OURS, "uid": _GONE}
    return [
        _namespace(OURS, _labels(OURS, **ours)),
        _namespace(THEIRS, _labels(THEIRS, **{names.INSTALLATION_LABEL: "another-system"})),
        _namespace(UNMARKED, _labels(UNMARKED)),
        _namespace(NOBODYS, {}),
        _volume(VOLUME, labels=_labels(OURS, **ours), annotations={names.RECORD_UID_ANNOTATION: _GONE}),
        _volume(RETAINED),
        _secret(SECRET, ownerReferences=[owner]),
        _secret(OWNERLESS),
    ]


@pytest.fixture
def orphans(site: Site) -> Iterator[None]:
    """The orphans, and what looks like one."""
    objects = {"apiVersion": "v1", "kind": "List", "items": _build_all()}
    try:
        site.kubectl.run("apply", "--filename=-", stdin=json.dumps(objects))
        yield
    finally:
        for kind, name in ORPHANS + OTHERS:
            site.kubectl.run("delete", kind, name, _SYSTEM, "--ignore-not-found", "--wait=false")


def _exists(kubectl: Kubectl, kind: str, name: str) -> bool:
    found = kubectl.find(kind, name, _SYSTEM)
    return found is not None and "deletionTimestamp" not in found["metadata"]


def _reasons(kubectl: Kubectl, name: str) -> dict[str, int]:
    """The reasons of an object's events, and how often each occurred."""
    events = kubectl.get("events", _SYSTEM, f"--field-selector=involvedObject.name={name}")["items"]
    return {event["reason"]: event["count"] for event in events}


def _metric(kubectl: Kubectl, name: str, kind: str) -> float:
    """A metric of the replica that leads."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{await_leader(kubectl).pod}:9090/proxy/metrics"
    wanted = f'{name}{{kind="{kind}"}} '
    lines = kubectl.run("get", "--raw", path).splitlines()
    return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)


def _await_told(kubectl: Kubectl, reason: str, *, of: list[tuple[str, str]], times: int = 1) -> None:
    def probe() -> None:
        told = {name: _reasons(kubectl, name) for _, name in of}
        if not all(reasons.get(reason, 0) >= times for reasons in told.values()):
            raise NotYetError(f"told: {told}")

    wait_for(
        probe,
        timeout_s=_SWEPT_S,
        what=f"{reason} of each",
        evidence=lambda: evidence.describe_scheduler(kubectl),
    )


@pytest.fixture
def job(jobs: JobKeeper) -> TrialJob:
    return jobs.submit("hello")


@pytest.mark.deep
def test_a_dry_run_reports_orphans_and_removes_nothing(site: Site, settings: Settings, orphans: None) -> None:
    kubectl = site.kubectl
    settings.use(**_SHORT, KNS_SWEEP_DRY_RUN="true")
    _await_told(kubectl, "OrphanFound", of=ORPHANS, times=2)
    assert [name for kind, name in ORPHANS + OTHERS if not _exists(kubectl, kind, name)] == []
    assert _metric(kubectl, "kns_sweep_orphans", "Namespace") >= 1


def test_orphans_are_removed_and_whatever_else_looks_like_one_stays(
    site: Site, settings: Settings, job: TrialJob, orphans: None
) -> None:
    """Each removal has an event and counts in the metric. A live job beside the orphans is not touched."""
    kubectl = site.kubectl
    settings.use(**_SHORT)  # the job spawns meanwhile
    _await_told(kubectl, "OrphanRemoved", of=ORPHANS)
    assert [name for kind, name in ORPHANS if _exists(kubectl, kind, name)] == []
    for kind in ("Namespace", "PersistentVolume", "Secret"):
        assert _metric(kubectl, "kns_sweep_removed_total", kind) >= 1

    unmarked = [("namespace", UNMARKED), ("persistentvolume", RETAINED), ("secret", OWNERLESS)]
    _await_told(kubectl, "OrphanUnmarked", of=unmarked, times=3)
    assert [name for kind, name in OTHERS if not _exists(kubectl, kind, name)] == []
    assert (_reasons(kubectl, THEIRS), _reasons(kubectl, NOBODYS)) == ({}, {})
    assert _metric(kubectl, "kns_sweep_unmarked", "Namespace") >= 1

    job.wait_until_serving()
    assert (_reasons(kubectl, job.namespace), job.is_gone()) == ({}, False)
