"""
Submit a job: check it, store it, and only then answer.

A refused submission stores nothing and uses no job number.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kns.logs import get_logger
from kns.model.appdef.appdef import AppDef
from kns.model.catalog.catalog import App, Catalog
from kns.model.errors import InvalidInputError, KnsError, UnknownAppError, clip
from kns.model.job.idempotency import digest_request
from kns.model.job.inputs import split_inputs
from kns.model.job.job import Accepted, Job, JobSpec
from kns.model.submit.submission import Submission, accept, build_spec, find_app
from kns.model.submit.token_claims import TokenClaims
from kns.service.catalog import require_active
from kns.service.errors import NameTakenError, NotStoredError, ServiceError, TooManyJobsError
from kns.service.identity import Identity
from kns.service.ports import ServicePorts

MAX_BYTES = 512 * 1024  # even random data of this size fits into one Secret when it is packed

_NO_NUMBER = 1  # of a draft; a number is only used up when the job is certain to be stored
_NO_USER = ""  # a trusted system's job names share one namespace; no user of the catalogue has this name

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A submission as it came: parsed, as decoded JSON, its size, and the idempotency key."""

    submission: Submission
    body: Mapping[str, Any] = field(repr=False)
    size_bytes: int
    idempotency_key: str | None = None


def submit_job(ports: ServicePorts, identity: Identity, request: Request) -> Job:
    """
    A new job of that user. A request with the idempotency key of an earlier one gets the earlier job, whatever it asks
    for.

    Raises:
        InactiveAccountError, TooManyRequestsError, TooManyJobsError, NotStoredError.
        InvalidInputError: the site cannot provide what was asked for, with the key path.
        UnknownAppError: no such app or command, or the user may not see it.
    """
    user = identity.user
    require_active(user)
    ports.limits.take_submit(user)
    if request.size_bytes > MAX_BYTES:
        raise InvalidInputError("", f"the submission has {request.size_bytes} bytes, a job holds at most {MAX_BYTES}")
    spec = build_spec(request.submission, user=user.username, body=request.body, may_be_urgent=user.admin)
    key = request.idempotency_key
    with _translate_errors(user=spec.user, app=spec.app):
        digest = None if key is None else digest_request(spec.user, key)
        first = None if digest is None else ports.jobs.find_request(digest)
        if first is not None:
            log.info("submit_repeated", job=first.record, number=first.number, user=spec.user)
            return first
        _check_live_jobs(ports, spec.user)
        catalog = ports.catalog.current()
        return _create(ports, spec, find_app(catalog, spec), catalog, request=digest, claims=identity.claims)


def submit_trusted_job(
    ports: ServicePorts, spec: JobSpec, *, name: str | None, read_appdef: Callable[[], AppDef] | None
) -> Job:
    """
    A new job for a trusted system, with the name that the system chose. A repeated call with that name gets the job of
    the first one, on whichever replica.

    `read_appdef` gives an AppDef that replaces the catalogue's for this job; the image stays the catalogue's. It is
    called only if a new job is made.

    Raises:
        NameTakenError: the name belongs to a job of another user or app.
        InvalidInputError, UnknownAppError, NotStoredError: as `submit_job`.
    """
    with _translate_errors(user=spec.user, app=spec.app):
        job = ports.jobs.find_by_name(name) if name else None
        if job is None:
            catalog = ports.catalog.current()
            app = find_app(catalog, spec)
            if read_appdef is not None:
                app = app.model_copy(update={"data": read_appdef()})
            digest = digest_request(_NO_USER, name) if name else None
            job = _create(ports, spec, app, catalog, request=digest, name=name)
        if (job.spec.user, job.spec.app) != (spec.user, spec.app):
            raise NameTakenError(f"{name} is the name of another job")
        return job


def _create(
    ports: ServicePorts,
    spec: JobSpec,
    app: App,
    catalog: Catalog,
    *,
    request: str | None,
    name: str | None = None,
    claims: TokenClaims | None = None,
) -> Job:
    """A new job; or the job of the same request, if another replica stored it at the same time."""
    draft = accept(
        spec,
        app=app,
        catalog=catalog,
        terms=ports.terms,
        now=ports.clock.now(),
        rng=ports.rng,
        allot_number=lambda: _NO_NUMBER,
        claims=claims,
    )
    placed = draft.model_copy(update={"name": name or draft.name, **_find_place(ports, spec, draft)})
    stored, inputs = split_inputs(spec.model_copy(update={"accepted": placed}))
    job = ports.jobs.create(stored, request=request, inputs=inputs)
    log.info("job_submitted", job=job.record, number=job.number, user=spec.user, app=spec.app)
    return job


def _find_place(ports: ServicePorts, spec: JobSpec, draft: Accepted) -> dict[str, Any]:
    """The number of the job, and the namespace that it takes over. A member of the pool has its number already."""
    member = ports.members.claim(spec, draft) if ports.members is not None else None
    if member is None:
        return {"number": ports.jobs.allot_number()}
    return {"number": member.number, "adopted": member.adopted}


def _check_live_jobs(ports: ServicePorts, username: str) -> None:
    """Counts the records of all replicas. Submits at the same moment may exceed the limit together."""
    limit = ports.limits.live_jobs
    if limit and ports.jobs.count_live(username) >= limit:
        raise TooManyJobsError(f"{username} has {limit} live jobs, which is the limit")


@contextmanager
def _translate_errors(**data: object) -> Iterator[None]:
    """Every error of a port becomes NotStoredError: the client must not take the submission for invalid."""
    try:
        yield
    except (InvalidInputError, UnknownAppError, ServiceError):
        raise
    except KnsError as error:
        log.error("job_not_stored", error=clip(str(error)), **data)  # noqa: TRY400 - no stack
        raise NotStoredError(f"the job could not be stored: {clip(str(error))}") from error
