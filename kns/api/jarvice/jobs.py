"""
The routes about existing jobs, also those that the original API has and a nested job never offers.

The framework tries routes in the order of declaration, so the two that clients poll are first.
"""

from typing import Annotated, Any

from fastapi import Depends, Response

from kns.api.jarvice.errors import (
    ERRORS,
    LOOKUP,
    NO_SCREEN,
    NO_SIGNAL,
    RUNNING,
    STORE,
    UNKNOWN_AT_STATUS,
    UNKNOWN_AT_STOP,
)
from kns.api.jarvice.shapes import info_entry, job_entries, metrics_entry, status_entry
from kns.http.answers import TEXT, JsonAnswer, TextAnswer, answer_map
from kns.http.auth import REQUIRED, Admin, Caller
from kns.http.dependencies import Ports
from kns.http.errors import INVALID_PARAMETERS, PARAMETERS_MISSING, HttpError
from kns.http.events import render_events
from kns.http.lookup import JOB, LINES, Integers, KnownJob, Lines
from kns.http.parameters import Given
from kns.http.routes import Parameter, Route, Routes
from kns.http.schemas import BOOLEAN, INTEGER, STRING, a_word, ref
from kns.service.control import shut_down
from kns.service.control import terminate as end_job
from kns.service.errors import NotEndedError
from kns.service.find import accepted_of, require_running
from kns.service.insight import measure, read_events
from kns.service.view import list_own_jobs, list_team_jobs, read_connection, read_login, read_output, read_tail

COMPLETED = Parameter("completed", "Only ended jobs.", {**BOOLEAN, "default": False})

routes = Routes(ERRORS)


