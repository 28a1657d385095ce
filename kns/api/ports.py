"""What the routes reach outside themselves, as one bundle that `build_app` receives."""

import random
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from kns.model.submit.submission import Terms
from kns.ports import (
    Bearer,
    CatalogSource,
    Clock,
    Health,
    JobStore,
    NamespaceReader,
    OutputStore,
    RateLimit,
    TokenStore,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user may do: `failed_logins` and `submits` a minute, jobs that live at a time (0 = any number)."""

    failed_logins: RateLimit
    submits: RateLimit
    live_jobs: int = 0


@dataclass(frozen=True, slots=True)
class ApiPorts:
    """
    `terms` are what jobs are taken on, `version` is that of kns. Without `bearer` every token is refused. `server_key`
    is the `user:password` of the upstream-scheduler protocol; without it its routes do not exist.
    """

    jobs: JobStore
    outputs: OutputStore
    tokens: TokenStore
    catalog: CatalogSource
    health: Health
    clock: Clock
    terms: Terms
    version: str
    rng: random.Random
    namespaces: NamespaceReader
    limits: Limits
    bearer: Bearer | None = None
    server_key: str | None = field(default=None, repr=False)


async def _ports_of(request: Request) -> ApiPorts:
    ports: ApiPorts = request.app.state.ports
    return ports


Ports = Annotated[ApiPorts, Depends(_ports_of)]
