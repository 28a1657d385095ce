"""Explanations of a job, from its record and from what the host knows of its namespace."""

from dataclasses import replace
from typing import Any

import pytest

from kns.model import names
from kns.model.errors import ForbiddenError, NotFoundError, UnavailableError
from kns.model.job.conditions import ConditionType as C
from kns.model.job.conditions import Reason
from kns.model.job.job import AdoptedNamespace, JobState
from kns.ports import Kind
from kns.service.explain import MOST_SHOWN, Explanation, Standing, explain
from kns.service.ports import ServicePorts
from kns.service.words import ADVICE, NO_NODE_OF_MACHINE, NO_PODS_NOW, WARNING_ADVICE
from tests.builders import JobBuilder, a_job
from tests.fakes.pool import FakePool
from tests.fakes.stores import FakeClock, MemoryNamespaces

NAMESPACE = "kns-job-7"
URL = "https://kns-job-7.jobs.example.org"


def waiting(reason: Reason, message: str) -> JobBuilder:
    builder = a_job().condition(C.NAMESPACE_READY, at_s=1).spawning()
    job = builder.condition(C.VIRTUAL_CLUSTER_READY, true=False, reason=reason, at_s=2)
    conditions = tuple(
        each.model_copy(update={"message": message}) if each.type == C.VIRTUAL_CLUSTER_READY else each
        for each in job.status.conditions
    )
    return job.with_status(conditions=conditions)


def a_warning(reason: str, message: str, *, second: int, pod: str = "web-0-x-default-x-kns-job-7") -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 3,
        "involvedObject": {"kind": "Pod", "name": pod},
        "lastTimestamp": f"2026-01-05T14:16:{second:02d}Z",
    }


@pytest.fixture
def host(ports: ServicePorts) -> MemoryNamespaces:
    assert isinstance(ports.namespaces, MemoryNamespaces)
    return ports.namespaces


@pytest.fixture(autouse=True)
def _later(clock: FakeClock) -> None:
    clock.advance(60)


def ask(ports: ServicePorts, builder: JobBuilder) -> Explanation:
    return explain(ports, builder.build())


def test_every_reason_has_advice_or_says_that_none_is_needed() -> None:
    assert set(ADVICE) == set(Reason)


@pytest.mark.parametrize("advice", sorted({*ADVICE.values(), *WARNING_ADVICE.values()}))
def test_advice_is_whole_sentences(advice: str) -> None:
    assert advice == "" or ((advice.startswith("kns ") or advice[0].isupper()) and advice.endswith("."))


def test_a_new_job_waits_for_its_first_step(ports: ServicePorts, host: MemoryNamespaces) -> None:
    assert ask(ports, a_job()) == Explanation(
        Standing.WAITING, "Job 7 waits for kns to prepare the namespace, for 1 min so far."
    )


def test_a_waiting_job_names_its_step_its_cause_and_what_to_do(ports: ServicePorts, host: MemoryNamespaces) -> None:
    message = "the control-plane pod is not scheduled: 0/1 nodes are available: 1 Insufficient cpu."
    found = ask(ports, waiting(Reason.SPAWNING, message))
    assert found.standing is Standing.WAITING
    assert found.summary == "Job 7 is not serving yet; its step is: start the virtual cluster, for 59 s so far."
    assert found.cause == message
    assert found.advice == (ADVICE[Reason.SPAWNING],)


def test_a_waiting_job_says_whether_it_got_a_member_of_the_pool(ports: ServicePorts, host: MemoryNamespaces) -> None:
    cold = waiting(Reason.SPAWNING, "wait")
    warm = cold.with_accepted(adopted=AdoptedNamespace(name=NAMESPACE, uid="uid-1"))
    assert "pool" not in ask(ports, cold).summary
    ports = replace(ports, members=FakePool())
    assert ask(ports, cold).summary.endswith(" The warm pool had no virtual cluster for it, so it starts its own.")
    assert ask(ports, warm).summary.endswith(" It got a virtual cluster of the warm pool.")
    assert "pool" not in ask(ports, a_job().condition(C.NAMESPACE_READY, at_s=1).started(at_s=19)).summary
    assert "pool" not in ask(ports, a_job().exposed()).summary


