"""
Calls into virtual clusters run in threads of their own, so that a slow or hostile one delays only its own job.

A tenant controls the API of its virtual cluster and can make every call last until its time limit. A reconcile waits
only `_PATIENCE_S` for a call. If the call takes longer, the reconcile gets an error that can be retried, and the next
one for this job collects the result. A job has at most one call at a time, so it occupies at most one thread, and a
call of another job waits at most as long as there are more hostile jobs than threads.
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
    """The newest call of one job. Two calls with the same `request` are interchangeable."""

    request: str
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
        self._calls: dict[str, _Call] = {}  # kubeconfig -> its newest call
        self._lock = threading.Lock()

    def is_ready(self, kubeconfig: str) -> bool:
        try:
            return self._call(kubeconfig, "is_ready", lambda: self._inner.is_ready(kubeconfig))
        except UnavailableError:
            return False

    def apply(self, kubeconfig: str, objects: Sequence[Object]) -> None:
        self._call(kubeconfig, f"apply {objects!r}", lambda: self._inner.apply(kubeconfig, objects))

    def find_namespaces(self, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]) -> frozenset[str]:
        request = f"find_namespaces {kind} {name} {sorted(namespaces)}"
        return self._call(kubeconfig, request, lambda: self._inner.find_namespaces(kubeconfig, kind, name, namespaces))

    def retry_pods(self, kubeconfig: str, mark: str, page: str) -> str:
        request = f"retry_pods {mark} {page}"
        return self._call(kubeconfig, request, lambda: self._inner.retry_pods(kubeconfig, mark, page))

    def _call(self, kubeconfig: str, request: str, call: Callable[[], ResultT]) -> ResultT:
        """
        Raises:
            UnavailableError: the call, or an earlier one of this job, is still running.
        """
        with self._lock:
            now = self._clock.monotonic()
            self._forget_old(now)
            known = self._calls.get(kubeconfig)
            if known is None or (known.result.done() and known.request != request):
                known = _Call(request, now, self._executor.submit(call))
                self._calls[kubeconfig] = known
        wait([known.result], timeout=self._patience_s)
        if not known.result.done():
            raise UnavailableError("the virtual cluster has not answered yet; kns asks again")
        with self._lock:
            if self._calls.get(kubeconfig) is known:
                del self._calls[kubeconfig]
        if known.request != request:
            raise UnavailableError("an earlier call to the virtual cluster has just ended; kns asks again")
        return cast(ResultT, known.result.result())

    def _forget_old(self, now: float) -> None:
        """Drop results that nobody collected, for example because the job has ended."""
        old = [key for key, call in self._calls.items() if call.result.done() and now - call.began > _KEPT_S]
        for key in old:
            del self._calls[key]
