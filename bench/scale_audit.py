"""What kns and the controllers asked the API server, from its audit log."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.scale_host import KNS_USER, YARDSTICK
from testbed import audit

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
        self._log = audit.AuditLog(path)

    def read_new(self) -> Asked:
        """The requests that were answered since the last call. Watches are left out."""
        asked = Asked()
        for request in self._log.read_new():
            if request.verb not in READS and request.verb not in WRITES:
                continue
            if request.user == KNS_USER:
                _count(asked.kns, request)
            elif request.namespace == YARDSTICK and "kube-controller-manager" in request.agent:
                _count(asked.controllers, request)
        return asked


def _count(requests: Requests, request: audit.Request) -> None:
    (requests.own if request.resource in _OWN else requests.by_kind)[request.verb, request.resource] += 1
    if request.status >= 400:
        requests.refused[request.verb, request.resource, request.status] += 1
