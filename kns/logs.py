"""
Logging: JSON lines on stdout, or colours on a terminal; constant event names, data as keys.

What a pass or a request binds (`job`, `pass_id`, ...) is in every line it writes. Secrets never get here: callers log
names and numbers, and messages are clipped where they are made.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import structlog.tracebacks


def configure_logging(level: int) -> None:
    """Set up structlog for the whole process; `level` is Python's (10 debug ... 50 critical)."""
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
            # No local variables in a traceback: some of them are API keys and kubeconfigs.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(levelname)s: %(message)s")


@contextmanager
def bound(**data: object) -> Iterator[None]:
    """Every line written inside carries `data`."""
    with structlog.contextvars.bound_contextvars(**data):
        yield


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a module; rooms that have no other need of structlog take it from here."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
