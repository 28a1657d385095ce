"""
What all tests share: plain log lines, logging undone after each test, and how many examples hypothesis tries.

`--hypothesis-profile=deep` tries a hundred times as many.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Both limits are of real time, which a busy machine exceeds with any test.
_TIMELESS: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=40, **_TIMELESS)
settings.register_profile("deep", max_examples=4000, **_TIMELESS)
settings.load_profile("quick")

# structlog's defaults render each traceback with its source for a terminal, which took a tenth of a run.
_PLAIN: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.format_exc_info,
    structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse items with the same id: pytest-xdist, which knows items by their ids, runs only one of them."""
    if doubles := [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]:
        raise pytest.UsageError(f"several tests have the same id, give them names: {', '.join(doubles)}")


@pytest.fixture(autouse=True)
def _reset_logging() -> Iterator[None]:
    """Undo the logging that a test configured, because its output ends with the test."""
    structlog.configure(processors=_PLAIN)
    yield
    structlog.reset_defaults()


@pytest.fixture
def interrupts_heard() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, and the tests may be in one."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
