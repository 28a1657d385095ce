"""The calls about one job."""

from fastapi import Response

from kns.api.upstream.args import GivenJob, get_job, get_job_or_none
from kns.api.upstream.errors import ERRORS
from kns.http.answers import JsonAnswer, TextAnswer
from kns.http.dependencies import Ports
from kns.http.events import render_events
from kns.http.routes import POST, Route, Routes
from kns.model import names
from kns.model.job.job import EXIT_CODES, Job, JobState
from kns.model.reading.duration import format_walltime
from kns.service.control import terminate as end_job
from kns.service.find import accepted_of
from kns.service.insight import read_events
from kns.service.ports import ServicePorts
from kns.service.view import elapsed_s, read_output

routes = Routes(ERRORS)


@routes.add(Route("runstatus", methods=POST))
def runstatus(ports: Ports, args: GivenJob) -> Response:
    """The one "node" is the job's virtual cluster; the third item is the path that upstream puts after /request/."""
    job = get_job_or_none(ports, args)
    if job is None:
        return JsonAnswer([None, None, None, None])
    accepted = accepted_of(job)
    jobid = names.job_object_name(accepted.number)
    number = accepted.number if args.number is None else args.number
    return JsonAnswer([[jobid], _elapsed(ports, job), f"{accepted.name}/{number}/{jobid}", None])


@routes.add(Route("exitstatus", methods=POST))
def exitstatus(ports: Ports, args: GivenJob) -> Response:
    """
    The result of an ended job, also while its objects are still being removed.

    For a live job the call fails. It never answers "cancelled", because upstream would close a job that still costs.
    """
    job = get_job_or_none(ports, args)
    if job is None:
        return JsonAnswer([EXIT_CODES[JobState.CANCELED], format_walltime(0), ["", _termination_line("UNKNOWN")]])
    output = read_output(ports, job)
    line = _termination_line(": ".join(filter(None, [str(job.status.job_status), job.status.message])))
    return JsonAnswer([job.status.exit_code, _elapsed(ports, job), [output, line]])


def _elapsed(ports: ServicePorts, job: Job) -> str:
    return format_walltime(elapsed_s(job, ports.clock.now()))


def _termination_line(state: str) -> str:
    return f"<< termination state: {state} >>"


@routes.add(Route("terminate", methods=POST))
def terminate(ports: Ports, args: GivenJob) -> Response:
    """True also for a job that no longer exists. If the store fails the call fails, so that upstream calls again."""
    job = get_job_or_none(ports, args)
    if job is not None:
        end_job(ports, job)
    return JsonAnswer(True)


@routes.add(Route("release", methods=POST))
def release(_args: GivenJob) -> Response:
    """kns never holds a job, so there is nothing to release."""
    return JsonAnswer(True)


@routes.add(Route("events", methods=POST))
def events(ports: Ports, args: GivenJob) -> Response:
    job = get_job(ports, jobid=args.jobid, name=args.name)
    return TextAnswer(render_events(read_events(ports, job)))
