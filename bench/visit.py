"""The page of a job as a measurement sees it: one small connection for each look."""

import contextlib
import time
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from bench.errors import BenchError

PAGE_EVERY_S = 0.1
LIMIT_S = 300.0  # of one chain, and of its removal
_PAGE_TIMEOUT_S = 5.0
_OK, _APP = 200, b"Hello"  # what the page of examples/hello says


def visit(url: str, ingress_url: str) -> tuple[int, bytes]:
    """
    The status and the body of the page at `url`, asked for at the ingress controller; (0, b"") without an answer.

    Not by httpx: a client for each request would use half a core of the machine that is measured.
    """
    wanted, place = urlsplit(url), urlsplit(ingress_url or url)
    with contextlib.suppress(OSError, HTTPException):
        connection = HTTPConnection(place.hostname or "", place.port or 80, timeout=_PAGE_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", wanted.path or "/", headers={"Host": wanted.netloc})
            answer = connection.getresponse()
            return answer.status, answer.read()
    return 0, b""


def is_app(page: tuple[int, bytes]) -> bool:
    return page[0] == _OK and _APP in page[1]


def await_app(url: str, ingress_url: str, begun: float) -> None:
    """
    Raises:
        BenchError: the app did not answer within the limit, counted from `begun`.
    """
    while not is_app(visit(url, ingress_url)):
        if time.perf_counter() - begun > LIMIT_S:
            raise BenchError(f"{url} did not answer within {LIMIT_S:.0f} s")
        time.sleep(PAGE_EVERY_S)
