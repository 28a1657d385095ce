"""What the routes reach outside themselves, as one bundle that `build_app` receives."""

import random
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from kns.ports import CatalogSource, Clock, Health, JobStore, NamespaceReader, OutputStore, TokenStore


@dataclass(frozen=True, slots=True)
class ApiPorts:
    """
    `supported_versions` are the Kubernetes minors a job may ask for (`v1.36`), `version` is that of kns.

    `server_key` is the `user:password` of the upstream-scheduler protocol; None: its routes do not exist.
    """

    jobs: JobStore
    outputs: OutputStore
    tokens: TokenStore
    catalog: CatalogSource
    health: Health
    clock: Clock
    supported_versions: tuple[str, ...]
    version: str
    rng: random.Random
    namespaces: NamespaceReader
    server_key: str | None = field(default=None, repr=False)


async def _ports_of(request: Request) -> ApiPorts:
    ports: ApiPorts = request.app.state.ports
    return ports


Ports = Annotated[ApiPorts, Depends(_ports_of)]
