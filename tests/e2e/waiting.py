"""The one place where the end-to-end tests wait. A failure shows what was seen last."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from demo.errors import DemoError
from kns.client import NoResponseError

T = TypeVar("T")

POLL_S = 0.4
PATIENCE = 3.0
"""
The factor of every deadline of the end-to-end tests. The constants say what an idle machine with two cores needs, with
room to spare; a machine that does other work beside needs up to three times as long. A test that passes waits for no
deadline, so this costs time only where a test fails.
"""


class NotYetError(Exception):
    """The expected state is not there yet; the message says what the probe saw."""


def wait_for(
    probe: Callable[[], T],
    *,
    timeout_s: float,
    what: str,
    evidence: Callable[[], str] = lambda: "",
    every_s: float = POLL_S,
) -> T:
    """
    Call `probe` until it returns, and return its result; it raises `NotYetError` as long as it has none.

    A refused connection counts as "not yet": some tests kill the server that they ask. When the deadline has passed,
    the test fails with what was seen last and with `evidence()`. `timeout_s` is that of an idle machine: `PATIENCE`.
    """
    limit_s = timeout_s * PATIENCE
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return probe()
        except (NotYetError, NoResponseError, httpx.TransportError, DemoError) as error:
            seen = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit_s:.0f} s\n{evidence()}\nLast seen: {seen}")
        time.sleep(every_s)


def hold_for(seconds: float, check: Callable[[], object], *, every_s: float = POLL_S) -> None:
    """Check that what `check` asserts is true now and stays true for that long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check()
        time.sleep(every_s)
    check()
