"""Connections to a job's cluster that never answers the TLS handshake are closed without the garbage collector."""

import asyncio
import gc
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from kns.adapters.kube import relay
from kns.adapters.kube.relay import KubeJobClusters
from kns.model.errors import UnavailableError
from kns.model.job.location import Location
from kns.ports import ClusterRequest
from tests.adapters.certificates import make_certificate
from tests.adapters.relay_server import build_kubeconfig
from tests.patience import PATIENCE_S

Visit = Callable[[KubeJobClusters], Awaitable[None]]
LOCATION = Location(7, "kns-job-7")
REQUEST = ClusterRequest("GET", "/version", (), b"")


class Mute:
    """It accepts connections and sends nothing."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        make_certificate(folder / "tls.crt", folder / "tls.key")
        port = self.listener.getsockname()[1]
        kubeconfig = build_kubeconfig(f"https://127.0.0.1:{port}", folder / "tls.crt", folder / "tls.key")
        self.access = json.dumps(kubeconfig)

    async def accept(self) -> socket.socket:
        """A connection whose client has begun with TLS."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            connection, _ = await loop.sock_accept(self.listener)
            connection.setblocking(False)
            assert await loop.sock_recv(connection, 65536)
        return connection


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Mute]:
    mute = Mute(tmp_path)
    gc.disable()
    with mute.listener:
        yield mute
    gc.enable()


async def request(clusters: KubeJobClusters) -> None:
    async with clusters.open(LOCATION, REQUEST):
        pass


async def tunnel(clusters: KubeJobClusters) -> None:
    async with clusters.connect(LOCATION, REQUEST, ["v5.channel.k8s.io"]):
        pass


async def await_end(connection: socket.socket) -> None:
    with connection:
        async with asyncio.timeout(PATIENCE_S):
            assert await asyncio.get_running_loop().sock_recv(connection, 65536) == b""


@pytest.mark.parametrize("visit", [request, tunnel])
def test_a_client_that_leaves_closes_the_connection(mute: Mute, visit: Visit) -> None:
    async def run() -> None:
        clusters = KubeJobClusters(lambda _: mute.access)
        visiting = asyncio.ensure_future(visit(clusters))
        connection = await mute.accept()
        visiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visiting
        await await_end(connection)
        await clusters.close()

    asyncio.run(run())


def test_the_time_limit_closes_the_connection(mute: Mute) -> None:
    async def run() -> None:
        clusters = KubeJobClusters(lambda _: mute.access, head_s=3)  # longer than it takes to begin on a busy machine
        visiting = asyncio.create_task(request(clusters))
        connection = await mute.accept()
        with pytest.raises(UnavailableError):
            await visiting
        await await_end(connection)
        await clusters.close()

    asyncio.run(run())


def test_what_is_kept_of_many_jobs_is_bounded(mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may ask for the clusters of any number of jobs, one after the other."""
    monkeypatch.setattr(relay, "MOST_LINKS", 2)
    clusters, links = KubeJobClusters(lambda _: mute.access), []

    async def run() -> None:
        for number in range(1, 6):
            async with clusters._link(Location(number, f"kns-job-{number}")) as link:
                links.append(link)
        assert [location.number for location in clusters._links] == [4, 5]
        assert [location.number for location in clusters._read_at] == [4, 5]
        assert [link.is_retired for link in links] == [True, True, True, False, False]
        await clusters.close()

    asyncio.run(run())
