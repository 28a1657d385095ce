"""Waiting for something with a deadline; what is missing is part of the error."""

import time
from collections.abc import Callable

from demo.errors import DemoError


def wait_until(
    probe: Callable[[], str | None],
    *,
    timeout_s: float,
    what: str,
    say: Callable[[str], None] = lambda _: None,
    every_s: float = 0.5,
) -> None:
    """
    Call `probe` until it returns None; it returns what is still missing. `say` gets that each time it changes.

    Raises:
        DemoError: the time was up.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while (missing := probe()) is not None:
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not within {timeout_s:.0f} s; {missing}")
        if missing != said:
            said = missing
            say(missing)
        time.sleep(every_s)
