"""
When pods that the host's quota refused are tried again.

Their syncer retries them with growing delays, up to a quarter of an hour. When room appears in the quota, kns makes it
try them at once: page by page of the waiting pods, one page for each reconcile, and at most `MOST_PAGES` each time
that room appears. All others have the syncer's own delays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from kns.model.reading.quantity import parse_quantity

MOST_PAGES = 10
_MOST_FAILURES = 3  # of calls to the virtual cluster in one round; a tenant can make all of them fail
Free = Mapping[str, Decimal]  # key of the quota -> what is left of it, below zero if more is used


@dataclass(frozen=True, slots=True)
class Room:
    """
    What a leader last saw of a job's quota, and the round of retries that is under way.

    `mark` names the round, "" if there is none. `page` is the token of its next page. `again`: room appeared during the
    round, so another one follows.
    """

    free: Free
    mark: str = ""
    page: str = ""
    pages_left: int = 0
    failures: int = 0
    again: bool = False


def read_free(quota: Mapping[str, Mapping[str, str]]) -> Free:
    """What is left, from the status of a quota; empty while the host has not counted."""
    hard, used = quota.get("hard") or {}, quota.get("used") or {}
    return {key: parse_quantity(hard[key]) - parse_quantity(used[key]) for key in hard.keys() & used.keys()}


def look(before: Room | None, quota: Mapping[str, Mapping[str, str]], *, mark: str) -> Room:
    """
    The room after a look at the quota's status. A new round, if one is needed, is called `mark`.

    Without a look before, which is so after a change of the leader, a quota that is more than half used may have
    refused pods.
    """
    free = read_free(quota)
    if before is None:
        hard = quota.get("hard") or {}
        has_grown = any(2 * left < parse_quantity(hard[key]) for key, left in free.items())
        return _begin(free, mark) if has_grown else Room(free)
    has_grown = any(left > before.free.get(key, left) for key, left in free.items())
    if before.mark:
        return replace(before, free=free, again=before.again or has_grown)
    return _begin(free, mark) if has_grown else Room(free)


def after_page(room: Room, next_page: str, *, mark: str) -> Room:
    """The room after one page of retries. `next_page` is "" after the last page."""
    if next_page and room.pages_left > 1:
        return replace(room, page=next_page, pages_left=room.pages_left - 1, failures=0)
    return _begin(room.free, mark) if room.again else Room(room.free)


def after_failure(room: Room) -> Room:
    """The room after a call that failed. Soon the round ends, because the syncer's own delays remain."""
    return replace(room, failures=room.failures + 1) if room.failures + 1 < _MOST_FAILURES else Room(room.free)


def _begin(free: Free, mark: str) -> Room:
    return Room(free, mark=mark, pages_left=MOST_PAGES)
