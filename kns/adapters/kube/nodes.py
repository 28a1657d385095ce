"""
What the nodes of the host offer to jobs.

This needs the right to list nodes, which kns has only on sites that want it (overlays/free-machines). Nodes are read
when somebody asks, at most once a minute for all who ask, in pages, and only sums are kept. So neither the memory nor
the cost of a request depends on the number of nodes, and a site where nobody looks pays nothing.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import NODES, KindRow
from kns.logs import get_logger
from kns.model import names
from kns.model.catalog.free import Amounts, HostRoom, Selector, add_amounts
from kns.model.errors import ForbiddenError, InvalidInputError, KnsError, clip
from kns.model.reading.quantity import parse_quantity
from kns.model.site import TOLERATED_TAINTS
from kns.ports import Clock, Object

AGE_S = 60.0  # between two reads: thousands of nodes are some seconds of work for the host and for kns
OLDEST_S = 300.0  # an answer that could not be renewed for so long is not shown any more
WAIT_S = 1.0  # what the request that starts a read waits for it: usual clusters answer sooner
_RESOURCES = ("cpu", "memory", "nvidia.com/gpu")

log = get_logger(__name__)


class KubeFreeRoom:
    """
    Implements `ports.FreeRoom`.

    `list_selectors` has the selectors of the machines; `sum_requests` what the pods of jobs request, by selector.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        list_selectors: Callable[[], Collection[Selector]],
        sum_requests: Callable[[], Mapping[Selector, Amounts]],
        clock: Clock,
        wait_s: float = WAIT_S,
    ) -> None:
        self._client = client
        self._list_selectors = list_selectors
        self._sum_requests = sum_requests
        self._clock = clock
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._begun_at = float("-inf")  # of the last read, in monotonic time
        self._is_reading = False
        self._known: tuple[float, HostRoom] | None = None
        self._problem = ""  # of the last read

    def read(self) -> HostRoom | None:
        now, done = self._clock.monotonic(), threading.Event()
        with self._lock:
            is_due = not self._is_reading and now - self._begun_at >= AGE_S
            if is_due:
                self._begun_at, self._is_reading = now, True
        if is_due:
            threading.Thread(target=self._renew, args=(done,), name="read-nodes", daemon=True).start()
            done.wait(self._wait_s)
        with self._lock:
            known = self._known
        return known[1] if known is not None and now - known[0] < OLDEST_S else None

    def _renew(self, done: threading.Event) -> None:
        try:
            began = self._clock.monotonic()
            taken = self._sum_requests()
            selectors = frozenset(self._list_selectors()) | taken.keys()
            room = HostRoom(selectors, sum_offers(walk(self._client, NODES), selectors), taken)
            with self._lock:
                self._known, self._problem = (began, room), ""
        except KnsError as error:
            self._tell(error)
        finally:
            with self._lock:
                self._is_reading = False
            done.set()

    def _tell(self, error: KnsError) -> None:
        """Once for each problem: this is tried every minute while somebody asks."""
        problem = clip(str(error))
        with self._lock:
            is_new, self._problem = problem != self._problem, problem
        if is_new:
            forbidden = isinstance(error, ForbiddenError)
            hint = "apply overlays/free-machines, or set KNS_FREE_MACHINES to false" if forbidden else ""
            log.warning("nodes_not_read", error=problem, hint=hint)


def walk(client: KubeClient, row: KindRow) -> Iterator[Object]:
    """All objects of a kind, a page at a time: those of a large host together exceed the limit of an answer."""
    return client.walk(row.path(), query={"limit": str(row.page)})


def sum_offers(nodes: Iterable[Object], selectors: Collection[Selector]) -> dict[frozenset[Selector], Amounts]:
    """What the nodes offer that admit jobs, by the selectors that select them. Only the sums are kept."""
    sums: dict[frozenset[Selector], Amounts] = {}
    for node in nodes:
        amounts = _read_offer(node) if admits_jobs(node) and runs_linux(node) else None
        if amounts is not None:
            labels = (node["metadata"].get("labels") or {}).items()
            key = frozenset(selector for selector in selectors if selector.issubset(labels))
            sums[key] = add_amounts((*((sums[key],) if key in sums else ()), amounts))
    return sums


def admits_jobs(node: Mapping[str, Any]) -> bool:
    """Whether the node accepts new pods with the tolerations of a job's pods."""
    spec = _part(node, "spec")
    hard = [taint for taint in spec.get("taints") or () if taint.get("effect") != "PreferNoSchedule"]
    tolerated = all(t["key"] in TOLERATED_TAINTS and t["effect"] == "NoSchedule" for t in hard)
    return tolerated and not spec.get("unschedulable")


def runs_linux(node: Mapping[str, Any]) -> bool:
    """Whether pods of jobs can run there: all images of kns and of virtual clusters are for Linux."""
    labels = node["metadata"].get("labels") or {}
    return bool(labels.get(names.OS_LABEL, names.LINUX) == names.LINUX)


def _read_offer(node: Object) -> Amounts | None:
    """None if the node has nothing, or something that cannot be read."""
    allocatable = _part(node, "status").get("allocatable") or {}
    try:
        cores, memory, gpus = (parse_quantity(str(allocatable.get(name, "0"))) for name in _RESOURCES)
    except InvalidInputError:
        return None
    return cores, memory, gpus


def _part(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return node.get(key) or {}
