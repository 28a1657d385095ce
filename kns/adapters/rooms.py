"""What this process last saw of the jobs' quotas, in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from kns.model.job.room import Room

MOST_ENDED = 1000  # some kilobytes each


class Rooms:
    """
    Implements `ports.RoomMemory`.

    It has room for all live jobs: with a fixed number, one job more would make each look at a job push out the one that
    is looked at next. Ended jobs are looked at no more, so of them the oldest are dropped.
    """

    def __init__(self, *, count_live: Callable[[], int], most_ended: int = MOST_ENDED) -> None:
        self._count_live = count_live
        self._most_ended = most_ended
        self._lock = threading.Lock()
        self._rooms: OrderedDict[str, Room] = OrderedDict()

    def recall(self, uid: str) -> Room | None:
        with self._lock:
            return self._rooms.get(uid)

    def keep(self, uid: str, room: Room) -> None:
        most = self._count_live() + self._most_ended
        with self._lock:
            self._rooms[uid] = room
            self._rooms.move_to_end(uid)
            while len(self._rooms) > most:
                self._rooms.popitem(last=False)
