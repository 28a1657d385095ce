"""
Random histories: users submit, stop and delete jobs under faults of every kind, and kns crashes or loses the Lease.

`witness.py` checks every change and fails immediately if it is illegal. At the end all jobs are shut down and the
faults stop; then every job must reach the requested end, and nothing may be left. hypothesis shrinks a failing history
and prints its steps, which are the same in every run.
"""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from kns.model import names
from kns.model.errors import NotFoundError
from kns.model.job.conditions import Reason
from kns.model.job.idempotency import digest_request
from kns.model.job.job import EXIT_CODES, Job, JobState, StopReason
from kns.model.site import KeycloakSettings
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import MemoryJobStore
from tests.simulation.faults import ASKED_BY_POOL, FAULTS, NAMES, Fault
from tests.simulation.installation import ALL_EXTRAS, IdleError, Installation
from tests.simulation.lives import LINES, fail_to_deploy, have_all, meddle_with_client, serves
from tests.simulation.scale import ALL_HISTORIES, HISTORIES

BATCHES = 10
BATCH = math.ceil(HISTORIES / BATCHES)
MOST_JOBS = 3
SHELL = a_job().with_nested(enable_gotty_shell=True)
KEYCLOAK = a_job().with_nested(keycloak={"namespace": "lab"})
KINDS = {
    "plain": a_job(),
    "without a target": a_job().without_target(),
    "with a shell": SHELL,
    "with Keycloak": KEYCLOAK,
    "with a vault": a_job().with_vault(),
    "with all": a_job().with_vault().with_nested(enable_gotty_shell=True, keycloak={"namespace": "lab"}),
    "with a walltime": a_job().with_accepted(walltime_s=100),
}
DAY_S = 86400
# No time limit may end a job here, however long kns is not running.
PATIENT = replace(
    ALL_EXTRAS,
    spawn_delay_s=DAY_S,
    target_limit_s=DAY_S,
    init_stuck_limit_s=DAY_S,
    control_plane_limit_s=DAY_S,
    keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", DAY_S),
)
WITH_VOLUMES = replace(PATIENT, virtual=replace(PATIENT.virtual, storage_class="fast"))
# The end of a job that had started. One that had not is CANCELED, which needs a stop request.
STATES = {
    Reason.SHUTDOWN: JobState.COMPLETED,
    Reason.TERMINATE: JobState.TERMINATED,
    Reason.WALLTIME: JobState.TERMINATED,
    Reason.ITEM_OUT_OF_RETRIES: JobState.FAILED,
}
# Only a submit over HTTP makes this call, on a site with a limit of jobs per user.
NEVER_CALLED = {"store.count_live"} | ASKED_BY_POOL
ANY = ""
# A fault, the number of matching calls to skip, and the number of calls to strike. A life has about 200 calls, and few
# of most kinds.
Arm = tuple[tuple[str, str], int, int]
# The number of reconciles after each step, and the faults to arm in addition to those still armed.
Then = tuple[int, list[Arm]]
ANYWHERE = [(ANY, name) for name in NAMES]
THERE = [(call, name) for call, faults in FAULTS.items() for name in faults if call not in NEVER_CALLED]
ARM = st.one_of(
    st.tuples(st.sampled_from(ANYWHERE), st.integers(0, 60), st.integers(1, 3)),
    st.tuples(st.sampled_from(THERE), st.integers(0, 4), st.integers(1, 3)),
)
THEN = st.tuples(st.integers(1, 8), st.lists(ARM, min_size=1, max_size=4))
ONE_IN_FOUR = st.sampled_from([False, False, False, True])
PASSES_TO_SERVE = 20  # seven without faults
PASSES_TO_END = 40


@dataclass
class Tally:
    """Statistics of the histories of this run."""

    batches: int = 0
    histories: int = 0
    served: int = 0
    struck: Counter[str] = field(default_factory=Counter)


TALLY = Tally()


