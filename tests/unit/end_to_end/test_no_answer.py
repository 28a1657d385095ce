"""The end-to-end tests' own helpers ask again when there was no answer, and never when there was a refusal."""

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from demo.errors import DemoError
from kns.client import ApiKey, NoResponseError
from tests.e2e import kubectl as patient
from tests.e2e.kubectl import PatientKubectl
from tests.e2e.portal import Portal

_REFUSED = 'Error from server (Forbidden): pods "a" is forbidden: exceeded quota'
_NOT_SENT = "Unable to connect to the server: net/http: TLS handshake timeout"
_NO_ANSWER = "Error from server (Timeout): Timeout: request did not complete within requested timeout"

Script = Callable[[str, int], tuple[PatientKubectl, Path]]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """A kubectl that fails so often with this message, then prints `{}`; and the file with a line for each call."""
    monkeypatch.setattr(patient, "POLL_S", 0.0)

    def write(message: str, failures: int) -> tuple[PatientKubectl, Path]:
        file, calls = tmp_path / "kubectl", tmp_path / "calls"
        file.write_text(
            f"#!/bin/sh\necho call >>{calls}\n"
            f"[ $(wc -l <{calls}) -gt {failures} ] && echo '{{}}' && exit 0\n"
            f"echo {shlex.quote(message)} >&2; exit 1\n"
        )
        file.chmod(0o755)
        return PatientKubectl(file, "none", use_proxy=False), calls

    return write


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (_NOT_SENT, ("get", "pods")),
        (_NOT_SENT, ("create", "configmap", "a")),
        (_NO_ANSWER, ("get", "pods")),
        (_NO_ANSWER, ("apply", "--filename=-")),
        (_NO_ANSWER, ("delete", "pod", "a", "--ignore-not-found")),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_kubectl_is_called_again(program: Script, message: str, arguments: tuple[str, ...], check: bool) -> None:
    kubectl, calls = program(message, 2)
    assert kubectl.run(*arguments, check=check) == "{}\n"
    assert len(calls.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (_REFUSED, ("get", "pods")),
        (_REFUSED, ("apply", "--filename=-")),
        (_NO_ANSWER, ("create", "configmap", "a")),
        (_NO_ANSWER, ("delete", "pod", "a")),
        (_NO_ANSWER, ("patch", "ingress", "a", "--type=json", "--patch=[]")),
    ],
)
def test_kubectl_is_called_once(program: Script, message: str, arguments: tuple[str, ...]) -> None:
    kubectl, calls = program(message, 2)
    with pytest.raises(DemoError, match="failed: "):
        kubectl.run(*arguments)
    assert len(calls.read_text().splitlines()) == 1


class _Server(ThreadingHTTPServer):
    """Answers with these statuses, one after the other; 0 closes the connection."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not (status := self.server.statuses.pop(0)):
            self.close_connection = True
            return
        body = {
            200: {"name": "a", "number": 7},
            500: {"error": "Unable to create Job Submission"},
            503: {"error": "not ready"},
            400: {"error": "no"},
        }[status]
        text = (json.dumps(body, indent=4) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Portal, list[str]]]]:
    started: list[tuple[_Server, Portal, threading.Thread]] = []

    def start(*statuses: int) -> tuple[Portal, list[str]]:
        server = _Server(*statuses)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        portal = Portal(f"http://127.0.0.1:{server.server_port}", ApiKey("ana", "key"))
        started.append((server, portal, thread))
        return portal, server.asked

    yield start
    for server, portal, thread in started:
        portal.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_get_is_sent_again_until_kns_is_ready(serve: Callable[..., tuple[Portal, list[str]]]) -> None:
    portal, asked = serve(503, 0, 200)
    assert portal.get("status") == {"name": "a", "number": 7}
    assert asked == ["GET /jarvice/status"] * 3


def test_a_submission_is_sent_again_until_it_is_stored(serve: Callable[..., tuple[Portal, list[str]]]) -> None:
    portal, asked = serve(500, 503, 200)
    assert portal.submit("hello") == (7, "a")
    assert asked == ["POST /jarvice/submit"] * 3


def test_a_refused_submission_is_not_sent_again(serve: Callable[..., tuple[Portal, list[str]]]) -> None:
    portal, asked = serve(400)
    with pytest.raises(AssertionError, match="submit hello: 400"):
        portal.submit("hello")
    assert len(asked) == 1


def test_once_is_once(serve: Callable[..., tuple[Portal, list[str]]]) -> None:
    portal, asked = serve(0)
    with pytest.raises(NoResponseError):
        portal.get_once("status")
    assert len(asked) == 1
