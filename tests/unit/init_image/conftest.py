"""
Puts the runner on the path, as its image does, and provides what it meets there: a fake `kubectl`, the API of the
virtual cluster, and a plan file.

The fake `kubectl` is a real program on PATH; its calls and its responses are in files beside it. The API is an HTTP
server on loopback.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

IMAGE_DIR = Path(__file__).resolve().parents[3] / "init-image"
sys.path.insert(0, str(IMAGE_DIR))

from runner.app import conclude, run_plan  # noqa: E402  # only now it is on the path
from runner.output import Output  # noqa: E402
from runner.shutdown import Shutdown  # noqa: E402

_FAKE_KUBECTL = """#!{python} -SE
import json, pathlib, sys
home = pathlib.Path({home!r})
arguments = sys.argv[1:]
verb = "apply server-side" if "--server-side" in arguments else arguments[0]
stdin = sys.stdin.read() if "-" in arguments else ""
with (home / "calls").open("a") as calls:
    calls.write(json.dumps([verb, arguments, stdin]) + "\\n")
answers = home / verb
replies = json.loads(answers.read_text()) if answers.exists() else []
code, stdout, stderr = replies.pop(0) if replies else [0, "", ""]
answers.write_text(json.dumps(replies))
sys.stdout.write(stdout)
sys.stderr.write(stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class FakeKubectl:
    """
    The responses of the fake, and the calls that it received.

    Verbs: `apply`, `apply server-side`.
    """

    home: Path

    def answer(self, verb: str, *replies: tuple[int, str, str]) -> None:
        """The next answers to a verb: exit code, stdout, stderr; then it succeeds and says nothing."""
        (self.home / verb).write_text(json.dumps(replies))

    def calls(self, verb: str) -> list[tuple[list[str], str]]:
        """Arguments and standard input of each call."""
        log = self.home / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(arguments, stdin) for seen, arguments, stdin in map(json.loads, lines) if seen == verb]


MARK = {"annotation": "kns.io/record-uid", "value": "uid-1", "limitSeconds": 120}


@dataclass
class FakeApi:
    """
    The API of a virtual cluster that kns has prepared. Verbs: `mark`, `progress`, `record`.

    `mark` is the value of the annotation that the runner waits for; None: the Secret does not exist.
    """

    mark: str | None = str(MARK["value"])
    progress: dict[str, str] | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None
    _failures: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def fail(self, verb: str, times: int, *, status: int = 500, body: str = '{"message": "etcd is away"}') -> None:
        """The next requests of this kind get this answer; status 0: none at all."""
        self._failures[verb] = [(status, body)] * times

    def answer(self, method: str, path: str, body: str) -> tuple[int, str]:
        """Status and body of the response to a request."""
        secret, configmap = "/api/v1/namespaces/default/secrets/kns-job", "/configmaps/kns-init-progress"
        verb = "mark" if path == secret else "progress" if method == "GET" else "record"
        self.asked.append(verb)
        self.on_request()
        if self._failures.get(verb):
            return self._failures[verb].pop()
        if verb == "record":
            assert path == f"/api/v1/namespaces/kube-system{configmap}?fieldManager=kns-init&force=true"
            self.progress = json.loads(body)["data"]
            return 201, body
        if verb == "mark":
            annotations = {MARK["annotation"]: self.mark}
            return _found({"metadata": {"annotations": annotations}} if self.mark is not None else None)
        assert path == f"/api/v1/namespaces/kube-system{configmap}"
        return _found({"data": self.progress} if self.progress is not None else None)

    def kubeconfig(self) -> dict[str, Any]:
        """As kns writes it, but without TLS."""
        cluster = {"server": f"http://127.0.0.1:{self.port}"}
        return {"clusters": [{"cluster": cluster}], "users": [{"user": {}}]}


def _found(obj: dict[str, Any] | None) -> tuple[int, str]:
    return (200, json.dumps(obj)) if obj is not None else (404, '{"message": "not found"}')


def serve(api: FakeApi, wrap: Callable[[ThreadingHTTPServer], None] = lambda server: None) -> ThreadingHTTPServer:
    """Serve `api` on loopback in a thread. `wrap` may add TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, text = api.answer(self.command, self.path, body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PATCH = _respond  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    wrap(server)
    api.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@dataclass
class Sleeper:
    """A clock that only its own pauses move: `slowness` times as far as they ask for."""

    pauses: list[float] = field(default_factory=list)
    slowness: float = 1
    on_pause: Callable[[], object] = lambda: None

    def clock(self) -> float:
        """Seconds slept so far."""
        return sum(self.pauses) * self.slowness

    def pause(self, seconds: float) -> None:
        """Note the pause."""
        self.pauses.append(seconds)
        self.on_pause()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """A fake kubectl that is found first."""
    home = tmp_path / "kubectl-home"
    home.mkdir()
    program = home / "kubectl"
    program.write_text(_FAKE_KUBECTL.format(python=sys.executable, home=str(home)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    return FakeKubectl(home)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    """The API, and a kubeconfig for it in `kubeconfig`."""
    fake = FakeApi()
    server = serve(fake)
    (tmp_path / "kubeconfig").write_text(json.dumps(fake.kubeconfig()))
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def sleeper() -> Sleeper:
    """A clock that does not wait."""
    return Sleeper()


@pytest.fixture
def a_step() -> Callable[..., dict[str, Any]]:
    """A plan entry; `script=` gives a custom one."""

    def build(name: str = "web", script: str | None = None, **changes: Any) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": name,
            "type": "kubectl",
            "path": "web.yml",
            "retries": 0,
            "retrySleepSeconds": 15,
        }
        if script is not None:
            entry |= {"type": "custom", "cmd": base64.b64encode(script.encode()).decode()}
            del entry["path"]
        return entry | changes

    return build


@pytest.fixture
def write_plan(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    """Write a plan with these entries, and the folders it needs: `templates` and `work` beside it."""

    def write(steps: Sequence[dict[str, Any]]) -> Path:
        templates = tmp_path / "templates"
        templates.mkdir(exist_ok=True)
        (tmp_path / "work").mkdir(exist_ok=True)
        plan = tmp_path / "plan.json"
        document = {"version": 2, "templatesDir": str(templates), "awaits": MARK, "steps": list(steps)}
        plan.write_text(json.dumps(document))
        return plan

    return write


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    lines: list[str]
    message: dict[str, object]


@pytest.fixture
def run(tmp_path: Path, kubectl: FakeKubectl, api: FakeApi, sleeper: Sleeper) -> Callable[[Path], Ended]:
    """Run a plan file to its end."""

    def run_it(plan: Path) -> Ended:
        sink = io.BytesIO()
        log = tmp_path / "termination-log"
        code = conclude(
            lambda output: run_plan(
                plan,
                environ={"KNS_WORK_DIR": str(tmp_path / "work"), "KUBECONFIG": str(tmp_path / "kubeconfig")},
                output=output,
                shutdown=Shutdown(),
                pause=sleeper.pause,
                clock=sleeper.clock,
            ),
            output=Output(sink, clock=sleeper.clock),
            termination_log=log,
        )
        return Ended(code, sink.getvalue().decode().splitlines(), json.loads(log.read_text()))

    return run_it
