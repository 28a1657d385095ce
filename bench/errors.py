"""The errors of a measurement."""


class BenchError(Exception):
    """The measurement failed. The message says what to do."""


class NoAnswerError(BenchError):
    """kns did not respond to a request. `kind` is the name of the cause."""

    def __init__(self, route: str, cause: Exception) -> None:
        self.kind = type(cause).__name__
        super().__init__(f"{route}: {self.kind} {cause}".rstrip())
