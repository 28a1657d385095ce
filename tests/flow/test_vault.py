"""The claims on a job's vault: each gets a volume that only it can bind. After the job only the files are left."""

from typing import Any

import pytest

from kns.model.errors import ForbiddenError, KnsError, RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason
from kns.model.site import ClassSettings
from kns.ports import Kind, Object
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation
from tests.flow.interruptions import refuse_apply

NAMESPACE, CLASS = "kns-job-7", "user1-data"
VOLUME = Kind.PERSISTENT_VOLUME
CLAIM = Kind.PERSISTENT_VOLUME_CLAIM


@pytest.fixture
def job(job: JobBuilder) -> JobBuilder:
    return job.with_vault()


def test_its_class_is_there_before_the_templates_run(sim: Simulation, job: JobBuilder) -> None:
    """With the name in ConfigMap `kns-job`. The quota limits the number of claims, not their sizes."""
    sim.submit(job)
    sim.run(until="serving")
    assert ("StorageClass", "", CLASS) in sim.virtual.objects
    info = sim.virtual.objects["ConfigMap", "default", "kns-job"]
    assert info["data"]["KNS_VAULT_STORAGE_CLASS"] == CLASS
    quota = sim.host.read(Kind.RESOURCE_QUOTA, NAMESPACE, "kns-quota")
    assert quota is not None
    of_class = {key: value for key, value in quota["spec"]["hard"].items() if key.startswith(CLASS)}
    assert of_class == {f"{CLASS}.storageclass.storage.k8s.io/persistentvolumeclaims": "10"}
    assert sim.job.status.is_true(ConditionType.VAULT_READY)
    assert "warning" not in sim.outputs.read(sim.job).render()


def test_a_claim_of_the_templates_is_bound_while_they_run(sim: Simulation, job: JobBuilder) -> None:
    """Templates may wait for their volumes: the stage precedes init and runs at each reconcile."""
    sim.host.claims = {"data-x-default-x-kns-job-7": CLASS}
    sim.host.init_exit = None
    sim.submit(job)
    sim.live(20)
    assert not sim.job.status.is_true(ConditionType.DEPLOYED)
    assert _phase(sim, "data-x-default-x-kns-job-7") == "Bound"