def test_a_serving_job_has_its_address_and_the_time_that_is_left(ports: ServicePorts, host: MemoryNamespaces) -> None:
    found = ask(ports, a_job().with_accepted(walltime_s=3630).exposed())
    assert found == Explanation(Standing.SERVING, f"Job 7 serves at {URL}; 1 h of its walltime are left.")


def test_a_problem_of_a_serving_job_is_named(ports: ServicePorts, host: MemoryNamespaces) -> None:
    found = ask(ports, a_job().exposed().condition(C.EXPOSED, true=False, reason=Reason.TARGET_GONE, at_s=50))
    assert found.summary == f"Job 7 serves at {URL}, but it has a problem: publish the address."
    assert found.advice == (ADVICE[Reason.TARGET_GONE],)


def test_a_shutdown_says_how_long_it_has_waited(ports: ServicePorts, host: MemoryNamespaces) -> None:
    found = ask(ports, a_job().exposed().stopping().condition(C.DRAINED, true=False, reason=Reason.GRACE, at_s=50))
    assert (found.standing, found.summary) == (Standing.ENDING, "Job 7 is ending, for 10 s so far.")


def test_the_newest_warnings_come_first_and_once_for_each_object_and_reason(
    ports: ServicePorts, host: MemoryNamespaces
) -> None:
    host.objects[Kind.EVENT, NAMESPACE] = [
        a_warning("FailedScheduling", "old", second=1),
        a_warning("FailedScheduling", "0/1 nodes are available", second=9),
        a_warning("BackOff", "Back-off restarting", second=5, pod="kns-init-x"),
        {**a_warning("Pulled", "fine", second=10), "type": "Normal"},
    ]
    found = ask(ports, a_job().exposed())
    assert [(each.subject, each.reason, each.message, each.count) for each in found.warnings] == [
        ("Pod web-0 in namespace default", "FailedScheduling", "0/1 nodes are available", 3),
        ("Pod kns-init-x", "BackOff", "Back-off restarting", 3),
    ]
    assert found.advice == (WARNING_ADVICE["FailedScheduling"], WARNING_ADVICE["BackOff"])


def test_only_a_few_warnings_are_shown_and_none_is_long(ports: ServicePorts, host: MemoryNamespaces) -> None:
    host.objects[Kind.EVENT, NAMESPACE] = [
        a_warning("Failed", "x" * 5000, second=number, pod=f"p{number}") for number in range(20)
    ]
    found = ask(ports, a_job().exposed())
    assert [each.subject for each in found.warnings] == [f"Pod p{19 - number}" for number in range(MOST_SHOWN)]
    assert max(len(each.message) for each in found.warnings) == 300


def test_the_limits_of_the_job_are_shown_with_what_is_used(ports: ServicePorts, host: MemoryNamespaces) -> None:
    hard = {"requests.cpu": "2200m", "requests.memory": "4Gi", "requests.nvidia.com/gpu": "0", "pods": "odd"}
    used = {"requests.cpu": "2", "requests.memory": "1536Mi"}
    host.objects[Kind.RESOURCE_QUOTA, NAMESPACE] = [
        {"metadata": {"name": "kns-quota"}, "status": {"hard": hard, "used": used}},
        {"metadata": {"name": "kns-drain"}, "status": {"hard": {"pods": "1"}}},
    ]
    found = ask(ports, a_job().exposed())
    assert [(use.what, str(use)) for use in found.uses] == [("cpu", "2 of 2.2 cores"), ("memory", "1.5 of 4 GiB")]


