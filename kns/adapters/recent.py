"""
Lists that were read a moment ago, once for everybody who asks: clients poll, and the host API has other work to do.
"""

import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from kns.model.errors import ForbiddenError, NotFoundError
from kns.ports import Clock, Kind, NamespaceReader, Object

AGE_S = 15.0  # a metrics server measures about that often

Outcome = Sequence[Object] | NotFoundError | ForbiddenError


class RecentLists:
    """
    Implements `ports.NamespaceReader` over another one. Lists of `kinds` may be `AGE_S` old, and so may be the answer
    that there is no such thing; a host that did not answer is asked again.
    """

    def __init__(self, reader: NamespaceReader, *, clock: Clock, kinds: AbstractSet[Kind]) -> None:
        self._reader = reader
        self._clock = clock
        self._kinds = kinds
        self._lock = threading.Lock()
        self._outcomes: dict[tuple[Kind, str, str], tuple[float, Outcome]] = {}

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        if kind not in self._kinds:
            return self._reader.list_objects(kind, namespace, selector)
        key = (kind, namespace, selector)
        outcome = self._recall(key)
        if outcome is None:
            outcome = self._ask(key)
            self._remember(key, outcome)
        if isinstance(outcome, NotFoundError | ForbiddenError):
            raise type(outcome)(str(outcome))  # a new one: many threads may raise it at once
        return outcome

    def _ask(self, key: tuple[Kind, str, str]) -> Outcome:
        try:
            return self._reader.list_objects(*key)
        except (NotFoundError, ForbiddenError) as error:
            return error

    def _recall(self, key: tuple[Kind, str, str]) -> Outcome | None:
        with self._lock:
            asked, outcome = self._outcomes.get(key, (None, None))
        return None if asked is None or self._is_old(asked) else outcome

    def _remember(self, key: tuple[Kind, str, str], outcome: Outcome) -> None:
        with self._lock:
            fresh = {known: entry for known, entry in self._outcomes.items() if not self._is_old(entry[0])}
            self._outcomes = {**fresh, key: (self._clock.monotonic(), outcome)}

    def _is_old(self, asked: float) -> bool:
        return self._clock.monotonic() - asked >= AGE_S
