"""The world of nested jobs."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launcher.nested.world import SlowLogs, World
from tests.patience import PATIENCE_S


@pytest.fixture
def logs(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLogs]:
    logs = SlowLogs(world, monkeypatch)
    yield logs
    logs.ends.set()


@pytest.fixture
def look_at_all(world: World, logs: SlowLogs) -> Iterator[Callable[[], None]]:
    """Starts the thread that looks at all jobs."""
    stop = threading.Event()
    thread = threading.Thread(target=world.nested.looks.run, args=(stop,), daemon=True)
    yield thread.start
    stop.set()
    logs.ends.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    for cache in world.records.caches:
        assert cache._synced.wait(PATIENCE_S)
    yield world
    world.close()
