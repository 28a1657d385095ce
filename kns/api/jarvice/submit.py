"""
`POST submit`: check, store, and only then answer. `POST batch`: check, and refuse.

A route answers the first error in this order: the body's shape, the credentials in it, the rate limit, what it asks
for, the store.
"""

from typing import Annotated, Any, TypeVar

from fastapi import Header, Query, Response
from pydantic import BaseModel, ConfigDict

from kns.api.jarvice.errors import ERRORS, MALFORMED, NO_CONTAINERS, STORE, WRONG_AT_SUBMIT
from kns.http.answers import JsonAnswer
from kns.http.auth import IN_BODY
from kns.http.dependencies import Ports, RawBody, Sender, Sent
from kns.http.errors import Explained, HttpError
from kns.http.json_body import decode_json
from kns.http.routes import POST, Expected, Parameter, Route, Routes
from kns.http.schemas import BOOLEAN, INTEGER, OBJECT, STRING, TEXT_OR_NULL, Schema, a_record, ref
from kns.model.errors import InvalidInputError, UnknownAppError
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission, UserRequest
from kns.service.catalog import require_active
from kns.service.errors import InactiveAccountError, NotStoredError, TooManyJobsError, TooManyRequestsError
from kns.service.find import accepted_of
from kns.service.identity import Identity, verify_key, verify_token
from kns.service.ports import ServicePorts
from kns.service.submit import Request, submit_job

BodyT = TypeVar("BodyT", bound=BaseModel)
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key")]
QueryUser = Annotated[str | None, Query(alias="username")]  # proves nothing, but must not contradict a token

_WALLTIME: Schema = {"type": "string", "pattern": "^[0-9]{1,5}:[0-5][0-9]:[0-5][0-9]$"}
_DECIMAL: Schema = {"anyOf": [INTEGER, {"type": "string", "pattern": "^[0-9]{1,9}$"}]}
_USER = a_record({"username": {"type": "string", "minLength": 1}, "apikey": {"type": "string", "minLength": 1}})
_LABEL: Schema = {"type": ["string", "null"], "maxLength": 255}
_SUBMISSION_COMMON: dict[str, Schema] = {
    "application": a_record(
        {},
        optional={
            "command": TEXT_OR_NULL,
            "parameters": OBJECT,
            "walltime": {"anyOf": [_WALLTIME, {"type": "null"}]},
        },
    ),
    "vault": a_record({"name": {"type": "string", "minLength": 1}}, optional={"readonly": BOOLEAN, "force": BOOLEAN}),
    "user": _USER,
    "job_label": _LABEL,
    "job_project": _LABEL,
    "job_priority": {"type": "string", "enum": ["normal", "high", "highest"]},
}
_MACHINE_WANTED = a_record({"type": {"type": "string", "minLength": 1}}, optional={"nodes": _DECIMAL})

SCHEMAS: dict[str, Schema] = {
    "Submission": a_record(
        {"app": {"type": "string", "minLength": 1}, "machine": _MACHINE_WANTED}, optional=_SUBMISSION_COMMON
    ),
    "BatchSubmission": a_record({"container": OBJECT, "machine": _MACHINE_WANTED}, optional=_SUBMISSION_COMMON),
    "Submitted": a_record({"name": STRING, "number": {"type": "integer", "minimum": 1}}),
}

IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "The same key of the same user gets the same job for 24 hours.",
    {**STRING, "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)
AUTHENTICATING: tuple[Expected, ...] = (MALFORMED, InactiveAccountError, TooManyRequestsError)

routes = Routes(ERRORS)


class Batch(BaseModel):
    """The keys of a batch submission that are checked before it is refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    container: Any
    user: UserRequest | None = None


@routes.add(
    Route(
        "submit",
        "Store a job; it is durable when the answer comes.",
        answer=ref("Submitted"),
        headers=(IDEMPOTENCY_KEY,),
        methods=POST,
        credentials=IN_BODY,
        body=ref("Submission"),
        errors=(*AUTHENTICATING, UnknownAppError, TooManyJobsError, NotStoredError, *STORE),
        rows={**WRONG_AT_SUBMIT, InvalidInputError: Explained(MALFORMED.status, MALFORMED.error)},
    )
)
def submit(
    ports: Ports, sender: Sent, raw: RawBody, key: IdempotencyKey = None, query_user: QueryUser = None
) -> Response:
    body, submission = _read_body(Submission, raw)
    identity = _authenticate(ports, sender, submission.user, query_user)
    job = submit_job(ports, identity, Request(submission, body, size_bytes=len(raw), idempotency_key=key))
    accepted = accepted_of(job)
    return JsonAnswer({"name": accepted.name, "number": accepted.number})


@routes.add(
    Route(
        "batch",
        "A container with a script is no nested app: always refused.",
        methods=POST,
        credentials=IN_BODY,
        body=ref("BatchSubmission"),
        errors=(*AUTHENTICATING, NO_CONTAINERS),
        rows=WRONG_AT_SUBMIT,
    )
)
def batch(ports: Ports, sender: Sent, raw: RawBody, query_user: QueryUser = None) -> Response:
    _, submission = _read_body(Batch, raw)
    require_active(_authenticate(ports, sender, submission.user or UserRequest(), query_user).user)
    raise HttpError(NO_CONTAINERS)


def _read_body(model: type[BodyT], raw: bytes) -> tuple[dict[str, Any], BodyT]:
    """The decoded body, and the parsed part of it."""
    try:
        body = decode_json(raw)
        return body, parse_model(model, body)
    except InvalidInputError as error:
        raise HttpError(MALFORMED) from error


def _authenticate(ports: ServicePorts, sender: Sender, user: UserRequest, query_user: str | None) -> Identity:
    if sender.token is not None:
        return verify_token(ports, sender.token, user.username, query_user or None, sender.username)
    username, apikey = user.username or sender.username, user.apikey or sender.apikey
    if username is None or apikey is None:
        raise HttpError(MALFORMED)
    return verify_key(ports, username, apikey, address=sender.address)
