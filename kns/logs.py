"""
Logging: JSON lines on stdout, or colours on a terminal. Event names are constant, data is in keys.

The keys that a reconcile or a request binds (`job`, `pass_id`, ...) are in each of its lines. Callers log names and
numbers and no secrets, and clip messages where they create them.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import structlog
import structlog.tracebacks


def configure_logging(level: int) -> None:
    """Configure structlog for the process. `level` is a Python level (10 debug ... 50 critical)."""
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if sys.stdout.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            # No local variables in a traceback, because some are API keys and kubeconfigs.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lines(sys.stdout))),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(levelname)s: %(message)s")


class _Lines:
    """
    Where lines go. One that cannot be written, mostly because the disk is full, is lost: most lines are written while
    something else has failed, and another error there would end the thread that is to try it again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


@contextmanager
def bound(**data: object) -> Iterator[None]:
    """Add `data` to every line that is logged inside the block."""
    with structlog.contextvars.bound_contextvars(**data):
        yield


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of the module `name`. Its lines have the key `module`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
