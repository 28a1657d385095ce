"""
What remains when the faults stop: a bound on the work until every job has ended, and then no write at all. Before that,
what no event ever reports: changes that were made and undone between two looks, and a restart that reads the past.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from kns.model import names
from kns.model.job.conditions import ConditionType
from kns.model.job.job import EXIT_CODES, StopReason
from kns.model.site import Site
from kns.ports import Kind
from tests.simulation.faults import FAULTS, Fault, no_fault
from tests.simulation.installation import IdleError, Installation
from tests.simulation.lives import LINES, LIVES, RECORD, have_all, serves
from tests.simulation.scale import HISTORIES, IS_EXHAUSTIVE
from tests.simulation.test_histories import KINDS, PATIENT

# For each job, from the last fault until it serves, and from the request to stop until everything is removed. A life
# without faults needs eight of each; waiting for the caches, for backoffs and for slow controllers needs the rest.
MOST_RECONCILES = 60
STORMY_CALLS = 300  # a life has about 200
ODDS = 0.1  # of a fault at a call
MOST_FREEZES = 3
MOST_LOOKS = 3  # at each job that serves, until nothing is written; one in an hour
QUIET_HOURS = 24
DAY_S = 86_400
# What changes something outside. The rest of FAULTS reads.
WRITES = {
    "cluster.apply",
    "cluster.delete",
    "cluster.delete_pods",
    "cluster.claim",
    "cluster.scale",
    "virtual_clusters.apply",
    "virtual_clusters.retry_pods",
    "identity.create_client",
    "identity.update_client",
    "identity.delete_client",
    "inputs.remove",
    "outputs.write",
    "store.accept",
    "store.create",
    "store.request_stop",
    "store.set_sleep",
    "store.allot_number",
    "store.write_status",
    "store.set_finalizer",
    "store.delete",
}
# No usage is reported within the hours of silence, and no record expires.
CALM = replace(PATIENT, retention_s=30 * DAY_S, report_interval_s=30 * DAY_S)


def _work(world: Installation) -> bool:
    """One reconcile; False if nothing is left to do."""
    try:
        world.work()
    except IdleError:
        return False
    return True


def _storm(world: Installation, chance: random.Random) -> None:
    """Faults at random calls, until the jobs have met many. A process that leads while another is frozen is not."""
    freezes = MOST_FREEZES

    def strike(number: int, call: str) -> Fault | None:
        nonlocal freezes
        del number
        if chance.random() >= ODDS:
            return None
        fault = FAULTS[call][chance.choice(sorted(FAULTS[call]))]
        freezes -= fault.freezes
        return fault if freezes >= 0 or not fault.freezes else None

    world.gate.plan = strike
    while world.gate.calls < STORMY_CALLS and _work(world):
        pass
    world.gate.plan = no_fault


def _reach(world: Installation, reached: Callable[[], bool], jobs: int, what: str) -> None:
    begun = world.reconciles
    while not reached():
        assert world.reconciles - begun <= jobs * MOST_RECONCILES, f"{what}: {world.store.list_jobs()}"
        if not _work(world):
            world.go_on(1)
            world.process.look_at_all()


def _list_writes(world: Installation, *, hours: int) -> list[str]:
    """What is written in this time. Each hour kns looks at every record, as after a list of the watch."""
    written: list[str] = []
    world.process.catch_up()

    def listen(number: int, call: str) -> None:
        del number
        if call in WRITES:
            written.append(call)

    world.gate.plan = listen
    for _ in range(hours):
        world.go_on(3600)
        for job in world.store.list_jobs():
            world.process.reconcile(job.record)
    world.gate.plan = no_fault
    return written


def test_all_calls_are_reads_or_writes() -> None:
    """A new call of a port belongs to one of the two."""
    reads = (
        "observe",
        "read",
        "list",
        "find",
        "fetch",
        "count",
        "get",
        "current",
        "render",
        "listens",
        "is_ready",
        "has_ready",
        "pod_log",
    )
    others = {call for call in FAULTS if not call.partition(".")[2].startswith(reads)}
    assert others == WRITES | {"tokens.ensure"}


@pytest.mark.proves("faults", "faults at one call in ten, then none")
@pytest.mark.parametrize("seed", range(max(10, HISTORIES // 10)))
def test_once_faults_stop_every_job_goes_on_and_then_nothing_is_written(seed: int) -> None:
    chance, world = random.Random(seed), Installation(CALM)
    have_all(world)
    world.virtual.namespaces.add("lab")  # while an app's namespace does not exist, kns tries again at each look
    kinds = chance.sample(sorted(KINDS), k=2)
    for number, kind in enumerate(kinds, 7):
        spec = KINDS[kind].with_accepted(walltime_s=None).numbered(number).build().spec
        world.store.add_spec(spec, record=f"kns-job-{number}")
    _storm(world, chance)
    jobs = len(kinds)
    _reach(world, lambda: all(map(serves, world.store.list_jobs())), jobs, f"{kinds} serve")
    # What a fault delayed, such as the last lines of an output, and what a second look notes about it.
    assert any(not _list_writes(world, hours=1) for _ in range(MOST_LOOKS))
    assert _list_writes(world, hours=QUIET_HOURS) == []
    for job in world.store.list_jobs():
        world.store.request_stop(job, StopReason.SHUTDOWN)
    _reach(
        world, lambda: all(job.status.is_true(ConditionType.REMOVED) for job in world.store.list_jobs()), jobs, "end"
    )
    assert len(world.store.list_jobs()) == jobs
    assert _list_writes(world, hours=QUIET_HOURS) == []


# --- changes that were made and undone between two looks

JOB = RECORD


def _change_and_undo(kind: Kind, name: str, key: str, world: Installation) -> None:
    """A label that was there for a moment."""
    world.host.change(kind, JOB, name, lambda obj: obj["metadata"].setdefault("labels", {}).update({key: "x"}))
    world.host.change(kind, JOB, name, lambda obj: obj["metadata"]["labels"].pop(key))


def _replace_by_equal(kind: Kind, name: str, world: Installation) -> None:
    """Somebody deleted the object and restored it from a backup: all is as before, except for the uid."""
    found = world.host.read(kind, JOB, name)
    assert found is not None
    world.host.drop(kind, JOB, name)
    world.host.made[f"{kind} {JOB}/{name}"] = 0  # not by kns
    world.host.put(kind, JOB, name, {key: value for key, value in found.items() if key != "kind"})


def _lose_and_find(kind: Kind, name: str, world: Installation) -> None:
    """The object was gone for a moment, with the same uid: a cache that was behind."""
    found = world.host.read(kind, JOB, name)
    assert found is not None
    world.host.drop(kind, JOB, name)
    world.host.learn({**found, "kind": str(kind), "metadata": {**found["metadata"], "namespace": JOB}})


UNDONE: dict[str, Callable[[Installation], None]] = {
    "a label of the Ingress": partial(_change_and_undo, Kind.INGRESS, JOB, "x"),
    "a label of kns's Service": partial(_change_and_undo, Kind.SERVICE, "kns-target", "x"),
    "a label of the control plane": partial(_change_and_undo, Kind.DEPLOYMENT, JOB, "x"),
    "a restored Ingress": partial(_replace_by_equal, Kind.INGRESS, JOB),
    "a restored Service": partial(_replace_by_equal, Kind.SERVICE, "kns-target"),
    "a restored quota": partial(_replace_by_equal, Kind.RESOURCE_QUOTA, "kns-quota"),
    "a restored plan of the init job": partial(_replace_by_equal, Kind.SECRET, names.INIT_SECRET),
    "a Deployment that was not seen": partial(_lose_and_find, Kind.DEPLOYMENT, JOB),
    "a control-plane pod that was not seen": partial(_lose_and_find, Kind.POD, f"{JOB}-0"),
    "a target that was not seen": partial(_lose_and_find, Kind.SERVICE, f"web-x-default-x-{JOB}"),
}


@pytest.mark.proves("faults", "something is changed and undone, or replaced by its equal, between two looks")
@pytest.mark.parametrize("change", UNDONE.values(), ids=UNDONE)
def test_what_was_changed_and_undone_between_two_looks_changes_nothing(change: Callable[[Installation], None]) -> None:
    """The job serves on without a write, and ends as it would have."""
    world = Installation(CALM)
    world.store.add_spec(LIVES["shut down"].job.build().spec, record=RECORD)
    world.work_until(lambda: serves(world.store.last[RECORD]))
    _list_writes(world, hours=1)
    before = world.store.last[RECORD].status
    change(world)
    assert _list_writes(world, hours=1) == []
    assert world.store.last[RECORD].status == before
    world.store.request_stop(world.store.last[RECORD], StopReason.SHUTDOWN)
    world.work_until(lambda: world.store.last[RECORD].status.is_true(ConditionType.REMOVED))
    status = world.store.last[RECORD].status
    life = LIVES["shut down"]
    assert (status.job_status, status.reason, status.exit_code) == (life.state, life.reason, EXIT_CODES[life.state])


def test_a_wish_that_was_withdrawn_between_two_looks_is_none() -> None:
    """An administrator's `kubectl apply` sets the walltime to nothing and back."""
    world = Installation(CALM)
    world.store.add_spec(LIVES["shut down"].job.build().spec, record=RECORD)
    world.work_until(lambda: serves(world.store.last[RECORD]))
    job = world.store.last[RECORD]
    world.store.extend_walltime(job, 1)
    world.store.extend_walltime(world.store.last[RECORD], DAY_S)
    world.go_on(3600)
    world.process.reconcile(RECORD)
    assert serves(world.store.last[RECORD])
    assert not world.store.last[RECORD].is_ended


