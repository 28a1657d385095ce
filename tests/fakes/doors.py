"""The HTTP servers of kns, in memory."""

from collections.abc import Sequence


class FakeDoors:
    """The port `Doors`; a test may change `addresses`."""

    def __init__(self) -> None:
        self.addresses: list[str] = ["10.0.0.1", "10.0.0.2"]

    def list_addresses(self) -> Sequence[str]:
        return tuple(self.addresses)
