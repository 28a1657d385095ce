"""From a client through kns's real server to the API server of a job's cluster, over TLS, and back."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import httpx
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kns.adapters.kube.relay import KubeJobClusters
from kns.api.front_ends import SOCKETS_AT, list_front_ends
from kns.api.kns import cluster
from kns.http.app import build_app
from kns.http.server import ServerConfig, listen
from kns.model.job.conditions import ConditionType
from kns.model.job.location import Location
from kns.service.lanes import BYTES_PER_S, Lanes
from kns.service.ports import ClusterAccess
from tests.adapters.certificates import make_certificate
from tests.adapters.relay_server import PORTS, TOKEN, V5, TenantServer
from tests.api.client import VERSION, Api
from tests.builders import a_job
from tests.patience import PATIENCE_S

KEY = {"X-API-Username": "user1", "X-API-Key": "key-user1"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder / "tls.crt", folder / "tls.key")
    return folder / "tls.crt", folder / "tls.key"


@pytest.fixture
def tenant(pair: tuple[Path, Path]) -> Iterator[TenantServer]:
    server = TenantServer(*pair)
    yield server
    server.close()


class Inside(Protocol):
    """The API server of the job's cluster."""

    def kubeconfig(self) -> dict[str, Any]: ...


class Site:
    """kns with one job, whose cluster is the tenant's server."""

    def __init__(self, tenant: Inside) -> None:
        self.kubeconfig: dict[str, Any] | None = tenant.kubeconfig()
        self.reads = 0
        self.api = Api()
        self.api.add(a_job().condition(ConditionType.VIRTUAL_CLUSTER_READY))
        self.config: ServerConfig
        self.url = ""

    def find(self, location: Location) -> str | None:
        assert location.number == 7
        self.reads += 1
        return None if self.kubeconfig is None else json.dumps(self.kubeconfig)

    @contextmanager
    def serve(self, *, head_s: float = PATIENCE_S, again_s: float = 0) -> Iterator[None]:
        access = ClusterAccess(KubeJobClusters(self.find, head_s=head_s, again_s=again_s), for_all=True)
        ports = dataclasses.replace(self.api.ports, clusters=access)
        app = build_app(ports, list_front_ends(server_key=None), version=VERSION)
        with listen("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
            self.url = f"127.0.0.1:{port}/kns/cluster/7"
            self.config = ServerConfig(
                app,
                host="127.0.0.1",
                port=port,
                trusted_proxies="127.0.0.1",
                request_limit_s=PATIENCE_S,
                sockets_at=SOCKETS_AT,
            )
            server = uvicorn.Server(self.config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.should_exit = True
                thread.join(PATIENCE_S)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"http://{self.url}{path}", headers=KEY, timeout=PATIENCE_S, **options)

    def socket(self, path: str = "/exec", **options: Any) -> ClientConnection:
        return connect(
            f"ws://{self.url}{path}",
            additional_headers=options.pop("headers", KEY),
            subprotocols=[V5],  # type: ignore[list-item]  # a NewType
            compression=None,
            proxy=None,
            open_timeout=PATIENCE_S,
            **options,
        )


@pytest.fixture
def site(tenant: TenantServer) -> Iterator[Site]:
    site = Site(tenant)
    with site.serve():
        yield site


@pytest.mark.proves("security", "get a user's credentials for kns from a request to the job's cluster")
def test_a_request_arrives_without_the_caller_s_credentials(site: Site) -> None:
    answer = site.get("/api/v1/pods?limit=5")
    said = answer.json()
    assert said["line"] == "GET /api/v1/pods?limit=5 HTTP/1.1"
    assert not {"authorization", "x-api-key", "x-api-username", "cookie"} & set(said["headers"])


def test_a_token_of_the_cluster_replaces_the_caller_s(tenant: TenantServer) -> None:
    site = Site(tenant)
    site.kubeconfig = tenant.kubeconfig(token=TOKEN)
    with site.serve():
        answer = httpx.get(f"http://{site.url}/api", auth=("user1", "key-user1"), timeout=PATIENCE_S)
    assert answer.json()["headers"]["authorization"] == f"Bearer {TOKEN}"


def test_bodies_of_all_methods_arrive(site: Site) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = httpx.request(method, f"http://{site.url}/x", headers=KEY, content=b"{}", timeout=PATIENCE_S)
        assert answer.json()["body"] == "{}"


def test_credentials_are_read_once(site: Site) -> None:
    for _ in range(3):
        site.get("/version")
    assert site.reads == 1


def test_a_watch_arrives_line_by_line_and_its_end_too(site: Site, tenant: TenantServer) -> None:
    with httpx.stream("GET", f"http://{site.url}/watch", headers=KEY, timeout=PATIENCE_S) as answer:
        parts = answer.iter_bytes()
        for line in (b"one\n", b"two\n"):
            tenant.say(line)
            assert next(parts) == line
        assert not site.config.waiting  # no timer of the server runs for it
        tenant.say(None)
        assert list(parts) == []


def test_a_client_that_leaves_ends_the_request_inside(site: Site, tenant: TenantServer) -> None:
    with httpx.stream("GET", f"http://{site.url}/watch", headers=KEY, timeout=PATIENCE_S) as answer:
        tenant.say(b"one\n")
        assert next(answer.iter_bytes()) == b"one\n"
    assert tenant.lost.wait(PATIENCE_S)


@pytest.mark.proves("security", "use the cluster of another's job by `/kns/cluster/`")
def test_an_open_watch_ends_when_its_user_loses_the_right(
    tenant: TenantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "RECHECK_S", 0.02)
    site = Site(tenant)
    with site.serve(), httpx.stream("GET", f"http://{site.url}/watch", headers=KEY, timeout=PATIENCE_S) as answer:
        tenant.say(b"one\n")
        parts = answer.iter_bytes()
        assert next(parts) == b"one\n"
        site.api.add(a_job().condition(ConditionType.VIRTUAL_CLUSTER_READY).owned_by("user3"))
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)


