"""
Calls into virtual clusters run in threads of their own, so that a slow or hostile one delays only its own job.

A tenant controls the API of its virtual cluster and can make every call last until its time limit. A reconcile waits
only `_PATIENCE_S` for a call. If the call takes longer, the reconcile gets an error that can be retried, and the next
one for this job collects the result. A job has at most one call at a time, running or queued, whatever its kubeconfig
says. So it occupies at most one thread, the queue holds at most one call for each job, and a call of another job waits
only if there are more hostile jobs than threads.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from kns.model.errors import UnavailableError
from kns.ports import Clock, Kind, Object, VirtualClusters

ResultT = TypeVar("ResultT")

THREADS = 32
_PATIENCE_S = 0.5  # an honest API answers in a few milliseconds
_KEPT_S = 90.0  # how long a result waits for its reconcile; longer than the longest backoff


@dataclass(slots=True)
class _Call:
    """The newest call of one job. Two calls with the same `request`, which has the kubeconfig or URL, are one."""

    request: tuple[str, str]
    began: float
    result: "Future[Any]"


class IsolatedVirtualClusters:
    """Implements `ports.VirtualClusters` on top of another implementation, whose calls must end by themselves."""

    def __init__(
        self,
        inner: VirtualClusters,
        *,
        clock: Clock,
        threads: int = THREADS,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._patience_s = patience_s
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="nested")
        self._calls: dict[str, _Call] = {}  # namespace of a job -> its newest call
        self._lock = threading.Lock()

    def listens(self, namespace: str, server: str) -> bool:
        """Also if a call that was made because it listens is not collected yet: another would take its place."""
        request = (server, "listens")
        with self._lock:
            known = self._calls.get(namespace)
            if known is not None and known.request != request:
                return True
        try:
            return self._call(namespace, request, lambda: self._inner.listens(namespace, server))
        except UnavailableError:
            return False

    def is_ready(self, namespace: str, kubeconfig: str) -> bool:
        try:
            return self._call(namespace, (kubeconfig, "is_ready"), lambda: self._inner.is_ready(namespace, kubeconfig))
        except UnavailableError:
            return False

    def apply(self, namespace: str, kubeconfig: str, objects: Sequence[Object]) -> None:
        request = f"apply {objects!r}"
        self._call(namespace, (kubeconfig, request), lambda: self._inner.apply(namespace, kubeconfig, objects))

    def find_namespaces(
        self, namespace: str, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]
    ) -> frozenset[str]:
        request = f"find_namespaces {kind} {name} {sorted(namespaces)}"
        find = self._inner.find_namespaces
        return self._call(namespace, (kubeconfig, request), lambda: find(namespace, kubeconfig, kind, name, namespaces))

    def retry_pods(self, namespace: str, kubeconfig: str, mark: str, page: str) -> str:
        request = f"retry_pods {mark} {page}"
        retry = self._inner.retry_pods
        return self._call(namespace, (kubeconfig, request), lambda: retry(namespace, kubeconfig, mark, page))

    def _call(self, namespace: str, request: tuple[str, str], call: Callable[[], ResultT]) -> ResultT:
        """
        Raises:
            UnavailableError: the call, or an earlier one of this job, is still running.
        """
        with self._lock:
            now = self._clock.monotonic()
            self._forget_old(now)
            known = self._calls.get(namespace)
            if known is None or (known.result.done() and known.request != request):
                known = _Call(request, now, self._executor.submit(call))
                self._calls[namespace] = known
        wait([known.result], timeout=self._patience_s)
        if not known.result.done():
            raise UnavailableError("the virtual cluster has not answered yet; kns asks again")
        with self._lock:
            if self._calls.get(namespace) is known:
                del self._calls[namespace]
        if known.request != request:
            raise UnavailableError("an earlier call to the virtual cluster has just ended; kns asks again")
        return cast(ResultT, known.result.result())

    def _forget_old(self, now: float) -> None:
        """Drop results that nobody collected, for example because the job has ended."""
        old = [key for key, call in self._calls.items() if call.result.done() and now - call.began > _KEPT_S]
        for key in old:
            del self._calls[key]
