"""Programs that the command line starts for the user, and signals that end it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from kns.cli.exits import CommandError, Exit, Terminated

GRACE_S = 10.0  # for a program after a signal to end; then it is killed, so that what depends on it can be removed
_ENDING = (signal.SIGTERM, signal.SIGHUP)

_Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it can remove what it made."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    with _handling(end, *_ENDING):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals do not interrupt the block, which must be short."""

    def ignore(_number: int, _frame: FrameType | None) -> None: ...

    with _handling(ignore, signal.SIGINT, *_ENDING):
        yield


def run_program(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run a program on the user's terminal until it ends, and return its exit status; 128 and the number of the signal if
    one ended it. A signal that ends this program is passed on, and the program is killed `GRACE_S` after it.

    Raises:
        CommandError: it cannot be started.
    """
    running: list[subprocess.Popen[bytes]] = []
    killers: list[threading.Timer] = []
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not running:
            early.append(number)  # the program may exist already, so this one cannot just leave
        elif number != signal.SIGINT or sys.stdin is None or not sys.stdin.isatty():
            deliver(number)  # a terminal has sent SIGINT to both

    def deliver(number: int) -> None:
        with suppress(ProcessLookupError):
            running[0].send_signal(number)
        if not killers and number != signal.SIGINT:
            killers.append(threading.Timer(GRACE_S, running[0].kill))
            killers[0].daemon = True
            killers[0].start()

    with _handling(pass_on, signal.SIGINT, *_ENDING):
        try:
            running.append(subprocess.Popen(list(arguments), env=dict(environ)))
        except OSError as error:
            raise CommandError(Exit.USAGE, f"cannot start {arguments[0]}: {error.strerror}") from error
        for number in early:
            deliver(number)
        try:
            status = running[0].wait()
        finally:
            for killer in killers:
                killer.cancel()
    return status if status >= 0 else 128 - status


@contextmanager
def _handling(handler: _Handler, *numbers: signal.Signals) -> Iterator[None]:
    # `nohup` ignores SIGHUP for the program and its children, and that stays so.
    handled = [number for number in numbers if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
