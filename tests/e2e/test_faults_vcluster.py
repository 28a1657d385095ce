"""What befalls a virtual cluster: its control-plane pod is deleted, without a volume and with one."""

from collections.abc import Iterator

import pytest

from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from demo.snapshot import take_snapshot
from testbed import layout
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.nothing_left import await_nothing_left
from tests.e2e.scheduler import CONFIG, await_whole, scheduler_settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_VOLUME = "KNS_VCLUSTER_STORAGE_CLASS"
_IN = "--namespace=default"


@pytest.fixture(autouse=True)
def _whole_again(site: Site) -> Iterator[None]:
    await_whole(site.kubectl)
    yield
    await_whole(site.kubectl)


def _delete_control_plane(site: Site, job: TrialJob) -> str:
    """Its uid."""
    (pod,) = job.pods(selector=f"app=vcluster,release={job.namespace}")
    site.kubectl.run("delete", "pod", pod["metadata"]["name"], f"--namespace={job.namespace}", "--wait=false")
    return str(pod["metadata"]["uid"])


def test_without_a_volume_a_lost_control_plane_ends_its_job(site: Site, jobs: JobKeeper) -> None:
    """All that was inside is lost with it, and the empty cluster that takes its place must not pass for the job's."""
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("hello")
    job.wait_until_serving()
    _delete_control_plane(site, job)
    assert job.wait_until_ended() == "COMPLETED WITH ERROR"
    said = "the control-plane pod was replaced; without a volume everything inside the virtual cluster is lost"
    status = job.record()["status"]
    assert (status["reason"], status["message"]) == ("ControlPlaneLost", said)
    assert job.output()[-1] == said
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)


def test_with_a_volume_a_job_outlives_its_control_plane(site: Site, jobs: JobKeeper) -> None:
    """
    What was inside is there afterwards, the app's pod was not touched, the job serves; the volume goes with the job.

    The setting is for jobs to come: it is switched on under one job and off under the other, and both go on.
    """
    if not site.target.is_testbed:
        pytest.skip("the storage class is the testbed's")
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    plain = jobs.submit("hello")
    plain.wait_until_serving()
    with scheduler_settings(site.kubectl, **{_VOLUME: layout.STORAGE_CLASS}):
        job = jobs.submit("hello")
        job.wait_until_serving()
        assert plain.status()["job_status"] == "PROCESSING STARTING"
        with nested_kubectl(site.target, job.number) as inside:
            inside.run("create", "configmap", "kept", "--from-literal=word=volume", _IN)
            web = inside.get("pods", _IN)["items"][0]["metadata"]["uid"]
        lost = _delete_control_plane(site, job)
        job.wait_for(lambda: _check_replaced(job, lost), timeout_s=150, what="another control plane")
        with nested_kubectl(site.target, job.number) as inside:
            assert inside.get("configmap", "kept", _IN)["data"] == {"word": "volume"}
            assert [pod["metadata"]["uid"] for pod in inside.get("pods", _IN)["items"]] == [web]
        job.wait_until_serving()
        assert job.record()["status"]["jobStatus"] == "PROCESSING STARTING"
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
