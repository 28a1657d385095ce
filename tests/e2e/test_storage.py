"""
An NFS vault as a storage class: a claim is bound to a volume of that vault, and to no other.

The machine's kernel has no NFS client, so no pod here mounts a vault; the tests look at the objects.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.accounts import VAULTS
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.leftovers import find_leftovers
from kns.model.names import host_name, vault_class
from tests.e2e.jobs import END_S, JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.quota import await_used_up
from tests.e2e.site import Site
from tests.e2e.tenant import await_event
from tests.e2e.waiting import NotYetError

_VAULT = "data"
_BOUND_S = 60.0
_LIMIT = 10
_IMAGE = "docker.io/library/busybox:1.35"
_IN = "--namespace=default"


@pytest.fixture(scope="module")
def storage_class(site: Site) -> str:
    """The name of the class of the user's vault."""
    if _VAULT not in VAULTS.get(site.user.username, {}):
        pytest.skip(f"the demo's catalogue has no vault {_VAULT!r} of {site.user.username}")
    return vault_class(site.user.username, _VAULT)


@pytest.fixture(scope="module")
def other_job(module_jobs: JobKeeper, storage_class: str) -> TrialJob:
    """A job without a vault that kns could use; it spawns at the same time as the other."""
    return module_jobs.submit("hello", vault={"name": "ephemeral"})


@pytest.fixture(scope="module")
def job(module_jobs: JobKeeper, other_job: TrialJob) -> TrialJob:
    """A job with the vault, read-only."""
    job = module_jobs.submit("hello", vault={"name": _VAULT, "readonly": True})
    for either in (other_job, job):
        either.wait_until_serving()
    return job


@pytest.fixture
def inside(site: Site, job: TrialJob) -> Iterator[Kubectl]:
    with nested_kubectl(site.target, job.number) as kubectl:
        yield kubectl


def _address(site: Site) -> tuple[str, str]:
    server, _, share = str(VAULTS[site.user.username][_VAULT]["address"]).partition(":")
    return server, share


def _apply(kubectl: Kubectl, *objects: dict[str, Any]) -> None:
    kubectl.run("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def _claim(name: str, storage_class: str, *, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"storageClassName": storage_class, **wanted, **spec},
    }


def _await_bound(job: TrialJob, inside: Kubectl, name: str) -> None:
    def probe() -> None:
        phase = inside.get("persistentvolumeclaim", name, _IN)["status"].get("phase")
        if phase != "Bound":
            raise NotYetError(f"{phase}")

    job.wait_for(probe, timeout_s=_BOUND_S, what=f"claim {name} bound")


def _volumes(site: Site, job: TrialJob) -> list[dict[str, Any]]:
    return list(site.kubectl.get("persistentvolumes", f"--selector=kns.io/job={job.number}")["items"])


def test_the_class_is_inside_and_the_app_knows_its_name(
    site: Site, storage_class: str, job: TrialJob, inside: Kubectl
) -> None:
    server, share = _address(site)
    found = inside.get("storageclass", storage_class)
    assert found["parameters"] == {"server": server, "share": share}
    assert found["mountOptions"] == ["ro"]
    assert "storageclass.kubernetes.io/is-default-class" not in found["metadata"].get("annotations", {})
    assert inside.get("configmap", "kns-job", _IN)["data"]["KNS_VAULT_STORAGE_CLASS"] == storage_class
    assert site.kubectl.find("storageclass", storage_class) is None, "the host has no class for it"
    vault = job.record()["spec"]["accepted"]["vault"]
    assert (vault["server"], vault["share"], vault["readonly"]) == (server, share, True)
    assert [line for line in job.tail() if line.startswith("warning")] == []


def test_a_vault_of_another_kind_is_told_in_the_output(site: Site, job: TrialJob, other_job: TrialJob) -> None:
    assert "warning: vault 'ephemeral' has no storage class; only NFS vaults have one" in other_job.tail()
    with nested_kubectl(site.target, other_job.number) as kubectl:
        assert kubectl.get("configmap", "kns-job", _IN)["data"]["KNS_VAULT_STORAGE_CLASS"] == ""


def test_a_claim_of_the_running_app_is_bound_to_the_vault(
    site: Site, storage_class: str, job: TrialJob, inside: Kubectl
) -> None:
    """The claim is made long after the templates ran. The volume is bound to it, read-only, and retained."""
    _apply(inside, _claim("vault", storage_class))
    _await_bound(job, inside, "vault")
    copy = site.kubectl.get("pvc", host_name("vault", "default", job.namespace), f"--namespace={job.namespace}")
    (volume,) = _volumes(site, job)
    server, share = _address(site)
    spec = volume["spec"]
    assert volume["metadata"]["name"] == copy["spec"]["volumeName"]
    assert spec["nfs"] == {"server": server, "path": share, "readOnly": True}
    assert spec["mountOptions"] == ["ro"]
    assert (spec["persistentVolumeReclaimPolicy"], spec["storageClassName"]) == ("Retain", storage_class)
    ref = spec["claimRef"]
    assert (ref["namespace"], ref["name"], ref["uid"]) == (
        job.namespace,
        copy["metadata"]["name"],
        copy["metadata"]["uid"],
    )


