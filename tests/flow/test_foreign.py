"""
Two jobs with one number (two installations, a copied record, a lowered counter): the second leaves the first alone.
"""

from dataclasses import replace

import pytest

from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import StopReason
from kns.ports import Kind, Object
from tests.builders import JobBuilder
from tests.fakes.stores import MemoryJobStore
from tests.flow.conftest import Simulation

NAMESPACE = "kns-job-7"


@pytest.fixture
def job(job: JobBuilder) -> JobBuilder:
    """A job with an object of every kind that is found by its number."""
    return job.with_vault().with_nested(enable_gotty_shell="true")


@pytest.fixture
def first(sim: Simulation, job: JobBuilder) -> Simulation:
    """The job serves, with its web shell and a bound claim on its vault."""
    sim.configure(shell_image="registry.example.org/kns-gotty:1")
    sim.host.claims = {"data": "user1-data"}
    sim.submit(job)
    sim.run(until="serving")
    for _ in range(3):
        sim.host.settle()
        sim.step()
    assert {kind.split()[0] for kind in sim.host.left} >= {"Ingress", "Deployment", "PersistentVolume", "Namespace"}
    return sim


@pytest.fixture
def second(first: Simulation, job: JobBuilder) -> Simulation:
    """The same number in another installation. Its record has its own uid."""
    store = MemoryJobStore(first.clock)
    site = replace(first.site, system_namespace="kns-b", installation_uid="uid-of-kns-b")
    store.add_spec(job.build().spec, record="another")
    store.add_spec(job.build().spec, record=first.record)
    second = replace(first, store=store, site=site)
    assert second.job.uid != first.job.uid
    return second


@pytest.mark.parametrize("reason", [None, *StopReason], ids=str)
def test_its_end_touches_nothing_of_the_first(first: Simulation, second: Simulation, reason: StopReason | None) -> None:
    """It ends completely, too: objects of the other installation must not keep its record from disappearing."""
    before = list(first.host.calls)
    if reason is not None:
        second.store.request_stop(second.job, reason)
    second.run(until="retained")
    assert second.job.status.is_true(ConditionType.REMOVED)
    assert second.job.status.reason == (Reason.NAMESPACE_FOREIGN if reason is None else reason)
    assert first.host.calls == before
    assert first.step().summary == "serving"


def test_a_cache_that_still_shows_its_own_namespace_is_not_believed(first: Simulation, second: Simulation) -> None:
    """Its own namespace was removed and the first job's created since; other caches may be newer than that."""
    observe, before = second.host.observe, list(first.host.calls)
    own = {"labels": {"kns.io/job": "7"}, "annotations": {"kns.io/record-uid": second.job.uid}, "uid": "uid-before"}

    def behind(kind: Kind, namespace: str, name: str) -> Object | None:
        return {"metadata": own} if kind is Kind.NAMESPACE else observe(kind, namespace, name)

    second.store.request_stop(second.job, StopReason.TERMINATE)
    second.host.observe = behind  # type: ignore[method-assign]
    assert second.step().summary == "ended"
    for _ in range(3):
        assert second.step().summary == "removing"
    assert first.host.calls == before
    second.host.observe = observe  # type: ignore[method-assign]
    second.run(until="retained")
    assert first.host.calls == before


def test_a_cache_that_still_shows_the_firsts_namespace_is_not_believed(sim: Simulation, job: JobBuilder) -> None:
    """After the first job is gone, the second gets its own namespace and removes it."""
    observe = sim.host.observe
    other = {"labels": {"kns.io/job": "7"}, "annotations": {"kns.io/record-uid": "another's"}, "uid": "uid-before"}

    def behind(kind: Kind, namespace: str, name: str) -> Object | None:
        return {"metadata": other} if kind is Kind.NAMESPACE else observe(kind, namespace, name)

    sim.host.observe = behind  # type: ignore[method-assign]
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert sim.host.left == []
