"""Settings that keep simulations quick."""

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def _be_quiet() -> None:
    """Millions of reconciles would write as many log lines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
