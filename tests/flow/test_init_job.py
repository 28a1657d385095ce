"""
The init job over a simulated host: how it fails, and how its log reaches the job's output.

Some tests replace one method of their own host; mypy needs an ignore for each.
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from kns.model.errors import UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.model.job.output import CUT, GAP, MAX_LINES
from kns.objects.init import HELP_MARK
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation


@pytest.fixture(autouse=True, params=[False, True], ids=["app image runs", "app image is mounted"])
def mounting(sim: Simulation, request: pytest.FixtureRequest) -> bool:
    """Both shapes of the init pod."""
    mounts: bool = request.param
    sim.configure(mounts_images=mounts)
    return mounts


FAILED_ITEM = {
    "exitCode": 1,
    "message": json.dumps({"reason": "ItemOutOfRetries", "message": "item 1/1 'web' failed after 3 attempts"}),
}


@pytest.mark.proves("appdef", "An item has no time limit; only the walltime ends a long one")
def test_slow_templates_do_not_trip_the_spawn_delay(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(spawn_delay_s=30)
    sim.host.init_exit = None
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(100):
        sim.host.settle()
        sim.clock.advance(10)
        sim.step()
    assert sim.job.status.job_status is JobState.PROCESSING
    sim.host.init_exit = {"exitCode": 0}
    sim.run(until="serving")


def test_an_item_out_of_retries_fails_the_job(sim: Simulation, job: JobBuilder) -> None:
    """The runner's message is the reason and the last line of the output. Everything is removed."""
    sim.host.init_exit = FAILED_ITEM
    sim.submit(job)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.FAILED
    assert sim.job.status.reason == Reason.ITEM_OUT_OF_RETRIES
    assert str(sim.job.status.message) == "item 1/1 'web' failed after 3 attempts"
    assert sim.host.left == []


def test_an_init_image_that_speaks_another_protocol_is_named(sim: Simulation, job: JobBuilder) -> None:
    sim.host.init_exit = {"exitCode": 127, "reason": "Error", "message": "exec: not found"}
    sim.submit(job)
    sim.run(until="retained")
    assert "container init of the init job ended with exit code 127 (Error): exec: not found" in str(
        sim.job.status.message
    )


def test_a_termination_message_of_too_many_levels_fails_the_job(sim: Simulation, job: JobBuilder) -> None:
    """A container may write what it likes, 4 KiB of it."""
    sim.host.init_exit = {"exitCode": 1, "message": "[" * 4096}
    sim.submit(job)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.FAILED
    assert sim.job.status.reason == Reason.INIT_FAILED
    assert "container init of the init job ended with exit code 1 (Error): [[[" in str(sim.job.status.message)


def test_an_image_that_cannot_be_pulled_fails_the_job_after_the_limit(sim: Simulation, job: JobBuilder) -> None:
    sim.host.pull_error = "manifest unknown"
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.IMAGE_NOT_PULLABLE
    assert "registry.example.org/apps/hello:1" in str(sim.job.status.message)
    assert "manifest unknown" in str(sim.job.status.message)


def test_a_node_that_cannot_mount_images_is_named_with_the_remedy(sim: Simulation, job: JobBuilder) -> None:
    waiting = {"reason": "CreateContainerError", "message": "image mount is not supported"}
    _start_init(sim, job)
    sim.host.init_pod_status = {"containerStatuses": [{"name": "init", "state": {"waiting": waiting}}]}
    assert sim.wait_for_end(600, step_s=2) == "ended"
    assert ("set KNS_IMAGE_VOLUMES=false" in str(sim.job.status.message)) is sim.site.mounts_images


