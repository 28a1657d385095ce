"""
The protocol that an upstream JARVICE speaks to its schedulers, over the same job store as the public API.

Upstream is trusted with its users: it sends no API keys, its server key is the credential. It finds its jobs again by
the name it gave them, so a job submitted here keeps that name; the number, and with it the jobid `kns-job-<number>`,
is ours (docs/decisions/0009-upstream-protocol.md).
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Response

from kns.api import jobs as public
from kns.api.answers import JsonAnswer, TextAnswer
from kns.api.errors import (
    BAD_REQUEST,
    MALFORMED,
    NOT_STORED,
    STILL_LIVE,
    UNAUTHORIZED,
    UNKNOWN_APP,
    UNKNOWN_JOB,
    UNKNOWN_ROUTE,
    ApiError,
    Refusal,
)
from kns.api.insight import read_events
from kns.api.lookup import accepted_jobs
from kns.api.params import Params
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of, elapsed_s
from kns.api.submit import MAX_BYTES
from kns.api.upstream_args import (
    GivenJob,
    GivenRequest,
    GivenSubmission,
    SubmitArgs,
    check_key,
    find_upstream_job,
)
from kns.model import names
from kns.model.appdef.appdef import parse_appdef
from kns.model.catalog.catalog import Catalog
from kns.model.errors import InvalidInputError, KnsError, UnknownAppError, clip
from kns.model.job.idempotency import digest_request
from kns.model.job.job import EXIT_CODES, Job, JobSpec, JobState, StopReason
from kns.model.reading.duration import format_walltime
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission, accept, build_spec

NO_USER = ""  # upstream's names are of one row; no user of the public API has this name
INFO_KEYS = ("about", "help", "url", "actions")

log = structlog.get_logger(__name__)
router = APIRouter(dependencies=[Depends(check_key)])


@router.get("/gc")
def gc(ports: Ports) -> Response:
    """Nothing is collected here, the leader does that by itself; upstream only learns whether the cluster answers."""
    is_ready = ports.health.is_ready()
    return JsonAnswer({"status": "OK" if is_ready else "BAD"}, status_code=200 if is_ready else 500)


@router.get("/nodes")
@router.post("/online")
def confirm() -> Response:
    """Upstream's book-keeping of nodes, which nested jobs do not have."""
    return JsonAnswer(True)


@router.get("/running")
def running(ports: Ports) -> Response:
    return JsonAnswer(_list_in_state(ports, JobState.PROCESSING))


@router.get("/queued")
def queued(ports: Ports) -> Response:
    return JsonAnswer(_list_in_state(ports, JobState.SUBMITTED))


def _list_in_state(ports: ApiPorts, state: JobState) -> list[list[str]]:
    found = [accepted_of(job) for job in accepted_jobs(ports) if job.status.job_status is state]
    return [[job.name, names.job_object_name(job.number)] for job in sorted(found, key=lambda job: job.number)]


@router.post("/submit")
def submit(ports: Ports, args: GivenSubmission) -> Response:
    """A repeated call gets the job that the first one made: upstream asks again when an answer was lost."""
    try:
        job = _find_or_create(ports, args)
    except InvalidInputError as error:
        raise _refused(MALFORMED.because(str(error))) from error
    except UnknownAppError as error:
        raise _refused(UNKNOWN_APP.because(str(error))) from error
    except KnsError as error:
        log.error("job_not_stored", upstream=True, error=clip(str(error)))  # noqa: TRY400 - no stack
        raise _refused(NOT_STORED) from error
    return JsonAnswer([names.job_object_name(accepted_of(job).number), _script_of(job)])


def _refused(refusal: Refusal) -> ApiError:
    """Every failure of a submit is 500 in this protocol."""
    return ApiError(Refusal(500, refusal.error))


def _find_or_create(ports: ApiPorts, args: SubmitArgs) -> Job:
    spec = _read_spec(args)
    earlier = find_upstream_job(ports, jobid=None, name=args.name) if args.name else None
    job = earlier or _create(ports, args, spec)
    if (job.spec.user, job.spec.app) != (spec.user, spec.app):
        raise InvalidInputError("args.name", f"{args.name} is the name of another job")
    return job


def _create(ports: ApiPorts, args: SubmitArgs, spec: JobSpec) -> Job:
    """A new job, or what another replica made of the same call at the same time."""
    accepted = accept(
        spec,
        catalog=_with_appdef(ports.catalog.current(), spec.app, args.appdef),
        terms=ports.terms,
        now=ports.clock.now(),
        rng=ports.rng,
        allot_number=ports.jobs.allot_number,
    )
    named = accepted.model_copy(update={"name": args.name or accepted.name})
    request = digest_request(NO_USER, args.name) if args.name else None
    job = ports.jobs.create(spec.model_copy(update={"accepted": named}), request=request)
    log.info("job_submitted", job=job.record, number=job.number, user=spec.user, app=spec.app, upstream=True)
    return job


def _read_spec(args: SubmitArgs) -> JobSpec:
    """The user is taken at upstream's word; whether the catalogue has it is checked with everything else."""
    body = args.submission
    size = len(json.dumps(body).encode())
    if size > MAX_BYTES:
        raise InvalidInputError("args.submission", f"has {size} bytes, a job holds at most {MAX_BYTES}")
    submission = parse_model(Submission, {**body, "user": None}, prefix="args.submission")
    user = body.get("user")
    username = user.get("username") if isinstance(user, dict) else None
    if not isinstance(username, str) or not username:
        raise InvalidInputError("args.submission.user.username", "is required")
    return build_spec(submission, user=username, body=body)


