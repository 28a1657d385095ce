"""What upstream passes on from a user whom it has checked: `request/<path of runstatus>/<method>`."""

from collections.abc import Callable

from fastapi import Response

from kns.api.upstream.args import GivenRequest, get_job
from kns.api.upstream.errors import ERRORS
from kns.http.answers import JsonAnswer, TextAnswer
from kns.http.dependencies import Ports
from kns.http.errors import BAD_REQUEST, UNAUTHORIZED, UNKNOWN_ROUTE, HttpError
from kns.http.help_page import render_help
from kns.http.parameters import Params
from kns.http.routes import POST, Route, Routes
from kns.model.job.job import Job
from kns.service.control import shut_down, terminate
from kns.service.ports import ServicePorts
from kns.service.view import read_connection, read_login, read_tail

routes = Routes(ERRORS)


@routes.add(Route("request/pvcls", methods=POST))
def list_vault(args: GivenRequest) -> Response:
    """kns mounts no vault itself, so the listing is empty, as in the public `vault`."""
    params = args.params()
    if params.text("path") is None:
        raise HttpError(UNAUTHORIZED)  # the protocol's answer to any failure of this route
    return TextAnswer("")


@routes.add(Route("request/{path:path}", methods=POST))
def request(ports: Ports, path: str, args: GivenRequest) -> Response:
    name, number, jobid, method, *rest = *path.split("/"), *[""] * 4
    answer = METHODS.get(method)
    if any(rest) or answer is None or not (name and number and jobid):
        raise HttpError(BAD_REQUEST)
    return answer(ports, get_job(ports, jobid=jobid, name=name), args.params())


def _ping(_ports: ServicePorts, _job: Job, _params: Params) -> Response:
    return JsonAnswer({"status": "OK"})


def _shutdown(ports: ServicePorts, job: Job, _params: Params) -> Response:
    shut_down(ports, job)
    return JsonAnswer({"status": "shutdown requested"})


def _abort(ports: ServicePorts, job: Job, _params: Params) -> Response:
    terminate(ports, job)
    return JsonAnswer({"status": "terminated"})


def _connect(ports: ServicePorts, job: Job, _params: Params) -> Response:
    address, password = read_login(ports, job)
    return JsonAnswer({"address": address, "password": password})


def _info(ports: ServicePorts, job: Job, _params: Params) -> Response:
    connection = read_connection(ports, job)
    return JsonAnswer({"about": None, "help": render_help(connection), "url": connection.url, "actions": {}})


def _tail(ports: ServicePorts, job: Job, params: Params) -> Response:
    return TextAnswer(read_tail(ports, job, params.lines()))


def _screenshot(_ports: ServicePorts, _job: Job, _params: Params) -> Response:
    raise HttpError(UNKNOWN_ROUTE)


METHODS: dict[str, Callable[[ServicePorts, Job, Params], Response]] = {
    "": _ping,  # published schedulers take a path without a method as a ping
    "ping": _ping,
    "shutdown": _shutdown,
    "abort": _abort,
    "connect": _connect,
    "info": _info,
    "tail": _tail,
    "screenshot": _screenshot,
}
