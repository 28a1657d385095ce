"""The pages about the catalogue: apps with a search, the form of an app, its icon, machines."""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
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
from kns.service.catalog import count_free, get_app, list_apps, list_fit_machines, list_vaults
from kns.service.errors import NotStoredError
from kns.service.find import accepted_of
from kns.service.overview import read_allowance
from kns.service.ports import ServicePorts
from kns.service.submit import Request as SubmitRequest
from kns.service.submit import submit_job
from kns.web import fields
from kns.web.errors import ERRORS, SUBMITTING, UNKNOWN_FILE
from kns.web.lookup import find_visible_job, read_number
from kns.web.pages import HEADERS, MAX_SEARCH, redirect, render_page
from kns.web.site import PREFIX
from kns.web.visitor import FORM_TOKEN, FromHereWithFiles, Member, PostedForm, SignedIn, Visited, Visitor, sign_in_first

MAX_ICON_BYTES = 256 * 1024  # of the base64 text; a larger one is not shown. Icons of published apps have up to 100 KiB
_ICON_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})  # no SVG, which may contain script
MAX_KEPT = 256 * 1024  # characters of a form that are shown again to somebody who must sign in first
_SEEN_ICON_S = 3600
_OTHER_SESSION = "You signed in again after this form was made. Check what is filled in, and submit once more."
_OTHER_COMMAND = (
    "The app has changed and no longer has the command of this form. Check that the command below is the one you want, "
    "and submit once more."
)

routes = Routes(ERRORS)


@routes.add(Route("apps", "The apps that the visitor may use.", methods=GET))
def show_apps(request: Request, ports: Ports, member: SignedIn) -> Response:
    wanted = request.query_params.get("q", "")[:MAX_SEARCH].strip()
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
    data = app.data
    text = "\n".join((app.id, data.name, data.description, data.author, *data.classifications)).lower()
    return all(word in text for word in wanted.split())


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
def submit(app_id: str, request: Request, ports: Ports, visitor: Visited, sent: FromHereWithFiles) -> Response:
    """If the session has ended or changed since the form was made, nothing is submitted, and nothing typed is lost."""
    form, member = sent.form, visitor.member
    if member is None:
        return _keep_form(request, visitor, form)
    app = get_app(ports, app_id, member.user)
    key, command = _choose(app, form.text("command"))
    parameters = fields.read_parameters(command, form)
    # It stays the same form, however often it is sent: whether the job was stored may be unknown.
    once, attempt = _read_token(form, "once"), _read_token(form, "attempt")
    is_offered = key == form.text("command")
    if not is_offered or not sent.is_current:
        refused = Refusal(_OTHER_SESSION if is_offered else _OTHER_COMMAND)
        settings = fields.read_settings(form)
        filled = Filled(values=parameters, settings=settings, refused=refused, once=once, attempt=attempt)
        return _render_form(ports, member, app, key, filled, status=403 if is_offered else 400)
    body = fields.build_submission(app.id, key, parameters, form)
    this_attempt = attempt or _digest(body)
    try:
        wanted = SubmitRequest(
            parse_model(Submission, body),
            body,
            size_bytes=fields.measure_submission(body),
            idempotency_key=f"page-{once}-{this_attempt}" if once else None,
        )
        job = submit_job(ports, member.identity, wanted)
    except InvalidInputError as error:
        refused = _describe_refusal(error, command)
        status = 400
    except tuple(SUBMITTING) as error:
        answer = SUBMITTING[type(error)]
        refused = Refusal(answer.error, is_certain=not isinstance(error, NotStoredError))
        status = answer.status
        if not refused.is_certain:
            attempt = this_attempt
    else:
        return redirect(f"{PREFIX}/jobs/{accepted_of(job).number}")
    settings = fields.read_settings(form)
    filled = Filled(values=parameters, settings=settings, refused=refused, once=once, attempt=attempt)
    return _render_form(ports, member, app, key, filled, status=status)


