"""A job whose record was removed by force: only the sweeper removes its objects."""

from collections.abc import Callable
from typing import Any

import pytest

from kns.engine.sweeper import Sweeper, SweepRules
from kns.model import names
from kns.model.errors import UnavailableError
from kns.model.job.job import StopReason
from kns.model.site import KeycloakSettings
from kns.ports import Kind
from kns.stages.orphans import Installation
from kns.stages.swept import SWEPT
from tests.builders import JobBuilder, a_job
from tests.fakes.keycloak import MemoryRealm
from tests.flow.conftest import SITE, Simulation
from tests.flow.interruptions import MOST_CALLS, Crash, fresh, interrupt

GRACE_S = 900
SYSTEM = f"Namespace /{SITE.system_namespace}"


@pytest.fixture
def job() -> JobBuilder:
    """A job with objects of every kind: a namespace, volumes of a vault, a Keycloak client."""
    return a_job().with_vault().with_nested(keycloak=True)


def a_simulation(sim: Simulation) -> tuple[Simulation, MemoryRealm]:
    one, realm = Simulation(**{**vars(sim), **fresh(sim)}), MemoryRealm()
    one.identity = realm
    one.configure(keycloak=KeycloakSettings("https://kc.example.org", "jarvice", 600))
    one.host.put(Kind.NAMESPACE, "", SITE.system_namespace, {})
    one.host.claims = {"data-x-lab-x-kns-job-7": "user1-data"}
    return one, realm


def a_sweeper(sim: Simulation, *, grace_s: float = GRACE_S) -> Sweeper:
    return Sweeper(
        SweepRules(Installation(SITE.system_namespace, SITE.installation_uid), interval_s=300, grace_s=grace_s),
        kinds=SWEPT,
        world=sim.world,
        store=sim.store,
        authority=sim.store,
        clock=sim.clock,
        may_work=lambda: True,
    )


def sweep_until_quiet(sim: Simulation, sweeper: Sweeper) -> None:
    for _ in range(3):
        sim.clock.advance(GRACE_S)
        sweeper.sweep()
        sim.host.settle()


def left(sim: Simulation) -> list[str]:
    return [name for name in sim.host.left if name != SYSTEM and not name.startswith("Event ")]


def test_what_a_forced_deletion_leaves_is_swept(sim: Simulation, job: JobBuilder) -> None:
    one, realm = a_simulation(sim)
    one.submit(job)
    one.run(until="serving")
    one.store.force_away(one.record)
    assert one.step().summary == "gone"
    assert {kind.partition(" ")[0] for kind in left(one)} >= {"Namespace", "PersistentVolume", "Deployment"}
    assert list(realm.clients) == ["kns-job-7"]
    sweep_until_quiet(one, a_sweeper(one))
    assert (left(one), realm.clients) == ([], {})
    told = {
        event["involvedObject"]["kind"]: event["count"] for event in one.host.list_objects(Kind.EVENT, "kns-system")
    }
    assert told == {"Namespace": 1, "PersistentVolume": 1, "KeycloakClient": 1}


def test_the_pods_of_an_orphan_end_before_its_namespace(sim: Simulation, job: JobBuilder) -> None:
    """Otherwise its controller gives each the grace period of the pod's own, and only the first one counts."""
    one, _ = a_simulation(sim)
    one.submit(job)
    one.run(until="serving")
    stubborn = {
        "metadata": {"labels": {names.SYNCED_LABEL: "kns-job-7"}},
        "spec": {"terminationGracePeriodSeconds": 3600},
    }
    one.host.put(Kind.POD, "kns-job-7", "stubborn", stubborn)
    one.store.force_away(one.record)
    sweep_until_quiet(one, a_sweeper(one))
    assert left(one) == []


def test_a_job_that_lives_is_not_touched(sim: Simulation, job: JobBuilder) -> None:
    """From submit to the end of the removal, with a sweep without grace after each reconcile."""
    one, realm = a_simulation(sim)
    one.submit(job)
    sweeper = a_sweeper(one, grace_s=0)

    def sweep() -> None:
        before = [*one.host.calls], [*realm.calls]
        sweeper.sweep()
        assert (one.host.calls, realm.calls) == before

    for until in ("serving", "retained"):
        one.run(until=until, meanwhile=sweep)
        one.store.request_stop(one.job, StopReason.SHUTDOWN)
    assert (left(one), realm.clients) == ([], {})


def test_it_goes_on_beside_the_orphan_of_another(sim: Simulation, job: JobBuilder) -> None:
    one, realm = a_simulation(sim)
    one.submit(job)
    one.run(until="serving")
    one.store.force_away(one.record)
    one.record = "kns-job-8"
    one.host.claims = {}
    one.submit(job.numbered(8))
    one.run(until="serving")
    sweep_until_quiet(one, a_sweeper(one))
    assert one.run(until="serving").summary == "serving"
    assert list(realm.clients) == ["kns-job-8"]
    assert [name for name in left(one) if "kns-job-7" in name] == []


def break_host(sim: Simulation, _: MemoryRealm) -> Any:
    return sim.host


def break_realm(_: Simulation, realm: MemoryRealm) -> Any:
    return realm


@pytest.mark.parametrize("error", [Crash, UnavailableError], ids=["crash", "lost answer"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("method", "find"),
    [("delete", break_host), ("apply", break_host), ("delete_client", break_realm)],
    ids=["removal", "event", "client"],
)
def test_a_sweep_that_is_interrupted_anywhere_is_made_up_by_the_next(
    sim: Simulation,
    job: JobBuilder,
    method: str,
    find: Callable[[Simulation, MemoryRealm], Any],
    before: bool,
    error: type[BaseException],
) -> None:
    for call in range(1, MOST_CALLS):
        one, realm = a_simulation(sim)
        one.submit(job)
        one.run(until="serving")
        one.store.force_away(one.record)
        used = interrupt(find(one, realm), method, call, before=before, error=error)
        for _ in range(3):
            try:
                sweep_until_quiet(one, a_sweeper(one))
            except Crash:
                continue
        assert (left(one), realm.clients) == ([], {})
        if used() < call:
            break
    assert 1 < call < MOST_CALLS - 1
