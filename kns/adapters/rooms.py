"""What this process last saw of the jobs' quotas, in memory."""

import threading
from collections import OrderedDict

from kns.model.job.room import Room

MOST_JOBS = 5_000  # about one kilobyte each; the job that was looked at longest ago is dropped


class Rooms:
    """Implements `ports.RoomMemory`."""

    def __init__(self, *, most: int = MOST_JOBS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._rooms: OrderedDict[str, Room] = OrderedDict()

    def recall(self, uid: str) -> Room | None:
        with self._lock:
            return self._rooms.get(uid)

    def keep(self, uid: str, room: Room) -> None:
        with self._lock:
            self._rooms[uid] = room
            self._rooms.move_to_end(uid)
            while len(self._rooms) > self._most:
                self._rooms.popitem(last=False)