class History(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = Installation(PATIENT)
        self.world.gate.plan = self._choose
        self.submits = 0
        self.fails = False
        self.deleted: set[str] = set()  # records, deleted while the job was alive
        self.served: set[str] = set()
        self.armed: dict[tuple[str, str], list[int]] = {}  # place -> calls to skip, calls to strike

    def _choose(self, number: int, call: str) -> Fault | None:
        """Each armed fault counts the calls that it can strike. The first one that is due strikes this call."""
        del number
        chosen = None
        for (at, name), counts in self.armed.items():
            if at not in (ANY, call) or name not in FAULTS[call]:
                continue
            if counts[0]:
                counts[0] -= 1
            elif counts[1] and chosen is None:
                counts[1] -= 1
                chosen = name
        if chosen is None:
            return None
        TALLY.struck[call] += 1
        return FAULTS[call][chosen]

    @initialize(
        kind=st.sampled_from(sorted(KINDS)), fails=ONE_IN_FOUR, hurries=ONE_IN_FOUR, volumes=st.booleans(), then=THEN
    )
    def begin(self, kind: str, fails: bool, hurries: bool, volumes: bool, then: Then) -> None:
        """The next action waits until the job serves, unless it hurries. Only jobs with volumes can sleep."""
        if volumes:
            self.world.site = WITH_VOLUMES
            self.world.restart()
        have_all(self.world)
        self.fails = fails
        if fails:
            fail_to_deploy(self.world)
        self.submit(kind, hurries, then)
        if not hurries:
            self.work_until_serving(then)

    @precondition(lambda self: self.submits < MOST_JOBS)
    @rule(kind=st.sampled_from(sorted(KINDS)), meddle=st.booleans(), then=THEN)
    def submit(self, kind: str, meddle: bool, then: Then) -> None:
        """As the route does it, with an Idempotency-Key. Somebody may create the job's client before kns."""
        self.submits += 1
        request = digest_request("user1", f"key-{self.submits}")
        self.world.ask(lambda records: _submit(records, KINDS[kind], request))
        assert self.submits == len(self.world.store.last) + len(self.world.store.gone)
        if meddle:
            for name in self._list_clients()[-1:]:
                meddle_with_client(self.world, name)
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
    @rule(data=st.data(), asleep=st.booleans(), then=THEN)
    def rest(self, data: st.DataObject, asleep: bool, then: Then) -> None:
        """Somebody puts the job to sleep or wakes it, whatever it does at that moment."""
        job = self._pick(data)
        with suppress(NotFoundError):
            self.world.ask(lambda records: records.set_sleep(job, asleep=asleep))
        self._go_on(then)

    @precondition(lambda self: self.world.store.last)
    @rule(data=st.data(), then=THEN)
    def delete(self, data: st.DataObject, then: Then) -> None:
        job = self._pick(data)
        if not job.is_ended:
            self.deleted.add(job.record)
        self.world.store.delete(job)
        self._go_on(then)

    @precondition(lambda self: self._list_clients())
    @rule(data=st.data(), then=THEN)
    def meddle_with_a_client(self, data: st.DataObject, then: Then) -> None:
        """Somebody changes the client, or creates one before kns."""
        meddle_with_client(self.world, data.draw(st.sampled_from(self._list_clients())))
        self._go_on(then)

    def _list_clients(self) -> list[str]:
        """The name of the Keycloak client of each live job that wants one."""
        jobs = [job for _, job in sorted(self.world.store.last.items()) if not job.is_ended]
        accepted = [job.spec.accepted for job in jobs if job.spec.accepted is not None]
        return [names.job_object_name(each.number) for each in accepted if each.nested.keycloak]

    @rule(then=THEN)
    def restart(self, then: Then) -> None:
        self.world.restart()
        self._go_on(then)

    @rule(seconds=st.sampled_from([1, 30, 600]), then=THEN)
    def let_time_pass(self, seconds: int, then: Then) -> None:
        self.world.go_on(seconds)
        self._go_on(then)

    @rule(then=THEN)
    def work_until_serving(self, then: Then) -> None:
        """All jobs that are not ending must serve, unless the faults prevent it."""
        self._go_on(
            (PASSES_TO_SERVE, then[1]), enough=lambda: all(map(_serves_or_stops, self.world.store.last.values()))
        )

    def _go_on(self, then: Then, *, enough: Callable[[], bool] = lambda: False) -> None:
        passes, arms = then
        for place, skip, times in arms:
            self.armed[place] = [skip, times]
        for _ in range(passes):
            if enough():
                break
            try:
                self.world.work()
            except IdleError:
                break
        self.served |= {job.record for job in self.world.store.last.values() if serves(job)}

    def _ask_to_stop(self, job: Job, reason: StopReason) -> None:
        with suppress(NotFoundError):  # deleted while the client tried again
            self.world.ask(lambda records: records.request_stop(job, reason))

    def _pick(self, data: st.DataObject) -> Job:
        return self.world.store.last[data.draw(st.sampled_from(sorted(self.world.store.last)))]

    def teardown(self) -> None:
        """Shut down all running jobs, still under the armed faults. Then all must end and disappear."""
        world = self.world
        for job in list(world.store.last.values()):
            self._ask_to_stop(job, StopReason.SHUTDOWN)
        for _ in range(PASSES_TO_END):
            if world.store.last:
                world.work()
        self.armed = {}
        world.work_until(lambda: not world.store.last)
        world.go_on(1)
        assert world.left == []
        assert self.submits == len(world.store.gone)
        for job in world.store.gone.values():
            self._check_end(job)
        TALLY.histories += bool(self.submits)  # hypothesis gives up some before they begin
        TALLY.served += bool(self.served)

    def _check_end(self, job: Job) -> None:
        """The last stop request that was stored before the end decides; without one the job ended by itself."""
        status, spec = job.status, job.spec
        wish = StopReason.TERMINATE if job.record in self.deleted else spec.stop_reason
        if spec.accepted is None and status.reason is None:  # deleted before its first reconcile
            assert job.record in self.deleted
            return
        reason = Reason(str(status.reason))
        if wish is not None:
            assert reason == Reason(str(wish))
        elif spec.accepted is not None and spec.accepted.walltime_s is not None:
            assert reason in {Reason.WALLTIME} | ({Reason.ITEM_OUT_OF_RETRIES} if self.fails else set())
        else:
            assert self.fails
            assert reason is Reason.ITEM_OUT_OF_RETRIES
        state = JobState.CANCELED if wish is not None and status.start_time is None else STATES[reason]
        assert (status.job_status, status.exit_code) == (state, EXIT_CODES[state])
        assert status.message == LINES[reason]


def _serves_or_stops(job: Job) -> bool:
    return serves(job) or job.is_ended or job.stop_reason is not None


def _submit(records: MemoryJobStore, builder: JobBuilder, request: str) -> Job:
    found = records.find_request(request)
    if found is not None:
        return found
    spec = builder.numbered(records.allot_number()).build().spec
    return records.create(spec, request=request)


@pytest.mark.proves(
    "main",
    "A fault at any call, in any kind of life, and 10 000 random histories: one end, nothing left, nothing twice",
)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_history_ends_well(batch: int) -> None:
    before = TALLY.histories
    run_state_machine_as_test(
        seed(batch)(type("AHistory", (History,), {})),
        settings=settings(
            max_examples=BATCH,
            stateful_step_count=6,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert TALLY.histories - before >= BATCH
    TALLY.batches += 1


def test_the_histories_go_where_they_should() -> None:
    """
    After a change of the rules, some calls might meet no fault or no job might serve, and all tests would still pass.
    """
    if TALLY.batches < BATCHES:
        pytest.skip("not all batches ran")
    assert TALLY.histories >= HISTORIES
    assert TALLY.served > TALLY.histories // 2
    if HISTORIES >= ALL_HISTORIES:  # a hundred histories cannot strike calls that few jobs make, and those once
        assert TALLY.struck.keys() == FAULTS.keys() - NEVER_CALLED
    else:
        assert len(TALLY.struck) > len(FAULTS) // 2
