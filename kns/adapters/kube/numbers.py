"""
The counter of job numbers: a ConfigMap, changed by compare and swap, so that no two replicas give the same number.

Requests that come while a swap is under way share the next one. Otherwise each would wait for its own, and of two busy
replicas the one that lost a race, and has to read again, would lose the next one too.
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
    """`highest` tells the highest number of the records that there are, for a counter that was lost."""

    def __init__(self, client: KubeClient, *, namespace: str, highest: Callable[[], int]) -> None:
        self._client = client
        self._namespace = namespace
        self._highest = highest
        self._counter: Object | None = None
        self._swap = threading.Lock()
        self._gate = threading.Lock()
        self._wanted = 0
        self._spare: deque[int | KnsError] = deque()  # what a swap brought for those who share it

    @property
    def waiting(self) -> int:
        """How many asked and are part of no swap yet."""
        return self._wanted

    def allot(self) -> int:
        """
        Raises:
            ConflictError: other replicas were quicker every time.
            UnavailableError: no answer, or the counter holds no number.
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
        """With a host that does not answer all who wait fail together: one after the other they would wait too long."""
        try:
            first = retry_on_conflict(lambda: self._take(count))
        except KnsError as error:
            return [type(error)(str(error)) for _ in range(count)]
        return range(first, first + count)

    def _take(self, count: int) -> int:
        """Compare and swap; the first of `count` numbers. The last answer is kept, so the usual case is one call."""
        row = KINDS[Kind.CONFIG_MAP]
        if self._counter is None:
            self._counter = self._read_or_make_counter()
        first = self._read_last(self._counter) + 1
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
                "ever given"
            ) from error

    def _read_or_make_counter(self) -> Object:
        """A counter that was lost goes on after the highest number of the records that are still there."""
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
                    "annotations": {"kns.io/note": "The last job number given. Never lower it: numbers are for ever."},
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