@pytest.mark.parametrize("error", [NotFoundError("404"), ForbiddenError("403")])
def test_a_namespace_that_is_not_there_yet_has_nothing_to_show(
    ports: ServicePorts, host: MemoryNamespaces, error: Exception
) -> None:
    host.faults = {Kind.EVENT: error, Kind.RESOURCE_QUOTA: error}
    found = ask(ports, a_job())
    assert (found.uses, found.warnings) == ((), ())


def test_a_host_without_an_answer_is_an_error(ports: ServicePorts, host: MemoryNamespaces) -> None:
    host.faults = {Kind.EVENT: UnavailableError("no answer")}
    with pytest.raises(UnavailableError):
        ask(ports, a_job())


def test_a_failed_job_names_its_step_and_cause_and_asks_the_host_nothing(
    ports: ServicePorts, host: MemoryNamespaces
) -> None:
    host.faults = {Kind.EVENT: UnavailableError("no answer"), Kind.RESOURCE_QUOTA: UnavailableError("no answer")}
    builder = waiting(Reason.SPAWN_DELAY_PASSED, "").ended(JobState.FAILED, at_s=50)
    builder = builder.with_status(reason=str(Reason.SPAWN_DELAY_PASSED), message="not running after 48 s")
    found = ask(ports, builder.removed(at_s=55))
    assert found == Explanation(
        Standing.ENDED,
        "Job 7 ended COMPLETED WITH ERROR 10 s ago at the step: start the virtual cluster.",
        cause="not running after 48 s",
        advice=(ADVICE[Reason.SPAWN_DELAY_PASSED],),
    )


def test_what_holds_a_removal_is_named(ports: ServicePorts, host: MemoryNamespaces) -> None:
    found = ask(ports, a_job().exposed().ended(at_s=50))
    assert (found.standing, found.advice) == (Standing.REMOVING, ())
    kept = a_job().exposed().ended(at_s=50).condition(C.REMOVED, true=False, reason=Reason.KEPT, at_s=51)
    assert ask(ports, kept).advice == (ADVICE[Reason.KEPT],)


def test_a_reason_of_another_release_has_no_advice(ports: ServicePorts, host: MemoryNamespaces) -> None:
    builder = waiting(Reason.SPAWNING, "m").ended(JobState.FAILED).with_status(reason="FromTheFuture", message="m")
    assert ask(ports, builder).advice == ()


NO_NODES = "0/2 nodes are available: {}. preemption: 0/2 nodes are available."


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        ("2 node(s) didn't match Pod's node affinity/selector", NO_NODE_OF_MACHINE),
        (
            "1 node(s) had untolerated taint {gpu: }, 1 node(s) didn't match Pod's node affinity/selector",
            NO_NODE_OF_MACHINE,
        ),
        ("1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: }", WARNING_ADVICE["FailedScheduling"]),
    ],
)
def test_a_machine_without_nodes_is_told_from_one_that_is_full(
    ports: ServicePorts, host: MemoryNamespaces, cause: str, advice: str
) -> None:
    host.objects[Kind.EVENT, NAMESPACE] = [a_warning("FailedScheduling", NO_NODES.format(cause), second=1)]
    assert ask(ports, a_job().exposed()).advice == (advice,)


REFUSED = 'pods "p" is forbidden: exceeded quota: {}, requested: pods=1, used: pods=0, limited: pods=0'


@pytest.mark.parametrize(
    ("quota", "advice"),
    [
        (names.DRAIN_QUOTA, NO_PODS_NOW),
        (names.RESOURCE_QUOTA, WARNING_ADVICE["FailedCreate"]),
        (f"my-{names.DRAIN_QUOTA}", WARNING_ADVICE["FailedCreate"]),
    ],
)
def test_a_pod_that_is_refused_in_a_sleep_needs_no_larger_machine(
    ports: ServicePorts, host: MemoryNamespaces, quota: str, advice: str
) -> None:
    host.objects[Kind.EVENT, NAMESPACE] = [a_warning("FailedCreate", REFUSED.format(quota), second=1)]
    assert ask(ports, a_job().exposed()).advice == (advice,)
