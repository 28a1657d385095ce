"""The routes about jobs."""

from typing import Annotated

from fastapi import Depends, Response

from kns.api.kns.errors import ERRORS, LOOKUP
from kns.api.kns.shapes import connection_entry, explanation_entry, free_entry, job_entry, limits_entry, overview_entry
from kns.http.answers import JsonAnswer
from kns.http.auth import REQUIRED, Caller
from kns.http.dependencies import Ports
from kns.http.errors import INVALID_PARAMETERS, PARAMETERS_MISSING, HttpError
from kns.http.lookup import JOB, KnownJob
from kns.http.parameters import Given
from kns.http.routes import POST, Parameter, Route, Routes
from kns.http.schemas import BOOLEAN, INTEGER, STRING, a_record, ref
from kns.model.errors import InvalidInputError, RefusedError, TransientError
from kns.service.catalog import count_free
from kns.service.control import delete_record, put_to_sleep, set_keep
from kns.service.control import extend as extend_job
from kns.service.control import wake as wake_job
from kns.service.errors import (
    CannotSleepError,
    InactiveAccountError,
    NotEndedError,
    NotPermittedError,
    NotRunningError,
)
from kns.service.explain import explain as explain_job
from kns.service.find import accepted_of
from kns.service.overview import list_all_live, read_allowance, read_overview
from kns.service.view import read_connection

PAGE = 50  # live jobs in one answer
MOST_PAGES = 9999

routes = Routes(ERRORS)


@routes.add(
    Route(
        "job",
        "One job, live or ended, with its timeline.",
        answer=ref("Job"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=LOOKUP,
    )
)
async def job(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(job_entry(job, now=ports.clock.now()))


@routes.add(
    Route(
        "explain",
        "What a job does or waits for, why, and what its user can do.",
        answer=ref("Explanation"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=LOOKUP,
    )
)
def explain(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(explanation_entry(explain_job(ports, job)))


@routes.add(
    Route(
        "limits",
        "How many live jobs the caller has, and may have.",
        answer=ref("Limits"),
        credentials=REQUIRED,
        errors=(TransientError,),
    )
)
async def limits(ports: Ports, caller: Caller) -> Response:
    return JsonAnswer(limits_entry(read_allowance(ports, caller)))


@routes.add(
    Route(
        "free",
        "How many more jobs of each machine would find room now.",
        answer=ref("Free"),
        credentials=REQUIRED,
    )
)
def free(ports: Ports, _caller: Caller) -> Response:
    return JsonAnswer(free_entry(count_free(ports)))


async def _read_page(_caller: Caller, params: Given) -> int:
    page = params.integer("page")
    if page is None:
        return 1
    if not 1 <= page <= MOST_PAGES:
        raise HttpError(INVALID_PARAMETERS)
    return page


@routes.add(
    Route(
        "overview",
        "The whole installation: who uses what, why jobs failed, orphans, live jobs; for system admins.",
        answer=ref("Overview"),
        parameters=(Parameter("page", f"Which {PAGE} live jobs, from 1 for the newest.", INTEGER),),
        credentials=REQUIRED,
        errors=(TransientError, NotPermittedError),
    )
)
def overview(ports: Ports, caller: Caller, page: Annotated[int, Depends(_read_page)]) -> Response:
    found = read_overview(ports, caller)
    live, has_more = list_all_live(ports, caller, start=(page - 1) * PAGE, most=PAGE)
    return JsonAnswer(overview_entry(found, live, has_more=has_more, now=ports.clock.now()))


@routes.add(
    Route(
        "connection",
        "How to reach a running job, and its web shell.",
        answer=ref("Connection"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotRunningError),
    )
)
def connection(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(connection_entry(read_connection(ports, job)))


async def _read_walltime(_caller: Caller, params: Given) -> str:
    walltime = params.text("walltime")
    if walltime is None:
        raise HttpError(PARAMETERS_MISSING)
    return walltime


@routes.add(
    Route(
        "extend",
        "Extend the walltime of a live job. A repeated call has no further effect.",
        answer=a_record({"walltime_seconds": INTEGER}),
        parameters=(
            *JOB,
            Parameter(
                "walltime", "The new walltime as HH:MM:SS, counted from the start of the job.", STRING, required=True
            ),
        ),
        methods=POST,
        credentials=REQUIRED,
        errors=(*LOOKUP, InvalidInputError, NotRunningError, InactiveAccountError, RefusedError),
    )
)
def extend(ports: Ports, caller: Caller, walltime: Annotated[str, Depends(_read_walltime)], job: KnownJob) -> Response:
    return JsonAnswer({"walltime_seconds": extend_job(ports, caller, job, walltime)})


@routes.add(
    Route(
        "sleep",
        "Put a job that serves to sleep: its pods end, its state stays. A repeated call has no further effect.",
        answer=a_record({"number": INTEGER}),
        parameters=JOB,
        methods=POST,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotRunningError, CannotSleepError, RefusedError),
    )
)
def sleep(ports: Ports, caller: Caller, job: KnownJob) -> Response:
    put_to_sleep(ports, caller, job)
    return JsonAnswer({"number": accepted_of(job).number})


@routes.add(
    Route(
        "wake",
        "Wake a job that is asleep. It has no effect on a job that is awake.",
        answer=a_record({"number": INTEGER}),
        parameters=JOB,
        methods=POST,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotRunningError, InactiveAccountError, RefusedError),
    )
)
def wake(ports: Ports, caller: Caller, job: KnownJob) -> Response:
    wake_job(ports, caller, job)
    return JsonAnswer({"number": accepted_of(job).number})


async def _read_keep(_caller: Caller, params: Given) -> bool:
    keep = params.values.get("keep")
    if keep is None:
        raise HttpError(PARAMETERS_MISSING)
    if not isinstance(keep, bool) and keep not in ("true", "false"):
        raise HttpError(INVALID_PARAMETERS)
    return params.flag("keep")


@routes.add(
    Route(
        "keep",
        "Keep everything of a live job after its end, or no longer; for system admins.",
        answer=a_record({"keep": BOOLEAN}),
        parameters=(*JOB, Parameter("keep", "`true` or `false`.", BOOLEAN, required=True)),
        methods=POST,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotPermittedError, NotRunningError, RefusedError),
    )
)
def keep(ports: Ports, caller: Caller, wanted: Annotated[bool, Depends(_read_keep)], job: KnownJob) -> Response:
    set_keep(ports, caller, job, keep=wanted)
    return JsonAnswer({"keep": wanted})


@routes.add(
    Route(
        "delete",
        "Delete the record of an ended job, and what was kept of it; for system admins.",
        answer=a_record({"number": INTEGER}),
        parameters=JOB,
        methods=POST,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotPermittedError, NotEndedError),
    )
)
def delete(ports: Ports, caller: Caller, job: KnownJob) -> Response:
    delete_record(ports, caller, job)
    return JsonAnswer({"number": accepted_of(job).number})
