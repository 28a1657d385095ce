"""
Runs work in threads in the background of a command's steps, such as downloads while programs are compiled.

A task does its waiting in programs that it starts with `commands.run_long`. If the command ends early, the `tick` of
the task raises, and `run_long` ends the program.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from testbed.progress import say

T = TypeVar("T")
Tick = Callable[[str], None]
Task = concurrent.futures.Future

POLL_S = 0.1


class CancelledError(Exception):
    """
    Ends a task whose command ended early.
    """


class Tasks:
    """
    The tasks of one command. Leaving the block ends the tasks that still run.
    """

    def __init__(self) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=8)
        self._cancelled = threading.Event()

    def start(self, label: str, work: Callable[[Tick], T]) -> Task[T]:
        """
        Start a task; `wait` gives its result.
        """

        def tick(_: str) -> None:
            if self._cancelled.is_set():
                raise CancelledError(label)

        def run() -> T:
            started = time.monotonic()
            result = work(tick)
            say(f"        background: {label} ... ready {time.monotonic() - started:.1f}s")
            return result

        return self._executor.submit(run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancelled.set()
        self._executor.shutdown(wait=True, cancel_futures=True)


def wait(task: Task[T], tick: Tick) -> T:
    """
    Wait for a task, calling tick meanwhile. Returns its result or raises its error.
    """
    while not task.done():
        tick("")
        concurrent.futures.wait([task], timeout=POLL_S)
    return task.result()
