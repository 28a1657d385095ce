"""The whole life of the smallest app, after which nothing of it is left."""

import pytest

from demo.snapshot import take_snapshot
from tests.e2e.jobs import JobKeeper
from tests.e2e.nothing_left import await_nothing_left
from tests.e2e.site import Site

pytestmark = pytest.mark.proves("main", "From submit to page to complete removal, compared over all object kinds")


def test_hello_serves_and_is_shut_down_and_leaves_its_record_alone(site: Site, jobs: JobKeeper) -> None:
    """
    Submit, page through the Ingress, shutdown, COMPLETED. Of all objects of all kinds only the record, its two Secrets
    and the counter of numbers differ from before.
    """
    jobs.await_all_gone()  # those of earlier tests: their Secrets go a moment after their records
    before = take_snapshot(site.kubectl)
    job = jobs.submit("hello")
    assert job.status()["job_status"] == "SUBMITTED"
    job.wait_until_serving()

    code, text = job.page()
    assert code == 200
    assert "This page comes from a Kubernetes cluster of its own." in text
    assert job.status()["job_status"] == "PROCESSING STARTING"
    seen = job.tail()
    assert seen[0] == "[1/1] web, attempt 1"
    assert {"configmap/page created", "deployment.apps/web created", "service/web created"} <= set(seen)

    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    entry = job.entry()
    assert entry["job_exitcode"] == 0
    assert entry["job_submit_time"] <= entry["job_start_time"] <= entry["job_end_time"]
    assert job.output() == [*seen, "the job was shut down"]

    job.wait_until_removed()
    assert job.output() == [*seen, "the job was shut down"], "the output goes with the namespace"
    await_nothing_left(site.kubectl, before, job=job.number)
