"""The lives that a job can have: the actions on it, and the one end that it must reach under any fault."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.inputs import split_inputs
from kns.model.job.job import Job, JobSpec, JobState, Rest, StopReason
from kns.model.site import GatewayRef, Site
from kns.objects.init import HELP_MARK
from tests.builders import JobBuilder, a_job
from tests.fakes.host import UNSCHEDULABLE
from tests.flow.conftest import SITE
from tests.simulation.faults import Plan
from tests.simulation.installation import ALL_EXTRAS, Installation

RECORD = "kns-job-7"
# A job whose parameters lie beside its record.
_LARGE, _PACKED = split_inputs(
    a_job().with_accepted(walltime_s=100).with_spec(parameters={"file": "x" * 9000}).build().spec
)
CLAIMS = {"data-x-lab-x-kns-job-7": "user1-data", "scratch-x-lab-x-kns-job-7": "user1-data"}
Act = Callable[[Installation], None]
When = Callable[[Job], bool]


def serves(job: Job) -> bool:
    return job.status.is_true(ConditionType.EXPOSED)


def _spawns(job: Job) -> bool:
    return job.status.spawn_start_time is not None


def _cannot_sleep(job: Job) -> bool:
    asleep = job.status.condition(ConditionType.ASLEEP)
    return asleep is not None and asleep.reason == Reason.SLEEP_NOT_POSSIBLE


def _is_kept(job: Job) -> bool:
    removed = job.status.condition(ConditionType.REMOVED)
    return removed is not None and removed.reason == Reason.KEPT


def _stop(reason: StopReason) -> Act:
    return lambda world: world.ask(lambda records: records.request_stop(world.store.last[RECORD], reason))


def _sleep(world: Installation) -> None:
    world.ask(lambda records: records.set_sleep(world.store.last[RECORD], asleep=True))


def _wake(world: Installation) -> None:
    world.ask(lambda records: records.set_sleep(world.store.last[RECORD], asleep=False))


def _is(rest: Rest) -> When:
    return lambda job: job.status.rest is rest


def _serves_again(job: Job) -> bool:
    asleep = job.status.condition(ConditionType.ASLEEP)
    return asleep is not None and asleep.reason == Reason.OK


def _delete(world: Installation) -> None:
    """The user's own `kubectl delete`."""
    world.store.delete(world.store.last[RECORD])


def have_all(world: Installation) -> None:
    world.host.claims = dict(CLAIMS)
    world.host.take_log = f"{HELP_MARK}<p>help</p>"


def _have_gateway(world: Installation) -> None:
    world.host.watches_routes = True


def _have_inputs(world: Installation) -> None:
    assert _PACKED is not None
    world.store.inputs.packed[7] = _PACKED


def fail_to_deploy(world: Installation) -> None:
    message = json.dumps({"reason": "ItemOutOfRetries", "message": "item web: out of retries"})
    world.host.init_exit = {"exitCode": 1, "message": message}


def _have_no_room(world: Installation) -> None:
    world.host.schedulable = False


def meddle_with_client(world: Installation, name: str = RECORD) -> None:
    """Somebody else changes the client and keeps its mark, or makes a client without a mark."""
    new = {"clientId": name, "id": f"theirs, {name}", "attributes": {}, "redirectUris": []}
    world.realm.clients[name] = {**world.realm.clients.get(name, new), "enabled": False, "secret": "another"}


def _has_client(job: Job) -> bool:
    return job.status.is_true(ConditionType.KEYCLOAK_READY)


@dataclass(frozen=True)
class Life:
    """`acts` run one after the other, each as soon as its condition is true."""

    state: JobState
    reason: Reason
    acts: tuple[tuple[When, Act], ...] = ()
    job: JobBuilder = field(default_factory=a_job)
    spec: JobSpec | None = None  # instead of that of `job`
    site: Site = SITE
    prepare: Act = lambda world: None

    def live(self, plan: Plan, *, make: Callable[[Site], Installation] = Installation) -> Installation:
        """Simulate from the creation of the record until nothing of the job is left."""
        world = make(self.site)
        self.prepare(world)
        world.gate.plan = plan
        world.store.add_spec(self.spec or self.job.build().spec, record=RECORD)
        for when, act in self.acts:
            world.work_until(lambda: when(world.store.last[RECORD]))  # noqa: B023 - used at once
            act(world)
        world.work_until(lambda: not world.store.last)
        world.go_on(1)
        return world