def _with_appdef(catalog: Catalog, app_id: str, appdef: dict[str, Any] | None) -> Catalog:
    """The catalogue with upstream's AppDef in place of its own; the image stays the catalogue's."""
    app = catalog.apps.get(app_id)
    if app is None or appdef is None:  # `accept` refuses an unknown app
        return catalog
    try:
        data = parse_appdef(appdef)
    except InvalidInputError as error:
        raise InvalidInputError(f"args.appdef.{error.path}".rstrip("."), error.problem) from error
    return replace(catalog, apps={**catalog.apps, app_id: app.model_copy(update={"data": data})})


def _script_of(job: Job) -> str:
    """What the job was frozen with and will do: the nearest thing to a script that a nested job has."""
    return json.dumps(accepted_of(job).nested.model_dump(mode="json", exclude_none=True), indent=4)


@router.post("/runstatus")
def runstatus(ports: Ports, args: GivenJob) -> Response:
    """The one "node" is the job's virtual cluster; the third item is the path that upstream puts after /request/."""
    job = find_upstream_job(ports, jobid=args.jobid, name=args.name)
    if job is None:
        return JsonAnswer([None, None, None, None])
    accepted = accepted_of(job)
    jobid = names.job_object_name(accepted.number)
    number = accepted.number if args.number is None else args.number
    return JsonAnswer([[jobid], _elapsed(ports, job), f"{accepted.name}/{number}/{jobid}", None])


@router.post("/exitstatus")
def exitstatus(ports: Ports, args: GivenJob) -> Response:
    """
    The end of a job, even while its leftovers are being removed, which nobody has to ask for.

    A live job is a failed call and never "cancelled": upstream would close a job that still costs.
    """
    job = find_upstream_job(ports, jobid=args.jobid, name=args.name)
    if job is None:
        return JsonAnswer([EXIT_CODES[JobState.CANCELED], format_walltime(0), ["", _termination_line("UNKNOWN")]])
    if not job.is_ended:
        raise ApiError(STILL_LIVE)
    status = job.status
    output = public.render_output(ports, job)
    line = _termination_line(": ".join(filter(None, [str(status.job_status), status.message])))
    return JsonAnswer([status.exit_code, _elapsed(ports, job), [output, line]])


def _elapsed(ports: ApiPorts, job: Job) -> str:
    return format_walltime(elapsed_s(job, ports.clock.now()))


def _termination_line(state: str) -> str:
    return f"<< termination state: {state} >>"


@router.post("/terminate")
def terminate(ports: Ports, args: GivenJob) -> Response:
    """True also for a job that is gone; a store that cannot be written is an error, so that upstream asks again."""
    job = find_upstream_job(ports, jobid=args.jobid, name=args.name)
    if job is not None and not job.is_ended:
        public.request_stop(ports, job, StopReason.TERMINATE)
    return JsonAnswer(True)


@router.post("/release")
def release(_args: GivenJob) -> Response:
    """No job is ever held."""
    return JsonAnswer(True)


@router.post("/events")
def events(ports: Ports, args: GivenJob) -> Response:
    job = _known(find_upstream_job(ports, jobid=args.jobid, name=args.name))
    return TextAnswer(read_events(ports, job))


def _known(job: Job | None) -> Job:
    if job is None:
        raise ApiError(UNKNOWN_JOB)
    return job


@router.post("/request/pvcls")
def list_vault(args: GivenRequest) -> Response:
    """kns mounts no vault itself, so it has no files to list: an empty listing, as in the public `vault`."""
    params = args.params()
    if params.text("path") is None:
        raise ApiError(UNAUTHORIZED)  # what the protocol calls any failure of this route
    return TextAnswer("")


@router.post("/request/{path:path}")
def request(ports: Ports, path: str, args: GivenRequest) -> Response:
    """What upstream passes on from a user whom it has checked: the path of `runstatus` and a method."""
    name, number, jobid, method, *rest = *path.split("/"), *[""] * 4
    action = REQUESTS.get(method)
    if any(rest) or action is None or not (name and number and jobid):
        raise ApiError(BAD_REQUEST)
    return action(ports, _known(find_upstream_job(ports, jobid=jobid, name=name)), args.params())


def _ping(_ports: ApiPorts, _job: Job, _params: Params) -> Response:
    return JsonAnswer({"status": "OK"})


def _info(ports: ApiPorts, job: Job, _params: Params) -> Response:
    entry = public.read_info(ports, job)
    return JsonAnswer({key: entry[key] for key in INFO_KEYS})


def _refuse_screenshot(_ports: ApiPorts, _job: Job, _params: Params) -> Response:
    raise ApiError(UNKNOWN_ROUTE)


REQUESTS: dict[str, Callable[[ApiPorts, Job, Params], Response]] = {
    "": _ping,  # a path without a method, which published schedulers take as a ping
    "ping": _ping,
    "shutdown": lambda ports, job, _params: public.shutdown(ports, job),
    "abort": lambda ports, job, _params: public.terminate(ports, job),
    "connect": lambda ports, job, _params: public.connect(ports, job),
    "info": _info,
    "tail": lambda ports, job, params: public.tail(ports, public.read_lines(params), job),
    "screenshot": _refuse_screenshot,
}
