"""The whole engine over fakes: the real stages and reconciler, a simulated host and clock."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest

from kns.adapters.kube.server_time import HostClock, ServerTime
from kns.adapters.rooms import Rooms
from kns.engine.reconciler import Reconciler, Term
from kns.engine.result import Result
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.errors import TransientError
from kns.model.job.job import Job
from kns.model.site import Site, parse_jobs_domain
from kns.ports import Context, IdentityProvider, World
from kns.stages import NESTED_JOB
from kns.stages.lifecycle import Lifecycle
from tests.builders import JobBuilder, a_catalog, a_job, a_site
from tests.fakes.doors import FakeDoors
from tests.fakes.host import FakeHost
from tests.fakes.stores import FakeClock, MemoryJobStore, MemoryOutputStore, MemoryTokenStore, StaticCatalog
from tests.fakes.vcluster import FakeRenderer, FakeVirtualClusters

SITE = a_site(limit_range=(LimitRangeItem(default={"cpu": "1"}),), jobs_domain=parse_jobs_domain("jobs.example.org"))


def new_rooms() -> Rooms:
    """What a leader of one job remembers at its start."""
    return Rooms(count_live=lambda: 1)


@dataclass
class Simulation:
    """One installation of kns over fakes. `record` is the record of the job under test."""

    clock: FakeClock
    store: MemoryJobStore
    host: FakeHost
    outputs: MemoryOutputStore
    tokens: MemoryTokenStore
    virtual: FakeVirtualClusters
    catalog: StaticCatalog
    identity: IdentityProvider | None = None
    rooms: Rooms = field(default_factory=new_rooms)
    doors: FakeDoors = field(default_factory=FakeDoors)
    site: Site = SITE
    record: str = "kns-job-7"
    lifecycle: Lifecycle = NESTED_JOB
    clock_trusted: bool = True
    skew: timedelta = timedelta()  # how far this machine's clock is ahead of the host API's
    leading_since: datetime | None = None

    def configure(self, **changes: Any) -> None:
        self.site = replace(self.site, **changes)

    def submit(self, job: JobBuilder) -> Job:
        spec = job.build().spec
        return self.store.add_spec(spec, record=self.record)

    @property
    def world(self) -> World:
        return World(
            cluster=self.host,
            renderer=FakeRenderer(),
            virtual_clusters=self.virtual,
            outputs=self.outputs,
            tokens=self.tokens,
            inputs=self.store.inputs,
            catalog=self.catalog,
            identity=self.identity,
            rooms=self.rooms,
            doors=self.doors,
        )

    def context(self) -> Context:
        """What a stage receives for this job now."""
        accepted = self.job.spec.accepted
        assert accepted is not None
        return Context(job=self.job, accepted=accepted, now=self.clock.now(), site=self.site, world=self.world)

    def step(self) -> Result:
        """Reconcile once with a new reconciler, so that nothing it remembers can matter."""
        reconciler = Reconciler(
            store=self.store,
            writer=self.store,
            world=self.world,
            site=self.site,
            clock=HostClock(self.clock, _SimulatedTime(self)),
            intake=_no_intake,
            lifecycle=self.lifecycle,
            term=Term(since=lambda: self.leading_since, is_clock_trusted=lambda: self.clock_trusted),
        )
        return reconciler.reconcile(self.record)

    def run(self, *, until: str, limit: int = 200, meanwhile: Callable[[], object] = lambda: None) -> Result:
        """
        Reconcile until the result is `until`, at most `limit` times. In between the world settles, the time of the
        requeue passes, and `meanwhile` is called.
        """
        seen = []
        for _ in range(limit):
            try:
                result = self.step()
            except TransientError as error:
                result = Result("transient", 1.0, str(error))
            seen.append((result.summary, result.detail))
            if result.summary == until:
                return result
            self.host.settle()
            self.clock.advance(result.requeue_after_s or 0.1)
            meanwhile()
        raise AssertionError(f"never came to {until}: {seen[-10:]}\n{self.describe()}")

    def live(self, seconds: int) -> None:
        """Reconcile once a second for a while."""
        for _ in range(seconds):
            self.step()
            self.host.settle()
            self.clock.advance(1)

    def go_on(self, seconds: float) -> None:
        """Reconcile for a while, only when the last result asked for it: no event of the host is reported."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < end:
            left_s, after_s = (end - self.clock.now()).total_seconds(), self.step().requeue_after_s
            self.host.settle()
            self.clock.advance(left_s if after_s is None else min(max(after_s, 0.1), left_s))

    def wait_for_end(self, seconds: int, *, step_s: int) -> str:
        """Reconcile with these steps of time until the job ends or the time is over. Returns the last result."""
        summary = ""
        for _ in range(seconds // step_s):
            self.host.settle()
            summary = self.step().summary
            if summary == "ended":
                break
            self.clock.advance(step_s)
        return summary

    def live_until(self, holds: Callable[[], bool]) -> None:
        """Reconcile once a second until a condition holds that no result shows."""
        for _ in range(50):
            self.step()
            if holds():
                return
            self.host.settle()
            self.clock.advance(1)
        raise AssertionError(self.describe())

    def describe(self) -> str:
        """What a failure shows: the conditions of the job, and what is left to remove."""
        job = self.store.get(self.record)
        conditions = "\n".join(map(str, job.status.conditions)) if job else "the record is gone"
        return f"{conditions}\non the host: {self.host.left}"

    @property
    def job(self) -> Job:
        job = self.store.get(self.record)
        assert job is not None
        return job


class _SimulatedTime(ServerTime):
    """The host API's time, as the simulation has it."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__()
        self._sim = sim

    @property
    def skew_s(self) -> float:
        return self._sim.skew.total_seconds()

    def is_trusted(self) -> bool:
        return self._sim.clock_trusted


def _no_intake(job: Job) -> NoReturn:
    raise AssertionError(f"{job.record} was accepted already")


@pytest.fixture
def sim() -> Simulation:
    return Simulation(**new_fakes(FakeClock()), catalog=StaticCatalog(a_catalog()))


def new_fakes(clock: FakeClock) -> dict[str, Any]:
    """An empty host and everything else that a job's objects are in."""
    virtual, host = FakeVirtualClusters(), FakeHost(clock)
    host.is_prepared = virtual.marks.__contains__
    return {
        "clock": clock,
        "store": MemoryJobStore(clock),
        "host": host,
        "outputs": MemoryOutputStore(),
        "tokens": MemoryTokenStore(),
        "virtual": virtual,
    }


# The methods of the two ports that make a request each time. `read_shared` makes few for all jobs together.
_REQUESTS = {
    "host": (
        *("read", "list_objects", "list_events", "list_metadata", "has_ready_pod", "pod_log"),
        *("apply", "delete", "delete_pods", "scale", "claim"),
    ),
    "virtual": ("listens", "is_ready", "apply", "find_namespaces", "retry_pods"),
}


@pytest.fixture
def requests(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each request was made, as `<port>.<method>`. Calls of the watch caches are none."""
    made: Counter[str] = Counter()
    running: list[str] = []  # a fake calls its own methods, too

    def count(port: str, method: str) -> None:
        call = getattr(getattr(sim, port), method)

        def counted(*args: Any, **rest: Any) -> Any:
            made[f"{port}.{method}"] += not running
            running.append(method)
            try:
                return call(*args, **rest)
            finally:
                running.pop()

        monkeypatch.setattr(getattr(sim, port), method, counted)

    for port, methods in _REQUESTS.items():
        for method in methods:
            count(port, method)
    return made


@pytest.fixture
def job() -> JobBuilder:
    return a_job()


__all__ = ["NestedKubernetes", "Simulation"]
