"""The routes about the catalogue: apps, AppDefs, machines, vaults, queues; and `validate`, which needs no account."""

from collections.abc import Mapping
from typing import TypeVar

from fastapi import Response

from kns.api.jarvice.catalog_shapes import app_entry, appdef_entry, machine_entry
from kns.api.jarvice.errors import ERRORS, UNKNOWN_QUEUE
from kns.http.answers import JsonAnswer
from kns.http.auth import OPTIONAL, REQUIRED, Caller, Guest
from kns.http.dependencies import Ports, RawBody
from kns.http.errors import BAD_REQUEST, INVALID_PARAMETERS, PARAMETERS_MISSING, Explained, HttpError
from kns.http.json_body import decode_appdef
from kns.http.parameters import Given
from kns.http.routes import POST, Parameter, Route, Routes
from kns.http.schemas import BOOLEAN, INTEGER, STRING, Schema, a_map, a_record, ref
from kns.model.errors import InvalidInputError, UnknownAppError
from kns.model.submit.submission import has_vault
from kns.service.catalog import check_appdef, get_app, list_apps

SCHEMAS: dict[str, Schema] = {
    "VaultFile": {
        "type": "array",
        "prefixItems": [STRING, INTEGER, INTEGER],
        "minItems": 3,
        "maxItems": 3,
        "description": "Name (a directory ends in `/`), size, time of the last change.",
    },
}

_SORTS_BY_NAME, _SORTS_BY_DETAIL = frozenset("nN"), frozenset("sSmM")  # upper case reverses
_ALL = "all"  # the published default of `name`, which generated clients send
EntryT = TypeVar("EntryT")

routes = Routes(ERRORS)


@routes.add(
    Route(
        "validate",
        "Check an AppDef; the refusal names the key path of the first fault.",
        answer=a_record({"valid": {"type": "boolean", "const": True}}, additionalProperties=False),
        methods=POST,
        body=ref("AppDef"),
        errors=(BAD_REQUEST,),
        rows={InvalidInputError: Explained(400)},
    )
)
def validate(ports: Ports, raw: RawBody) -> Response:
    try:
        data = decode_appdef(raw)
    except InvalidInputError as error:
        if error.path:
            raise
        raise HttpError(BAD_REQUEST) from error
    if not isinstance(data, dict):
        raise HttpError(BAD_REQUEST)
    check_appdef(ports, data)
    return JsonAnswer({"valid": True})


@routes.add(
    Route(
        "apps",
        "Apps by id; without credentials the public ones, without `repo`.",
        answer=a_map(ref("App")),
        parameters=(
            Parameter("name", "Id of the app, else all."),
            Parameter("version", "Only apps of that version.", INTEGER),
        ),
        credentials=OPTIONAL,
    )
)
def apps(ports: Ports, caller: Guest, params: Given) -> Response:
    version = params.integer("version")
    named = _named(ports.catalog.current().apps, params.text("name"))
    return JsonAnswer(
        {
            app_id: app_entry(app, with_repo=caller is not None)
            for app_id, app in list_apps(ports, caller).items()
            if app_id in named and version in (None, app.data.appdefversion)
        }
    )


@routes.add(
    Route(
        "appdef",
        "The AppDef of an app.",
        answer=ref("AppDef"),
        parameters=(Parameter("name", "Id of the app.", required=True),),
        credentials=REQUIRED,
        errors=(UnknownAppError,),
    )
)
def appdef(ports: Ports, caller: Caller, params: Given) -> Response:
    name = params.text("name")
    if name is None:
        raise HttpError(PARAMETERS_MISSING)
    return JsonAnswer(appdef_entry(get_app(ports, name, caller)))


@routes.add(
    Route(
        "machines",
        "Machines by name.",
        answer=a_map(ref("MachineDef")),
        parameters=(Parameter("name", "Name of the machine, else all."), Parameter("vault", "Has no effect.")),
        credentials=REQUIRED,
    )
)
def machines(ports: Ports, _caller: Caller, params: Given) -> Response:
    """`vault` filters nothing: kns has no zones, so every machine can use every vault."""
    params.text("vault")
    chosen = _named(ports.catalog.current().machines, params.text("name"))
    return JsonAnswer({name: machine_entry(machine) for name, machine in chosen.items()})


@routes.add(
    Route(
        "vault",
        "The files of a vault; kns mounts none, so there are none to see.",
        answer={"type": "array", "items": ref("VaultFile")},
        parameters=(
            Parameter("vault", "Name of the vault.", required=True),
            Parameter("path", "Directory.", required=True),
            Parameter("details", "With size and time.", {**BOOLEAN, "default": False}),
            Parameter(
                "sort",
                "By name, size or time, upper case for reverse; all but name need `details`.",
                {**STRING, "pattern": "^[nsmNSM]$", "default": "n"},
            ),
        ),
        credentials=REQUIRED,
    )
)
def vault(ports: Ports, caller: Caller, params: Given) -> Response:
    """kns mounts no vault itself, so every vault of the caller is shown empty."""
    name, path = params.text("vault"), params.text("path")
    if name is None or path is None:
        raise HttpError(PARAMETERS_MISSING)
    allowed = _SORTS_BY_NAME | _SORTS_BY_DETAIL if params.flag("details") else _SORTS_BY_NAME
    sort = (params.text("sort") or "n").strip('"')  # a published description has the quotes inside its default
    if sort not in allowed or not has_vault(ports.catalog.current(), caller, name):
        raise HttpError(INVALID_PARAMETERS)
    return JsonAnswer([])


@routes.add(
    Route(
        "queues",
        "kns has no queues: `[]`, with `info` `{}`.",
        answer={"anyOf": [{"type": "array", "items": {}, "maxItems": 0}, {"type": "object", "maxProperties": 0}]},
        parameters=(
            Parameter("name", "Name of a queue."),
            Parameter("info", "A map and not a list.", {"anyOf": [BOOLEAN, INTEGER]}),
        ),
        credentials=REQUIRED,
        errors=(UNKNOWN_QUEUE,),
    )
)
def queues(_caller: Caller, params: Given) -> Response:
    """`info` is a boolean to some clients and an integer to others."""
    if params.text("name") not in (None, _ALL):
        raise HttpError(UNKNOWN_QUEUE)
    return JsonAnswer({} if params.flag("info") or params.is_non_zero("info") else [])


def _named(entries: Mapping[str, EntryT], name: str | None) -> dict[str, EntryT]:
    """The entry of that name, or none if there is no such entry. Without a name, or with `all`, every entry."""
    if name is None or (name == _ALL and _ALL not in entries):
        return dict(entries)
    return {name: entries[name]} if name in entries else {}
