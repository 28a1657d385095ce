"""The pages about the catalogue: apps with a search, the form of an app, its icon, machines."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from kns.http.dependencies import Ports
from kns.http.errors import HttpError
from kns.http.routes import GET, POST, Route, Routes
from kns.model.appdef.appdef import Command
from kns.model.catalog.catalog import App
from kns.model.errors import InvalidInputError
from kns.model.job.job import Job
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission
from kns.service.catalog import get_app, list_apps, list_fit_machines, list_vaults
from kns.service.errors import InactiveAccountError, NotStoredError, TooManyJobsError, TooManyRequestsError
from kns.service.find import accepted_of
from kns.service.overview import read_allowance
from kns.service.ports import ServicePorts
from kns.service.submit import Request as SubmitRequest
from kns.service.submit import submit_job
from kns.web import fields
from kns.web.errors import ERRORS, UNKNOWN_FILE
from kns.web.lookup import find_visible_job, read_number
from kns.web.pages import HEADERS, redirect, render_page
from kns.web.site import PREFIX
from kns.web.visitor import Form, Member, SignedIn

MAX_ICON_BYTES = 256 * 1024  # of the base64 text; a larger one is not shown. Icons of published apps have up to 100 KiB
_ICON_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})  # no SVG, which may contain script
_SEEN_ICON_S = 3600

routes = Routes(ERRORS)


@routes.add(Route("apps", "The apps that the visitor may use.", methods=GET))
def show_apps(request: Request, ports: Ports, member: SignedIn) -> Response:
    wanted = request.query_params.get("q", "").strip()
    apps = list_apps(ports, member.user)
    found = [app for app in apps.values() if _matches(app, wanted.lower())]
    return render_page(
        "apps.html",
        title="Apps",
        current="apps",
        member=member,
        wanted=wanted,
        total=len(apps),
        apps=sorted(found, key=lambda app: app.data.name.lower()),
        has_icon=_has_icon,
    )


def _matches(app: App, wanted: str) -> bool:
    texts = (app.id, app.data.name, app.data.description, app.data.author, *app.data.classifications)
    return all(any(word in text.lower() for text in texts) for word in wanted.split())


def _has_icon(app: App) -> bool:
    icon = app.data.image
    return icon.type in _ICON_TYPES and 0 < len(icon.data) <= MAX_ICON_BYTES


@routes.add(Route("apps/{app_id}/icon", "The icon of an app.", methods=GET))
def show_icon(app_id: str, ports: Ports, member: SignedIn) -> Response:
    app = get_app(ports, app_id, member.user)
    try:
        content = base64.b64decode(app.data.image.data, validate=True) if _has_icon(app) else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise HttpError(UNKNOWN_FILE)
    caching = {"Cache-Control": f"private, max-age={_SEEN_ICON_S}"}
    return Response(content, media_type=app.data.image.type, headers={**HEADERS, **caching})


@routes.add(Route("apps/{app_id}", "An app and its form.", methods=GET))
def show_app(app_id: str, request: Request, ports: Ports, member: SignedIn) -> Response:
    app = get_app(ports, app_id, member.user)
    again = request.query_params.get("again")
    job = find_visible_job(ports, member.user, read_number(again)) if again else None
    key, command = _choose(app, accepted_of(job).command if job else request.query_params.get("command"))
    filled = Filled(
        values=dict(job.spec.parameters) if job else {},
        settings=fields.repeat_settings(job) if job else {"walltime": fields.default_walltime(app.data, command)},
        repeated=job,
    )
    return _render_form(ports, member, app, key, filled)


def _choose(app: App, wanted: str | None) -> tuple[str, Command]:
    """The command of that name, else the first one."""
    commands = app.data.commands
    key = wanted if wanted in commands else next(iter(commands))
    return key, commands[key]


@routes.add(Route("apps/{app_id}", "Submit a job of an app.", methods=POST))
def submit(app_id: str, ports: Ports, member: SignedIn, form: Form) -> Response:
    app = get_app(ports, app_id, member.user)
    key, command = _choose(app, form.text("command"))
    parameters = fields.read_parameters(command, form)
    body = fields.build_submission(app.id, key, parameters, form)
    try:
        request = SubmitRequest(
            parse_model(Submission, body),
            body,
            size_bytes=fields.measure_submission(body),
            idempotency_key=_read_once(form),
        )
        job = submit_job(ports, member.identity, request)
    except InvalidInputError as error:
        refused = _describe_refusal(error, command)
        status = 400
    except (TooManyRequestsError, TooManyJobsError, InactiveAccountError, NotStoredError) as error:
        refused = Refusal(str(error))
        status = 503 if isinstance(error, NotStoredError) else 403 if isinstance(error, InactiveAccountError) else 429
    else:
        return redirect(f"{PREFIX}/jobs/{accepted_of(job).number}")
    filled = Filled(values=parameters, settings=fields.read_settings(form), refused=refused)
    return _render_form(ports, member, app, key, filled, status=status)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a form was refused: the text, and the field that it is about if there is one."""

    text: str
    field: str | None = None


def _describe_refusal(error: InvalidInputError, command: Command) -> Refusal:
    field = fields.find_field(error.path)
    if field is None:
        return Refusal(str(error))
    key = field.removeprefix(fields.PREFIX)
    known = command.parameters.get(key) if field.startswith(fields.PREFIX) else None
    label = known.name or key if known else key.capitalize()
    return Refusal(f"{label}: {error.problem}", field)


def _read_once(form: Form) -> str | None:
    """A value that the form had from the start, so that sending it twice makes one job."""
    once = form.text("once")
    return f"page-{once}" if once.isascii() and once.isalnum() and len(once) <= 64 else None


@dataclass(frozen=True, slots=True)
class Filled:
    """What a form already contains: values of parameters, other fields, why it was refused, the job to repeat."""

    values: Mapping[str, Any]
    settings: Mapping[str, str]
    refused: Refusal | None = None
    repeated: Job | None = None


def _render_form(
    ports: ServicePorts, member: Member, app: App, key: str, filled: Filled, *, status: int = 200
) -> Response:
    refused, repeated = filled.refused, filled.repeated
    command = app.data.commands[key]
    inputs = accepted_of(repeated).inputs if repeated else None
    shown = fields.build_fields(command, filled.values)
    title = f"Run {app.data.name}"
    return render_page(
        "app.html",
        title=f"Not submitted: {title}" if refused else title,
        current="apps",
        member=member,
        status=status,
        app=app,
        command_key=key,
        command=command,
        fields=shown,
        has_file=any(each.kind == "file" for each in shown),
        settings={**dict.fromkeys(fields.SETTINGS, ""), **filled.settings},
        machines=list_fit_machines(ports, app.data, command),
        catalog_machines=ports.catalog.current().machines,
        vaults=list_vaults(ports, member.user),
        refused=refused,
        repeated=repeated,
        left_out=inputs.keys if inputs else (),
        once=secrets.token_hex(16),
    )


@routes.add(Route("machines", "The machines that jobs can have.", methods=GET))
def show_machines(ports: Ports, member: SignedIn) -> Response:
    machines = ports.catalog.current().machines.values()
    return render_page(
        "machines.html",
        title="Machines",
        current="machines",
        member=member,
        machines=list(machines),
        allowance=read_allowance(ports, member.user),
    )