# No life makes these calls. A submit over HTTP does, and a life begins with the record that the submit created.
ASKED_BY_SUBMIT = {"store.find_request", "store.count_live", "store.create"}
LINES = {
    Reason.SHUTDOWN: "the job was shut down",
    Reason.TERMINATE: "the job was terminated",
    Reason.WALLTIME: "the walltime is over",
    Reason.ITEM_OUT_OF_RETRIES: "item web: out of retries",
    Reason.SPAWN_DELAY_PASSED: (
        f"the virtual cluster was not running after 30 s: the control-plane pod is not scheduled: {UNSCHEDULABLE}"
    ),
}
_SHUTDOWN = (JobState.COMPLETED, Reason.SHUTDOWN)
_WITH_VOLUME = replace(ALL_EXTRAS, virtual=replace(SITE.virtual, storage_class="fast"))
LIVES = {
    "asleep, awake, and shut down": Life(
        *_SHUTDOWN,
        job=a_job().with_nested(enable_gotty_shell=True),
        acts=(
            (serves, _sleep),
            (_is(Rest.ASLEEP), _wake),
            (_serves_again, _sleep),
            (_is(Rest.FALLING_ASLEEP), _wake),
            (_serves_again, _stop(StopReason.SHUTDOWN)),
        ),
        site=_WITH_VOLUME,
    ),
    "shut down in its sleep, through a Gateway": Life(
        *_SHUTDOWN,
        acts=((serves, _sleep), (_is(Rest.ASLEEP), _stop(StopReason.SHUTDOWN))),
        site=replace(_WITH_VOLUME, gateway=GatewayRef("infra", "public")),
        prepare=_have_gateway,
    ),
    "walltime in its sleep": Life(
        JobState.TERMINATED,
        Reason.WALLTIME,
        job=a_job().with_accepted(walltime_s=500),
        acts=((serves, _sleep),),
        site=_WITH_VOLUME,
    ),
    "asked to sleep without a volume": Life(
        *_SHUTDOWN, acts=((serves, _sleep), (_cannot_sleep, _stop(StopReason.SHUTDOWN)))
    ),
    "shut down": Life(*_SHUTDOWN, acts=((serves, _stop(StopReason.SHUTDOWN)),)),
    "with vault, shell and Keycloak": Life(
        *_SHUTDOWN,
        job=a_job().with_vault().with_nested(enable_gotty_shell=True, keycloak={"namespace": "lab"}),
        acts=((serves, _stop(StopReason.SHUTDOWN)),),
        site=ALL_EXTRAS,
        prepare=have_all,
    ),
    "through a Gateway, with a shell": Life(
        *_SHUTDOWN,
        job=a_job().with_nested(enable_gotty_shell=True),
        acts=((serves, _stop(StopReason.SHUTDOWN)),),
        site=replace(ALL_EXTRAS, gateway=GatewayRef("infra", "public")),
        prepare=_have_gateway,
    ),
    "templates that fail": Life(JobState.FAILED, Reason.ITEM_OUT_OF_RETRIES, prepare=fail_to_deploy),
    "terminated while it spawns": Life(
        JobState.CANCELED,
        Reason.TERMINATE,
        acts=((_spawns, _stop(StopReason.TERMINATE)),),
        prepare=_have_no_room,
    ),
    "no room on the host": Life(
        JobState.FAILED,
        Reason.SPAWN_DELAY_PASSED,
        site=replace(SITE, spawn_delay_s=30),
        prepare=_have_no_room,
    ),
    "walltime, with large inputs": Life(JobState.TERMINATED, Reason.WALLTIME, spec=_LARGE, prepare=_have_inputs),
    "record deleted": Life(JobState.TERMINATED, Reason.TERMINATE, acts=((serves, _delete),)),
    "kept, then deleted": Life(
        *_SHUTDOWN,
        acts=((serves, _stop(StopReason.SHUTDOWN)), (_is_kept, _delete)),
        site=replace(SITE, keep_vclusters=True),
    ),
    "applied by hand": Life(*_SHUTDOWN, job=a_job().not_accepted(), acts=((serves, _stop(StopReason.SHUTDOWN)),)),
    "a client that others make and change": Life(
        *_SHUTDOWN,
        job=a_job().with_nested(keycloak={"namespace": "lab"}),
        acts=((_has_client, meddle_with_client), (serves, _stop(StopReason.SHUTDOWN))),
        site=ALL_EXTRAS,
        prepare=meddle_with_client,
    ),
}