def test_a_log_without_mark_belongs_to_the_taking_of_the_templates(sim: Simulation, job: JobBuilder) -> None:
    """A second pod that is about to take the templates adds nothing to the output of the first."""
    if not sim.site.mounts_images:
        pytest.skip("the app image runs: what it prints is in another log")
    _start_init(sim, job)
    sim.host.init_pod_status, sim.host.init_log = None, "one\n"
    assert sim.wait_for_end(4, step_s=2) == "wait"
    read = sim.host.pod_log
    sim.host.pod_log = lambda *_: "--- /etc/NAE/help.html\n<p>Hi"  # type: ignore[method-assign]
    assert sim.wait_for_end(10, step_s=2) == "wait"
    assert sim.outputs.read(sim.job).lines() == ["one"]
    sim.host.pod_log = read  # type: ignore[method-assign]


@pytest.mark.parametrize("ends", [False, True], ids=["while it runs", "at its end"])
def test_output_that_exceeds_the_bounds_before_its_first_read_is_stored(
    sim: Simulation, job: JobBuilder, *, ends: bool
) -> None:
    """Its end has no mark that the templates are taken, and no later read has one."""
    _start_init(sim, job)
    sim.host.init_log = "".join(f"{number}\n" for number in range(2 * MAX_LINES))
    sim.host.init_pod_status, sim.host.init_exit = None, {"exitCode": 0} if ends else None
    sim.live_until(lambda: sim.outputs.read(sim.job).log != "")
    lines = sim.outputs.read(sim.job).lines()
    assert (lines[0], lines[-1], len(lines)) == (CUT, str(2 * MAX_LINES - 1), MAX_LINES)


@pytest.mark.parametrize("page", ["<p>Hi</p>\n", "\n" * 65_536], ids=["usual page", "page of many lines"])
def test_the_help_page_above_output_that_exceeds_the_bounds_is_kept(
    sim: Simulation, job: JobBuilder, page: str
) -> None:
    sim.host.take_log = f"warning: cut\n{HELP_MARK}{page}"
    sim.host.init_log = "line\n" * 2 * MAX_LINES
    sim.submit(job)
    sim.run(until="serving")
    assert sim.outputs.read(sim.job).help == page


