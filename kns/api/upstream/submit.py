"""Submit a job on behalf of upstream."""

import json
from functools import partial
from typing import Any

from fastapi import Response

from kns.api.upstream.args import GivenSubmission, SubmitArgs
from kns.api.upstream.errors import ERRORS, SUBMIT_ERRORS
from kns.http.answers import JsonAnswer
from kns.http.dependencies import Ports
from kns.http.routes import POST, Route, Routes
from kns.model import names
from kns.model.appdef.appdef import AppDef, parse_appdef
from kns.model.errors import InvalidInputError
from kns.model.job.job import Job, JobSpec
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission, build_spec
from kns.service.find import accepted_of
from kns.service.ports import ServicePorts
from kns.service.submit import MAX_BYTES, submit_trusted_job

routes = Routes(ERRORS)


@routes.add(Route("submit", methods=POST, rows=SUBMIT_ERRORS))
def submit(ports: Ports, args: GivenSubmission) -> Response:
    """A repeated call gets the job of the first one, because upstream calls again when an answer was lost."""
    read_appdef = None if args.appdef is None else partial(_read_appdef, args.appdef)
    job = submit_trusted_job(ports, _read_spec(args), name=args.name, read_appdef=read_appdef)
    return JsonAnswer([names.job_object_name(accepted_of(job).number), _script_of(_read_whole(ports, job))])


def _read_spec(args: SubmitArgs) -> JobSpec:
    """Upstream vouches for the user; accepting the job checks that the catalogue has them."""
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


def _read_appdef(appdef: dict[str, Any]) -> AppDef:
    try:
        return parse_appdef(appdef)
    except InvalidInputError as error:
        raise InvalidInputError(f"args.appdef.{error.path}".rstrip("."), error.problem) from error


def _read_whole(ports: ServicePorts, job: Job) -> Job:
    """The caches hold no AppDef of ended jobs."""
    return (ports.jobs.fetch(accepted_of(job).number) or job) if job.is_ended else job


def _script_of(job: Job) -> str:
    """What the job will apply, which is the closest that a nested job has to a script."""
    return json.dumps(accepted_of(job).nested.model_dump(mode="json", exclude_none=True), indent=4)
