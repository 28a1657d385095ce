"""Every page in every state that it can have, as data: what the stores have, who looks, and where."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from kns.model.errors import UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.model.job.usage import Usage
from kns.ports import Kind
from tests.builders import a_catalog, a_command, a_job, an_app, an_appdef
from tests.fakes.room import MemoryRoom, a_node
from tests.fakes.stores import START
from tests.fakes.web import FakeRealm
from tests.web.ui import Ui

LOG = "".join(f"[1/3] step {number}: configmap/part-{number} created\n" for number in range(60))
NAMESPACE = "kns-job-7"
# 1x1 pixel
ICON = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

PARAMETERS: dict[str, Any] = {
    "title": {"type": "STR", "name": "Title", "description": "Shown on the first page.", "required": True},
    "text": {"type": "STR", "name": "Configuration", "value": "first line\nsecond line"},
    "size": {"type": "INT", "name": "Size", "min": 1, "max": 10, "value": 4, "description": "How large it is."},
    "odd": {"type": "RANGE", "name": "Odd number", "min": 1, "step": 2, "value": 3},
    "share": {"type": "FLOAT", "name": "Share", "precision": 2, "value": 0.5},
    "debug": {"type": "BOOL", "name": "Debug", "description": "Write more to the output."},
    "level": {"type": "INT", "name": "Debug level", "min": 1, "required": True, "value": 1, "if": "debug"},
    "kind": {"type": "selection", "name": "Kind", "values": ["small", "large"], "mvalues": ["s", "l"]},
    "input": {"type": "FILE", "name": "Input", "filter": "*.csv|*.txt"},
    "upload": {"type": "UPLOAD", "name": "Settings file", "target": "in/settings.ini", "size": 1000},
    "fixed": {"type": "CONST", "value": "%CORES%"},
}
APPS = {
    "forms": an_app(
        an_appdef(
            name="Forms",
            description="Has a field of every kind.",
            image={"type": "image/png", "data": ICON},
            commands={
                "Run": a_command(name="Run", parameters=PARAMETERS),
                "Other": a_command(name="Other command", description="Has no fields."),
            },
        )
    )
}


@dataclass(frozen=True)
class State:
    """
    `prepare` fills the stores. `heading` is in the page's h1. `user` is None for a visitor without a session.

    With `press`, the page is the one that follows after the fields of these labels were filled in and the button of
    that name was pressed, even if the browser finds mistakes. `meanwhile` happens before.
    """

    path: str
    heading: str
    user: str | None = "user1"
    prepare: Callable[[Ui], None] = lambda _ui: None
    status: int = 200
    press: str = ""
    fill: Mapping[str, str] = field(default_factory=dict)
    meanwhile: Callable[[Ui], None] = lambda _ui: None


def _jobs(ui: Ui) -> None:
    ui.api.add(a_job().numbered(5).labelled("Finished analysis").exposed().ended().removed(), output=LOG)
    failed = a_job().numbered(6).started().ended(JobState.FAILED)
    ui.api.add(failed.with_status(reason=Reason.IMAGE_NOT_PULLABLE, message="image not found"), output="pulling\n")
    ui.api.add(_serving().numbered(7), output=LOG)
    ui.api.add(a_job().numbered(8).labelled("Second notebook").spawning())
    ui.api.add(a_job().numbered(9).exposed().stopping())


def _serving() -> Any:
    usage = Usage(time=START, cores=1.5, gib=2, gpus=0)
    job = a_job().labelled("My notebook").exposed().with_accepted(walltime_s=7200).with_status(usage=usage)
    return job.condition(ConditionType.NAMESPACE_READY, at_s=2).condition(ConditionType.DEPLOYED, at_s=35)


def _serve(ui: Ui) -> None:
    ui.api.add(_serving(), output=LOG)
    ui.api.clock.advance(600)
    container = {"usage": {"cpu": "1500m", "memory": "1Gi"}}
    ui.api.namespaces.objects[Kind.POD_METRICS, NAMESPACE] = [{"containers": [container]}]


def _wait(ui: Ui) -> None:
    """A job that waits, with a warning of the host."""
    job = a_job().spawning().condition(ConditionType.NAMESPACE_READY, at_s=2)
    message = "0/1 nodes are available: 1 Insufficient cpu."
    ui.api.add(job.condition(ConditionType.VIRTUAL_CLUSTER_READY, true=False, reason=Reason.SPAWNING))
    event = {
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": message,
        "count": 3,
        "lastTimestamp": (START + timedelta(seconds=5)).isoformat(),
        "involvedObject": {"kind": "Pod", "name": "kns-job-7-0"},
    }
    ui.api.namespaces.objects[Kind.EVENT, NAMESPACE] = [event]
    ui.api.clock.advance(20)


def _deploy(ui: Ui) -> None:
    ui.api.add(a_job().started().condition(ConditionType.NAMESPACE_READY, at_s=2), output="pulling\n")


def _fail(ui: Ui) -> None:
    failed = a_job().started().ended(JobState.FAILED)
    message = "container web: ImagePullBackOff: registry.example.org/apps/hello:1 not found"
    ui.api.add(failed.with_status(reason=Reason.IMAGE_NOT_PULLABLE, message=message), output="pulling\n")


WORD = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 5
HELP = (
    f"<h1>How to</h1><p>{WORD}</p><table><tr>"
    + "".join(f"<td>column&nbsp;{number}&nbsp;of&nbsp;many</td>" for number in range(30))
    + "</tr></table>"
)


def _name_badly(ui: Ui) -> None:
    """Names, output and help of strangers: without a space, from right to left, invisible, for a terminal."""
    _serve(ui)
    ui.api.add(
        _serving().labelled(WORD), output=f"\x1b[31m{WORD}\x1b[0m\n\u202e{WORD}\n\u05e9\u05dc\u05d5\u05dd\n\u200b\x00\n"
    )
    stored = ui.api.outputs.outputs["kns-job-7"]
    ui.api.outputs.outputs["kns-job-7"] = replace(stored, help=HELP)
    ui.api.add(a_job().numbered(8).labelled(f"\u202e{WORD[:200]}").exposed())
    ui.api.add(a_job().numbered(9).labelled("\u200b").exposed())
    ui.api.add(a_job().numbered(10).labelled("\u05e9\u05dc\u05d5\u05dd (1)").exposed())
    failed = a_job().numbered(11).labelled("\U0001f9ea" * 40).started().ended(JobState.FAILED)
    ui.api.add(failed.with_status(reason=Reason.IMAGE_NOT_PULLABLE, message=WORD * 5))


def _name_app_badly(ui: Ui) -> None:
    command = a_command(
        name=WORD,
        description=WORD,
        parameters={
            "x": {"type": "STR", "name": WORD, "description": WORD, "value": WORD},
            "kind": {"type": "selection", "name": "\u202eKind", "values": [WORD, "\u200b"]},
            "on": {"type": "BOOL", "name": "\u200b"},
        },
    )
    app = an_app(an_appdef(name=WORD, description=WORD, author=WORD, commands={"Run": command}))
    blank = an_app(an_appdef(name="\u200b", author="\u202eblank"))
    ui.api.catalog.catalog = a_catalog(apps={"forms": app, "blank": blank})


def _end_sessions(ui: Ui) -> None:
    ui.keys.keys = ("another key of this installation",)


def _lose_host(ui: Ui) -> None:
    _serve(ui)
    fault = UnavailableError("the host does not answer")
    ui.api.namespaces.faults = dict.fromkeys(Kind, fault)


def _lose_objects(ui: Ui) -> None:
    """The sweeper has found objects without a job."""
    event = {"type": "Warning", "reason": "OrphanFound", "message": "Namespace kns-job-3 is an orphan", "count": 3}
    ui.api.namespaces.objects[Kind.EVENT, "kns-system"] = [{**event, "lastTimestamp": START.isoformat()}]


def _lose_records(ui: Ui) -> None:
    ui.api.jobs.faults = dict.fromkeys(("find", "walk_jobs"), UnavailableError("the cache is not filled yet"))


def _add_apps(ui: Ui) -> None:
    ui.api.catalog.catalog = a_catalog(apps=APPS)


def _empty_catalog(ui: Ui) -> None:
    full = a_catalog()
    ui.api.catalog.catalog = type(full)(users=full.users, machines={}, apps={}, vaults={})


def _know_room(ui: Ui) -> None:
    """kns may list the nodes: one of them, with a job on it. A machine's nodes are not known yet."""
    _add_apps(ui)
    taken = {frozenset[tuple[str, str]](): (Decimal(3), Decimal(2**30), Decimal(0))}
    ui.app.state.ports = replace(ui.api.ports, room=MemoryRoom(nodes=[a_node()], taken=taken))