def _keep_form(request: Request, visitor: Visitor, form: PostedForm) -> Response:
    """A page that has what was filled in, to send it again after a sign-in in another tab."""
    kept = {key: text for key, text in form.texts.items() if key != FORM_TOKEN}
    size = sum(len(key) + len(text) for key, text in kept.items())
    if not visitor.had_cookie or size > MAX_KEPT:
        raise sign_in_first(request, visitor)
    return render_page(
        "kept.html", title="Your session has ended", status=401, kept=kept, has_files=bool(form.files),
        action=request.scope["path"],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Why a form was refused: the text, and the field that it is about if there is one. If it is not `is_certain`, a job
    may have been stored.
    """

    text: str
    field: str | None = None
    is_certain: bool = True


def _describe_refusal(error: InvalidInputError, command: Command) -> Refusal:
    field = fields.find_field(error.path)
    if field is None:
        return Refusal(str(error))
    key = field.removeprefix(fields.PREFIX)
    known = command.parameters.get(key) if field.startswith(fields.PREFIX) else None
    label = known.name or key if known else key.capitalize()
    return Refusal(f"{label}: {error.problem}", field)


def _read_token(form: PostedForm, name: str) -> str:
    """A hidden value of the form; "" if it is none of this page."""
    token = form.text(name)
    return token if token.isascii() and token.isalnum() and len(token) <= 64 else ""


def _digest(body: Mapping[str, Any]) -> str:
    """
    A part of the idempotency key. With other values a form asks for another job: browsers show a form that was sent
    again when its user goes back to it.
    """
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Filled:
    """
    What a form already contains: values of parameters, other fields, why it was refused, the job to repeat, and the
    value that makes it one form however often it is sent unchanged, "" for a new one. `attempt` is the digest of what
    it asked for when nobody knew whether the job was stored. Sent again, it asks for that job, even without the file
    that was chosen then.
    """

    values: Mapping[str, Any]
    settings: Mapping[str, str]
    refused: Refusal | None = None
    repeated: Job | None = None
    once: str = ""
    attempt: str = ""


def _render_form(
    ports: ServicePorts, member: Member, app: App, key: str, filled: Filled, *, status: int = 200
) -> Response:
    refused, repeated = filled.refused, filled.repeated
    command = app.data.commands[key]
    shown = fields.build_fields(command, filled.values)
    machines, vaults = list_fit_machines(ports, app.data, command), list_vaults(ports, member.user)
    offers: dict[str, Any] = {"machines": machines, "vaults": vaults}
    title = f"Run {app.data.name}"
    return render_page(
        "app.html",
        title=f"{'Not submitted' if refused.is_certain else 'Not confirmed'}: {title}" if refused else title,
        current="apps",
        member=member,
        status=status,
        app=app,
        command_key=key,
        command=command,
        fields=shown,
        has_file=any(each.kind == "file" for each in shown),
        settings={**dict.fromkeys(fields.SETTINGS, ""), **filled.settings},
        default_walltime=fields.default_walltime(app.data, command),
        **offers,
        catalog_machines=ports.catalog.current().machines,
        **_describe_free(ports),
        refused=refused,
        repeated=repeated,
        left_out=fields.list_left_out(repeated, command) if repeated else (),
        not_offered=(
            fields.list_not_offered(repeated, shown, **offers, projects=member.user.projects) if repeated else ()
        ),
        once=filled.once or secrets.token_hex(16),
        attempt=filled.attempt,
    )


def _describe_free(ports: ServicePorts) -> dict[str, Any]:
    """What is free of each machine. A site that does not show it, or does not know it now, says nothing about it."""
    free = count_free(ports)
    return {"free": free, "shows_free": any(count is not None for count in free.values())}


@routes.add(Route("machines", "The machines that jobs can have.", methods=GET))
def show_machines(ports: Ports, member: SignedIn) -> Response:
    machines = ports.catalog.current().machines.values()
    return render_page(
        "machines.html",
        title="Machines",
        current="machines",
        member=member,
        machines=list(machines),
        **_describe_free(ports),
        allowance=read_allowance(ports, member.user),
    )