def test_a_cut_answer_is_not_complete(site: Site) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        site.get("/cut")


@pytest.mark.parametrize(
    ("path", "code"), [("/redirect", 502), ("/switch", 503), ("/garbage", 503), ("/large-head", 503)]
)
def test_what_a_hostile_server_answers(site: Site, tenant: TenantServer, path: str, code: int) -> None:
    answer = site.get(path)
    assert (answer.status_code, answer.json()["kind"]) == (code, "Status")
    assert not [line for line, _ in tenant.seen if "stolen" in line]


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
def test_a_server_that_does_not_answer(tenant: TenantServer) -> None:
    site = Site(tenant)
    with site.serve(head_s=3):  # longer than a handshake takes on a busy machine
        answer = site.get("/silent")
    assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
def test_an_answer_that_falls_silent_is_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "IDLE_S", 0.05)
    with httpx.stream("GET", f"http://{site.url}/watch", headers=KEY, timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
def test_a_websocket_that_falls_silent_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "IDLE_S", 0.05)
    with site.socket() as socket, pytest.raises(ConnectionClosed):
        socket.recv(PATIENCE_S)


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
def test_an_open_request_has_a_greatest_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it sends. The watch above shows that a request ends with its guard."""
    monkeypatch.setattr(cluster, "RECHECK_S", 0.001)
    monkeypatch.setattr(cluster, "OLDEST_S", 0.003)
    monkeypatch.setattr(cluster, "may_still", lambda *_: True)
    api = Api()
    visit = cluster._Visit(api.ports, "user1", api.clusters, Location(7, "kns-job-7"), Lanes())
    asyncio.run(asyncio.wait_for(visit.guard(), PATIENCE_S))


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
def test_answers_and_messages_count_against_the_bytes_of_their_user(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str, int]] = []

    def count(_: Lanes, username: str, size: int, now: float) -> float:
        counted.append((username, size))
        return 0.0

    monkeypatch.setattr(Lanes, "delay_s", count)
    body = site.get("/version").content
    assert {username for username, _ in counted} == {"user1"}
    assert sum(size for _, size in counted) == len(body)
    counted.clear()
    with site.socket() as socket:
        socket.send(b"x" * 1000)
        assert socket.recv(PATIENCE_S) == b"x" * 1000
    assert counted == [("user1", 1000)] * 2


@pytest.mark.proves("security", "hold the scheduler with an answer that never begins, never ends or is endless")
def test_bytes_above_the_rate_wait() -> None:
    lanes = Lanes()
    with lanes.enter("user1", 7), lanes.enter("user2", 7):
        assert [lanes.delay_s("user1", 2 * BYTES_PER_S, now) for now in (10.0, 10.0, 11.0, 20.0)] == [0, 2, 3, 0]
        assert lanes.delay_s("user2", 1, 10.0) == 0


def test_the_authority_of_the_cluster_is_checked(tenant: TenantServer, tmp_path: Path) -> None:
    make_certificate(tmp_path / "other.crt", tmp_path / "other.key")
    site = Site(tenant)
    site.kubeconfig = tenant.kubeconfig(authority=tmp_path / "other.crt")
    with site.serve():
        assert site.get("/version").status_code == 503
    assert tenant.seen == []


def test_refused_credentials_are_read_again_and_are_not_the_caller_s_fault(tenant: TenantServer) -> None:
    site = Site(tenant)
    site.kubeconfig = tenant.kubeconfig(token="old")
    with site.serve():
        answer = site.get("/version")
        assert (answer.status_code, "www-authenticate" in answer.headers) == (503, False)
        site.kubeconfig = tenant.kubeconfig()
        assert site.get("/version").status_code == 200


def test_a_cluster_that_refuses_all_does_not_make_kns_read_all_the_time(tenant: TenantServer) -> None:
    site = Site(tenant)
    site.kubeconfig = tenant.kubeconfig(token="old")
    with site.serve(again_s=PATIENCE_S):
        assert [site.get("/version").status_code for _ in range(5)] == [503] * 5
    assert (site.reads, len(tenant.seen)) == (1, 1)


@pytest.mark.parametrize("kubeconfig", [None, {}, {"clusters": [], "users": []}])
def test_a_cluster_without_usable_credentials(tenant: TenantServer, kubeconfig: Any) -> None:
    site = Site(tenant)
    site.kubeconfig = kubeconfig
    with site.serve():
        answer = site.get("/version")
    assert (answer.status_code, answer.json()["kind"]) == (503, "Status")


def test_a_websocket_carries_messages_in_both_directions(site: Site, tenant: TenantServer) -> None:
    with site.socket("/exec?command=sh&command=-c") as socket:
        assert socket.subprotocol == V5
        for message in (b"\x00ls\n", "text", b"x" * 200_000):
            socket.send(message)
            assert socket.recv(PATIENCE_S) == message
        assert not site.config.waiting
        socket.send(b"bye")
        assert socket.recv(PATIENCE_S) == b"bye"
        with pytest.raises(ConnectionClosed):
            socket.recv(PATIENCE_S)
    line, headers = tenant.seen[0]
    assert line == "GET /exec?command=sh&command=-c HTTP/1.1"
    assert not {"authorization", "x-api-key", "origin", "cookie"} & set(headers)


async def _talk(site: Site, path: str, *protocols: str) -> tuple[str | None, list[bytes]]:
    """The subprotocol, and the answers to two messages, by a client that allows every name of a subprotocol."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{site.url}{path}", headers=KEY, protocols=protocols) as socket,
    ):
        said = []
        for message in (b"\x80\x03frame", b"x" * 200_000):
            await socket.send_bytes(message)
            said.append(await socket.receive_bytes(timeout=PATIENCE_S))
        return socket.protocol, said


