"""A thread of the leader's process that works in rounds until it is stopped."""

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """`_run` must end soon after `_stop` is set. A process that ends does not wait for the thread."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Begin no further work. Returns whether the running work ended in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @abstractmethod
    def _run(self) -> None:
        """What the thread does."""