def _put_event(sim: Simulation, reason: str, *, kind: str = "Normal", message: str = "") -> None:
    pod = sim.host.read(Kind.POD, "kns-job-7", "kns-init-0")
    assert pod is not None
    sim.host.put(
        Kind.EVENT,
        "kns-job-7",
        f"kns-init-0.{reason}",
        {
            "involvedObject": {"kind": "Pod", "name": "kns-init-0", "uid": pod["metadata"]["uid"]},
            "type": kind,
            "reason": reason,
            "message": message,
            "lastTimestamp": sim.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    )


def _start_init(sim: Simulation, job: JobBuilder, state: dict[str, object] | None = None) -> None:
    """Reconcile until the init pod exists. It has `state` until a test changes that."""
    sim.host.init_exit = None
    sim.host.init_pod_status = {"initContainerStatuses": [{"name": "take", "state": state}]} if state else {}
    sim.submit(job)
    sim.live_until(lambda: sim.host.read(Kind.POD, "kns-job-7", "kns-init-0") is not None)


def test_a_slow_pull_is_not_counted_when_it_fails_once(sim: Simulation, job: JobBuilder) -> None:
    """The time begins with the first error and not with the pod, and does not run while the image is pulled again."""
    sim.configure(init_stuck_limit_s=120, spawn_delay_s=300)
    _start_init(sim, job, {"waiting": {"reason": "PodInitializing"}})
    _put_event(sim, "Pulling")
    assert sim.wait_for_end(1800, step_s=10) == "wait"
    sim.host.init_pod_status = None
    sim.host.pull_error = "connection reset by peer"
    sim.clock.advance(1)
    _put_event(sim, "Failed", kind="Warning")
    assert sim.wait_for_end(60, step_s=2) == "wait"
    sim.clock.advance(1)
    _put_event(sim, "Pulling")
    assert sim.wait_for_end(1800, step_s=10) == "wait"
    sim.host.pull_error, sim.host.init_exit = None, {"exitCode": 0}
    sim.run(until="serving")
    assert sim.job.status.stuck is None


def test_an_image_that_stays_unavailable_ends_the_job_at_the_limit(sim: Simulation, job: JobBuilder) -> None:
    """Each reconcile is by a new process, so the record has the time."""
    sim.host.pull_error = "manifest unknown"
    sim.submit(job)
    sim.run(until="wait")
    sim.live_until(lambda: sim.job.status.stuck is not None)
    assert sim.job.status.stuck is not None
    since = sim.job.status.stuck.since
    _put_event(sim, "Pulling")
    sim.clock.advance(1)
    _put_event(sim, "Failed", kind="Warning")
    sim.run(until="ended")
    assert sim.job.status.end_time is not None
    assert (sim.job.status.end_time - since).total_seconds() == sim.site.init_stuck_limit_s


def _forget_events(sim: Simulation) -> None:
    """The host keeps an Event for an hour after its last change."""
    for event in sim.host.list_objects(Kind.EVENT, "kns-job-7"):
        sim.host.drop(Kind.EVENT, "kns-job-7", event["metadata"]["name"])


@pytest.mark.parametrize("failed_before", [False, True], ids=["first pull", "after an error"])
def test_a_pull_that_outlasts_its_events_has_hours_and_then_an_end(
    sim: Simulation, job: JobBuilder, *, failed_before: bool
) -> None:
    """While the kubelet pulls again, the container's status has the error of the pull before."""
    state = {"waiting": {"reason": "ImagePullBackOff" if failed_before else "PodInitializing"}}
    _start_init(sim, job, dict(state))
    _put_event(sim, "Pulling")
    assert sim.wait_for_end(3600, step_s=120) == "wait"
    _forget_events(sim)
    assert sim.wait_for_end(4 * 3600, step_s=120) == "wait"
    assert sim.wait_for_end(2 * 3600, step_s=120) == "ended"
    assert str(sim.job.status.message).startswith("after 6 hours on its node: ")
    assert sim.job.status.reason == (Reason.IMAGE_NOT_PULLABLE if failed_before else Reason.INIT_NOT_STARTED)


def test_a_container_that_cannot_be_created_has_no_hours(sim: Simulation, job: JobBuilder) -> None:
    _start_init(sim, job, {"waiting": {"reason": "CreateContainerError", "message": "no such runtime"}})
    assert sim.wait_for_end(sim.site.init_stuck_limit_s - 10, step_s=2) == "wait"
    assert sim.wait_for_end(20, step_s=2) == "ended"
    assert sim.job.status.reason == Reason.INIT_FAILED


def test_a_pod_that_got_its_node_late_has_time_for_its_network(sim: Simulation, job: JobBuilder) -> None:
    """A new node often refuses the first sandboxes."""
    _start_init(sim, job)
    sim.host.init_pod_status = UNSCHEDULED
    assert sim.wait_for_end(sim.site.spawn_delay_s - 10, step_s=2) == "wait"
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": sim.clock.now().isoformat()}
    sim.host.init_pod_status = {"conditions": [placed]}
    _put_event(sim, "FailedCreatePodSandBox", kind="Warning", message=SANDBOX)
    assert sim.wait_for_end(sim.site.init_stuck_limit_s - 10, step_s=2) == "wait"
    assert sim.wait_for_end(20, step_s=2) == "ended"
    assert sim.job.status.reason == Reason.INIT_NOT_STARTED
    assert SANDBOX in str(sim.job.status.message)


def test_an_error_of_the_host_does_not_extend_the_wait(sim: Simulation, job: JobBuilder) -> None:
    sim.host.pull_error = "manifest unknown"
    sim.submit(job)
    sim.live_until(lambda: sim.job.status.stuck is not None)
    before = sim.job.status.stuck
    observe = sim.host.observe
    sim.host.observe = _fail  # type: ignore[method-assign, assignment]
    sim.clock.advance(5)
    with pytest.raises(UnavailableError):
        sim.step()
    sim.host.observe = observe  # type: ignore[method-assign]
    assert sim.job.status.reason == Reason.RETRYING
    assert sim.job.status.stuck == before


def _fail(*_: object) -> None:
    raise UnavailableError("GET: 503")


UNSCHEDULED = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}
SANDBOX = "failed to set up sandbox: no network"


