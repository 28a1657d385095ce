"""
The counter of job numbers: a ConfigMap, changed by compare and swap, so that no two replicas allot the same number.

Requests that arrive during a swap share the next one. Otherwise each would wait for a swap of its own, and a replica
that lost a race would probably lose the next one too, because it has to read the counter again.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from kns.adapters.kube.client import ANSWER_TIMEOUT_S, KubeClient
from kns.adapters.kube.kinds import KINDS
from kns.adapters.retry import retry_on_conflict
from kns.model import names
from kns.model.errors import AlreadyExistsError, ConflictError, KnsError, NotFoundError, UnavailableError
from kns.ports import Kind, Object

COUNTER = "kns-job-numbers"


class JobNumbers:
    """
    `highest` returns the highest number of the existing records, to restore a counter that was lost. No number is below
    `first`, also if the counter is.
    """

    def __init__(self, client: KubeClient, *, namespace: str, highest: Callable[[], int], first: int = 1) -> None:
        self._client = client
        self._namespace = namespace
        self._first = first
        self._highest = highest
        self._counter: Object | None = None
        self._swap = threading.Lock()
        self._gate = threading.Lock()
        self._wanted = 0
        self._spare: deque[int | KnsError] = (
            deque()
        )  # the numbers of a swap, or its error, for the threads that share it

    @property
    def waiting(self) -> int:
        """The number of threads that wait and are not part of a swap yet."""
        return self._wanted

    def allot(self) -> int:
        """
        Raises:
            ConflictError: other replicas were faster in every attempt.
            UnavailableError: there was no answer, or the counter contains no number.
        """
        with self._gate:
            self._wanted += 1
        with self._swap:
            if not self._spare:
                with self._gate:
                    count, self._wanted = max(1, self._wanted), 0
                self._spare.extend(self._swap_for(count))
            share = self._spare.popleft()
        if isinstance(share, KnsError):
            raise share
        return share

    def _swap_for(self, count: int) -> Iterable[int | KnsError]:
        """
        Allot `count` numbers. If the host does not answer, all waiting threads fail at once, not one after the other.
        """
        try:
            first = self._take(count)
        except KnsError as error:
            return [type(error)(str(error)) for _ in range(count)]
        return range(first, first + count)

    @retry_on_conflict
    def _take(self, count: int) -> int:
        """
        Compare and swap. Returns the first of `count` numbers. The last answer is cached, so usually this is one call.
        """
        row = KINDS[Kind.CONFIG_MAP]
        if self._counter is None:
            self._counter = self._read_or_make_counter()
        first = max(self._read_last(self._counter) + 1, self._first)
        wanted = {**self._counter, "data": {**self._counter["data"], "last": str(first + count - 1)}}
        try:
            self._counter = self._client.request(
                "PUT", row.path(self._namespace, COUNTER), body=wanted, read_timeout_s=ANSWER_TIMEOUT_S
            )
        except (ConflictError, NotFoundError) as error:
            self._counter = None
            raise ConflictError(str(error)) from error
        return first

    def _read_last(self, counter: Object) -> int:
        try:
            return int(counter["data"]["last"])
        except (KeyError, TypeError, ValueError) as error:
            self._counter = None
            raise UnavailableError(
                f"ConfigMap {self._namespace}/{COUNTER}: data.last is not a number; set it to the highest job number "
                "ever allotted"
            ) from error

    def _read_or_make_counter(self) -> Object:
        """Read the counter. If it was lost, create it with the highest number of the existing records."""
        row = KINDS[Kind.CONFIG_MAP]
        try:
            found: Object = self._client.request(
                "GET", row.path(self._namespace, COUNTER), read_timeout_s=ANSWER_TIMEOUT_S
            )
        except NotFoundError:
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": COUNTER,
                    "namespace": self._namespace,
                    "labels": {names.MANAGED_BY_LABEL: "kns"},
                    "annotations": {
                        "kns.io/note": "The last allotted job number. Do not lower it: numbers are never reused."
                    },
                },
                "data": {"last": str(self._highest())},
            }
            try:
                found = self._client.request(
                    "POST", row.path(self._namespace), body=body, read_timeout_s=ANSWER_TIMEOUT_S
                )
            except AlreadyExistsError as error:
                raise ConflictError(str(error)) from error
        return found
