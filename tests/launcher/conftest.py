import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.client import Launcher
from tests.launcher.cluster import Cluster

Start = Callable[..., Launcher]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One per module; each test makes jobs of its own."""
    server = Cluster()
    yield server
    server.close()


@contextmanager
def starting(cluster: Cluster, scratch: Path) -> Iterator[Start]:
    """Start plugins over the cluster, which end with the context. They share a scratch folder."""
    started: list[Launcher] = []

    def begin(**settings: Any) -> Launcher:
        given = {
            "api_url": cluster.url,
            "auth_token": "head.body.tail",
            "scratch_path": str(scratch),
            "heartbeat_interval_s": 0.0,
            "job_expiry_hours": 1e6,  # the cluster's clock stands still in January
            **settings,
        }
        argv = [sys.executable, "-m", "tests.launcher.child", json.dumps(given)]
        launcher = Launcher(argv, scratch / "log")
        started.append(launcher)
        return launcher

    yield begin
    for launcher in started:
        launcher.end()


@pytest.fixture(scope="module")
def start(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with starting(cluster, tmp_path_factory.mktemp("scratch")) as begin:
        yield begin


@pytest.fixture(scope="module")
def launcher(start: Start) -> Launcher:
    """A plugin after its bootstrap, with one status stream of all jobs."""
    begun = start()
    assert begun.bootstrap()["messageType"] == 1
    begun.send(4, username="*", jobId="*", request_id=900)
    return begun
