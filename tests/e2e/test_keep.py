"""JARVICE_KNS_KEEP_VCLUSTERS: what has ended stays for a look, until somebody says otherwise."""

import shlex

from demo.nested import nested_kubectl
from tests.e2e.jobs import JobKeeper
from tests.e2e.scheduler import scheduler_settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError


def test_everything_stays_and_the_command_in_the_record_removes_it(site: Site, jobs: JobKeeper) -> None:
    """The status is final, cluster and Ingress go on; the command that the record names removes all."""
    with scheduler_settings(site.kubectl, JARVICE_KNS_KEEP_VCLUSTERS="true"):
        job = jobs.submit("hello")
        job.wait_until_serving()
        job.stop("shutdown")
        assert job.wait_until_ended() == "COMPLETED"

        def kept() -> dict[str, str]:
            removed = job.condition("Removed")
            if removed is None:
                raise NotYetError("no condition Removed")
            return dict(removed)

        removed = job.wait_for(kept, timeout_s=30, what="condition Removed")
        assert (removed["status"], removed["reason"]) == ("False", "Kept")
        assert job.entry()["job_substatus"] == 0

    # With the setting off again it is still kept or being removed, as kns decides; the record tells which.
    command = removed["message"].partition("'")[2].rpartition("'")[0]
    assert shlex.split(command)[0] == "kubectl"
    assert not job.is_gone()
    with nested_kubectl(site.target, job.number) as inside:
        assert inside.get("deployment", "web", "--namespace=default")["spec"]["replicas"] == 1
    assert site.kubectl.find("ingress", job.namespace, f"--namespace={job.namespace}") is not None

    site.kubectl.run(*shlex.split(command)[1:], timeout_s=120)
    assert job.is_gone()
    assert site.kubectl.find("nj", job.record_name, "--namespace=kns-system") is None
