"""The simulation of tests/flow, for tests of what stages share."""

from tests.flow.conftest import sim

__all__ = ["sim"]
