"""Pods that the host's quota refused start when there is room, whatever delay their syncer has reached."""

import pytest

from kns.adapters.rooms import Rooms
from kns.model import names
from kns.model.errors import UnavailableError
from kns.model.job.room import Room
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation, new_rooms


def use(sim: Simulation, cores: str) -> None:
    """The host counts that many cores of 4."""
    status = {"hard": {"requests.cpu": "4"}, "used": {"requests.cpu": cores}}
    sim.host.change(Kind.RESOURCE_QUOTA, "kns-job-7", "kns-quota", lambda quota: quota.update(status=status))


def serve(sim: Simulation, job: JobBuilder, cores: str) -> None:
    sim.submit(job)
    sim.run(until="serving")
    use(sim, cores)
    for _ in range(2):  # the first look, and the page that it leaves to the next reconcile
        sim.step()
    sim.virtual.retried.clear()


def test_refused_pods_are_tried_when_a_pod_ends(sim: Simulation, job: JobBuilder) -> None:
    serve(sim, job, "4")
    sim.virtual.add_pod("default", "second")
    sim.step()
    assert sim.virtual.retried == []
    use(sim, "3")
    assert sim.step().summary == "serving"
    assert sim.virtual.retried == ["default/second"]
    sim.step()
    assert sim.virtual.retried == ["default/second"]


def test_pods_that_the_templates_wait_for_are_tried_too(sim: Simulation, job: JobBuilder) -> None:
    sim.host.init_exit = None
    sim.submit(job)
    sim.live(20)
    use(sim, "4")
    sim.virtual.add_pod("default", "hook")
    for _ in range(2):
        sim.step()
    sim.virtual.retried.clear()
    use(sim, "1")
    assert sim.step().summary == "wait"
    assert sim.virtual.retried == ["default/hook"]


def test_many_waiting_pods_are_tried_page_by_page(sim: Simulation, job: JobBuilder) -> None:
    serve(sim, job, "4")
    for number in range(50):
        sim.virtual.add_pod("default", f"pod-{number:03d}")
    use(sim, "3")
    seen = []
    for _ in range(4):
        after_s = sim.step().requeue_after_s
        seen.append((len(sim.virtual.retried), after_s == 5))
        sim.clock.advance(after_s or 0)
    assert seen == [(20, True), (40, True), (50, False), (50, False)]


def test_an_idle_job_costs_no_request(sim: Simulation, job: JobBuilder) -> None:
    """Neither of the host nor of its virtual cluster, also when its quota is full."""
    serve(sim, job, "4")

    def fail(namespace: str, kubeconfig: str, mark: str, page: str) -> str:
        raise AssertionError(f"asked the virtual cluster: {namespace} {kubeconfig} {mark} {page}")

    sim.virtual.retry_pods = fail  # type: ignore[method-assign]
    for _ in range(3):
        sim.clock.advance(60)
        assert sim.step().summary == "serving"


@pytest.mark.parametrize(("cores", "asked"), [("4", True), ("1", False)])
def test_a_new_leader_looks_once_at_jobs_that_use_much(
    sim: Simulation, job: JobBuilder, cores: str, asked: bool
) -> None:
    """It does not know whether room appeared before it led."""
    serve(sim, job, cores)
    sim.virtual.add_pod("default", "second")
    sim.rooms = new_rooms()
    for _ in range(3):
        sim.step()
    assert sim.virtual.retried == (["default/second"] if asked else [])


def test_a_new_leader_asks_virtual_clusters_after_it_has_seen_all_jobs(sim: Simulation, job: JobBuilder) -> None:
    """Otherwise a thousand of them would be asked before the last record has its first reconcile."""
    serve(sim, job, "4")
    sim.virtual.add_pod("default", "second")
    sim.rooms = new_rooms()
    after_s = sim.step().requeue_after_s
    assert sim.virtual.retried == []
    assert after_s is not None
    assert 30 <= after_s <= 60
    sim.clock.advance(after_s)
    sim.step()
    assert sim.virtual.retried == ["default/second"]


def test_a_virtual_cluster_that_does_not_answer_stops_nothing(sim: Simulation, job: JobBuilder) -> None:
    """The job serves, and soon only the syncer's own delays count."""
    serve(sim, job, "4")
    sim.virtual.add_pod("default", "second")
    use(sim, "3")
    sim.virtual.fault = UnavailableError("no answer")
    results = [sim.step() for _ in range(4)]
    assert [result.summary for result in results] == ["serving"] * 4
    assert [result.requeue_after_s == 5 for result in results] == [True, True, False, False]
    sim.virtual.fault = None
    sim.step()
    assert sim.virtual.retried == []


def test_an_ended_job_is_not_looked_at(sim: Simulation, job: JobBuilder) -> None:
    serve(sim, job, "4")
    sim.host.drop(Kind.DEPLOYMENT, "kns-job-7", "kns-job-7")
    use(sim, "3")
    sim.virtual.add_pod("default", "second")
    assert sim.step().summary == "ended"
    assert sim.virtual.retried == []


def test_a_leader_remembers_all_live_jobs_and_a_bounded_number_of_ended_ones() -> None:
    live = 3
    rooms = Rooms(count_live=lambda: live, most_ended=1)
    for uid in ("ended", "a", "b", "c", "a", "b", "c"):
        rooms.keep(uid, Room({}))
    assert [uid for uid in ("ended", "a", "b", "c") if rooms.recall(uid)] == ["ended", "a", "b", "c"]
    rooms.keep("d", Room({}))
    assert [uid for uid in ("ended", "a", "b", "c", "d") if rooms.recall(uid)] == ["a", "b", "c", "d"]


def test_the_mark_is_no_label_of_kns(sim: Simulation, job: JobBuilder) -> None:
    """Labels decide what belongs to kns; the tenant can change this annotation."""
    serve(sim, job, "4")
    sim.virtual.add_pod("default", "second")
    use(sim, "3")
    sim.step()
    meta = sim.virtual.objects["Pod", "default", "second"]["metadata"]
    assert meta["annotations"] == {names.RETRIED_ANNOTATION: sim.clock.now().isoformat()}
