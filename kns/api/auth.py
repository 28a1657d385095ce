"""
Who calls, and what they may see.

Credentials are `username` and `apikey` of the catalogue. A Bearer token is a second way to become a `User`; it
belongs into `identify`, where it comes first.
"""

from typing import Annotated

from fastapi import Depends

from kns.api.errors import PARAMETERS_MISSING, UNAUTHORIZED, USER_REQUIRED, ApiError
from kns.api.params import Given, Params
from kns.api.ports import Ports
from kns.model.catalog import Catalog, User
from kns.model.job import Job


def identify(params: Params, catalog: Catalog) -> User | None:
    """
    The caller; None if the request carries no credentials at all.

    Raises:
        ApiError: half of the credentials, or wrong ones.
    """
    username, apikey = params.text("username"), params.text("apikey")
    if username is None and apikey is None:
        return None
    if username is None:
        raise ApiError(USER_REQUIRED)
    if apikey is None:
        raise ApiError(PARAMETERS_MISSING)
    user = catalog.find_user(username, apikey)
    if user is None:
        raise ApiError(UNAUTHORIZED)
    return user


def _identify_guest(ports: Ports, params: Given) -> User | None:
    return identify(params, ports.catalog.current())


def _identify_caller(ports: Ports, params: Given) -> User:
    user = identify(params, ports.catalog.current())
    if user is None:
        raise ApiError(PARAMETERS_MISSING)
    return user


def may_see(caller: User, job: Job, catalog: Catalog) -> bool:
    """Own jobs; a team's payer and its admins see the jobs of its members; a system admin sees all."""
    if caller.admin or caller.username == job.spec.user:
        return True
    leads_team = caller.team_admin or caller.username == caller.team
    return leads_team and caller.team == _team_of(job, catalog)


def _team_of(job: Job, catalog: Catalog) -> str:
    """The owner's team of today; of an owner who left the catalogue, the team that the job was accepted for."""
    owner = catalog.users.get(job.spec.user)
    if owner is not None:
        return owner.team
    return job.spec.accepted.payer if job.spec.accepted else job.spec.user


Guest = Annotated[User | None, Depends(_identify_guest)]
Caller = Annotated[User, Depends(_identify_caller)]
