"""The inputs of jobs: each is sent once, by one plugin, and no user holds up those of others."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kns.plain import names
from tests.fakes.plain_cluster import MemoryCluster
from tests.patience import PATIENCE_S
from tests.unit.plain.rig import Plugin

ENDED = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-05T14:16:31Z"}}


def until(holds: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.005)


class Unread(MemoryCluster):
    """Processes whose input begins with `?` do not read it until the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.open = 0
        self.most_open = 0

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        if data.startswith(b"?"):
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self.over.wait(PATIENCE_S)
            self.open -= 1
        super().send_input(pod, container, data)


@pytest.fixture
def unread() -> Iterator[Unread]:
    cluster = Unread()
    yield cluster
    cluster.over.set()


def test_inputs_that_nobody_reads_hold_up_one_user_alone(tmp_path: Path, unread: Unread) -> None:
    plugin, stop = Plugin(tmp_path, unread), threading.Event()
    thread = threading.Thread(target=plugin.keeper.run, args=(stop,))
    thread.start()
    try:
        for job_id in [plugin.submit("mallory", stdin="?") for _ in range(20)]:
            plugin.run_pod(job_id)
        until(lambda: unread.open > 0)
        read, ended = plugin.submit("ana", stdin="x"), plugin.submit("ana")
        plugin.run_pod(read)
        plugin.put_state(ended, ENDED)
        until(lambda: unread.inputs.get(f"{read}-pod") == b"x")
        until(lambda: names.END in unread.stored("jobs", ended)["metadata"]["annotations"])
        assert unread.most_open == 1
        unread.over.set()
        until(lambda: len(unread.inputs) == 21)
    finally:
        unread.over.set()
        stop.set()
        plugin.keeper.wake()
        thread.join(PATIENCE_S)
