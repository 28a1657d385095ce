"""
Settings of the scheduler that decide what jobs to come get. One restart sets all that do not disturb each other, and
the jobs of all tests spawn at the same time.
"""

import json
import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE
from kns.model.names import host_name
from tests.e2e.jobs import END_S, JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.scheduler import Settings
from tests.e2e.shell import ALLOW, check_none
from tests.e2e.site import Site
from tests.e2e.tenant import await_running, small_pod
from tests.e2e.waiting import NotYetError

pytestmark = pytest.mark.alone

_IN = "--namespace=default"
_SHOWN, _HIDDEN, _ABSENT = "kns-e2e-shown", "kns-e2e-hidden", "kns-e2e-absent"
_HANDLER = "runc"  # every containerd has it
_SPAWN_DELAY = "JARVICE_KNS_VCLUSTER_SPAWN_DELAY"
# Enough for the jobs that do spawn: two at the same time take 10 s, on a busy machine several times as long. There, kns
# looks later than after the delay, too.
_DELAY_S, _SLACK_S = 60, 40
# Longer than a spawn takes (4 to 10 s), shorter than the 25 s of the templates of examples/slow.
_BETWEEN_S = 20


@pytest.fixture(scope="module")
def _runtime_classes(site: Site) -> Iterator[None]:
    """Two classes of the host that differ only in their names."""
    try:
        for name in (_SHOWN, _HIDDEN):
            found = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}}
            site.kubectl.run("apply", "--filename=-", stdin=json.dumps({**found, "handler": _HANDLER}))
        yield
    finally:
        site.kubectl.run("delete", "runtimeclass", _SHOWN, _HIDDEN, "--ignore-not-found")


@pytest.fixture(scope="module")
def _set(settings: Settings, _runtime_classes: None) -> None:
    variables = {
        ALLOW: "false",
        "JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC": f"{_SHOWN},{_ABSENT}",
        "JARVICE_KNS_KEEP_VCLUSTERS": "true",
        _SPAWN_DELAY: str(_DELAY_S),
    }
    settings.use(**variables)


@pytest.fixture(scope="module")
def started(module_jobs: JobKeeper, _set: None) -> dict[str, TrialJob]:
    """A job that asks for a web shell, a plain one, and one on a machine that no node matches."""
    return {
        "asking": module_jobs.submit("web-shell"),
        "plain": module_jobs.submit("hello"),
        "nowhere": module_jobs.submit("hello", machine="kns-nowhere"),
    }


@pytest.fixture(scope="module")
def asking(started: dict[str, TrialJob]) -> TrialJob:
    started["asking"].wait_until_serving()
    return started["asking"]


@pytest.fixture(scope="module")
def plain(started: dict[str, TrialJob]) -> TrialJob:
    started["plain"].wait_until_serving()
    return started["plain"]


def test_a_job_that_asks_for_a_shell_serves_without_one_and_its_output_says_so(site: Site, asking: TrialJob) -> None:
    """One warning line; condition ShellReady has the reason."""
    check_none(site, asking)
    refused = asking.condition("ShellReady")
    assert refused is not None
    assert (refused["status"], refused["reason"]) == ("False", "ShellNotAllowed")
    warning = "warning: the AppDef asks for a web shell, which this site does not allow"
    assert [line for line in asking.tail() if "shell" in line] == [warning]


def test_a_job_that_asks_for_no_shell_is_told_nothing(site: Site, plain: TrialJob) -> None:
    check_none(site, plain)
    assert plain.condition("ShellReady") is None
    assert not [line for line in plain.tail() if "shell" in line]


