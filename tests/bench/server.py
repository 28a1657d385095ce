"""A server on loopback that answers a measurement as a script says."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered; with `lost` the request has its effect and the connection ends without an answer."""

    status: int = 200
    body: Any = None
    lost: bool = False


Result = TypeVar("Result")
Script = Callable[[str, dict[str, Any]], Reply]


async def run_against(script: Script, run: Callable[[str], Awaitable[Result]]) -> Result:
    """
    What `run` returns; it is given the server's address. The script gets a route's name, and body or parameters.
    """

    async def answer(request: web.Request) -> web.Response:
        given = json.loads(await request.read()) if request.can_read_body else dict(request.query)
        reply = script(request.path.removeprefix("/jarvice/"), given)
        if reply.lost and request.transport is not None:
            request.transport.abort()
        return web.json_response({} if reply.body is None else reply.body, status=reply.status)

    app = web.Application()
    app.router.add_route("*", "/jarvice/{route}", answer)
    async with TestServer(app) as server:
        return await run(str(server.make_url("")).rstrip("/"))
