"""The routes about teams: their projects and their members."""

from fastapi import Response

from kns.api.jarvice.errors import ERRORS
from kns.http.answers import JsonAnswer
from kns.http.auth import REQUIRED, Caller
from kns.http.dependencies import Ports
from kns.http.routes import Route, Routes
from kns.http.schemas import NAMES, STRING, Schema, a_map, a_record, ref
from kns.service.catalog import list_projects, list_team_members

SCHEMAS: dict[str, Schema] = {"TeamUser": a_record({"email": STRING, "name": STRING})}

routes = Routes(ERRORS)


@routes.add(
    Route(
        "projects",
        "Members by `<owner>-<project>`; for system admins.",
        answer=a_map(NAMES),
        credentials=REQUIRED,
    )
)
def projects(ports: Ports, caller: Caller) -> Response:
    return JsonAnswer(list_projects(ports, caller))


@routes.add(
    Route(
        "teamusers",
        "The other users of the caller's team; for who leads it.",
        answer=a_map(ref("TeamUser")),
        credentials=REQUIRED,
    )
)
def teamusers(ports: Ports, caller: Caller) -> Response:
    members = list_team_members(ports, caller)
    return JsonAnswer({user.username: {"email": user.email, "name": user.name} for user in members})
