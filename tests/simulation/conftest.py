"""What a simulation needs to be quick."""

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def _be_quiet() -> None:
    """Millions of passes have nothing to say here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
