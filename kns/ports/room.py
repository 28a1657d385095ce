"""What the nodes of the host offer to jobs."""

from typing import Protocol

from kns.model.catalog.free import HostRoom


class FreeRoom(Protocol):
    """What users may know of the nodes. It is read only while somebody asks."""

    def read(self) -> HostRoom | None:
        """
        The room of a moment ago; None if it is not known, because it was not read yet or the host refuses it. Returns
        within about a second, and raises nothing.
        """
        ...
