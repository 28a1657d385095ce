"""What a measurement can fail of."""


class BenchError(Exception):
    """No measurement; the message says what to do."""


class NoAnswerError(BenchError):
    """A request without an answer; `kind` is the name of what happened instead."""

    def __init__(self, route: str, cause: Exception) -> None:
        self.kind = type(cause).__name__
        super().__init__(f"{route}: {self.kind} {cause}".rstrip())
