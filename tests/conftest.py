"""What every test leaves behind is undone here."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _forget_logging() -> Iterator[None]:
    """A test that configured logging did so with an output that ends with it."""
    yield
    structlog.reset_defaults()
