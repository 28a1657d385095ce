"""
`POST submit`: check, store, and only then answer.

The order of refusals: the body's shape, the credentials in it, what it asks for, the store.
"""

from typing import Any

import structlog
from fastapi import APIRouter, Response

from kns.api.answers import JsonAnswer
from kns.api.errors import ACCOUNT_INACTIVE, MALFORMED, NOT_AUTHORIZED, NOT_STORED, UNKNOWN_APP, ApiError
from kns.api.params import RawBody, decode_json
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of
from kns.model.catalog import Catalog, User
from kns.model.errors import InvalidInputError, KnsError, UnknownAppError, clip
from kns.model.job import Job, JobSpec
from kns.model.parsing import parse_model
from kns.model.submission import Submission, accept, build_spec

MAX_BYTES = 512 * 1024  # a record holds the parameters twice, and etcd takes at most 1.5 MiB

log = structlog.get_logger(__name__)
router = APIRouter()


@router.post("/submit")
def submit(ports: Ports, raw: RawBody) -> Response:
    body, submission = _read_submission(raw)
    catalog = ports.catalog.current()
    user = _authenticate(submission, catalog)
    if len(raw) > MAX_BYTES:
        raise ApiError(MALFORMED.because(f"the submission has {len(raw)} bytes, a job holds at most {MAX_BYTES}"))
    job = _create(ports, catalog, build_spec(submission, user=user.username, body=body))
    accepted = accepted_of(job)
    log.info("job_submitted", job=job.record, number=accepted.number, user=user.username, app=job.spec.app)
    return JsonAnswer({"name": accepted.name, "number": accepted.number})


def _read_submission(raw: bytes) -> tuple[dict[str, Any], Submission]:
    try:
        body = decode_json(raw)
        return body, parse_model(Submission, body)
    except InvalidInputError as error:
        raise ApiError(MALFORMED) from error


def _authenticate(submission: Submission, catalog: Catalog) -> User:
    if submission.user is None:
        raise ApiError(MALFORMED)
    user = catalog.find_user(submission.user.username, submission.user.apikey)
    if user is None:
        raise ApiError(NOT_AUTHORIZED)
    if not user.active:
        raise ApiError(ACCOUNT_INACTIVE)
    return user


def _create(ports: ApiPorts, catalog: Catalog, spec: JobSpec) -> Job:
    try:
        accepted = accept(
            spec,
            catalog=catalog,
            supported_versions=ports.supported_versions,
            now=ports.clock.now(),
            rng=ports.rng,
            allot_number=ports.jobs.allot_number,
        )
        return ports.jobs.create(spec.model_copy(update={"accepted": accepted}))
    except InvalidInputError as error:
        raise ApiError(MALFORMED.because(str(error))) from error
    except UnknownAppError as error:
        raise ApiError(UNKNOWN_APP) from error
    except KnsError as error:
        log.error("job_not_stored", user=spec.user, app=spec.app, error=clip(str(error)))  # noqa: TRY400 - no stack
        raise ApiError(NOT_STORED) from error
