"""
A running installation of kns: the real queue, workers and reconciler over witnessed fakes, on a simulated clock.

Where the real queue would wait, the world changes instead: its controllers take a step, and the clock advances to the
end of the wait. No event of the host wakes a job, as if all were lost, so nothing that is proven here depends on
events.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from kns.adapters.kube.watch import SILENCE_S
from kns.adapters.rooms import Rooms
from kns.engine.intake import Intake
from kns.engine.queue import WorkQueue
from kns.engine.reconciler import Reconciler, Term
from kns.engine.result import Result
from kns.engine.workers import Workers
from kns.model.errors import NotFoundError, TransientError
from kns.model.site import KeycloakSettings, Site
from kns.model.submit.submission import Terms
from kns.ports import World
from kns.stages import NESTED_JOB
from tests.builders import a_catalog
from tests.fakes.doors import FakeDoors
from tests.fakes.stores import FakeClock, StaticCatalog
from tests.fakes.vcluster import FakeRenderer, FakeVirtualClusters
from tests.flow.conftest import SITE
from tests.simulation.faults import Crash, Gate, Port, WatchedHost, WatchedRecords
from tests.simulation.witness import WitnessedHost, WitnessedOutputs, WitnessedRealm, WitnessedRecords, WitnessedTokens

ResultT = TypeVar("ResultT")

LAG_RECONCILES = 3
FREEZE_RECONCILES = 4
CATALOG = a_catalog()
TERMS = Terms(supported_versions=("v1.36",), keycloak=True)
ALL_EXTRAS = replace(
    SITE,
    shell_image="registry.example.org/kns-gotty:1",
    keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60),
)


class IdleError(Exception):
    """Nothing is scheduled; only an outside event would make kns work again."""


class _SimulatedWait(threading.Condition):
    """The queue's condition variable. A wait returns immediately, after the simulated time has passed."""

    def __init__(self, go_on: Callable[[float | None], None]) -> None:
        super().__init__()
        self._go_on = go_on

    def wait(self, timeout: float | None = None) -> bool:
        self._go_on(timeout)
        return False


class Installation:
    """The world and the leading process. `restart` simulates a crash or a change of the leader."""

    host_type = WitnessedHost

    def __init__(self, site: Site = ALL_EXTRAS, *, first_number: int = 7) -> None:
        self.site = site
        self.clock = FakeClock()
        self.store = WitnessedRecords(self.clock, first_number=first_number)
        self.host = self.host_type(self.clock)
        self.realm = WitnessedRealm()
        self.outputs = WitnessedOutputs()
        self.tokens = WitnessedTokens()
        self.virtual = FakeVirtualClusters()
        self.host.is_prepared = self.virtual.marks.__contains__
        self.catalog = StaticCatalog(CATALOG)
        self.gate = Gate()
        self.surprise: BaseException | None = None
        self.reconciles = 0
        self.meanwhile: Callable[[], None] = self._work_a_little
        self.restart()

    def restart(self) -> None:
        """Start a new process. It lists everything and reconciles every record once."""
        self.process = Process(self)
        self.gate.lag = self.process.lag
        self.gate.freeze = self.freeze
        self.store.wake[:] = [self.process.hear]
        self.process.look_at_all()

    def freeze(self) -> None:
        """Freeze the process in the middle of a reconcile. It resumes when another process leads."""
        self.process.lag()
        self.restart()
        self.meanwhile()

    def _work_a_little(self) -> None:
        for _ in range(FREEZE_RECONCILES):
            try:
                self.work()
            except IdleError:
                return

    def work(self) -> None:
        """Reconcile the next due job once, with whatever result."""
        try:
            self.process.work()
        except Crash:
            self.restart()
        self.reconciles += 1
        if self.surprise is not None:
            raise self.surprise

    def work_until(self, reached: Callable[[], bool], *, limit: int = 500) -> None:
        for _ in range(limit):
            if reached():
                return
            self.work()
        raise AssertionError(f"not reached after {limit} reconciles: {self.store.list_jobs()}")

    def ask(self, what: Callable[[Any], ResultT]) -> ResultT:
        """A client's request to the record store, repeated until it gets an answer."""
        for _ in range(100):
            try:
                return what(self.process.records)
            except Crash:
                self.restart()
            except NotFoundError:
                raise
            except TransientError:
                self.go_on(1)
        raise AssertionError("never answered")

    def go_on(self, seconds: float) -> None:
        self.host.settle()
        self.clock.advance(seconds + 0.001)  # a wait that rounding made too short would never end
        for owned in (self.outputs.outputs, self.outputs.owners, self.tokens.tokens):  # the garbage collector
            for record in owned.keys() - self.store.last.keys():
                del owned[record]

    def forget(self) -> None:
        """Clear what the fakes recorded about jobs that are gone."""
        kept = (self.store.gone, self.store.writes, self.host.made, self.host.calls, self.realm.calls, self.tokens.made)
        for each in (*kept, self.outputs.final, self.virtual.asked, self.virtual.objects, self.virtual.marks):
            each.clear()

    @property
    def left(self) -> list[str]:
        """All objects of all jobs."""
        return [
            *self.host.left,
            *(f"inputs of {number}" for number in self.store.inputs.packed),
            *(f"client {name}" for name in self.realm.clients),
            *(f"record {record}" for record in self.store.last),
            *(f"output of {record}" for record in self.outputs.outputs),
            *(f"tokens of {record}" for record in self.tokens.tokens),
        ]


