"""
Share recent answers between all callers, because clients poll, jobs are many, and the host API has other work to do.
"""

import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from kns.logs import get_logger
from kns.model.errors import ForbiddenError, NotFoundError, TransientError
from kns.ports import Clock, Kind, NamespaceReader, Object

AGE_S = 15.0  # a metrics server measures about that often
OBJECT_AGE_S = 30.0  # two reads a minute; a changed object reaches the jobs within that time plus a requeue

log = get_logger(__name__)

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


class RecentObjects:
    """
    Objects that all jobs need, each read at most once in `OBJECT_AGE_S`.

    Only a few objects whose names a setting or the code fixes may be asked for, because none is ever forgotten. While
    one caller reads, the others get the answer before. An error of a read is logged, and the answer before stays.
    """

    def __init__(self, read: Callable[[Kind, str, str], Object | None], *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[Kind, str, str], tuple[float, Object | None]] = {}

    def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        key, now = (kind, namespace, name), self._clock.monotonic()
        with self._lock:
            known = self._answers.get(key)
            if known is not None and now - known[0] < OBJECT_AGE_S:
                return known[1]
            if known is not None:
                self._answers[key] = (now, known[1])  # this caller reads, also for the others
        try:
            answer = self._read(*key)
        except TransientError as error:
            if known is None:
                raise
            log.warning("object_not_read", kind=str(kind), namespace=namespace, name=name, error=str(error))
            return known[1]
        with self._lock:
            self._answers[key] = (now, answer)
        return answer
