"""Template items: their kinds, their order, their retries, and the end of a job whose item has none left."""

import re
from pathlib import Path

import pytest

from demo.catalog import EXAMPLES, example_ids
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.site import Site

_HEADER = re.compile(r"\[\d+/\d+\] .+, attempt \d+")


@pytest.fixture(scope="module")
def never(module_jobs: JobKeeper) -> TrialJob:
    """A job whose item always fails; it spawns at the same time as the other."""
    return module_jobs.submit("never")


@pytest.fixture(scope="module")
def three_kinds(module_jobs: JobKeeper, never: TrialJob) -> TrialJob:
    job = module_jobs.submit("three-kinds")
    job.wait_until_serving()
    return job


def test_items_of_all_kinds_run_in_order_and_a_failing_one_is_tried_again(site: Site, three_kinds: TrialJob) -> None:
    """kubectl, kustomize, custom. The script fails twice and succeeds at its third try, and the log says so."""
    lines = three_kinds.tail()
    assert [line for line in lines if _HEADER.fullmatch(line)] == [
        "[1/3] page, attempt 1",
        "[2/3] server, attempt 1",
        "[3/3] third try, attempt 1",
        "[3/3] third try, attempt 2",
        "[3/3] third try, attempt 3",
    ]
    story = [
        "[1/3] page, attempt 1",
        "configmap/page created",
        "[2/3] server, attempt 1",
        "deployment.apps/web created",
        "[3/3] third try, attempt 1",
        "this is try 1",
        "[3/3] third try: attempt 1 failed (exit 1), next try in 1 s",
        "[3/3] third try, attempt 2",
        "this is try 2",
        "[3/3] third try: attempt 2 failed (exit 1), next try in 1 s",
        "[3/3] third try, attempt 3",
        "this is try 3",
    ]
    assert [line for line in lines if line in story] == story
    assert "kustomize serves it" in three_kinds.page()[1]
    with nested_kubectl(site.target, three_kinds.number) as inside:
        assert inside.get("configmap", "tries", "--namespace=default")["data"] == {"count": "3"}
        assert inside.get("deployment", "web", "--namespace=default")["spec"]["replicas"] == 2


def test_an_item_out_of_retries_ends_the_job_with_its_reason_last(never: TrialJob) -> None:
    """COMPLETED WITH ERROR, exit code 1, the reason as the last line of the output; everything is removed."""
    assert never.wait_until_ended() == "COMPLETED WITH ERROR"
    assert never.entry()["job_exitcode"] == 1
    assert never.entry()["job_start_time"] > 0
    lines = never.output()
    assert [line for line in lines if _HEADER.fullmatch(line)] == [
        "[1/2] before, attempt 1",
        "[2/2] give up, attempt 1",
        "[2/2] give up, attempt 2",
    ]
    assert lines.count("this never works") == 2
    assert lines[-1] == "item 2/2 'give up' failed after 2 attempts, last exit code 3"
    assert never.record()["status"]["reason"] == "ItemOutOfRetries"
    never.wait_until_removed()
    assert never.output() == lines


@pytest.mark.parametrize("app", example_ids())
def test_every_example_is_built_from_scratch(app: str) -> None:
    """No image has a shell or cp, and the tests above get the templates out of them."""
    lines = (Path(EXAMPLES) / app / "Dockerfile").read_text("utf-8").splitlines()
    steps = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    assert steps == [["FROM", "scratch"], ["COPY", "templates", "/templates"]]
