"""
Who calls, and what they may see.

Two ways to become a `User` of the catalogue: a Bearer token of the realm, and `username` with `apikey`. A token wins;
a `username` beside it must be the token's own. Somebody who fails too often is not listened to for a while, right key
or not: a guard that lets the right one through would tell a guesser that it was right.
"""

from dataclasses import dataclass, field
from typing import Annotated

import structlog
from fastapi import Depends, Request

from kns.api.errors import (
    PARAMETERS_MISSING,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    USER_REQUIRED,
    ApiError,
    Refusal,
)
from kns.api.params import Given
from kns.api.ports import ApiPorts, Ports
from kns.model.catalog.catalog import Catalog, User
from kns.model.errors import TokenError, clip
from kns.model.job.job import Job
from kns.model.submit.token_claims import Claims

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sender:
    """What the request's head says of its sender; `token` is None without a Bearer header, `""` in an empty one."""

    token: str | None = field(repr=False)
    address: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who proved it; `claims` if a token did."""

    user: User
    claims: Claims | None = None


async def _read_sender(request: Request) -> Sender:
    headers = [value.strip().partition(" ") for value in request.headers.getlist("authorization")]
    # A proxy's Basic credentials are none of ours. Of two tokens nobody can say which one counts, so none does.
    tokens = [token.strip() for scheme, _, token in headers if scheme.lower() == "bearer"]
    return Sender(
        token=(tokens[0] if len(tokens) == 1 else "") if tokens else None,
        address=request.client.host if request.client else "",
    )


Sent = Annotated[Sender, Depends(_read_sender)]


def check_token(ports: ApiPorts, token: str, *usernames: str | None, wrong: Refusal) -> Identity:
    """
    The user that a token names, active or not; `usernames` are what the request says besides, if it does.

    Raises:
        ApiError: `wrong`, whatever is.
    """
    if ports.bearer is None:
        raise ApiError(wrong)
    try:
        claims = ports.bearer.verify(token)
    except TokenError as error:
        log.info("token_refused", reason=clip(str(error)))
        raise ApiError(wrong) from error
    user = ports.catalog.current().users.get(claims.username)
    if user is None or not {user.username, None}.issuperset(usernames):
        raise ApiError(wrong)
    return Identity(user, claims)


def check_key(ports: ApiPorts, sender: Sender, username: str, apikey: str, *, wrong: Refusal) -> Identity:
    """
    The user with that key, active or not.

    Raises:
        ApiError: `wrong`, or too many failures of this user from this address in the last minute.
    """
    failures = ports.limits.failed_logins
    wait_s = failures.wait_s(username, sender.address)
    if wait_s > 0:
        raise ApiError(TOO_MANY_REQUESTS.after(wait_s))
    user = ports.catalog.current().find_user(username, apikey)
    if user is not None:
        return Identity(user)
    failures.take(username, sender.address)
    if failures.wait_s(username, sender.address) > 0:
        log.warning("logins_blocked", user=clip(username, 100), address=clip(sender.address, 100))
    raise ApiError(wrong)


async def _identify_guest(ports: Ports, sender: Sent, params: Given) -> User | None:
    """The caller; None if the request carries no credentials at all."""
    username, apikey = params.text("username"), params.text("apikey")
    if sender.token is not None:
        user = check_token(ports, sender.token, username, wrong=UNAUTHORIZED).user
        if not user.active:  # a key lets it look; but a realm goes on giving tokens to an account that was closed
            raise ApiError(UNAUTHORIZED)
        return user
    if username is None and apikey is None:
        return None
    if username is None:
        raise ApiError(USER_REQUIRED)
    if apikey is None:
        raise ApiError(PARAMETERS_MISSING)
    return check_key(ports, sender, username, apikey, wrong=UNAUTHORIZED).user


Guest = Annotated[User | None, Depends(_identify_guest)]


async def _identify_caller(guest: Guest) -> User:
    if guest is None:
        raise ApiError(PARAMETERS_MISSING)
    return guest


Caller = Annotated[User, Depends(_identify_caller)]


async def _identify_admin(caller: Caller) -> User:
    if not caller.admin:
        raise ApiError(UNAUTHORIZED)
    return caller


Admin = Annotated[User, Depends(_identify_admin)]


def may_see(caller: User, job: Job, catalog: Catalog) -> bool:
    """Own jobs; a team's payer and its admins see the jobs of its members; a system admin sees all."""
    return caller.admin or caller.username == job.spec.user or is_of_team(caller, job, catalog)


def is_of_team(caller: User, job: Job, catalog: Catalog) -> bool:
    """Whether the caller leads the team that the job's owner is in."""
    leads_team = caller.team_admin or caller.username == caller.team
    return leads_team and caller.team == _team_of(job, catalog)


def _team_of(job: Job, catalog: Catalog) -> str:
    """The owner's team of today; of an owner who left the catalogue, the team that the job was accepted for."""
    owner = catalog.users.get(job.spec.user)
    if owner is not None:
        return owner.team
    return job.spec.accepted.payer if job.spec.accepted else job.spec.user