def test_a_later_claim_is_served_too_and_a_quiet_job_costs_nothing(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    sim.host.put_claim(NAMESPACE, "late", CLASS)
    _reconcile(sim)
    assert _phase(sim, "late") == "Bound"
    calls, writes = list(sim.host.calls), list(sim.store.writes)
    for _ in range(3):
        _reconcile(sim)
    assert (sim.host.calls, sim.store.writes) == (calls, writes)


def test_a_volume_is_its_claims_alone(sim: Simulation, job: JobBuilder) -> None:
    """It names the claim's uid, points where the record says, and is retained when released."""
    _serve(sim, job)
    claim = sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    (volume,) = _volumes(sim)
    spec = volume["spec"]
    assert volume["metadata"]["name"] == f"kns-job-7-{claim['metadata']['uid']}"
    assert spec["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert spec["nfs"] == {"server": "nfs.example.org", "path": "/data", "readOnly": False}
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"


@pytest.mark.parametrize("driver", [False, True], ids=["kubelet", "driver"])
def test_readonly_is_honoured_and_the_hosts_driver_used(sim: Simulation, job: JobBuilder, driver: bool) -> None:
    if driver:
        sim.host.put(Kind.CSI_DRIVER, "", "nfs.csi.k8s.io", {})
    _serve(sim, job.with_vault(readonly=True))
    sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    (volume,) = _volumes(sim)
    assert volume["spec"]["mountOptions"] == ["ro"]
    assert volume["spec"]["csi" if driver else "nfs"]["readOnly"] is True
    assert ("csi" in volume["spec"], "nfs" in volume["spec"]) == (driver, not driver)


@pytest.mark.proves("security", "pass for kns's own by labels")
@pytest.mark.parametrize(
    ("where", "storage_class", "spec", "labels"),
    [
        (NAMESPACE, "other-class", {}, {}),
        (NAMESPACE, "user2-data", {}, {}),
        (NAMESPACE, CLASS, {"volumeName": "kns-job-8-uid-1"}, {}),
        ("kns-job-8", CLASS, {}, {"kns.io/job": "7"}),
        ("kns-job-70", CLASS, {}, {}),
    ],
    ids=["a class of its own", "another user's vault", "another job's volume", "another job", "a number alike"],
)
def test_no_other_claim_gets_a_volume(
    sim: Simulation, job: JobBuilder, where: str, storage_class: str, spec: dict[str, Any], labels: dict[str, str]
) -> None:
    """Even with this job's label: tenants control labels, but not the namespace on the host."""
    _serve(sim, job)
    sim.host.put_claim(where, "data", storage_class, **spec)
    sim.host.change(CLAIM, where, "data", lambda claim: claim["metadata"]["labels"].update(labels))
    _reconcile(sim)
    assert _volumes(sim) == []


def test_a_job_without_a_vault_serves_no_claim(sim: Simulation, job: JobBuilder) -> None:
    """Whatever classes the tenant creates inside."""
    _serve(sim, job.with_spec(vault=None).with_accepted(vault=None))
    sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    assert _volumes(sim) == []
    assert sim.job.status.condition(ConditionType.VAULT_READY) is None


def test_the_volume_of_a_claim_that_goes_goes_too(sim: Simulation, job: JobBuilder) -> None:
    """A new claim of the same name gets its own volume, because the released one could never bind it."""
    _serve(sim, job)
    first = sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    sim.host.drop(CLAIM, NAMESPACE, "data")
    second = sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    _reconcile(sim)
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert [volume["spec"]["claimRef"]["uid"] for volume in _volumes(sim)] == [second["metadata"]["uid"]]
    assert _phase(sim, "data") == "Bound"


def test_a_volume_removed_by_hand_is_put_back(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    (volume,) = _volumes(sim)
    sim.host.drop(VOLUME, "", volume["metadata"]["name"])
    _reconcile(sim)
    assert [found["spec"] for found in _volumes(sim)] == [volume["spec"]]


@pytest.mark.parametrize("error", [RefusedError, ForbiddenError])
def test_what_the_host_refuses_of_a_vault_is_no_failure_of_the_job(
    sim: Simulation, job: JobBuilder, error: type[KnsError]
) -> None:
    """The record says so, kns tries again every minute, and recovers."""
    relent = refuse_apply(sim.host, "PersistentVolume", error("denied by policy"))
    sim.host.claims = {"data": CLASS}
    sim.submit(job)
    assert sim.run(until="serving").requeue_after_s == 60
    condition = sim.job.status.condition(ConditionType.VAULT_READY)
    assert condition is not None
    assert (condition.reason, "denied by policy" in condition.message) == (Reason.VAULT_REFUSED, True)

    relent()
    _reconcile(sim)
    assert sim.job.status.is_true(ConditionType.VAULT_READY)
    assert _phase(sim, "data") == "Bound"


def test_a_class_of_the_hosts_of_that_name_is_told_before_anything_is_made(sim: Simulation, job: JobBuilder) -> None:
    """Claims on the vault would use that class of the host instead."""
    sim.host.put(Kind.STORAGE_CLASS, "", CLASS, {"provisioner": "p"})
    sim.configure(classes=ClassSettings(CLASS, "80Gi"))
    sim.submit(job)
    sim.run(until="ended")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.VAULT_CLASS_TAKEN)
    assert CLASS in str(sim.job.status.message)
    assert sim.host.left == [f"StorageClass /{CLASS}"]


@pytest.mark.parametrize("vault", ["ephemeral", "archive"])
def test_a_vault_without_a_class_is_told_once(sim: Simulation, job: JobBuilder, vault: str) -> None:
    choice = job.with_vault().build().spec.vault
    assert choice is not None
    _serve(sim, job.with_spec(vault=choice.model_copy(update={"name": vault})).with_accepted(vault=None))
    warning = f"warning: vault {vault!r} has no storage class; only NFS vaults have one"
    assert sim.outputs.read(sim.job).lines().count(warning) == 1
    info = sim.virtual.objects["ConfigMap", "default", "kns-job"]
    assert info["data"]["KNS_VAULT_STORAGE_CLASS"] == ""


@pytest.mark.parametrize("how", ["stop", "delete", "damage"])
def test_at_the_end_every_volume_goes(sim: Simulation, job: JobBuilder, how: str) -> None:
    """After the claims, even with an unreadable record. Volumes of others stay."""
    _serve(sim, job)
    for name in ("one", "two"):
        sim.host.put_claim(NAMESPACE, name, CLASS)
    _reconcile(sim)
    assert len(_volumes(sim)) == 2
    _put_foreign_volumes(sim)
    if how == "stop":
        sim.store.request_stop(sim.job, StopReason.TERMINATE)
    elif how == "delete":
        sim.store.delete(sim.job)
    else:
        sim.store.damage(sim.record, "spec.accepted.vault.server: Field required")
    sim.run(until="released" if how == "delete" else "retained")
    assert sim.host.left == ["PersistentVolume /kns-job-7-uid-x", "PersistentVolume /pvc-1"]


def test_removed_becomes_true_when_the_volumes_are_deleted(sim: Simulation, job: JobBuilder) -> None:
    """The message names a volume that somebody's finalizer holds."""
    _serve(sim, job)
    sim.host.put_claim(NAMESPACE, "data", CLASS)
    _reconcile(sim)
    (volume,) = _volumes(sim)
    name = volume["metadata"]["name"]
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="ended")
    for _ in range(12):
        sim.step()
        sim.clock.advance(2)
        if sim.host.read(Kind.NAMESPACE, "", NAMESPACE) is not None:
            sim.host.settle()
        sim.host.put(VOLUME, "", name, {**volume, "metadata": {**volume["metadata"], "deletionTimestamp": "now"}})
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert (removed.status, removed.message) == ("False", f"volumes of the vault are being deleted: {name}")
    sim.run(until="retained")
    assert sim.host.left == []


def _put_foreign_volumes(sim: Simulation) -> None:
    """One for a claim of another namespace, and one of a provisioner that copies labels of claims."""
    for name, namespace in (("kns-job-7-uid-x", "elsewhere"), ("pvc-1", NAMESPACE)):
        ref = {"namespace": namespace, "name": "data", "uid": "uid-x"}
        labels = {"kns.io/job": "7", "app.kubernetes.io/managed-by": "kns"}
        sim.host.put(VOLUME, "", name, {"metadata": {"labels": labels}, "spec": {"claimRef": ref}})


def _serve(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")


def _reconcile(sim: Simulation) -> None:
    """One reconcile, as the watch on claims triggers it, and the host's reaction."""
    assert sim.step().summary == "serving"
    sim.host.settle()


def _volumes(sim: Simulation) -> list[Object]:
    return list(sim.host.list_objects(VOLUME, ""))


def _phase(sim: Simulation, claim: str) -> str | None:
    found = sim.host.read(CLAIM, NAMESPACE, claim)
    assert found is not None
    phase: str | None = (found.get("status") or {}).get("phase")
    return phase
