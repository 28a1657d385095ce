"""
What this process knows of nested jobs: the connection to each one's cluster, and what was seen there last.

Nothing of it is stored: after a restart, everything is read again.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.namespace_calls import NamespaceCalls
from kns.launcher.nested.records import read_number
from kns.launcher.nested.rules import INSIDE
from kns.launcher.nested.site import KnsSite
from kns.plain.kept import read_name
from kns.plain.ports import Kept
from kns.ports import Clock


@dataclass(slots=True)
class KnownJob:
    """
    `inner` is the job's cluster. `due` and `killed` are monotonic times: of the next look, and of the first look after
    a kill, and again after kns was away. Whoever changes the fields holds `lock`.
    """

    number: int
    client: KubeClient
    inner: NamespaceCalls
    pods: Sequence[Kept] = ()
    versions: tuple[str, ...] = ()
    text: str = ""
    failures: int = 0  # looks without an answer, one after the other
    due: float = 0.0
    killed: float | None = None
    inside_s: float = 0.0  # that calls into the cluster took in the newest look, without those to kns itself
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def count_time(self, clock: Clock) -> Iterator[None]:
        """Around calls into the cluster."""
        began = clock.monotonic()
        try:
            yield
        finally:
            self.inside_s += clock.monotonic() - began


class KnownJobs:
    """By the name of their records. Safe for use in many threads."""

    def __init__(self, site: KnsSite) -> None:
        self._site = site
        self._jobs: dict[str, KnownJob] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._lock = threading.Lock()

    def list_ids(self) -> set[str]:
        return set(self._jobs.copy())

    def find(self, job_id: str) -> KnownJob | None:
        return self._jobs.get(job_id)

    def find_by_pod(self, pod: str) -> tuple[str, KnownJob] | None:
        """The job whose newest pod has that name."""
        for job_id, known in self._list():
            if any(found["metadata"]["name"] == pod for found in known.pods):
                return job_id, known
        return None

    def has_place(self, node: str) -> bool:
        """Whether a job's pod is shown as if it were on that node."""
        return any(str(pod["spec"].get("nodeName")) == node for _, known in self._list() for pod in known.pods)

    def connect(self, obj: Kept) -> KnownJob:
        """What is known of a nested job's record; with a new connection if that is nothing."""
        job_id, number = read_name(obj), read_number(obj)
        assert number is not None  # noqa: S101 - only nested records come here
        with self._lock:
            known = self._jobs.get(job_id)
            if known is None:
                client = self._site.connect(number)
                inner = NamespaceCalls(client, namespace=INSIDE)
                known = self._jobs[job_id] = KnownJob(number, client, inner)
            return known

    def forget(self, job_id: str) -> None:
        """Close the connection. A later look opens a new one."""
        with self._lock:
            known = self._jobs.pop(job_id, None)
        if known is not None:
            known.client.close()

    def close(self) -> None:
        """Close all connections."""
        for job_id in self.list_ids():
            self.forget(job_id)

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        self._listeners.append(on_change)

    def announce(self, job_id: str) -> None:
        """Something that the listeners show of the job has changed."""
        for listener in self._listeners:
            listener(job_id)

    def _list(self) -> list[tuple[str, KnownJob]]:
        with self._lock:
            return list(self._jobs.items())