@pytest.mark.parametrize(
    ("status", "warning", "said"),
    [
        (UNSCHEDULED, None, "not scheduled: 0/1 nodes are available"),
        ({"initContainerStatuses": [{"name": "take", "state": {"waiting": {}}}]}, SANDBOX, SANDBOX),
    ],
    ids=["no node", "no network"],
)
def test_an_init_pod_that_never_starts_ends_the_job(
    sim: Simulation, job: JobBuilder, status: dict[str, object], warning: str | None, said: str
) -> None:
    _start_init(sim, job)
    sim.host.init_pod_status = status
    if warning:
        _put_event(sim, "FailedCreatePodSandBox", kind="Warning", message=warning)
    assert sim.wait_for_end(sim.site.spawn_delay_s - 10, step_s=2) == "wait"
    assert sim.wait_for_end(20, step_s=2) == "ended"
    assert sim.job.status.reason == Reason.INIT_NOT_STARTED
    assert said in str(sim.job.status.message)


def test_a_node_that_comes_in_time_starts_the_limits_anew(sim: Simulation, job: JobBuilder) -> None:
    """Waiting for a node, then for an image: each problem has its own time."""
    _start_init(sim, job)
    sim.host.init_pod_status = UNSCHEDULED
    assert sim.wait_for_end(sim.site.spawn_delay_s - 10, step_s=2) == "wait"
    sim.host.init_pod_status = None
    sim.host.pull_error = "connection refused"
    assert sim.wait_for_end(sim.site.init_stuck_limit_s - 10, step_s=2) == "wait"


def test_a_registry_that_comes_back_in_time_is_no_failure(sim: Simulation, job: JobBuilder) -> None:
    sim.host.pull_error = "connection refused"
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(10):
        sim.host.settle()
        sim.clock.advance(2)
        assert sim.step().summary == "wait"
    sim.host.pull_error = None
    sim.run(until="serving")


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_log_that_was_not_read_at_once_is_not_lost(sim: Simulation, job: JobBuilder, exit_code: int) -> None:
    """Even the last read of the log may fail."""
    read, sim.host.init_exit = sim.host.pod_log, {"exitCode": exit_code}
    errors = [UnavailableError("GET log: 502, dial tcp: timeout")] * 3

    def pod_log(namespace: str, pod: str, container: str) -> str | None:
        text = read(namespace, pod, container)
        if text is not None and errors:
            raise errors.pop()
        return text

    sim.host.pod_log = pod_log  # type: ignore[method-assign]
    sim.submit(job)
    sim.run(until="serving" if exit_code == 0 else "ended")
    assert sim.outputs.read(sim.job).lines()[:2] == ["[1/1] web, attempt 1", "service/web created"]