def test_a_listed_runtime_class_appears_inside_and_pods_run_in_it(site: Site, plain: TrialJob) -> None:
    """A class that is not listed does not appear; a listed one that the host lacks delays nothing."""
    with nested_kubectl(site.target, plain.number) as inside:
        classes = {item["metadata"]["name"]: item["handler"] for item in inside.get("runtimeclasses")["items"]}
        assert classes == {_SHOWN: _HANDLER}
        _apply(inside, small_pod("in-class", runtimeClassName=_SHOWN))
        await_running(plain, inside, "in-class")
        refused = _apply(inside, small_pod("hidden", runtimeClassName=_HIDDEN))
    assert _HIDDEN in refused
    assert "not found" in refused
    copy = site.kubectl.get("pod", host_name("in-class", "default", plain.namespace), f"--namespace={plain.namespace}")
    assert copy["spec"]["runtimeClassName"] == _SHOWN


def test_an_ended_job_is_kept_until_the_command_in_its_record_removes_it(site: Site, plain: TrialJob) -> None:
    """The status is final, while virtual cluster and Ingress live on; the command that the record names removes all."""
    control_plane = _control_plane(plain)
    plain.stop("shutdown")
    assert plain.wait_until_ended() == "COMPLETED"

    command = plain.wait_for(lambda: _read_command(plain), timeout_s=30, what="condition Removed")
    assert plain.entry()["job_substatus"] == 0
    assert _control_plane(plain) == control_plane
    assert site.kubectl.find("ingress", plain.namespace, f"--namespace={plain.namespace}") is not None
    with nested_kubectl(site.target, plain.number) as inside:
        assert inside.get("deployment", "web", _IN)["spec"]["replicas"] == 1

    assert command[0] == "kubectl"
    site.kubectl.run(*command[1:], timeout_s=END_S)
    assert plain.is_gone()
    assert site.kubectl.find("nj", plain.record_name, f"--namespace={NAMESPACE}") is None


def test_a_job_that_no_node_takes_fails_at_the_spawn_delay_with_the_pods_own_words(
    started: dict[str, TrialJob],
) -> None:
    """The node selector of kns-nowhere matches no node; the output ends with what the host's scheduler says."""
    job = started["nowhere"]
    assert job.wait_until_ended() == "COMPLETED WITH ERROR"
    status = job.record()["status"]
    assert _DELAY_S <= _seconds(status["spawnStartTime"], status["endTime"]) <= _DELAY_S + _SLACK_S
    assert status["reason"] == "SpawnDelayPassed"
    assert "startTime" not in status
    entry = job.entry()
    assert (entry["job_exitcode"], entry["job_start_time"]) == (1, 0)
    last = job.output()[-1]
    assert last.startswith(f"the virtual cluster was not running after {_DELAY_S} s: ")
    assert "the control-plane pod is not scheduled: 0/" in last
    assert "didn't match Pod's node affinity/selector" in last


@pytest.mark.deep
def test_the_spawn_delay_does_not_count_templates(settings: Settings, jobs: JobKeeper) -> None:
    """Spawn and templates together take longer than the delay, the spawn alone does not: the job serves."""
    settings.use(**{_SPAWN_DELAY: str(_BETWEEN_S)})
    job = jobs.submit("slow")
    job.wait_until_serving()
    status: dict[str, Any] = job.record()["status"]
    deployed = job.condition("Deployed")
    assert deployed is not None
    assert deployed["status"] == "True"
    assert _seconds(status["spawnStartTime"], status["startTime"]) < _BETWEEN_S
    assert _seconds(status["spawnStartTime"], deployed["lastTransitionTime"]) > _BETWEEN_S


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _apply(inside: Kubectl, manifest: dict[str, Any]) -> str:
    """What kubectl answers, also if it is an error."""
    return inside.run("apply", "--filename=-", stdin=json.dumps(manifest), check=False)


def _control_plane(job: TrialJob) -> list[tuple[str, str]]:
    pods = job.pods(selector=f"app=vcluster,release={job.namespace}")
    return [(pod["metadata"]["uid"], pod["status"]["phase"]) for pod in pods]


def _read_command(job: TrialJob) -> list[str]:
    """The command that the record quotes, which removes a kept job."""
    removed = job.condition("Removed")
    if removed is None:
        raise NotYetError("no condition Removed")
    assert (removed["status"], removed["reason"]) == ("False", "Kept")
    return shlex.split(removed["message"].partition("'")[2].rpartition("'")[0])