def _fill_room(ui: Ui) -> None:
    _know_room(ui)
    ui.app.state.ports.room.taken[frozenset()] = (Decimal(8), Decimal(0), Decimal(0))


def _give_volumes(ui: Ui) -> None:
    ui.app.state.ports = replace(ui.api.ports, has_volume=lambda _job: True)


def _serve_with_volume(ui: Ui) -> None:
    _give_volumes(ui)
    _serve(ui)


def _sleep(ui: Ui, reason: Reason = Reason.ASLEEP) -> None:
    """A job that served and sleeps since a minute."""
    _give_volumes(ui)
    ui.api.add(_serving().resting(reason, sleep=reason is not Reason.WAKING), output=LOG)
    ui.api.clock.advance(600)


def _add_keycloak(ui: Ui) -> None:
    ui.app.state.web = replace(ui.web, url="http://kns.example.org", provider=FakeRealm())


def _repeat(ui: Ui) -> None:
    _add_apps(ui)
    ui.api.add(
        a_job()
        .with_spec(app="forms", parameters={"title": "Again", "size": 7, "debug": True})
        .with_accepted(command="Run")
    )


STATES: dict[str, State] = {
    "sign-in": State("/ui/sign-in", "Sign in", user=None),
    "sign-in-keycloak": State("/ui/sign-in", "Sign in", user=None, prepare=_add_keycloak),
    "keycloak-failed": State(
        "/ui/sign-in/keycloak/back?code=x", "Sign in", user=None, prepare=_add_keycloak, status=401
    ),
    "session-ended": State("/ui/sign-in?ended=1&to=/ui/jobs/7", "Sign in", user=None),
    "jobs": State("/ui/jobs", "Jobs", prepare=_jobs),
    "jobs-none": State("/ui/jobs", "Jobs"),
    "jobs-ended": State("/ui/jobs?show=ended", "Jobs", prepare=_jobs),
    "jobs-ended-none": State("/ui/jobs?show=ended", "Jobs"),
    "jobs-not-found": State("/ui/jobs?q=nothing", "Jobs", prepare=_jobs),
    "jobs-team": State("/ui/jobs?of=team", "Jobs of your team", user="payer1", prepare=_jobs),
    "job-waits": State("/ui/jobs/7", "hello", prepare=_wait),
    "job-deploys": State("/ui/jobs/7", "hello", prepare=_deploy),
    "job-serves": State("/ui/jobs/7", "My notebook", prepare=_serve),
    "job-can-sleep": State("/ui/jobs/7", "My notebook", prepare=_serve_with_volume),
    "job-falls-asleep": State("/ui/jobs/7", "My notebook", prepare=partial(_sleep, reason=Reason.FALLING_ASLEEP)),
    "job-sleeps": State("/ui/jobs/7", "My notebook", prepare=_sleep),
    "job-wakes": State("/ui/jobs/7", "My notebook", prepare=partial(_sleep, reason=Reason.WAKING)),
    "jobs-asleep": State("/ui/jobs", "Jobs", prepare=_sleep),
    "job-badly-named": State("/ui/jobs/7", WORD, prepare=_name_badly),
    "jobs-badly-named": State("/ui/jobs", "Jobs", prepare=_name_badly),
    "job-badly-named-stop": State("/ui/jobs/8/stop", "Stop job 8?", prepare=_name_badly),
    "admin-badly-named": State("/ui/admin", "Administration", user="admin1", prepare=_name_badly),
    "apps-badly-named": State("/ui/apps", "Apps", prepare=_name_app_badly),
    "app-badly-named": State("/ui/apps/forms", WORD, prepare=_name_app_badly),
    "job-extend-refused": State(
        "/ui/jobs/7/extend", "Let job 7 run longer", prepare=_serve, press="Extend", fill={"How much longer": "soon"}
    ),
    "job-failed": State("/ui/jobs/7", "hello", prepare=_fail),
    "job-without-host": State("/ui/jobs/7", "My notebook", prepare=_lose_host),
    "job-events": State("/ui/jobs/7/events", "Events of job 7", user="admin1", prepare=_wait),
    "job-extend": State("/ui/jobs/7/extend", "Let job 7 run longer", prepare=_serve),
    "job-extend-ended": State("/ui/jobs/7/extend", "Let job 7 run longer", prepare=_fail),
    "job-stop": State("/ui/jobs/7/stop", "Stop job 7?", prepare=_serve),
    "job-stop-ended": State("/ui/jobs/7/stop", "Stop job 7?", prepare=_fail),
    "job-unknown": State("/ui/jobs/77", "Not found", status=404),
    "apps": State("/ui/apps", "Apps", prepare=_add_apps),
    "apps-not-found": State("/ui/apps?q=nothing", "Apps"),
    "apps-none": State("/ui/apps", "Apps", prepare=_empty_catalog),
    "app": State("/ui/apps/forms", "Forms", prepare=_add_apps),
    "app-without-fields": State("/ui/apps/hello", "Hello"),
    "app-again": State("/ui/apps/forms?again=7", "Forms", prepare=_repeat),
    "app-refused": State(
        "/ui/apps/forms", "Forms", prepare=_add_apps, press="Submit", fill={"Title": "Mine", "Size": "11"}
    ),
    "app-session-ended": State(
        "/ui/apps/forms",
        "Your session has ended",
        prepare=_add_apps,
        press="Submit",
        fill={"Title": "Mine"},
        meanwhile=_end_sessions,
    ),
    "signed-out": State("/ui/jobs", "Signed out", press="Sign out"),
    "app-of-idle": State("/ui/apps/hello", "Hello", user="idle1"),
    "machines": State("/ui/machines", "Machines"),
    "machines-free": State("/ui/machines", "Machines", prepare=_know_room),
    "machines-full": State("/ui/machines", "Machines", prepare=_fill_room),
    "app-free": State("/ui/apps/forms", "Forms", prepare=_know_room),
    "machines-none": State("/ui/machines", "Machines", prepare=_empty_catalog),
    "admin": State("/ui/admin", "Administration", user="admin1", prepare=_jobs),
    "admin-none": State("/ui/admin", "Administration", user="admin1"),
    "admin-orphans": State("/ui/admin", "Administration", user="admin1", prepare=_lose_objects),
    "admin-without-host": State("/ui/admin", "Administration", user="admin1", prepare=_lose_host),
    "admin-refused": State("/ui/admin", "Not allowed", status=403),
    "records-unread": State("/ui/jobs", "kns cannot answer now", prepare=_lose_records, status=503),
    "unknown-page": State("/ui/nothing", "Not found", status=404),
}


def _show(ui: Ui) -> None:
    """A job that deploys, after some that ended: for the pictures of the documentation."""
    for number in range(1, 5):
        ended = a_job().numbered(number).condition(ConditionType.NAMESPACE_READY, at_s=2).started(at_s=18)
        ended = ended.condition(ConditionType.PREPARED, at_s=20).condition(ConditionType.DEPLOYED, at_s=44)
        ui.api.add(ended.exposed(at_s=46).ended(at_s=900))
    job = a_job().labelled("Notebook for the seminar").condition(ConditionType.NAMESPACE_READY, at_s=2)
    job = job.started(at_s=19).condition(ConditionType.PREPARED, at_s=21)
    ui.api.add(job, output="[1/2] database, attempt 1\nstatefulset.apps/database created\n[2/2] notebook, attempt 1\n")
    ui.api.clock.advance(37)


PICTURED = State("/ui/jobs/7", "Notebook for the seminar", prepare=_show)
