"""
The command line against the real app over in-memory stores. Each sleep of a command is a step of a script, in which the
test changes the world; a command that sleeps more often than the script has steps fails.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import typer
from typer.testing import CliRunner, Result

from kns.cli.app import app
from kns.cli.screen import Screen
from kns.cli.session import Session
from kns.cli.surroundings import Keyring, Surroundings
from kns.client import Client, Credentials
from kns.client.realm import Realm
from tests.api.client import Api

URL = "https://kns.example.org"
USER1 = {"KNS_URL": URL, "KNS_USERNAME": "user1", "KNS_APIKEY": "key-user1"}


class Bridge(httpx.BaseTransport):
    """Hands requests to the app. `fail` next requests get no answer."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.fail = 0
        self.lose = 0  # requests that take effect, and whose answers are lost
        self.lost_as = 0  # the status that a proxy answers in their place; 0 for none
        self.unreachable = ""  # a path without an answer
        self.other: Callable[[httpx.Request], httpx.Response] | None = None  # another server at the address
        self.change: Callable[[Any], Any] = lambda answer: answer  # of what the answers have as JSON
        self.missing = ""  # a path that this kns does not have
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.fail or request.url.path == self.unreachable:
            self.fail = max(0, self.fail - 1)
            raise httpx.ConnectError("connection refused")
        if self.other is not None:
            return self.other(request)
        target = request.url.raw_path.decode()
        if request.url.path == self.missing:
            return httpx.Response(404, json={"error": "Not found"})
        answer = self._api.call(request.method, target, headers=request.headers, content=request.read())
        if self.lose:
            self.lose -= 1
            if self.lost_as:
                return httpx.Response(self.lost_as, text="<html>upstream timed out</html>")
            raise httpx.ReadError("connection reset")
        content = answer.content
        if answer.headers.get("content-type", "").startswith("application/json"):
            content = json.dumps(self.change(answer.json())).encode()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


@dataclass
class Terminal:
    """Runs commands as `user1` without a terminal, unless a test says otherwise."""

    api: Api
    folder: Path
    environ: dict[str, str] = field(default_factory=lambda: dict(USER1))
    steps: list[Callable[[], object]] = field(default_factory=list)  # what happens in each sleep
    opened: list[str] = field(default_factory=list)
    keyring: Keyring | None = None
    keycloak: httpx.BaseTransport | None = None
    program: typer.Typer = app
    bridge: Bridge = field(init=False)

    def __post_init__(self) -> None:
        self.bridge = Bridge(self.api)

    def _sleep(self, seconds: float) -> None:
        assert self.steps, "the command waits for something that never happens"
        self.api.clock.advance(seconds)
        self.steps.pop(0)()

    def _connect(self, url: str, credentials: Credentials | None) -> Client:
        return Client(url, credentials, transport=self.bridge)

    def _connect_realm(self, issuer: str, client_id: str) -> Realm:
        return Realm(issuer, client_id, now=lambda: self.api.clock.now().timestamp(), transport=self.keycloak)

    def session(self) -> Session:
        """A session in this process, without a command."""
        return Session(self.surroundings, Screen())

    def _open(self, url: str) -> bool:
        self.opened.append(url)
        return True

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(
            environ={"KNS_CONFIG_DIR": str(self.folder), **self.environ},
            connect=self._connect,
            connect_realm=self._connect_realm,
            sleep=self._sleep,
            monotonic=self.api.clock.monotonic,
            now=self.api.clock.now,
            open_url=self._open,
            find_keyring=lambda: self.keyring,
        )

    def run(self, *args: str, text: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(self.program, args, obj=self.surroundings, input=text)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def read(self, *args: str) -> Any:
        """The JSON that a command prints."""
        result = self.run(*args, "--output", "json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refuse(self, status: int, *args: str, text: str | bytes | None = None) -> str:
        """The one line with which a command fails."""
        result = self.run(*args, text=text)
        assert result.exit_code == status, (result.exit_code, result.output)
        (line,) = result.stderr.splitlines()
        assert line.startswith("kns: ")
        return line.removeprefix("kns: ")


@pytest.fixture(autouse=True)
def _server_logs_elsewhere(_reset_logging: None) -> None:
    """The server is in this process, and its log is not the command's output."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def terminal(api: Api, tmp_path: Path) -> Terminal:
    return Terminal(api, tmp_path / "kns")
