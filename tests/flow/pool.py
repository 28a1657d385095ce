"""A simulation with a warm pool: the leader's task, and submissions that claim members."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from kns.engine.claims import Claims
from kns.engine.pool import INTERVAL_S, Pool, PoolRules
from kns.model.job.job import Job
from kns.model.job.member import Member
from kns.model.job.pool import parse_pools
from kns.ports import Kind
from kns.stages import NESTED_MEMBER
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation

RELEASE = "1"


@dataclass
class PoolSimulation:
    """`pools` is the setting. A new leader or a new replica remembers nothing."""

    sim: Simulation
    pools: str = "any=2"
    at_once: int = 2
    max_age_s: float = 86_400
    release: str = RELEASE
    pool: Pool = field(init=False)
    claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        sim = self.sim
        self.pool = Pool(
            PoolRules(
                pools=parse_pools(self.pools), at_once=self.at_once, max_age_s=self.max_age_s, release=self.release
            ),
            kind=NESTED_MEMBER,
            site=sim.site,
            world=sim.world,
            store=sim.store,
            clock=sim.clock,
            may_work=lambda: True,
            is_clock_trusted=lambda: sim.clock_trusted,
        )
        self.claims = self.a_replica()

    def a_replica(self, **changes: Any) -> Claims:
        sim = self.sim
        ports = {"world": sim.world, "store": sim.store, **changes}
        return Claims(
            pools=parse_pools(self.pools),
            kind=NESTED_MEMBER,
            release=self.release,
            find_site=lambda: sim.site,
            clock=sim.clock,
            rng=random.Random(7),
            **ports,
        )

    def work(self, rounds: int = 1, *, after_s: float = INTERVAL_S) -> None:
        for _ in range(rounds):
            self.pool.work()
            self.sim.host.settle()
            self.sim.clock.advance(after_s)

    def fill(self) -> list[Member]:
        """Work until the pool has settled. Returns its free members."""
        self.work(12)
        return self.free

    @property
    def members(self) -> list[Member]:
        return list(self.sim.host.observe_members(self.sim.site.system_namespace))

    @property
    def free(self) -> list[Member]:
        return [member for member in self.members if member.is_free]

    def submit(self, job: JobBuilder, *, claims: Claims | None = None) -> Job:
        """As a submission does it: a member if there is one, else a number."""
        draft = job.build().spec
        assert draft.accepted is not None
        member = (claims or self.claims).claim(draft, draft.accepted)
        number = member.number if member else self.sim.store.allot_number()
        adopted = member.adopted if member else None
        accepted = draft.accepted.model_copy(update={"number": number, "adopted": adopted})
        stored = self.sim.store.create(draft.model_copy(update={"accepted": accepted}))
        self.sim.record = stored.record
        return stored

    def lose_events(self) -> Any:
        """The host as a cache shows it that hears nothing from now on; its writes go to the real one."""
        return _Lagging(self.sim.host)


class _Lagging:
    def __init__(self, host: Any) -> None:
        self._host = host
        self._still = host.snapshot()
        self.claims = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._still if name.startswith("observe") else self._host, name)

    def claim(self, *args: Any) -> None:
        self.claims += 1
        self._host.claim(*args)


def world_over(sim: Simulation, host: Any) -> Any:
    return replace(sim.world, cluster=host)


def namespace_of(sim: Simulation, number: int) -> dict[str, Any]:
    found = sim.host.read(Kind.NAMESPACE, "", f"kns-job-{number}")
    assert found is not None
    return found
