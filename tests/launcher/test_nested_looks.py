"""Nested jobs without the process: what happens over time, and what others break."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.namespaced import NamespacedCluster
from kns.client import Client
from kns.launcher.nested.cluster import NestedJobs, _saved_pod
from kns.launcher.nested.looks import GIVE_UP_S, LINGER_S
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.records import read_job_id, read_number
from kns.launcher.nested.rules import place_pod, read_grace_s
from kns.launcher.nested.site import RemoteKns, read_credentials
from kns.launcher.ports import Options
from kns.launcher.process import connect_nested
from kns.model import names as kns_names
from kns.model.errors import KnsError
from kns.plain import names
from kns.plain.control import Operation
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.kept import KEEP
from kns.plain.objects import build_job, build_service
from kns.plain.state import Status
from tests.adapters.faulty_server import Answer, Fault, LostAnswer, Reset, Seen
from tests.fakes.stores import FakeClock
from tests.launcher.cluster import NAMESPACE, Cluster, pod_name
from tests.launcher.kns_server import APP, KnsServer, build_detail, write_credentials
from tests.patience import PATIENCE_S


class World:
    """Records, kns, and one plugin's parts without its threads, except the watches of the records."""

    def __init__(self, folder: Path) -> None:
        self.host, self.kns, self.clock = Cluster(), KnsServer(), FakeClock()
        self.stop = threading.Event()
        self.client = client = connect_with_token(self.host.url, read_token=lambda: "a.b.c", authority_file=None)
        selector = f"{names.LABEL}={kns_names.label_value('Kubernetes')}"
        self.records = NamespacedCluster(client, namespace=NAMESPACE, selector=selector, clock=self.clock, keep=KEEP)
        self.records.start(self.stop)
        self.outputs = OutputFiles(folder)
        self.nested = self.start(folder)
        inputs = InputFiles(folder)
        build = Build(
            lambda job, name: build_job(job, generate_name=name),
            lambda job, job_id, service: build_service(job, job_id=job_id, service=service),
        )
        self.jobs = PlainJobs(self.nested, name="Kubernetes", build=build, inputs=inputs)
        self.keeper = Keeper(self.jobs, self.nested, inputs=inputs, clock=self.clock, expiry=timedelta(hours=24))

    def start(self, folder: Path) -> NestedJobs:
        self.site = RemoteKns(self.kns.url, credentials_path=Path(write_credentials(folder)), app=APP)
        return NestedJobs(self.records, self.site, outputs=self.outputs, clock=self.clock, place="here")

    def close(self) -> None:
        self.stop.set()
        self.nested.close()
        self.site.close()
        self.client.close()
        self.host.close()
        self.kns.close()

    def submit(self, user: str = "ana") -> str:
        job = PlainJob(name="x", user=user, container=Container("debian"), command="true", nested=True)
        return self.jobs.submit(job).id

    def run(self, user: str = "ana") -> str:
        job_id = self.submit(user)
        self.kns.raise_cluster(job_id)
        self.nested.looks.look(job_id)
        self.kns.run_pod(job_id)
        self.nested.looks.look(job_id)
        assert self.status(job_id) is Status.RUNNING
        return job_id

    def end(self, job_id: str) -> None:
        """The container ends at 14:16:31, a minute after the start of the clock."""
        self.clock.advance(61)
        self.kns.write_log(job_id, "said")
        self.kns.end_pod(job_id)
        self.nested.looks.look(job_id)
        self.keeper.look(job_id)

    def status(self, job_id: str) -> Status:
        return self.jobs.find(job_id).state.status

    def is_over(self, job_id: str) -> bool:
        return names.NESTED_OVER in self.host.job(job_id)["metadata"]["annotations"]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline
            self.stop.wait(0.01)


