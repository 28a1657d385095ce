"""The calls about the scheduler as a whole."""

from fastapi import Response

from kns.api.upstream.errors import ERRORS
from kns.http.answers import JsonAnswer
from kns.http.dependencies import Ports
from kns.http.routes import GET, POST, Route, Routes
from kns.model import names
from kns.model.job.job import JobState
from kns.service.ports import ServicePorts
from kns.service.view import list_in_state

routes = Routes(ERRORS)


@routes.add(Route("gc", methods=GET))
def gc(ports: Ports) -> Response:
    """The leader collects garbage by itself. Upstream only learns whether the cluster answers."""
    is_ready = ports.health.is_ready()
    return JsonAnswer({"status": "OK" if is_ready else "BAD"}, status_code=200 if is_ready else 500)


@routes.add(Route("nodes", methods=GET))
@routes.add(Route("online", methods=POST))
def confirm() -> Response:
    """Upstream keeps records of nodes here; nested jobs have none."""
    return JsonAnswer(True)


@routes.add(Route("running", methods=GET))
def running(ports: Ports) -> Response:
    return JsonAnswer(_list(ports, JobState.PROCESSING))


@routes.add(Route("queued", methods=GET))
def queued(ports: Ports) -> Response:
    return JsonAnswer(_list(ports, JobState.SUBMITTED))


def _list(ports: ServicePorts, state: JobState) -> list[list[str]]:
    return [[name, names.job_object_name(number)] for number, name in list_in_state(ports, state)]
