"""
An ASGI client without a network, and the app over in-memory ports that it calls.

Each request has its own event loop. Routes run in real worker threads, as they do behind uvicorn.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx
from fastapi import FastAPI

from kns.adapters.sliding_window import SlidingWindow
from kns.api.front_ends import list_front_ends
from kns.http.app import build_app
from kns.model.job.job import Job
from kns.model.job.output import JobOutput
from kns.model.submit.submission import Terms
from kns.ports import Bearer
from kns.service.ports import ClusterAccess, Limits, ServicePorts
from tests.builders import JobBuilder, a_catalog
from tests.fakes.pool import FakePool
from tests.fakes.relay import FakeJobClusters
from tests.fakes.room import MemoryRoom
from tests.fakes.stores import (
    AlwaysReady,
    FakeClock,
    MemoryJobStore,
    MemoryNamespaces,
    MemoryOutputStore,
    MemoryTokenStore,
    StaticCatalog,
)

VERSION = "9.9.9"
_APPS: dict[str | None, FastAPI] = {}


@dataclass
class Api:
    """The app over its fakes. Calls are made as `user1` by default."""

    clock: FakeClock = field(default_factory=FakeClock)
    catalog: StaticCatalog = field(default_factory=lambda: StaticCatalog(a_catalog()))
    outputs: MemoryOutputStore = field(default_factory=MemoryOutputStore)
    tokens: MemoryTokenStore = field(default_factory=MemoryTokenStore)
    health: AlwaysReady = field(default_factory=AlwaysReady)
    namespaces: MemoryNamespaces = field(default_factory=MemoryNamespaces)
    bearer: Bearer | None = None
    pool: FakePool | None = None
    room: MemoryRoom | None = None
    clusters: FakeJobClusters = field(default_factory=FakeJobClusters)
    clusters_of_all: bool = True
    with_shells: bool = True
    failed_logins: int = 10
    submits: int = 60
    lookups: int = 10_000
    live_jobs: int = 0
    server_key: str | None = None
    jobs: MemoryJobStore = field(init=False)
    ports: ServicePorts = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = MemoryJobStore(self.clock)
        self.ports = ServicePorts(
            jobs=self.jobs,
            outputs=self.outputs,
            tokens=self.tokens,
            catalog=self.catalog,
            health=self.health,
            clock=self.clock,
            terms=Terms(supported_versions=("v1.36", "v1.35")),
            rng=random.Random(7),
            namespaces=self.namespaces,
            limits=Limits(
                failed_logins=SlidingWindow(self.failed_logins, clock=self.clock),
                submits=SlidingWindow(self.submits, clock=self.clock),
                lookups=SlidingWindow(self.lookups, clock=self.clock),
                live_jobs=self.live_jobs,
            ),
            bearer=self.bearer,
            members=self.pool,
            room=self.room,
            clusters=ClusterAccess(self.clusters, for_all=self.clusters_of_all, with_shells=self.with_shells),
        )

    @cached_property
    def app(self) -> FastAPI:
        """A separate app, for a test that serves it."""
        return build_app(self.ports, list_front_ends(server_key=self.server_key), version=VERSION)

    def add(self, builder: JobBuilder, *, output: str | None = None) -> Job:
        """Store a job, with its tokens if it has started."""
        job = self.jobs.add(builder.build())
        if job.status.start_time is not None:
            self.tokens.ensure(job)
        if output is not None:
            self.outputs.write(job, JobOutput(log=output))
        return job

    def call(self, method: str, path: str, *, address: str = "192.0.2.1", **options: Any) -> httpx.Response:
        """Send one request exactly as given, from that address. `options` are those of httpx."""
        app = _share_app(self.ports, self.server_key)

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=app, client=(address, 50000))
            async with httpx.AsyncClient(transport=transport, base_url="http://kns.example.org") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, route: str, *, as_user: str | None = "user1", **params: Any) -> httpx.Response:
        """Send a GET below /jarvice/ with that user's credentials."""
        credentials = {"username": as_user, "apikey": f"key-{as_user}"} if as_user else {}
        return self.call("GET", f"/jarvice/{route}", params={**credentials, **params})

    def submit(self, body: Any, **headers: str) -> httpx.Response:
        """Underscores in the names of `headers` become hyphens."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.call("POST", "/jarvice/submit", json=body, headers=named)


def _share_app(ports: ServicePorts, server_key: str | None) -> FastAPI:
    """The app that all tests share, now over these ports. Setting up a new one would take most of a test's time."""
    if server_key not in _APPS:
        _APPS[server_key] = build_app(ports, list_front_ends(server_key=server_key), version=VERSION)
    app = _APPS[server_key]
    app.state.ports = ports
    return app


def as_json(content: Any) -> bytes:
    """The exact bytes of a JSON answer."""
    return (json.dumps(content, indent=4, ensure_ascii=False) + "\n").encode()


def assert_refused(answer: httpx.Response, status: int, error: str) -> None:
    """Compare status, content type and body, byte for byte."""
    assert (answer.status_code, answer.content) == (status, as_json({"error": error}))
    assert answer.headers["content-type"] == "application/json"
