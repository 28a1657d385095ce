"""The writes of kns, in the order of their answers, from the API server's audit log."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.scale_audit import WRITES
from bench.scale_host import KNS_USER

_LEASES = "leases"
_LONGEST_LINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answered:
    """A write that the API server answered. `source` is the address it came from."""

    source: str
    verb: str
    resource: str
    namespace: str
    name: str
    status: int

    @property
    def is_lease(self) -> bool:
        return self.resource == _LEASES

    @property
    def is_object(self) -> bool:
        """Whether it is about an object with a name, and not a review or a part of an object."""
        return bool(self.name) and "/" not in self.resource

    @property
    def is_refused(self) -> bool:
        return self.status >= 400


class Trail:
    """`position` and `since` are places in the log."""

    def __init__(self, audit_log: Path) -> None:
        self._path = audit_log

    @property
    def position(self) -> int:
        """The end of the last whole line."""
        with self._path.open("rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE_BYTES)
            file.seek(begin)
            return begin + file.read().rfind(b"\n") + 1

    def read(self, *, since: int) -> Iterator[Answered]:
        with self._path.open("rb") as file:
            file.seek(since)
            for line in file:
                if not line.endswith(b"\n"):  # the server is writing it
                    return
                event = json.loads(line)
                if event["user"]["username"] == KNS_USER and event["verb"] in WRITES:
                    yield _read(event)

    def list_accepted(self, *, since: int, source: str | None = None) -> list[Answered]:
        """What changed something other than a Lease; with `source` only by that replica."""
        return [
            each
            for each in self.read(since=since)
            if not each.is_refused and not each.is_lease and source in (None, each.source)
        ]

    def find_made_twice(self) -> list[tuple[str, str, str]]:
        """Resource, namespace and name of the objects that kns created more than once."""
        made = Counter(
            (each.resource, each.namespace, each.name)
            for each in self.read(since=0)
            if each.status == 201 and each.is_object
        )
        return [key for key, count in made.items() if count > 1]


def _read(event: dict[str, object]) -> Answered:
    ref: dict[str, str] = event.get("objectRef") or {}  # type: ignore[assignment]
    status: dict[str, int] = event.get("responseStatus") or {}  # type: ignore[assignment]
    addresses: list[str] = event["sourceIPs"]  # type: ignore[assignment]
    return Answered(
        source=addresses[0],
        verb=str(event["verb"]),
        resource="/".join(filter(None, (ref.get("resource"), ref.get("subresource")))),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        status=int(status.get("code") or 0),
    )
