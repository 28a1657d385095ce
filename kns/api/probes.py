"""Whether this process works (`live`) and whether it can answer (`ready`). No credentials."""

from fastapi import APIRouter, Response

from kns.api.answers import JsonAnswer
from kns.api.errors import NOT_READY, ApiError
from kns.api.ports import Ports

METHODS = ["GET", "POST"]

router = APIRouter()


@router.api_route("/live", methods=METHODS)
async def live() -> Response:
    """
    200 while the event loop turns: it must answer when every worker thread waits for a Kubernetes API that is gone,
    because a restart would not bring that back.
    """
    return JsonAnswer({"status": "OK"})


@router.api_route("/ready", methods=METHODS)
def ready(ports: Ports) -> Response:
    if not ports.health.is_ready():
        raise ApiError(NOT_READY)
    return JsonAnswer({"status": "OK", "version": ports.version})
