"""What a measurement can fail of."""


class BenchError(Exception):
    """No measurement; the message says what to do."""
