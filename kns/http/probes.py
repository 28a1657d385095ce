"""The probes, without credentials: whether this process works (`live`) and whether it can answer (`ready`)."""

from fastapi import Request, Response

from kns.http.answers import JsonAnswer
from kns.http.dependencies import Ports
from kns.http.errors import COMMON_ERRORS, NOT_READY, HttpError
from kns.http.routes import Route, Routes
from kns.http.schemas import STRING, a_map, a_record, a_word

routes = Routes(COMMON_ERRORS)


@routes.add(Route("live", "Whether the process works.", answer=a_word("OK")))
async def live() -> Response:
    """
    200 while the event loop runs. It needs no worker thread: all of them may be waiting for a Kubernetes API that is
    down, and a restart would not help then.
    """
    return JsonAnswer({"status": "OK"})


@routes.add(
    Route(
        "ready",
        "Whether the process can answer.",
        answer=a_record(
            {
                "status": {"type": "string", "const": "OK"},
                "version": STRING,
                "watches": {
                    **a_map({"anyOf": [{"type": "number"}, {"type": "null"}]}),
                    "description": "Seconds since the last data of each watch; null before its first.",
                },
            }
        ),
        errors=(NOT_READY,),
    )
)
def ready(request: Request, ports: Ports) -> Response:
    if not ports.health.is_ready():
        raise HttpError(NOT_READY)
    return JsonAnswer({"status": "OK", "version": request.app.version, "watches": ports.health.watch_ages()})
