"""What kns and the controllers asked the API server, from its audit log."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.scale_host import KNS_USER, YARDSTICK

READS, WRITES = ("get", "list"), ("create", "update", "patch", "delete", "deletecollection")
_OWN = {"leases"}  # of the process, and not of its jobs


@dataclass(slots=True)
class Requests:
    """
    The number of requests by (verb, resource), for example ("patch", "services"). `own` are those that a process makes
    without any job. `refused` counts answers with an error by (verb, resource, status).
    """

    by_kind: Counter[tuple[str, str]] = field(default_factory=Counter)
    own: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    @property
    def reads(self) -> int:
        return sum(count for (verb, _), count in self.by_kind.items() if verb in READS)

    @property
    def writes(self) -> int:
        return sum(count for (verb, _), count in self.by_kind.items() if verb in WRITES)


@dataclass(slots=True)
class Asked:
    """The requests of kns, and those of the controllers for the yardstick."""

    kns: Requests = field(default_factory=Requests)
    controllers: Requests = field(default_factory=Requests)


class AuditLog:
    """The log file, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read_new(self) -> Asked:
        """The requests that were answered since the last call. Watches are left out."""
        asked = Asked()
        for event in self._read_events():
            verb, ref = event["verb"], event.get("objectRef") or {}
            if verb not in READS and verb not in WRITES:
                continue
            resource = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
            if event["user"]["username"] == KNS_USER:
                _count(asked.kns, verb, resource, event)
            elif ref.get("namespace") == YARDSTICK and "kube-controller-manager" in event.get("userAgent", ""):
                _count(asked.controllers, verb, resource, event)
        return asked

    def _read_events(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # the server is writing it
                    return
                self._offset += len(line)
                yield json.loads(line)


def _count(requests: Requests, verb: str, resource: str, event: dict[str, Any]) -> None:
    (requests.own if resource in _OWN else requests.by_kind)[verb, resource] += 1
    code = int((event.get("responseStatus") or {}).get("code") or 0)
    if code >= 400:
        requests.refused[verb, resource, code] += 1