# --- a restart that reads the past


class _ReadsThePast(Installation):
    """After reconcile `at` the process ends. The next one sees for a while what was there `back` reconciles earlier."""

    def __init__(self, site: Site, *, at: int, back: int) -> None:
        self._past: list[tuple[Any, Any]] = []
        super().__init__(site)
        self._at, self._back = at, back

    def work(self) -> None:
        self._past.append((self.store.snapshot(), self.host.snapshot()))
        super().work()
        if self.reconciles == self._at:
            seen = self._past[-1 - self._back :][0]
            self.restart()
            self.process.lag_since(*seen)


@pytest.mark.proves("faults", "a restart reads an older revision")
@pytest.mark.parametrize("kind", LIVES)
def test_a_restart_that_reads_an_older_revision_changes_no_end(kind: str) -> None:
    """
    A list of kns asks for the newest state (tests/adapters/test_watch.py), so only an API server that breaks its
    promise shows an older one. Even then the job ends as it would have, once the caches have caught up.
    """
    life = LIVES[kind]
    length = life.live(no_fault).reconciles
    for at in range(1, length + 1, 1 if IS_EXHAUSTIVE else 8):
        for back in (1, 3, 8):
            try:
                world = life.live(no_fault, make=partial(_ReadsThePast, at=at, back=back))
                status = world.store.gone[RECORD].status
                ends = (status.job_status, status.reason, EXIT_CODES[life.state])
                assert ends == (life.state, life.reason, status.exit_code)
                assert status.message == LINES[life.reason]
            except Exception as error:
                error.add_note(f"{kind}: a restart after reconcile {at} of {length} that reads {back} reconciles back")
                raise