class SlowLogs:
    """The outputs of some jobs do not come to their end until `ends` is set."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow: list[str] = []
        self.opened: list[str] = []  # pods
        self.ends = threading.Event()
        self._read = world.kns._read_log
        monkeypatch.setattr(world.kns, "_read_log", self._read_slowly)

    def _read_slowly(self, pod: str, seen: Seen) -> Iterator[bytes]:
        yield from self._read(pod, seen)
        if pod in map(pod_name, self.slow):
            self.opened.append(pod)
            self.ends.wait(PATIENCE_S)


@pytest.fixture
def logs(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLogs]:
    logs = SlowLogs(world, monkeypatch)
    yield logs
    logs.ends.set()


@pytest.fixture
def look_at_all(world: World, logs: SlowLogs) -> Iterator[Callable[[], None]]:
    """Starts the thread that looks at all jobs."""
    stop = threading.Event()
    thread = threading.Thread(target=world.nested.looks.run, args=(stop,), daemon=True)
    yield thread.start
    stop.set()
    logs.ends.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    for cache in world.records.caches:
        assert cache._synced.wait(PATIENCE_S)
    yield world
    world.close()


def test_a_cluster_stays_a_minute_for_other_plugins_and_no_longer(world: World) -> None:
    job_id = world.run()
    world.end(job_id)
    world.nested.looks.look(job_id)
    assert world.outputs.has(job_id)
    assert not world.kns.find_one(job_id).ended
    world.clock.advance(LINGER_S)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.is_over(job_id)
    calls = len(world.kns.seen)
    world.nested.looks.look(job_id)
    assert len(world.kns.seen) == calls, "a job that is over costs nothing"


def test_a_side_car_that_cannot_be_ended_does_not_keep_the_cluster(world: World) -> None:
    """Whoever is administrator inside may refuse changes of pods, and would have the cluster without an end."""
    job_id = world.run()
    world.kns.end_pod(job_id)
    ended = world.kns.pod(job_id)["status"]["containerStatuses"]
    world.kns.set_pod(job_id, containerStatuses=[*ended, {"name": "side-car", "state": {"running": {}}}])
    world.kns.script(
        "PATCH", pod_name(job_id), *[Answer(403, {"message": "admission webhook denied the request"})] * 10
    )
    world.nested.looks.look(job_id)
    world.keeper.look(job_id)
    assert world.jobs.find(job_id).stored.end
    world.clock.advance(LINGER_S + 61)
    world.nested.looks.look(job_id)
    assert world.is_over(job_id)


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


def test_an_output_that_cannot_be_read_does_not_keep_the_cluster(world: World) -> None:
    job_id = world.run()
    world.end(job_id)
    world.clock.advance(LINGER_S)
    world.kns.script("GET", "/log", *[Answer(500, {"message": "broken"})] * 3)
    world.nested.looks.look(job_id)
    assert not world.kns.find_one(job_id).ended
    world.clock.advance(GIVE_UP_S)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.jobs.find(job_id).state.status is Status.FINISHED


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
def test_a_broken_cluster_is_asked_less_and_less_often(world: World) -> None:
    job_id = world.run()
    detail = build_detail(world.kns.find_one(job_id))
    world.kns.find_one(job_id).is_up = False  # kns says that it runs, and it does not answer
    world.kns.script("GET", "/kns/job", *[Answer(200, detail, {"Content-Type": "application/json"})] * 20)
    looks = 0
    for _ in range(600):
        world.clock.advance(1)
        for due in world.nested.looks._list_due():
            world.nested.looks.look(due)
            looks += 1
    assert 5 < looks < 20
    assert world.status(job_id) is Status.RUNNING, "what was seen last"


def slow_down(world: World, monkeypatch: pytest.MonkeyPatch, path: str, seconds: float) -> None:
    """Requests with `path` in theirs take so long."""
    note = world.kns.note

    def take_time(seen: Seen) -> Fault | None:
        if path in seen.path:
            world.clock.advance(seconds)
        return note(seen)

    monkeypatch.setattr(world.kns, "note", take_time)


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
@pytest.mark.parametrize(("seconds", "pause_s"), [(4, 16), (40, 120)])
def test_a_slow_cluster_is_asked_less_often(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: int, pause_s: int
) -> None:
    """Eight of them would otherwise keep all workers busy."""
    job_id = world.run()
    slow_down(world, monkeypatch, "/kns/cluster/", seconds)
    world.nested.looks.look(job_id)
    known = world.nested._known.find(job_id)
    assert known is not None
    assert known.due - world.clock.monotonic() == pause_s
    monkeypatch.undo()
    world.nested.looks.look(job_id)
    assert known.due - world.clock.monotonic() == 2


def test_a_cluster_that_starts_may_take_its_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.submit()
    world.kns.raise_cluster(job_id)
    slow_down(world, monkeypatch, "/kns/cluster/", 0.25)
    world.nested.looks.look(job_id)
    known = world.nested._known.find(job_id)
    assert known is not None
    assert known.due - world.clock.monotonic() <= 0.5


def test_time_that_kns_itself_takes_delays_no_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """States would otherwise stay old for minutes after kns is back."""
    job_id = world.run()
    world.kns.script("GET", "/pods", Answer(503, {"message": "not ready"}))
    world.kns.script("GET", "/kns/job", Answer(503, {"error": "not ready"}))
    slow_down(world, monkeypatch, "/kns/job", 20)
    with pytest.raises(KnsError, match="not ready"):
        world.nested.looks.look(job_id)
    assert world.nested.looks._list_due() == [job_id]


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


@pytest.mark.parametrize("length", [5, 57, 58, 63])
def test_pods_of_the_job_controller_are_known_by_their_names(length: int) -> None:
    """It cuts the name of a long job, so that five characters have room in 63."""
    job_id = "a" * length
    pod = {"metadata": {"name": f"{f'{job_id}-'[:58]}x7k2p"}, "spec": {"containers": [{"name": "c"}]}}
    assert place_pod(pod, job_id)["metadata"] == pod["metadata"]
    with pytest.raises(ValueError, match="its name"):
        place_pod(pod, f"b{job_id[1:]}")


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


def test_a_lost_answer_makes_neither_a_second_job_nor_a_second_cluster(world: World) -> None:
    world.kns.script("POST", "/jarvice/submit", LostAnswer())
    world.host.script("POST", "/jobs", LostAnswer())
    job_id = world.submit()
    assert world.host.jobs() == [job_id]
    assert len(world.kns.submitted) == 1
    world.kns.raise_cluster(job_id)
    world.kns.script("POST", "/jobs", LostAnswer())
    world.nested.looks.look(job_id)
    world.nested.looks.look(job_id)
    assert world.kns.has_inside(job_id)


CONFLICT = Answer(409, {"reason": "Conflict", "message": "Operation cannot be fulfilled on resourcequotas"})


def test_a_quota_that_changes_at_the_same_moment_makes_no_second_cluster(world: World) -> None:
    """Each job of kns counts against the submissions per minute, which all users of the plugin have together."""
    world.host.script("POST", "/jobs", *[CONFLICT] * 4)
    job_id = world.submit()
    assert world.host.jobs() == [job_id]
    assert [job.ended for job in world.kns.submitted.values()] == [""]


def test_conflicts_that_do_not_end_leave_no_cluster(world: World) -> None:
    world.host.script("POST", "/jobs", *[CONFLICT] * 99)
    with pytest.raises(KnsError, match=r"resourcequotas.*; submit the job again"):
        world.submit()
    assert world.host.jobs() == []
    assert [bool(job.ended) for job in world.kns.submitted.values()] == [True]


def test_clusters_without_a_record_are_ended_the_second_time(world: World) -> None:
    """A plugin that was killed between the two calls of a submission. Clusters of other plugins are left alone."""
    kept = world.submit()
    mark = world.kns.find_one(kept).label.partition(" ")[0]
    site = world.site
    lost, foreign = (
        site.submit(f"{mark} lost", "kns-small", key="1"),
        site.submit("posit-other x", "kns-small", key="2"),
    )
    near = site.submit(f"not-{mark} x", "kns-small", key="3")
    world.nested.looks.end_orphans()
    assert not world.kns.submitted[lost].ended
    world.nested.looks.end_orphans()
    assert world.kns.submitted[lost].ended
    assert [n for n, job in world.kns.submitted.items() if job.ended] == [lost], (foreign, near)


def test_a_record_that_is_deleted_by_hand_is_forgotten(world: World) -> None:
    job_id = world.run()
    world.host.drop("/apis/batch/v1", "jobs", NAMESPACE, job_id)
    while world.records.find_job(job_id) is not None:
        world.stop.wait(0.01)
    assert world.nested.looks._list_due() == []
    assert world.nested._known.list_ids() == set()


@pytest.mark.parametrize("text", ["", "two words", "a b:c\nd"])
def test_credentials_that_are_not_usable(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(KnsError, match="must have one line"):
        read_credentials(tmp_path / "file")
    with pytest.raises(KnsError, match="cannot be read"):
        read_credentials(tmp_path / "missing")


def test_credentials_that_were_rotated_are_used(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = world.site
    (tmp_path / "credentials").write_text("posit:old")
    monkeypatch.setattr("kns.launcher.nested.site._AGE_S", 0.0)
    with pytest.raises(KnsError, match="check nested-credentials-path"):
        site.submit("x", "kns-small", key="1")
    write_credentials(tmp_path)
    assert site.submit("x", "kns-small", key="1") == 7


def test_connections_of_older_credentials_are_closed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except those of the credentials before, which another thread may use at this moment."""
    monkeypatch.setattr("kns.launcher.nested.site._AGE_S", 0.0)
    closed: list[Client] = []
    monkeypatch.setattr(Client, "close", lambda client: closed.append(client))  # noqa: PLW0108 - a built-in gets no self
    used = []
    for number in range(4):
        (tmp_path / "credentials").write_text(f"launcher:{number}\n")
        used.append(world.site._current())
    assert [client in closed for client in used] == [True, True, False, False]
    monkeypatch.undo()
    for client in closed:
        client.close()


