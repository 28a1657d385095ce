"""The routes about the catalogue: apps, AppDefs, machines, vaults, queues; and `validate`, which needs no account."""

from collections.abc import Mapping
from typing import TypeVar

from fastapi import APIRouter, Response

from kns.api.answers import JsonAnswer
from kns.api.appdef_entry import appdef_entry
from kns.api.auth import Caller, Guest
from kns.api.errors import (
    BAD_REQUEST,
    INVALID_PARAMETERS,
    PARAMETERS_MISSING,
    UNKNOWN_APP,
    UNKNOWN_QUEUE,
    ApiError,
    Refusal,
)
from kns.api.params import Given, RawBody, decode_json
from kns.api.ports import Ports
from kns.api.shapes import app_entry, machine_entry
from kns.model.appdef.appdef import AppDef, parse_appdef
from kns.model.errors import InvalidInputError, clip
from kns.model.submit.submission import has_vault

METHODS = ["GET", "POST"]
SORTS_BY_NAME, SORTS_BY_DETAIL = frozenset("nN"), frozenset("sSmM")  # upper case reverses
ALL = "all"  # the published default of `name`, which generated clients send as it stands
EntryT = TypeVar("EntryT")

router = APIRouter()


@router.post("/validate")
def validate(ports: Ports, raw: RawBody) -> Response:
    try:
        data = decode_json(raw)
    except InvalidInputError as error:
        raise ApiError(BAD_REQUEST) from error
    if not isinstance(data, dict):
        raise ApiError(BAD_REQUEST)
    try:
        _check_versions(parse_appdef(data), ports.terms.supported_versions)
    except InvalidInputError as error:
        raise ApiError(Refusal(400, clip(str(error)))) from error
    return JsonAnswer({"valid": True})


def _check_versions(appdef: AppDef, supported: tuple[str, ...]) -> None:
    for key, command in appdef.commands.items():
        version = command.nested_kubernetes.kubernetes_version
        if version and version not in supported:
            raise InvalidInputError(
                f"commands.{key}.nested_kubernetes.kubernetes_version",
                f"{version} is not supported here; supported: {', '.join(supported)}",
            )


@router.api_route("/apps", methods=METHODS)
def apps(ports: Ports, caller: Guest, params: Given) -> Response:
    """Without credentials the public apps only, without their images."""
    version = params.integer("version")
    return JsonAnswer(
        {
            app_id: app_entry(app, with_repo=caller is not None)
            for app_id, app in _named(ports.catalog.current().apps, params.text("name")).items()
            if app.is_visible_to(caller) and version in (None, app.data.appdefversion)
        }
    )


@router.api_route("/appdef", methods=METHODS)
def appdef(ports: Ports, caller: Caller, params: Given) -> Response:
    name = params.text("name")
    if name is None:
        raise ApiError(PARAMETERS_MISSING)
    app = ports.catalog.current().apps.get(name)
    if app is None or not app.is_visible_to(caller):
        raise ApiError(UNKNOWN_APP)
    return JsonAnswer(appdef_entry(app))


@router.api_route("/machines", methods=METHODS)
def machines(ports: Ports, _caller: Caller, params: Given) -> Response:
    """`vault` filters nothing: kns has no zones, so every machine can use every vault."""
    params.text("vault")
    chosen = _named(ports.catalog.current().machines, params.text("name"))
    return JsonAnswer({name: machine_entry(machine) for name, machine in chosen.items()})


@router.api_route("/vault", methods=METHODS)
def vault(ports: Ports, caller: Caller, params: Given) -> Response:
    """kns mounts no vault itself, so each one that the caller has is shown empty."""
    name, path = params.text("vault"), params.text("path")
    if name is None or path is None:
        raise ApiError(PARAMETERS_MISSING)
    allowed = SORTS_BY_NAME | SORTS_BY_DETAIL if params.flag("details") else SORTS_BY_NAME
    sort = (params.text("sort") or "n").strip('"')  # a published description has the quotes inside of its default
    if sort not in allowed or not has_vault(ports.catalog.current(), caller, name):
        raise ApiError(INVALID_PARAMETERS)
    return JsonAnswer([])


@router.api_route("/queues", methods=METHODS)
def queues(_caller: Caller, params: Given) -> Response:
    """There are none. `info` is a boolean to some clients and an integer to others."""
    if params.text("name") not in (None, ALL):
        raise ApiError(UNKNOWN_QUEUE)
    return JsonAnswer({} if params.flag("info") or params.is_non_zero("info") else [])


def _named(entries: Mapping[str, EntryT], name: str | None) -> dict[str, EntryT]:
    """All entries, or the one of that name, which may be `all` as well; an unknown name gives none."""
    if name is None or (name == ALL and ALL not in entries):
        return dict(entries)
    return {name: entries[name]} if name in entries else {}
