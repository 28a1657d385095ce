"""The simulation of tests/flow."""

from tests.flow.conftest import sim

__all__ = ["sim"]
