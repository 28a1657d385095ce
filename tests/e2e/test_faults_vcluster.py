"""A virtual cluster with a volume: its job outlives the loss of the control-plane pod."""

import pytest

from demo.overlay import NAMESPACE
from demo.snapshot import take_snapshot
from testbed import layout
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.nothing_left import await_nothing_left
from tests.e2e.once import delete_control_plane
from tests.e2e.scheduler import CONFIG, Settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

pytestmark = [
    pytest.mark.alone,
    pytest.mark.deep,
    pytest.mark.proves(
        "main",
        "Leader killed at every stage boundary or frozen past its Lease; API server down for a minute; etcd and "
        "kubelet restarted; lost control planes, evictions, removals by hand",
    ),
]

_VOLUME = "KNS_VCLUSTER_STORAGE_CLASS"
_IN = "--namespace=default"


@pytest.mark.proves(
    "faults",
    "control-plane pod of a virtual cluster with a volume (`KNS_VCLUSTER_STORAGE_CLASS`) deleted",
)
def test_with_a_volume_a_job_outlives_its_control_plane(site: Site, settings: Settings, jobs: JobKeeper) -> None:
    """
    What was inside is kept, the app's pod is not touched, and the job serves; the volume goes with the job.

    The setting applies to jobs to come: it is switched on under one job and off under the other, and both go on.
    """
    if not site.target.is_testbed:
        pytest.skip("the storage class is the testbed's")
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    plain = jobs.submit("hello")
    plain.wait_until_serving()
    settings.use(**{_VOLUME: layout.STORAGE_CLASS})
    job = jobs.submit("hello")
    job.wait_until_serving()
    assert plain.status()["job_status"] == "PROCESSING STARTING"
    with nested_kubectl(site.target, job.number) as inside:
        inside.run("create", "configmap", "kept", "--from-literal=word=volume", _IN)
        web = inside.get("pods", _IN)["items"][0]["metadata"]["uid"]
    lost = delete_control_plane(site, job)
    job.wait_for(lambda: _check_replaced(job, lost), timeout_s=150, what="another control plane")
    with nested_kubectl(site.target, job.number) as inside:
        assert inside.get("configmap", "kept", _IN)["data"] == {"word": "volume"}
        assert [pod["metadata"]["uid"] for pod in inside.get("pods", _IN)["items"]] == [web]
    job.wait_until_serving()
    assert job.record()["status"]["jobStatus"] == "PROCESSING STARTING"
    settings.restore()
    for either in (job, plain):
        either.wait_until_serving()
        either.stop("shutdown")
        assert either.wait_until_ended() == "COMPLETED"
    plain.wait_until_removed()
    job.wait_until_removed()
    config = ("ConfigMap", NAMESPACE, CONFIG)
    await_nothing_left(site.kubectl, before, job=job.number, changed=frozenset({config}))


def _check_replaced(job: TrialJob, lost: str) -> None:
    for pod in job.pods(selector=f"app=vcluster,release={job.namespace}"):
        conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
        if pod["metadata"]["uid"] != lost and conditions.get("Ready") == "True":
            return
    raise NotYetError("the control-plane pod is not back")
