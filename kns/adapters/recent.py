"""
Share recent lists between all callers, because clients poll and the host API has other work to do.
"""

import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from kns.model.errors import ForbiddenError, NotFoundError
from kns.ports import Clock, Kind, NamespaceReader, Object

AGE_S = 15.0  # a metrics server measures about that often

Answer = Sequence[Object] | NotFoundError | ForbiddenError


class RecentLists:
    """
    Implements `ports.NamespaceReader` over another one.

    Lists of `kinds` may be up to `AGE_S` old, and so may NotFoundError and ForbiddenError. Other errors are not kept.
    """

    def __init__(self, reader: NamespaceReader, *, clock: Clock, kinds: AbstractSet[Kind]) -> None:
        self._reader = reader
        self._clock = clock
        self._kinds = kinds
        self._lock = threading.Lock()
        self._answers: dict[tuple[Kind, str, str], tuple[float, Answer]] = {}

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        if kind not in self._kinds:
            return self._reader.list_objects(kind, namespace, selector)
        key = (kind, namespace, selector)
        answer = self._recall(key)
        if answer is None:
            answer = self._ask(key)
            self._remember(key, answer)
        if isinstance(answer, NotFoundError | ForbiddenError):
            raise type(answer)(str(answer))  # a new instance, because many threads may raise it at once
        return answer

    def _ask(self, key: tuple[Kind, str, str]) -> Answer:
        try:
            return self._reader.list_objects(*key)
        except (NotFoundError, ForbiddenError) as error:
            return error

    def _recall(self, key: tuple[Kind, str, str]) -> Answer | None:
        with self._lock:
            asked, answer = self._answers.get(key, (None, None))
        return None if asked is None or self._is_old(asked) else answer

    def _remember(self, key: tuple[Kind, str, str], answer: Answer) -> None:
        with self._lock:
            fresh = {known: entry for known, entry in self._answers.items() if not self._is_old(entry[0])}
            self._answers = {**fresh, key: (self._clock.monotonic(), answer)}

    def _is_old(self, asked: float) -> bool:
        return self._clock.monotonic() - asked >= AGE_S