@pytest.mark.parametrize("ahead_s", [-240, 240])
def test_a_clock_of_a_node_that_differs_costs_neither_output_nor_time(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """It dates the end of the init pod. The log cannot be read for some seconds, and that is waited for."""

    def read_clock() -> str:
        return (sim.clock.now() + timedelta(seconds=ahead_s)).isoformat()

    monkeypatch.setattr(sim.host, "_now", read_clock)
    read, tries = sim.host.pod_log, iter(range(100))

    def pod_log(namespace: str, pod: str, container: str) -> str | None:
        text = read(namespace, pod, container)
        if text is not None and (next(tries) < 3 or ahead_s > 0):
            raise UnavailableError("GET log: 502, dial tcp: timeout")
        return text

    sim.host.pod_log = pod_log  # type: ignore[method-assign]
    sim.submit(job)
    sim.run(until="serving")
    expected = "warning: the init job's log cannot be read" if ahead_s > 0 else "[1/1] web, attempt 1"
    assert sim.outputs.read(sim.job).lines()[0].startswith(expected)
    assert next(tries) <= 10


def test_a_rotated_log_takes_no_line_back(sim: Simulation, job: JobBuilder) -> None:
    """The kubelet serves only the newest file of a log."""
    _start_init(sim, job)
    sim.host.init_pod_status, sim.host.init_log = None, "one\ntwo\n"
    assert sim.wait_for_end(10, step_s=2) == "wait"
    sim.host.init_log = "four\n"
    assert sim.wait_for_end(10, step_s=2) == "wait"
    sim.host.init_log, sim.host.init_exit = "four\nfive\n", {"exitCode": 0}
    sim.run(until="serving")
    assert sim.outputs.read(sim.job).lines() == ["one", "two", GAP, "four", "five"]


def test_a_log_is_read_once_a_second_however_often_the_pod_changes(
    sim: Simulation, job: JobBuilder, requests: Counter[str]
) -> None:
    _start_init(sim, job)
    sim.host.init_pod_status, sim.host.init_log = None, "one\n"
    sim.host.settle()
    sim.step()
    requests.clear()
    for number in range(30):
        sim.host.init_log += f"{number}\n"
        sim.host.settle()
        sim.clock.advance(0.25)
        sim.step()
    assert 7 <= requests["host.pod_log"] <= 9


def test_a_long_log_is_stored_rarely_and_at_its_end(sim: Simulation, job: JobBuilder) -> None:
    """Each time the whole log is written to the host's store, whatever makes kns reconcile meanwhile."""
    _start_init(sim, job)
    sim.host.init_pod_status = None
    before, seconds = sim.outputs.writes, 1000
    for second in range(seconds):
        sim.host.init_log = "".join(f"{number} {'x' * 100}\n" for number in range(5_000 + second))
        sim.host.settle()
        sim.step()
        sim.clock.advance(1)
    assert (sim.outputs.writes - before) * len(sim.host.init_log) <= 25_000 * seconds
    sim.host.init_log += "the end\n"
    sim.host.init_exit = {"exitCode": 0}
    sim.run(until="serving")
    assert sim.outputs.read(sim.job).lines()[-1] == "the end"


def test_an_unreadable_log_holds_nothing_up(sim: Simulation, job: JobBuilder) -> None:
    """The host's API server may not reach a kubelet. The job serves, and its output says what is missing."""

    def pod_log(namespace: str, pod: str, container: str) -> str | None:
        raise UnavailableError("GET log: 502, dial tcp: timeout")

    sim.host.pod_log = pod_log  # type: ignore[method-assign]
    sim.submit(job)
    sim.run(until="serving")
    assert sim.outputs.read(sim.job).lines() == [
        "warning: the init job's log cannot be read: GET log: 502, dial tcp: timeout"
    ]


def test_an_init_pod_that_the_host_refuses_is_no_silent_wait(sim: Simulation, job: JobBuilder) -> None:
    sim.host.refused_pod = 'pods "kns-init-x" is forbidden: exceeded quota: site'
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.REFUSED_BY_HOST
    assert "exceeded quota: site" in str(sim.job.status.message)


def test_the_stage_that_failed_says_so_too(sim: Simulation, job: JobBuilder) -> None:
    """Its condition has the reason of the end, not of the last wait."""
    sim.host.init_exit = FAILED_ITEM
    sim.submit(job)
    sim.run(until="ended")
    condition = sim.job.status.condition(ConditionType.DEPLOYED)
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", Reason.ITEM_OUT_OF_RETRIES)


POD = "kns-init-0"
RUNNING = {"containerStatuses": [{"name": "init", "state": {"running": {}}}]}


def _lose_node(sim: Simulation) -> None:
    """As the host's node controller reports it: the containers keep what the kubelet said last."""
    conditions = [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]
    sim.host.change(Kind.POD, "kns-job-7", POD, lambda pod: pod.update(status={**RUNNING, "conditions": conditions}))
    sim.host.stuck_pods = {POD}


def _end_without_end(sim: Simulation) -> None:
    """Its node is lost before the pod was ready, so only the eviction after five minutes shows it."""
    sim.host.delete(Kind.POD, "kns-job-7", POD)
    sim.host.stuck_pods = {POD}


def _end_with_the_container(sim: Simulation) -> None:
    """A drain has ended the container, and then the node is lost, with the container's log."""
    ended = {"exitCode": 143, "reason": "Error", "finishedAt": sim.clock.now().isoformat()}
    status = {"containerStatuses": [{"name": "init", "state": {"terminated": ended}}]}
    sim.host.change(Kind.POD, "kns-job-7", POD, lambda pod: pod.update(status=status))
    _end_without_end(sim)


_TERMINATING = "pod kns-init-0 is terminating, and another one starts when it is gone"


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (_lose_node, "the node of pod kns-init-0 does not answer"),
        (_end_without_end, _TERMINATING),
        (_end_with_the_container, _TERMINATING),
    ],
    ids=["node lost", "terminating", "terminating without its container"],
)
def test_an_init_pod_that_cannot_end_is_named_and_ends_the_job(
    sim: Simulation, job: JobBuilder, lose: Callable[[Simulation], None], said: str
) -> None:
    """Its Kubernetes Job makes another pod only when this one is gone."""
    _start_init(sim, job)
    sim.host.init_pod_status = RUNNING
    sim.host.settle()
    sim.step()
    lose(sim)
    assert sim.wait_for_end(sim.site.spawn_delay_s - 10, step_s=2) == "wait"
    assert sim.job.status.message == said
    assert sim.wait_for_end(20, step_s=2) == "ended"
    assert sim.job.status.reason == Reason.INIT_FAILED
    assert sim.job.status.message == f"after {sim.site.spawn_delay_s} s: {said}"


