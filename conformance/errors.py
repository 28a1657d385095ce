"""The errors of a run."""


class ConformanceError(Exception):
    """The run is not possible. The message says what to do."""