@routes.add(
    Route(
        "status",
        "One job, live or ended.",
        answer=ref("Statuses"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=LOOKUP,
        rows=UNKNOWN_AT_STATUS,
    )
)
async def status(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer({str(accepted_of(job).number): status_entry(job, now=ports.clock.now())})


@routes.add(
    Route(
        "tail",
        "The last lines of a running job's output.",
        answer=STRING,
        parameters=(*JOB, LINES),
        media=TEXT,
        credentials=REQUIRED,
        errors=RUNNING,
    )
)
def tail(ports: Ports, lines: Lines, job: KnownJob) -> Response:
    return TextAnswer(read_tail(ports, job, lines))


@routes.add(
    Route(
        "jobs",
        "The caller's own jobs by number.",
        answer=ref("Jobs"),
        parameters=(
            COMPLETED,
            Parameter("label", "Only jobs whose label has this text in it."),
            Parameter("exactmatch", "`label` is the whole label.", {**BOOLEAN, "default": False}),
            Parameter("all", "Live and ended jobs.", {**BOOLEAN, "default": False}),
        ),
        credentials=REQUIRED,
        errors=STORE,
    )
)
def jobs(ports: Ports, caller: Caller, params: Given) -> Response:
    label, exact = params.text("label"), params.flag("exactmatch")
    completed, everything = params.flag("completed"), params.flag("all")
    found = list_own_jobs(
        ports, caller, live=everything or not completed, ended=everything or completed, label=label, exact=exact
    )
    return answer_map(job_entries(found, now=ports.clock.now()))


def _without_jobsub(member: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    member[1]["job_api_submission"].pop("jobsub", None)
    return member


@routes.add(
    Route(
        "teamjobs",
        "The jobs of the caller's team for its payer and its admins; else the caller's own.",
        answer=ref("Jobs"),
        parameters=(COMPLETED,),
        credentials=REQUIRED,
        errors=STORE,
    )
)
def teamjobs(ports: Ports, caller: Caller, params: Given) -> Response:
    """Without `jobsub`, which is private between a member and the portal."""
    completed = params.flag("completed")
    entries = job_entries(list_team_jobs(ports, caller, live=not completed, ended=completed), now=ports.clock.now())
    return answer_map(map(_without_jobsub, entries))


@routes.add(
    Route(
        "info",
        "How to reach a running job.",
        answer=ref("Info"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=RUNNING,
    )
)
def info(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(info_entry(read_connection(ports, job)))


@routes.add(
    Route(
        "connect",
        "Address and password of a running job.",
        answer=ref("Connect"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=RUNNING,
    )
)
def connect(ports: Ports, job: KnownJob) -> Response:
    address, password = read_login(ports, job)
    return JsonAnswer({"address": address, "password": password})


@routes.add(
    Route(
        "output",
        "The output of an ended job.",
        answer=STRING,
        parameters=(*JOB, LINES),
        media=TEXT,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotEndedError),
    )
)
def output(ports: Ports, lines: Lines, job: KnownJob) -> Response:
    return TextAnswer(read_output(ports, job, lines))


@routes.add(
    Route(
        "events",
        "Kubernetes events of a live job's namespace, oldest first; for system admins.",
        answer=STRING,
        parameters=JOB,
        media=TEXT,
        credentials=REQUIRED,
        errors=RUNNING,
    )
)
def events(ports: Ports, _admin: Admin, job: KnownJob) -> Response:
    return TextAnswer(render_events(read_events(ports, job)))


@routes.add(
    Route(
        "metrics",
        "What a running job uses.",
        answer=ref("Metrics"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=RUNNING,
    )
)
def metrics(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(metrics_entry(measure(ports, job)))


@routes.add(
    Route(
        "shutdown",
        "Ask a running job to end; it ends COMPLETED.",
        answer=a_word("shutdown requested"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=RUNNING,
        rows=UNKNOWN_AT_STOP,
    )
)
def shutdown(ports: Ports, job: KnownJob) -> Response:
    shut_down(ports, job)
    return JsonAnswer({"status": "shutdown requested"})


@routes.add(
    Route(
        "terminate",
        "End a live job; an ended one stays as it is.",
        answer=a_word("terminated"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=LOOKUP,
        rows=UNKNOWN_AT_STOP,
    )
)
def terminate(ports: Ports, job: KnownJob) -> Response:
    end_job(ports, job)
    return JsonAnswer({"status": "terminated"})


@routes.add(
    Route(
        "screenshot",
        "Nested jobs have no screen: always 404.",
        parameters=(
            *JOB,
            Parameter("width", "Width of the picture.", INTEGER),
            Parameter("height", "Height of the picture.", INTEGER),
            Parameter("emphatic", "Present for true."),
        ),
        credentials=REQUIRED,
        errors=(*RUNNING, NO_SCREEN),
    )
)
def screenshot(_size: Annotated[None, Depends(Integers("width", "height"))], job: KnownJob) -> Response:
    require_running(job)
    raise HttpError(NO_SCREEN)


@routes.add(
    Route(
        "signal",
        "A nested job has no single process: always refused.",
        parameters=(*JOB, Parameter("signal", "Number of the signal.", {**INTEGER, "default": 20})),
        credentials=REQUIRED,
        errors=(*RUNNING, NO_SIGNAL),
        rows=UNKNOWN_AT_STOP,
    )
)
def signal(_signal: Annotated[None, Depends(Integers("signal"))], job: KnownJob) -> Response:
    require_running(job)
    raise HttpError(NO_SIGNAL)


async def _require_action(_caller: Caller, params: Given) -> None:
    if params.text("action") is None:
        raise HttpError(PARAMETERS_MISSING)


@routes.add(
    Route(
        "action",
        "Nested apps define no actions: always refused.",
        parameters=(*JOB, Parameter("action", "Name of the action.", required=True)),
        credentials=REQUIRED,
        errors=RUNNING,
    )
)
def action(_action: Annotated[None, Depends(_require_action)], job: KnownJob) -> Response:
    """A nested app defines no actions, so every action is unknown."""
    require_running(job)
    raise HttpError(INVALID_PARAMETERS)
