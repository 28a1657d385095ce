"""A small API server, a client for it, and a running watch cache."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kns.adapters.kube.client import HOST_BOUNDS, KubeClient
from kns.adapters.kube.connect import connect_to
from kns.adapters.kube.kinds import KINDS, KindRow
from kns.adapters.kube.watch import WatchCache
from kns.ports import Kind
from tests.adapters.api_server import ApiServer
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S

TOKEN = "s3cr3t-token"
PODS = KINDS[Kind.POD]


@pytest.fixture(autouse=True)
def _no_public_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """python-keycloak makes two HTTP clients that kns does not use; each would read all public certificates."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.close()


def kubeconfig_for(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


@pytest.fixture
def client(server: ApiServer) -> Iterator[KubeClient]:
    client = connect_to(kubeconfig_for(server.url), bounds=HOST_BOUNDS)
    yield client
    client.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def keep_whole(obj: Any) -> Any:
    return obj


class RunningCache:
    """A cache in its thread. `changes` has the name of each object passed to `on_change`."""

    def __init__(self, server: ApiServer, client: KubeClient, clock: FakeClock, row: KindRow, **options: Any) -> None:
        self.changes: queue.Queue[str] = queue.Queue()
        self.server = server
        self.cache: WatchCache[Any] = WatchCache(
            client,
            row,
            clock=clock,
            on_change=lambda obj: self.changes.put(obj["metadata"]["name"]),
            **{"keep": keep_whole, **options},
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.cache.run, args=(self._stop,), daemon=True)

    def start(self) -> "RunningCache":
        """Start the cache. On return, the first list is stored and the watch is open."""
        self._thread.start()
        self.server.watches.get(timeout=PATIENCE_S)
        self.forget_changes()
        return self

    def forget_changes(self) -> None:
        while not self.changes.empty():
            self.changes.get_nowait()

    def next_change(self) -> str:
        return self.changes.get(timeout=PATIENCE_S)

    def stop(self) -> None:
        self._stop.set()
        self.server.closing.set()
        self.server.end_watches()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()


@pytest.fixture
def run_cache(
    server: ApiServer, client: KubeClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RunningCache]]:
    """Create a cache of pods. A broken watch is restarted without a delay."""
    monkeypatch.setattr("kns.adapters.kube.watch._BACKOFF_S", (0.0,))
    made: list[RunningCache] = []

    def make(row: KindRow = PODS, **options: Any) -> RunningCache:
        made.append(RunningCache(server, client, clock, row, **options))
        return made[-1]

    yield make
    for running in made:
        running.stop()
