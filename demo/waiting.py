"""Wait for a condition with a deadline. The error says what was missing."""

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
    Call `probe` until it returns None. Otherwise it returns what is missing, which `say` receives whenever it changes.

    Raises:
        DemoError: `probe` did not return None in time.
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