@pytest.mark.parametrize("is_back", [True, False], ids=["node back", "pod gone"])
def test_an_init_pod_whose_node_is_lost_for_a_while_ends_nothing(
    sim: Simulation, job: JobBuilder, *, is_back: bool
) -> None:
    _start_init(sim, job)
    sim.host.init_pod_status = RUNNING
    sim.host.settle()
    _lose_node(sim)
    assert sim.wait_for_end(sim.site.spawn_delay_s - 10, step_s=2) == "wait"
    sim.host.stuck_pods.clear()
    if not is_back:
        sim.host.drop(Kind.POD, "kns-job-7", POD)
    assert sim.wait_for_end(20, step_s=2) == "wait"
    assert (sim.job.status.message, sim.job.status.stuck) == ("templates are being applied", None)
    sim.host.init_pod_status, sim.host.init_exit = None, {"exitCode": 0}
    sim.run(until="serving")


def test_nobody_reads_the_log_on_a_lost_node(sim: Simulation, job: JobBuilder, requests: Counter[str]) -> None:
    """Each try would occupy a worker until its timeout."""
    _start_init(sim, job)
    sim.host.init_pod_status = RUNNING
    sim.host.settle()
    _lose_node(sim)
    requests.clear()
    sim.go_on(sim.site.spawn_delay_s - 10)
    assert (sim.job.status.job_status, requests["host.pod_log"]) == (JobState.PROCESSING, 0)


def test_a_log_that_cannot_be_read_is_tried_ever_less_often(
    sim: Simulation, job: JobBuilder, requests: Counter[str]
) -> None:
    """The node is lost, and the host does not know it yet; or its API server does not reach the kubelet at all."""
    _start_init(sim, job)
    sim.host.init_pod_status = RUNNING
    sim.host.settle()
    sim.host.stuck_pods = {POD}
    requests.clear()
    sim.go_on(3600)
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.PROCESSING, Reason.INIT_RUNNING)
    assert 60 <= requests["host.pod_log"] <= 75
