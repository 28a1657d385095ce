"""
`POST submit`: check, store, and only then answer. `POST batch`: check, and refuse.

The order of refusals: the body's shape, the credentials in it, how often they came, what it asks for, the store.
"""

from typing import Annotated, Any, TypeVar

import structlog
from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict

from kns.api.answers import JsonAnswer
from kns.api.auth import Identity, Sender, Sent, check_key, check_token
from kns.api.errors import (
    ACCOUNT_INACTIVE,
    MALFORMED,
    NO_CONTAINERS,
    NOT_AUTHORIZED,
    NOT_STORED,
    TOO_MANY_JOBS,
    TOO_MANY_REQUESTS,
    UNKNOWN_APP,
    ApiError,
)
from kns.api.params import RawBody, decode_json
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of
from kns.model.errors import InvalidInputError, KnsError, UnknownAppError, clip
from kns.model.job.idempotency import digest_request
from kns.model.job.job import Job, JobSpec
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission, UserRequest, accept, build_spec

MAX_BYTES = 512 * 1024  # a record holds the parameters twice, and etcd takes at most 1.5 MiB

log = structlog.get_logger(__name__)
router = APIRouter()
BodyT = TypeVar("BodyT", bound=BaseModel)
RequestKey = Annotated[str | None, Header(alias="Idempotency-Key")]
QueryUser = Annotated[str | None, Query(alias="username")]  # proves nothing, but may contradict a token


class Batch(BaseModel):
    """As much of a batch submission as is looked at before it is refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    container: Any
    user: UserRequest | None = None


@router.post("/submit")
def submit(ports: Ports, sender: Sent, raw: RawBody, key: RequestKey = None, query_user: QueryUser = None) -> Response:
    body, submission = _read_body(Submission, raw)
    identity = _authenticate(ports, sender, submission.user, query_user)
    username = identity.user.username
    wait_s = ports.limits.submits.take(username)
    if wait_s > 0:
        raise ApiError(TOO_MANY_REQUESTS.after(wait_s))
    if len(raw) > MAX_BYTES:
        raise ApiError(MALFORMED.because(f"the submission has {len(raw)} bytes, a job holds at most {MAX_BYTES}"))
    spec = build_spec(submission, user=username, body=body, may_be_urgent=identity.user.admin)
    job = _find_or_create(ports, identity, spec, key=key)
    accepted = accepted_of(job)
    return JsonAnswer({"name": accepted.name, "number": accepted.number})


@router.post("/batch")
def batch(ports: Ports, sender: Sent, raw: RawBody, query_user: QueryUser = None) -> Response:
    _, submission = _read_body(Batch, raw)
    _authenticate(ports, sender, submission.user or UserRequest(), query_user)
    raise ApiError(NO_CONTAINERS)


def _read_body(model: type[BodyT], raw: bytes) -> tuple[dict[str, Any], BodyT]:
    """The body as it came, and what is read of it."""
    try:
        body = decode_json(raw)
        return body, parse_model(model, body)
    except InvalidInputError as error:
        raise ApiError(MALFORMED) from error


def _authenticate(ports: ApiPorts, sender: Sender, user: UserRequest, query_user: str | None) -> Identity:
    if sender.token is not None:
        identity = check_token(ports, sender.token, user.username, query_user or None, wrong=NOT_AUTHORIZED)
    elif user.username is None or user.apikey is None:
        raise ApiError(MALFORMED)
    else:
        identity = check_key(ports, sender, user.username, user.apikey, wrong=NOT_AUTHORIZED)
    if not identity.user.active:
        raise ApiError(ACCOUNT_INACTIVE)
    return identity


def _find_or_create(ports: ApiPorts, identity: Identity, spec: JobSpec, *, key: str | None) -> Job:
    """The job of an earlier submit with the same key, whatever that one asked for; else a new one."""
    try:
        request = None if key is None else digest_request(spec.user, key)
        first = None if request is None else ports.jobs.find_request(request)
        if first is not None:
            log.info("submit_repeated", job=first.record, number=first.number, user=spec.user)
            return first
        _check_live_jobs(ports, spec.user)
        job = ports.jobs.create(_accept(ports, identity, spec), request=request)
    except InvalidInputError as error:
        raise ApiError(MALFORMED.because(str(error))) from error
    except UnknownAppError as error:
        raise ApiError(UNKNOWN_APP) from error
    except KnsError as error:
        log.error("job_not_stored", user=spec.user, app=spec.app, error=clip(str(error)))  # noqa: TRY400 - no stack
        raise ApiError(NOT_STORED) from error
    log.info("job_submitted", job=job.record, number=job.number, user=spec.user, app=spec.app)
    return job


def _check_live_jobs(ports: ApiPorts, username: str) -> None:
    """Counted over all replicas' records; submits of the very same moment may slip through together."""
    most = ports.limits.live_jobs
    if most and sum(job.spec.user == username and not job.is_ended for job in ports.jobs.list_jobs()) >= most:
        raise ApiError(TOO_MANY_JOBS)


def _accept(ports: ApiPorts, identity: Identity, spec: JobSpec) -> JobSpec:
    accepted = accept(
        spec,
        catalog=ports.catalog.current(),
        terms=ports.terms,
        now=ports.clock.now(),
        rng=ports.rng,
        allot_number=ports.jobs.allot_number,
        claims=identity.claims,
    )
    return spec.model_copy(update={"accepted": accepted})
