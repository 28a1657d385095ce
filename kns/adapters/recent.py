"""
Share recent lists between all callers, because clients poll and the host API has other work to do.
"""

import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from kns.model.errors import ForbiddenError, NotFoundError
from kns.ports import Clock, Kind, NamespaceReader, Object

AGE_S = 15.0  # a metrics server measures about that often

Answer = Sequence[Object] | NotFoundError | ForbiddenError
_Key = tuple[str, str, str]

_WARNINGS = "warnings"  # no kind has this name


class RecentLists:
    """
    Implements `ports.NamespaceReader` over another one.

    Lists of `kinds` and of warnings may be up to `AGE_S` old, and so may NotFoundError and ForbiddenError. Other errors
    are not kept.
    """

    def __init__(self, reader: NamespaceReader, *, clock: Clock, kinds: AbstractSet[Kind]) -> None:
        self._reader = reader
        self._clock = clock
        self._kinds = kinds
        self._lock = threading.Lock()
        self._answers: dict[_Key, tuple[float, Answer]] = {}

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        if kind not in self._kinds:
            return self._reader.list_objects(kind, namespace, selector)
        return self._share((kind, namespace, selector), lambda: self._reader.list_objects(kind, namespace, selector))

    def list_events(self, namespace: str) -> Sequence[Object]:
        return self._reader.list_events(namespace)

    def list_warnings(self, namespace: str) -> Sequence[Object]:
        return self._share((_WARNINGS, namespace, ""), lambda: self._reader.list_warnings(namespace))

    def _share(self, key: _Key, ask: Callable[[], Sequence[Object]]) -> Sequence[Object]:
        answer = self._recall(key)
        if answer is None:
            answer = _ask(ask)
            self._remember(key, answer)
        if isinstance(answer, NotFoundError | ForbiddenError):
            raise type(answer)(str(answer))  # a new instance, because many threads may raise it at once
        return answer

    def _recall(self, key: _Key) -> Answer | None:
        with self._lock:
            asked, answer = self._answers.get(key, (None, None))
        return None if asked is None or self._is_old(asked) else answer

    def _remember(self, key: _Key, answer: Answer) -> None:
        with self._lock:
            fresh = {known: entry for known, entry in self._answers.items() if not self._is_old(entry[0])}
            self._answers = {**fresh, key: (self._clock.monotonic(), answer)}

    def _is_old(self, asked: float) -> bool:
        return self._clock.monotonic() - asked >= AGE_S


def _ask(ask: Callable[[], Sequence[Object]]) -> Answer:
    try:
        return ask()
    except (NotFoundError, ForbiddenError) as error:
        return error
