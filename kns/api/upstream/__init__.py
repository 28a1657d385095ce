"""
The protocol that an upstream JARVICE speaks to its schedulers, over the same job store as the public API.

Upstream has authenticated its users itself: it sends no API keys, and its server key is the credential. It finds its
jobs by the name that it gave them, so a job submitted here keeps that name. The number, and with it the jobid
`kns-job-<number>`, is chosen by kns (docs/decisions/0009-upstream-protocol.md).
"""

from fastapi import Depends

from kns.api.upstream import jobs, requests, scheduler, submit
from kns.api.upstream.auth import ServerKey
from kns.http.app import FrontEnd


def build_front_end(server_key: str) -> FrontEnd:
    """`server_key` is the `user:password` that every request must carry."""
    routes = (scheduler.routes, submit.routes, jobs.routes, requests.routes)
    return FrontEnd(routes, dependencies=(Depends(ServerKey(server_key)),))