@pytest.mark.proves("security", "bind another job's vault volume")
def test_another_job_cannot_have_the_volume(
    site: Site, storage_class: str, job: TrialJob, other_job: TrialJob, inside: Kubectl
) -> None:
    """
    Neither by the name of the class nor by that of the volume, not even with a claim of the host's administrator.

    The policy refuses the class in the other job. Where it admits the class, the volume is bound to its claim.
    """
    _apply(inside, _claim("wanted", storage_class))
    _await_bound(job, inside, "wanted")
    name = inside.get("persistentvolumeclaim", "wanted", _IN)["spec"]["volumeName"]
    host, refused = site.kubectl, f'this job may not claim storage of class "{storage_class}"'
    with nested_kubectl(site.target, other_job.number) as kubectl:
        _apply(kubectl, _claim("by-class", storage_class))
        await_event(other_job, kubectl, "by-class", refused)
        assert kubectl.get("persistentvolumeclaim", "by-class", _IN)["status"]["phase"] == "Pending"
    with pytest.raises(DemoError, match=refused):
        _apply(host, _claim("by-name", storage_class, namespace=other_job.namespace, volumeName=name))
    assert _volumes(site, other_job) == []
    _apply(host, _claim("by-name", storage_class, namespace=job.namespace, volumeName=name))
    try:
        await_event(job, host, "by-name", "already bound to a different claim", namespace=job.namespace)
        owner = host.get("persistentvolume", name)["spec"]["claimRef"]
        assert (owner["namespace"], owner["name"]) == (job.namespace, host_name("wanted", "default", job.namespace))
    finally:
        host.run("delete", "pvc", "by-name", f"--namespace={job.namespace}", "--wait=false")


def test_what_a_tenant_writes_into_classes_leads_nowhere(
    site: Site, storage_class: str, job: TrialJob, inside: Kubectl
) -> None:
    """A class of its own gets no volumes; the vault's class with another server inside still leads to the vault."""
    evil = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "nfs.csi.k8s.io"}
    parameters = {"server": "127.0.0.2", "share": "/etc"}
    inside.run("delete", "storageclass", storage_class)
    for name in ("evil", storage_class):
        _apply(inside, {**evil, "metadata": {"name": name}, "parameters": parameters})
    _apply(inside, _claim("in-evil", "evil"), _claim("in-changed", storage_class))
    _await_bound(job, inside, "in-changed")
    await_event(job, inside, "in-evil", 'this job may not claim storage of class "evil"')
    server, share = _address(site)
    assert {(v["spec"]["nfs"]["server"], v["spec"]["nfs"]["path"]) for v in _volumes(site, job)} == {(server, share)}
    assert inside.get("persistentvolumeclaim", "in-evil", _IN)["status"]["phase"] == "Pending"


@pytest.mark.proves("security", "mount NFS, CSI or other storage directly")
@pytest.mark.parametrize(
    "source",
    [
        {"nfs": {"server": "127.0.0.1", "path": "/srv/user1"}},
        {"csi": {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "127.0.0.1", "share": "/srv/user1"}}},
    ],
    ids=["nfs", "csi"],
)
def test_a_pod_cannot_name_a_server_by_itself(
    site: Site, job: TrialJob, inside: Kubectl, source: dict[str, Any]
) -> None:
    name = f"names-{next(iter(source))}"
    container = {"name": "main", "image": _IMAGE, "command": ["sleep", "3600"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "volumes": [{"name": "stolen", **source}]},
    }
    _apply(inside, pod)
    await_event(job, inside, name, "a pod of a job may not mount storage by itself")
    copy = host_name(name, "default", job.namespace)
    assert site.kubectl.find("pod", copy, f"--namespace={job.namespace}") is None


def test_a_claim_that_goes_takes_its_volume_and_more_than_ten_are_refused(
    site: Site, storage_class: str, job: TrialJob, inside: Kubectl
) -> None:
    inside.run("delete", "pvc", "--all", _IN, timeout_s=_BOUND_S)

    def gone() -> None:
        if volumes := _volumes(site, job):
            raise NotYetError(str([volume["metadata"]["name"] for volume in volumes]))

    job.wait_for(gone, timeout_s=_BOUND_S, what="the volumes of deleted claims gone")
    names = [f"many-{index}" for index in range(_LIMIT + 1)]
    for name in names[:-1]:
        _apply(inside, _claim(name, storage_class))
        _await_bound(job, inside, name)
    await_used_up(site, job, f"{storage_class}.storageclass.storage.k8s.io/persistentvolumeclaims")
    _apply(inside, _claim(names[-1], storage_class))
    await_event(job, inside, names[-1], "exceeded quota: kns-quota")
    assert len(_volumes(site, job)) == _LIMIT


def test_at_the_end_no_volume_is_left(site: Site, job: TrialJob, other_job: TrialJob) -> None:
    """Last of this file."""
    names = {volume["metadata"]["name"] for volume in _volumes(site, job)}
    assert names, "there is something to be removed"
    for either in (job, other_job):
        either.stop("shutdown")
    for either in (job, other_job):
        assert either.wait_until_ended(timeout_s=END_S) == "COMPLETED"
        either.wait_until_removed()
    there = {volume["metadata"]["name"] for volume in site.kubectl.get("persistentvolumes")["items"]}
    assert names & there == set()

    def nothing_left() -> None:
        if strays := find_leftovers(site.kubectl, job.number).strays:
            raise NotYetError(", ".join(strays))

    job.wait_for(nothing_left, timeout_s=END_S, what="nothing left")