class Process:
    """One run of kns with everything it holds in memory."""

    def __init__(self, world: Installation) -> None:
        self._world = world
        self._lag_left = 0
        gate = world.gate
        self.records = WatchedRecords("store", world.store, gate)
        self.host = WatchedHost("cluster", world.host, gate)
        self.queue = WorkQueue(clock=world.clock, rng=random.Random(1))
        self.queue._changed = _SimulatedWait(self._go_on)
        ports = {
            "cluster": self.host,
            "renderer": Port("renderer", FakeRenderer(), gate),
            "virtual_clusters": Port("virtual_clusters", world.virtual, gate),
            "outputs": Port("outputs", world.outputs, gate),
            "tokens": Port("tokens", world.tokens, gate),
            "inputs": Port("inputs", world.store.inputs, gate),
            "catalog": Port("catalog", world.catalog, gate),
            "identity": Port("identity", world.realm, gate),
            "doors": Port("doors", FakeDoors(), gate),
        }
        records = self.records.fenced(self._leads)
        catalog: Any = ports["catalog"]
        self.reconciler = Reconciler(
            store=records,
            writer=records,
            world=World(
                **{name: port.fenced(self._leads) for name, port in ports.items()},
                rooms=Rooms(count_live=lambda: 0, most_ended=8),
            ),
            site=world.site,
            clock=world.clock,
            intake=Intake(store=records, catalog=catalog, terms=TERMS, rng=random.Random(1)),
            lifecycle=NESTED_JOB,
            term=Term(),
        )
        observed: Any = self
        self._workers = Workers(
            self.queue, observed, clock=world.clock, count=0, may_work=self._leads, on_death=lambda: None
        )

    def _leads(self) -> bool:
        return self._world.process is self

    def work(self) -> None:
        """One turn of a worker."""
        key = self.queue.take()
        assert key is not None
        try:
            self._workers._reconcile(key)
        finally:
            self.queue.done(key)
        self._lag_left -= 1
        if self._lag_left == 0:
            self.catch_up()

    def _go_on(self, seconds: float | None) -> None:
        """kns detects a silent watch, so caches catch up before a long wait ends."""
        if self._lag_left > 0 and (seconds is None or seconds > SILENCE_S):
            self.catch_up()
        elif seconds is None:
            raise IdleError
        else:
            self._world.go_on(seconds)

    def reconcile(self, record: str) -> Result:
        """Workers survive an unexpected error; a simulation fails with it."""
        try:
            return self.reconciler.reconcile(record)
        except TransientError:
            raise
        except Exception as error:
            self._world.surprise = error
            raise

    def hear(self, record: str) -> None:
        """An event of the watch on records. A watch that is behind does not get it."""
        if self._lag_left <= 0:
            self.queue.add(record)

    def lag(self) -> None:
        self._lag_left = LAG_RECONCILES
        self.records.lag()
        self.host.lag()

    def lag_since(self, records: Any, host: Any) -> None:
        """The first lists of this process showed this state, and its watches are behind."""
        self._lag_left = LAG_RECONCILES
        self.records.lag_since(records)
        self.host.lag_since(host)

    def catch_up(self) -> None:
        """The watches have listed everything again."""
        self._lag_left = 0
        self.records.catch_up()
        self.host.catch_up()
        self.look_at_all()

    def look_at_all(self) -> None:
        for job in self._world.store.list_jobs():
            self.queue.add(job.record)