@pytest.mark.parametrize("fault", [Reset(), LostAnswer()], ids=["reset", "lost"])
def test_a_fault_of_any_call_is_made_good(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    From submission to the end, with one call to kns that fails, each in turn: one cluster, its output saved, and ended.
    """
    position = total = 0
    while position <= total:
        folder = tmp_path / str(position)
        folder.mkdir()
        total = max(total, _run_with_fault(folder, position, fault, monkeypatch))
        position += 1
    assert total > 8


def _run_with_fault(folder: Path, position: int, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls there were."""
    world, calls = World(folder), 0
    note = world.kns.note

    def count(seen: Seen) -> Fault | None:
        nonlocal calls
        calls += 1
        return fault if calls == position and note(seen) is None else note(seen)

    monkeypatch.setattr(world.kns, "note", count)
    try:
        for cache in world.records.caches:
            assert cache._synced.wait(PATIENCE_S)

        def again(act: Callable[[], object], holds: Callable[[], bool]) -> None:
            for _ in range(4):
                with contextlib.suppress(KnsError):
                    act()
                world.clock.advance(1)
                if holds():
                    return
            raise AssertionError((position, calls))

        again(world.submit, lambda: bool(world.host.jobs()))
        (job_id,) = world.host.jobs()
        world.kns.raise_cluster(job_id)
        again(lambda: world.nested.looks.look(job_id), lambda: world.kns.has_inside(job_id))
        world.kns.run_pod(job_id)
        again(lambda: world.nested.looks.look(job_id), lambda: world.status(job_id) is Status.RUNNING)
        world.kns.write_log(job_id, "said")
        world.kns.end_pod(job_id)
        again(lambda: world.nested.looks.look(job_id), lambda: world.status(job_id) is Status.FINISHED)
        again(lambda: world.keeper.look(job_id), lambda: names.END in world.host.job(job_id)["metadata"]["annotations"])
        again(lambda: world.nested.looks.look(job_id), lambda: world.outputs.has(job_id))
        world.clock.advance(200)
        again(lambda: world.nested.looks.look(job_id), lambda: world.is_over(job_id))
        for _ in range(4):  # one of them may meet the fault
            with contextlib.suppress(KnsError):
                world.nested.looks.end_orphans()
        assert [job for job in world.kns.submitted.values() if not job.ended] == []
        assert world.status(job_id) is Status.FINISHED
        return calls
    finally:
        world.close()


def test_a_cluster_that_fails_for_days_is_still_asked_seldom(world: World) -> None:
    job_id = world.run()
    detail = build_detail(world.kns.find_one(job_id))
    world.kns.find_one(job_id).is_up = False
    world.kns.script("GET", "/kns/job", *[Answer(200, detail, {"Content-Type": "application/json"})] * 2)
    known = world.nested._known.find(job_id)
    assert known is not None
    known.failures = 100_000
    for _ in range(2):
        world.nested.looks.look(job_id)
        assert known.due - world.clock.monotonic() == 120


def test_an_output_that_cannot_be_written_does_not_keep_the_cluster(world: World, tmp_path: Path) -> None:
    job_id = world.run()
    world.end(job_id)
    (tmp_path / "nested-output").write_text("a file, where the folder should be")
    world.nested.looks.look(job_id)
    assert not world.kns.find_one(job_id).ended, "somebody may repair it"
    world.clock.advance(GIVE_UP_S + 1)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.is_over(job_id)


def test_an_output_that_is_sent_slowly_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.run()
    world.end(job_id)

    def drip(*_: object) -> Iterator[bytes]:
        for _part in range(10):
            world.clock.advance(7)
            yield b"2026-01-05T14:15:31.000000000Z x"

    monkeypatch.setattr(world.kns, "_read_log", drip)
    world.nested.looks.look(job_id)
    assert not world.outputs.has(job_id)
    monkeypatch.undo()
    world.nested.looks.look(job_id)
    assert world.outputs.has(job_id)


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
def test_an_output_that_is_sent_slowly_holds_up_no_other_job(
    world: World, logs: SlowLogs, look_at_all: Callable[[], None]
) -> None:
    job_id = world.run()
    logs.slow.append(job_id)
    world.end(job_id)
    world.clock.advance(11)  # the next look at it is due
    other = world.submit()
    world.kns.raise_cluster(other)
    look_at_all()
    world.wait_for(lambda: bool(logs.opened) and world.kns.has_inside(other))
    known = world.nested._known.find(other)
    assert known is not None
    with known.lock:  # after the first look
        world.kns.run_pod(other)
        world.clock.advance(3)
    world.wait_for(lambda: world.status(other) is Status.RUNNING)
    assert world.nested.looks.is_synced, "the start of a plugin waits for jobs that live"
    assert not world.outputs.has(job_id)
    logs.ends.set()
    world.wait_for(lambda: world.outputs.has(job_id))


def test_an_output_that_sends_nothing_more_is_closed_when_its_time_is_over(
    world: World, logs: SlowLogs, look_at_all: Callable[[], None]
) -> None:
    job_id = world.run()
    logs.slow.append(job_id)
    world.end(job_id)
    world.clock.advance(11)
    look_at_all()
    world.wait_for(lambda: bool(logs.opened))
    world.wait_for(lambda: bool(world.nested.looks._logs))
    known = world.nested._known.find(job_id)
    assert known is not None
    known.due += 120  # or the next look may begin before this test sees the end of this one
    world.clock.advance(61)
    world.wait_for(lambda: not world.nested.looks._busy)
    assert not world.outputs.has(job_id), "a part of an output is none"
    logs.slow.clear()
    world.clock.advance(121)
    world.wait_for(lambda: world.outputs.has(job_id))


def test_one_user_has_a_share_of_the_savers(
    world: World, logs: SlowLogs, look_at_all: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the outputs of others would be lost with their clusters, ten minutes after their ends."""
    monkeypatch.setattr("kns.launcher.nested.looks._SAVERS", 3)
    for _ in range(5):
        job_id = world.run()
        logs.slow.append(job_id)
        world.end(job_id)
    other = world.run("bob")
    world.end(other)
    world.clock.advance(11)
    look_at_all()
    world.wait_for(lambda: world.outputs.has(other))
    assert len(logs.opened) == 2


def test_an_output_that_waits_for_its_turn_is_not_given_up(world: World, logs: SlowLogs) -> None:
    """After an outage of more than ten minutes, all outputs of a user are old and come at once."""
    ended = []
    for _ in range(3):
        ended.append(world.run())
        world.end(ended[-1])
    world.clock.advance(GIVE_UP_S + 1)
    logs.slow += ended[:2]
    with ThreadPoolExecutor(2) as pool:
        saves = [pool.submit(world.nested.looks.look, job_id) for job_id in ended[:2]]
        world.wait_for(lambda: len(logs.opened) == 2)
        world.nested.looks.look(ended[2])
        assert not world.is_over(ended[2])
        logs.ends.set()
        for save in saves:
            save.result(PATIENCE_S)
    world.nested.looks.look(ended[2])
    assert world.outputs.has(ended[2])
    assert world.is_over(ended[2])


def test_a_cluster_whose_record_this_process_has_not_seen_is_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch may be late by more than the time between two calls."""
    job_id = world.submit()
    monkeypatch.setattr(world.records, "list_jobs", list)
    for _ in range(3):
        world.nested.looks.end_orphans()
    assert not world.kns.find_one(job_id).ended


@pytest.mark.parametrize("text", ["", "seven", "-7", "٧", "7" * 5000])
def test_a_number_that_somebody_has_changed_is_none(text: str) -> None:
    record = {"metadata": {"name": "x", "annotations": {names.NESTED: text}}}
    assert read_number(record) is None


@pytest.mark.parametrize("label", ["posit-1", "posit-1 ", "posit-1 ../../secrets", "posit-1 a b", "posit-1 A"])
def test_a_label_that_names_no_record_makes_no_path(label: str) -> None:
    assert read_job_id(label) == ""


def test_an_output_whose_record_another_plugin_has_deleted_is_removed(world: World, tmp_path: Path) -> None:
    job_id = world.run()
    world.end(job_id)
    world.nested.looks.look(job_id)
    lost = tmp_path / "nested-output" / "lost"
    lost.write_text("x")
    os.utime(lost, (0, 0))
    world.nested.looks.remove_left_outputs()
    assert world.outputs.has(job_id)
    assert not world.outputs.has("lost")


def test_what_is_remembered_of_jobs_with_a_saved_output_is_bounded(world: World) -> None:
    """Another plugin deletes the records of some, and this one does nothing for them any more."""
    job_id = world.run()
    world.end(job_id)
    world.nested.looks.look(job_id)
    world.clock.advance(LINGER_S)
    world.nested.looks.look(job_id)
    assert world.is_over(job_id)
    (pod,) = world.nested.list_pods(job_id)
    assert world.nested.list_pods(job_id)[0] is pod, "views are made once"
    for number in range(20_000):
        _saved_pod(f"{job_id}-{number}", job_id)
    assert _saved_pod.cache_info().currsize < 20_000


def test_two_sites_whose_api_servers_have_one_address_end_no_clusters_of_each_other(tmp_path: Path) -> None:
    marks = set()
    for authority in ("one", "two"):
        options = SimpleNamespace(
            can_nest=True,
            nested_url="http://127.0.0.1:9",
            nested_credentials_path=Path(write_credentials(tmp_path)),
            nested_app=APP,
            nested_authority_path=None,
            nested_machine="",
            scratch_path=tmp_path,
            api_url="https://10.96.0.1",
            namespace=NAMESPACE,
            cluster="Kubernetes",
            certificate_authority=authority,
        )
        nested = connect_nested(cast(Options, options), cast(NamespacedCluster, None))
        assert nested is not None
        marks.add(nested._mark)
    assert len(marks) == 2