def test_ports_are_forwarded(site: Site, tenant: TenantServer) -> None:
    """The name of its subprotocol is one that RFC 6455 does not allow."""
    chosen, said = asyncio.run(_talk(site, "/portforward", PORTS))
    assert (chosen, said) == (PORTS, [b"\x80\x03frame", b"x" * 200_000])
    _, headers = tenant.seen[0]
    assert headers["sec-websocket-protocol"] == PORTS
    assert tenant.lost.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("path", "protocols", "code"),
    [
        ("/other", [PORTS], 503),  # the server chooses one that the client does not know
        ("/portforward", ["a b"], 400),
        ("/portforward", ['a"b'], 400),
        ("/portforward", [""], 400),
        ("/portforward", ["a" * 101], 400),
        ("/portforward", [f"a{number}" for number in range(11)], 400),
    ],
)
def test_subprotocols_are_names_that_the_client_asked_for(
    site: Site, tenant: TenantServer, path: str, protocols: list[str], code: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        asyncio.run(_talk(site, path, *protocols))
    assert caught.value.status == code
    assert len(tenant.seen) == (code == 503)


def test_a_client_that_leaves_ends_the_websocket_inside(site: Site, tenant: TenantServer) -> None:
    with site.socket():
        pass
    assert tenant.lost.wait(PATIENCE_S)


def test_messages_are_bounded(site: Site) -> None:
    with site.socket() as socket:
        socket.send(b"x" * (256 * 1024 + 1))  # in one call, before the answer closes the connection
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(PATIENCE_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/exec", {}, 401),
        ("/exec", {**KEY, "Origin": "https://evil.example.org"}, 403),
        ("/missing", KEY, 404),
        ("/redirect", KEY, 502),
    ],
)
def test_a_websocket_that_is_refused(site: Site, path: str, headers: dict[str, str], code: int) -> None:
    with pytest.raises(InvalidStatus) as caught, site.socket(path, headers=headers):
        pass
    answer = caught.value.response
    assert (answer.status_code, json.loads(answer.body or b"")["kind"]) == (code, "Status")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_other_paths_have_no_websockets(site: Site) -> None:
    site.url = site.url.replace("/kns/cluster/7", "/jarvice/live")
    with pytest.raises(InvalidStatus) as caught, site.socket(""):
        pass
    assert caught.value.response.status_code == 200
