"""JARVICE_KNS_KEEP_VCLUSTERS: what has ended stays for a look, until somebody says otherwise."""

import shlex

from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import scheduler_settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError


def test_everything_stays_and_the_command_in_the_record_removes_it(site: Site, jobs: JobKeeper) -> None:
    """The status is final, cluster and Ingress go on; the command that the record names removes all."""
    with scheduler_settings(site.kubectl, JARVICE_KNS_KEEP_VCLUSTERS="true"):
        job = jobs.submit("hello")
        job.wait_until_serving()
        control_plane = _control_plane(job)
        job.stop("shutdown")
        assert job.wait_until_ended() == "COMPLETED"

        command = job.wait_for(lambda: _read_command(job), timeout_s=30, what="condition Removed")
        assert job.entry()["job_substatus"] == 0
        assert _control_plane(job) == control_plane
        assert site.kubectl.find("ingress", job.namespace, f"--namespace={job.namespace}") is not None
        with nested_kubectl(site.target, job.number) as inside:
            assert inside.get("deployment", "web", "--namespace=default")["spec"]["replicas"] == 1

        assert command[0] == "kubectl"
        site.kubectl.run(*command[1:], timeout_s=120)
        assert job.is_gone()
        assert site.kubectl.find("nj", job.record_name, f"--namespace={NAMESPACE}") is None


def _control_plane(job: TrialJob) -> list[tuple[str, str]]:
    pods = job.pods(selector=f"app=vcluster,release={job.namespace}")
    return [(pod["metadata"]["uid"], pod["status"]["phase"]) for pod in pods]


def _read_command(job: TrialJob) -> list[str]:
    """What the record says is to be typed, in quotes, to take a kept job away."""
    removed = job.condition("Removed")
    if removed is None:
        raise NotYetError("no condition Removed")
    assert (removed["status"], removed["reason"]) == ("False", "Kept")
    return shlex.split(removed["message"].partition("'")[2].rpartition("'")[0])
