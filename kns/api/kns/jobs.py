"""The routes about jobs."""

from fastapi import Response

from kns.api.kns.errors import ERRORS, LOOKUP
from kns.api.kns.shapes import connection_entry, explanation_entry, job_entry
from kns.http.answers import JsonAnswer
from kns.http.auth import REQUIRED
from kns.http.dependencies import Ports
from kns.http.lookup import JOB, KnownJob
from kns.http.routes import Route, Routes
from kns.http.schemas import ref
from kns.service.errors import NotRunningError
from kns.service.explain import explain as explain_job
from kns.service.view import read_connection

routes = Routes(ERRORS)


@routes.add(
    Route(
        "job",
        "One job, live or ended, with its timeline.",
        answer=ref("Job"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=LOOKUP,
    )
)
async def job(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(job_entry(job, now=ports.clock.now()))


@routes.add(
    Route(
        "explain",
        "What a job does or waits for, why, and what its user can do.",
        answer=ref("Explanation"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=LOOKUP,
    )
)
def explain(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(explanation_entry(explain_job(ports, job)))


@routes.add(
    Route(
        "connection",
        "How to reach a running job, and its web shell.",
        answer=ref("Connection"),
        parameters=JOB,
        credentials=REQUIRED,
        errors=(*LOOKUP, NotRunningError),
    )
)
def connection(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(connection_entry(read_connection(ports, job)))
