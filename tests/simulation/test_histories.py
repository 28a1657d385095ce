"""
Random histories: users submit, stop and delete while everything goes wrong that can, and kns dies or loses the lead.

After every step nothing may have happened that never may (`witness.py` says so on the spot). At the end the faults
stop: then every job comes to its end, and nothing is left. A history that fails is shrunk by hypothesis and printed as
the steps that lead there; the steps are the same in every run.
"""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from kns.model.errors import NotFoundError
from kns.model.job import EXIT_CODES, Job, JobState, StopReason
from kns.model.repeats import digest_request
from kns.model.site import KeycloakSettings
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import MemoryJobStore
from tests.simulation.faults import FAULTS, NAMES, Fault
from tests.simulation.installation import ALL_EXTRAS, IdleError, Installation
from tests.simulation.scale import HISTORIES

BATCHES = 10
MOST_JOBS = 3
SHELL = a_job().with_nested(enable_gotty_shell=True)
KEYCLOAK = a_job().with_nested(keycloak={"namespace": "lab"})
KINDS = {
    "plain": a_job(),
    "without a target": a_job().without_target(),
    "with a shell": SHELL,
    "with Keycloak": KEYCLOAK,
    "with a vault": a_job().with_vault(),
    "with a walltime": a_job().with_accepted(walltime_s=100),
}
DAY_S = 86400
# Where no limit of time decides a job's end, however long kns is away.
PATIENT = replace(
    ALL_EXTRAS,
    spawn_delay_s=DAY_S,
    target_limit_s=DAY_S,
    init_stuck_limit_s=DAY_S,
    keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", DAY_S),
)
# An end of which a user or the walltime is the reason; without that, what the templates come to.
STATES = {
    "Shutdown": {JobState.COMPLETED, JobState.CANCELED},
    "Terminate": {JobState.TERMINATED, JobState.CANCELED},
    "Walltime": {JobState.TERMINATED},
    "ItemOutOfRetries": {JobState.FAILED},
}
# After each step so many passes, in which each of these faults strikes so many of the calls that it can strike.
Then = tuple[int, dict[str, int]]
THEN = st.tuples(st.integers(1, 8), st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4), max_size=4))


class History(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = Installation(PATIENT)
        self.world.gate.plan = self._choose
        self.submits = 0
        self.armed: dict[str, int] = {}  # fault -> calls that it still strikes

    def _choose(self, number: int, call: str) -> Fault | None:
        del number
        for name, fault in FAULTS[call].items():
            if self.armed.get(name):
                self.armed[name] -= 1
                return fault
        return None

    @initialize(kind=st.sampled_from(sorted(KINDS)), fails=st.booleans(), then=THEN)
    def begin(self, kind: str, fails: bool, then: Then) -> None:
        if fails:
            message = '{"reason": "ItemOutOfRetries", "message": "item web: out of retries"}'
            self.world.host.init_exit = {"exitCode": 1, "message": message}
        self.submit(kind, then)

    @precondition(lambda self: self.submits < MOST_JOBS)
    @rule(kind=st.sampled_from(sorted(KINDS)), then=THEN)
    def submit(self, kind: str, then: Then) -> None:
        """As the route does it, with an Idempotency-Key."""
        self.submits += 1
        request = digest_request("user1", f"key-{self.submits}")
        self.world.ask(lambda records: _submit(records, KINDS[kind], request))
        assert self.submits == len(self.world.store.last) + len(self.world.store.gone)
        self._go_on(then)

    @precondition(lambda self: self.submits < MOST_JOBS)
    @rule(then=THEN)
    def apply_by_hand(self, then: Then) -> None:
        self.submits += 1
        self.world.store.add_spec(a_job().not_accepted().build().spec, record=f"by-hand-{self.submits}")
        self._go_on(then)

    @precondition(lambda self: self.world.store.last)
    @rule(data=st.data(), reason=st.sampled_from([StopReason.SHUTDOWN, StopReason.TERMINATE]), then=THEN)
    def stop(self, data: st.DataObject, reason: StopReason, then: Then) -> None:
        self._ask_to_stop(self._pick(data), reason)
        self._go_on(then)

    @precondition(lambda self: self.world.store.last)
    @rule(data=st.data(), then=THEN)
    def delete(self, data: st.DataObject, then: Then) -> None:
        self.world.store.delete(self._pick(data))
        self._go_on(then)

    @rule(then=THEN)
    def restart(self, then: Then) -> None:
        self.world.restart()
        self._go_on(then)

    @rule(seconds=st.sampled_from([1, 30, 600]), then=THEN)
    def let_time_pass(self, seconds: int, then: Then) -> None:
        self.world.go_on(seconds)
        self._go_on(then)

    def _go_on(self, then: Then) -> None:
        passes, faults = then
        self.armed.update(faults)
        for _ in range(passes):
            try:
                self.world.work()
            except IdleError:
                return

    def _ask_to_stop(self, job: Job, reason: StopReason) -> None:
        with suppress(NotFoundError):  # gone, while the client tried again
            self.world.ask(lambda records: records.request_stop(job, reason))

    def _pick(self, data: st.DataObject) -> Job:
        return self.world.store.last[data.draw(st.sampled_from(sorted(self.world.store.last)))]

    def teardown(self) -> None:
        """Whatever still runs is shut down; then all must end, and go."""
        self.armed = {}
        world = self.world
        for job in list(world.store.last.values()):
            self._ask_to_stop(job, StopReason.SHUTDOWN)
        world.work_until(lambda: not world.store.last)
        world.go_on(1)
        assert world.left == []
        for job in world.store.gone.values():
            _check_end(job)


def _submit(records: MemoryJobStore, builder: JobBuilder, request: str) -> Job:
    found = records.find_request(request)
    if found is not None:
        return found
    spec = builder.numbered(records.allot_number()).build().spec
    return records.create(spec, request=request)


def _check_end(job: Job) -> None:
    status = job.status
    if job.spec.accepted is None and status.reason is None:  # deleted before it was looked at
        return
    assert status.job_status in STATES[str(status.reason)], status.reason
    assert status.exit_code == EXIT_CODES[status.job_status]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_history_ends_well(batch: int) -> None:
    run_state_machine_as_test(
        seed(batch)(type("AHistory", (History,), {})),
        settings=settings(
            max_examples=max(1, HISTORIES // BATCHES),
            stateful_step_count=8,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
