"""
`kns cp` with the real kubectl, against a job's API that answers its exec with a hostile archive.

The server is in this process. It knows what `kubectl cp` asks for: the pod, and `exec` over a WebSocket.
"""

import asyncio
import io
import os
import shutil
import tarfile
import threading
from pathlib import Path

import pytest
import yaml
from aiohttp import WSMsgType, web

from kns.cli.cluster import _OLDEST_KUBECTL, _check_version
from kns.cli.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.timeout(300)  # it starts programs that wait for a signal

KUBECTL = os.environ.get("KNS_KUBECTL") or shutil.which("kubectl")
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"containers": [{"name": "main", "image": "x"}]},
    "status": {"phase": "Running"},
}
STDOUT, STATUS = 1, 3  # channels of v5.channel.k8s.io
SUCCESS = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}'


class HostilePod:
    """Answers every exec with the same archive."""

    def __init__(self, archive: bytes) -> None:
        self._archive = archive
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "HostilePod":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/default/pods/web", self._show)
        app.router.add_get("/api/v1/namespaces/default/pods/web/exec", self._exec)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response(POD)

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await answer.prepare(request)
        await answer.send_bytes(bytes([STDOUT]) + self._archive)
        await answer.send_bytes(bytes([STATUS]) + SUCCESS)
        await answer.close()
        async for message in answer:
            if message.type is WSMsgType.CLOSE:
                break
        return answer


def _build_archive(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def _file(name: str, content: bytes = b"evil") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def _link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


ATTACKS = ["parent", "absolute", "symbolic link", "hard link"]


def _attack(name: str, outside: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    match name:
        case "parent":
            return [_file("data/../../outside/evil"), _file("../outside/evil")]
        case "absolute":
            return [_file(str(outside / "evil"))]
        case "symbolic link":
            return [_link("data/way", str(outside), tarfile.SYMTYPE), _file("data/way/evil")]
    return [_link("data/evil", str(outside / "own"), tarfile.LNKTYPE), _file("data/evil")]


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    if KUBECTL is None:
        pytest.skip("NOT TESTED against the real kubectl: there is none on PATH, and KNS_KUBECTL is not set")
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    return Kubectl(Path(KUBECTL), str(tmp_path / "kubeconfig"), environ=environ)


def _write_kubeconfig(path: Path, address: str) -> None:
    cluster = {"name": "a", "cluster": {"server": address}}
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context]}
    path.write_text(yaml.safe_dump({**config, "users": [{"name": "a", "user": {}}], "current-context": "a"}))


def _copy(kubectl: Kubectl, tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> list[str]:
    said: list[str] = []
    with HostilePod(_build_archive(entries)) as pod:
        _write_kubeconfig(tmp_path / "kubeconfig", pod.address)
        target = str(tmp_path / "here")
        try:
            kubectl.follow("cp", "--namespace=default", "--container=main", "--", "web:data", target, say=said.append)
        except KubectlError as error:  # it may refuse the whole archive
            said.append(str(error))
    return said


@pytest.mark.proves("security", "write files elsewhere when a user copies from a container")
@pytest.mark.parametrize("name", ATTACKS)
def test_a_container_writes_only_below_the_destination(
    kubectl: Kubectl, tmp_path: Path, outside: Path, name: str
) -> None:
    outside.mkdir()
    (outside / "own").write_text("mine")
    said = _copy(kubectl, tmp_path, [_file("data/good", b"good"), *_attack(name, outside)])
    assert (tmp_path / "here" / "good").read_text() == "good", said
    assert {each.name: each.read_text() for each in outside.iterdir()} == {"own": "mine"}
    assert [each.name for each in tmp_path.rglob("evil") if each.is_symlink()] == []


def test_this_kubectl_is_new_enough(kubectl: Kubectl) -> None:
    _check_version(kubectl, _OLDEST_KUBECTL, "")
