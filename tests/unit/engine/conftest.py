"""The simulation of tests/flow, for tests of the engine with stages of their own."""

from tests.flow.conftest import sim

__all__ = ["sim"]
