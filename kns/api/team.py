"""The routes about teams: their jobs, their members, their projects."""

from fastapi import APIRouter, Response

from kns.api.answers import JsonAnswer
from kns.api.auth import Admin, Caller, is_of_team
from kns.api.errors import UNAUTHORIZED, ApiError
from kns.api.jobs import list_entries
from kns.api.lookup import accepted_jobs
from kns.api.params import Given
from kns.api.ports import Ports
from kns.model.catalog.catalog import Catalog, User

METHODS = ["GET", "POST"]

router = APIRouter()


@router.api_route("/teamjobs", methods=METHODS)
def teamjobs(ports: Ports, caller: Caller, params: Given) -> Response:
    """As `jobs`, of the whole team for who leads one; without `jobsub`, which is between a member and the portal."""
    catalog, completed = ports.catalog.current(), params.flag("completed")
    found = [
        job for job in accepted_jobs(ports) if job.spec.user == caller.username or is_of_team(caller, job, catalog)
    ]
    entries = list_entries(found, live=not completed, ended=completed, now=ports.clock.now())
    for entry in entries.values():
        entry["job_api_submission"].pop("jobsub", None)
    return JsonAnswer(entries)


@router.api_route("/projects", methods=METHODS)
def projects(ports: Ports, _admin: Admin) -> Response:
    """Every project that somebody is a member of; its owner is the payer of that member's team."""
    members: dict[str, list[str]] = {}
    for user in ports.catalog.current().users.values():
        for project in user.projects:
            members.setdefault(f"{user.team}-{project}", []).append(user.username)
    return JsonAnswer(members)


@router.api_route("/teamusers", methods=METHODS)
def teamusers(ports: Ports, caller: Caller) -> Response:
    catalog = ports.catalog.current()
    others = _list_others(caller, catalog)
    if not caller.team_admin and not (others and caller.username == caller.team):
        raise ApiError(UNAUTHORIZED)
    return JsonAnswer({user.username: {"email": user.email, "name": user.name} for user in others})


def _list_others(caller: User, catalog: Catalog) -> list[User]:
    return [user for user in catalog.users.values() if user.team == caller.team and user.username != caller.username]
