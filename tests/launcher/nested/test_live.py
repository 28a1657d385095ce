"""A nested job while it lives: starts, kills, and pods that its administrator has broken."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from kns.launcher.nested.rules import read_grace_s
from kns.model.errors import KnsError
from kns.plain.control import Operation
from kns.plain.job import Container, PlainJob
from kns.plain.state import Status
from tests.adapters.faulty_server import Answer, Fault, Seen
from tests.launcher.cluster import NAMESPACE, pod_name
from tests.launcher.kns_server import build_detail
from tests.launcher.nested.world import World
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("is_up", [True, False])
def test_a_kill_that_its_cluster_does_not_carry_out_ends_the_cluster(world: World, *, is_up: bool) -> None:
    """The cluster does not answer, or its administrator has a program of their own in the place of the shell."""
    job_id = world.run()
    world.jobs.control(job_id, Operation.KILL)
    detail = build_detail(world.kns.find_one(job_id))
    world.kns.script("GET", "/kns/job", *[Answer(200, detail, {"Content-Type": "application/json"})] * 3)
    world.kns.find_one(job_id).is_up = is_up
    world.nested.looks.look(job_id)
    world.clock.advance(149)
    world.nested.looks.look(job_id)
    assert world.status(job_id) is Status.RUNNING
    world.clock.advance(1)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.status(job_id) is Status.KILLED


@pytest.mark.parametrize(("grace_s", "limit_s"), [(300, 420), (0, 120), (10**9, 3720)])
def test_a_killed_pod_has_its_grace_period_before_its_cluster_is_ended(
    world: World, grace_s: int, limit_s: int
) -> None:
    """Without a shell, the node ends the pod and waits for it. A site's template says how long."""
    job_id = world.run()
    record = world.host.job(job_id)
    record["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = grace_s
    world.host.put("/apis/batch/v1", "jobs", record)
    world.wait_for(lambda: read_grace_s(world.records.find_job(job_id) or record) == limit_s - 120)
    world.jobs.control(job_id, Operation.KILL)
    world.nested.looks.look(job_id)
    world.clock.advance(limit_s - 1)
    world.nested.looks.look(job_id)
    assert not world.kns.find_one(job_id).ended
    world.clock.advance(1)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended


def test_a_kill_during_an_outage_of_kns_is_tried_again_before_its_cluster_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.run()
    world.jobs.control(job_id, Operation.KILL)  # a program in the place of the shell says that it did it
    note = world.kns.note

    def look() -> None:
        for act in (world.nested.looks.look, world.keeper.look):
            with contextlib.suppress(KnsError):
                act(job_id)

    look()

    def be_away(seen: Seen) -> Fault | None:
        note(seen)
        return Answer(503, {"error": "not ready"})

    monkeypatch.setattr(world.kns, "note", be_away)
    for _ in range(40):
        world.clock.advance(30)  # as often as the keeper looks at all jobs
        look()
    monkeypatch.undo()
    for _ in range(5):
        look()
        assert not world.kns.find_one(job_id).ended
        if world.kns.pod(job_id)["spec"].get("activeDeadlineSeconds"):
            return
        world.clock.advance(30)
    raise AssertionError("the keeper did not try again")


def test_a_kill_that_its_cluster_carries_out_leaves_the_output(world: World) -> None:
    job_id = world.run()
    world.jobs.control(job_id, Operation.KILL)
    world.nested.looks.look(job_id)
    world.end(job_id)
    world.clock.advance(61)
    world.nested.looks.look(job_id)
    assert world.outputs.has(job_id)
    assert world.status(job_id) is Status.KILLED


LATE = {"reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline"}


def delete_pod(world: World, job_id: str) -> None:
    """The Job controller, or somebody inside, deletes the pod. Its container has ended, and it is not gone yet."""
    pod = world.kns.pod(job_id)
    marks = {"deletionTimestamp": world.kns.ends_at, "finalizers": ["batch.kubernetes.io/job-tracking"]}
    world.kns.put("/api/v1", "pods", {**pod, "metadata": {**pod["metadata"], **marks}})
    world.kns.end_pod(job_id, 143)


@pytest.mark.parametrize("condition", ["FailureTarget", "Failed"])
def test_a_job_that_its_deadline_ended_says_so(world: World, condition: str) -> None:
    """The controller of the cluster inside notes the reason in its own Kubernetes Job, after it deleted the pod."""
    job_id = world.run()
    delete_pod(world, job_id)
    world.nested.looks.look(job_id)
    assert world.jobs.find(job_id).state.message == "its pod was deleted"
    world.kns.set_condition(job_id, condition, **LATE)
    world.nested.looks.look(job_id)
    world.keeper.look(job_id)
    world.wait_for(lambda: bool(world.jobs.find(job_id).stored.end))
    state = world.jobs.find(job_id).state
    assert (state.status, state.exit_code) == (Status.KILLED, 143)
    assert state.message == "ended by the cluster: Job was active longer than specified deadline"


@pytest.mark.parametrize(
    ("condition", "more", "status", "message"),
    [
        ("Failed", LATE, Status.KILLED, "its pod was deleted (Job was active longer than specified deadline)"),
        ("Complete", {}, Status.FINISHED, "its pod was deleted, so that its exit code is unknown"),
    ],
)
def test_a_job_whose_pod_is_gone_says_how_its_kubernetes_job_ended(
    world: World, condition: str, more: dict[str, str], status: Status, message: str
) -> None:
    job_id = world.run()
    world.kns.set_condition(job_id, condition, **more)
    world.kns.drop("/api/v1", "pods", NAMESPACE, pod_name(job_id))
    world.nested.looks.look(job_id)
    world.wait_for(lambda: world.jobs.find(job_id).state.is_completed)
    state = world.jobs.find(job_id).state
    assert (state.status, state.message) == (status, message)


def test_a_cluster_that_does_not_tell_why_a_pod_was_deleted_is_asked_again(world: World) -> None:
    job_id = world.run()
    delete_pod(world, job_id)
    world.kns.set_condition(job_id, "Failed", **LATE)
    world.kns.script("GET", f"/jobs/{job_id}", Answer(503, {"kind": "Status", "message": "not ready"}))
    world.nested.looks.look(job_id)
    assert world.status(job_id) is Status.RUNNING
    world.nested.looks.look(job_id)
    assert "deadline" in world.jobs.find(job_id).state.message


def test_the_pod_of_a_job_that_its_user_killed_needs_no_other_reason(world: World) -> None:
    """Its end would otherwise wait for an answer that changes nothing, and its cluster be ended after two minutes."""
    job_id = world.run()
    world.jobs.control(job_id, Operation.KILL)
    world.nested.looks.look(job_id)
    delete_pod(world, job_id)
    world.kns.script("GET", f"/jobs/{job_id}", Answer(503, {"kind": "Status", "message": "not ready"}))
    world.nested.looks.look(job_id)
    assert world.jobs.find(job_id).state.message == "killed by its user"


HOSTILE: list[Callable[[dict[str, Any]], object]] = [
    lambda pod: pod.pop("spec"),
    lambda pod: pod.update(status=7),
    lambda pod: pod["spec"].update(containers=7),
    lambda pod: pod["spec"].update(containers=[7]),
    lambda pod: pod["status"].update(containerStatuses=[7]),
    lambda pod: pod["status"].update(containerStatuses={"a": 1}),
    lambda pod: pod["status"].update(podIP="not an address"),
    lambda pod: pod["status"].update(message="x" * 100_000),
    lambda pod: pod["status"].update(containerStatuses=[{"name": [], "state": {"terminated": {"exitCode": {}}}}]),
    lambda pod: pod["status"].update(containerStatuses=[end_with(pod, exitCode=10**400)]),
    lambda pod: pod["status"].update(containerStatuses=[end_with(pod, exitCode=1, message="\ud800")]),
]


def end_with(pod: dict[str, Any], **terminated: Any) -> dict[str, Any]:
    return {"name": pod["spec"]["containers"][0]["name"], "state": {"terminated": terminated}}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_pod_that_its_administrator_has_broken_breaks_no_list(
    world: World, change: Callable[[dict[str, Any]], object]
) -> None:
    """Whoever has a nested job may be administrator inside and write anything."""
    job_id = world.run()
    other = world.submit()
    pod = world.kns.pod(job_id)
    change(pod)
    world.kns.put("/api/v1", "pods", pod)
    with contextlib.suppress(KnsError):
        world.nested.looks.look(job_id)
    assert {view.id for view in world.jobs.list_views()} == {job_id, other}
    state = world.jobs.find(job_id).state
    assert state.addresses in (("10.244.0.9",), ())
    assert state.exit_code is None
    assert state.message == ""


def test_a_job_whose_node_pulls_the_image_or_whose_hook_hangs_says_so_and_can_be_canceled(world: World) -> None:
    """A pod has a node before it has an address, and no Event says that a pull or a hook lasts."""
    job_id = world.submit()
    world.kns.raise_cluster(job_id)
    world.nested.looks.look(job_id)
    world.kns.make_pod(job_id)
    pod = world.kns.pod(job_id)
    pod["spec"]["nodeName"] = "n1"
    pod["spec"]["containers"][0]["lifecycle"] = {"postStart": {"exec": {"command": ["sleep", "inf"]}}}
    waiting = {"name": pod["spec"]["containers"][0]["name"], "state": {"waiting": {"reason": "ContainerCreating"}}}
    pod["status"] |= {"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [waiting]}
    world.kns.put("/api/v1", "pods", pod)
    world.nested.looks.look(job_id)
    assert "the node prepares the container, which counts as started" in world.jobs.find(job_id).state.message
    world.jobs.control(job_id, Operation.CANCEL)
    assert world.status(job_id) is Status.CANCELED
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended


def test_a_reason_that_its_administrator_has_written_breaks_no_list(world: World) -> None:
    job_id = world.submit()
    world.kns.raise_cluster(job_id)
    world.kns.script("POST", "/jobs", Answer(403, {"message": "denied \ud800"}))
    world.nested.looks.look(job_id)
    assert "denied ?" in world.jobs.find(job_id).state.message


@pytest.mark.proves(
    "security", "call a pod of their nested job like the pod of another job, to get its signals, input or output"
)
def test_a_pod_called_like_that_of_another_job_gets_nothing_of_it(world: World) -> None:
    """Calls about a pod go by its name, and whoever is administrator inside chooses names there."""
    victim = world.jobs.submit(PlainJob("y", "bob", Container("debian"), command="true", stdin="a password")).id
    world.host.run_pod(victim)
    attacker = world.run()
    pod = world.kns.pod(attacker)
    world.kns.drop("/api/v1", "pods", NAMESPACE, pod_name(attacker))
    world.kns.put("/api/v1", "pods", {**pod, "metadata": {**pod["metadata"], "name": pod_name(victim), "uid": "2"}})
    with contextlib.suppress(KnsError):
        world.nested.looks.look(attacker)
    deadline = time.monotonic() + PATIENCE_S
    while world.status(victim) is not Status.RUNNING:
        assert time.monotonic() < deadline
    world.keeper.look(victim)
    world.jobs.control(victim, Operation.STOP)
    assert world.host.inputs == {pod_name(victim): b"a password"}
    assert (len(world.host.commands), world.kns.commands, world.kns.inputs) == (1, [], {})
    assert {view.id for view in world.jobs.list_views()} == {victim, attacker}


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "224.0.0.1"])
def test_workbench_is_not_led_to_addresses_that_no_pod_has(world: World, address: str) -> None:
    job_id = world.run()
    world.kns.set_pod(job_id, podIP=address)
    world.nested.looks.look(job_id)
    assert world.jobs.read_network(job_id) == ("", [])


def test_looks_go_on_after_an_error_of_kns(world: World) -> None:
    job_id = world.submit()
    world.kns.script("GET", "/kns/job", Answer(503, {"error": "not ready"}))
    with pytest.raises(KnsError, match="not ready"):
        world.nested.looks.look(job_id)
    world.kns.raise_cluster(job_id)
    world.nested.looks.look(job_id)
    assert world.kns.has_inside(job_id)
