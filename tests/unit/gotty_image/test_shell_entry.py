"""
The web shell image's entry point: what it makes of its inputs, with a gotty that only tells what it was given; and with
the real one, if there is one (KNS_GOTTY), that a terminal is behind the login and nothing of the login inside it.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websocket import (
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    create_connection,
)

from tests.ports import find_ports

pytestmark = pytest.mark.timeout(60)  # a log is read until it says what it should

IMAGE = Path(__file__).resolve().parents[3] / "gotty-image"
PASSWORD = "Abcdefgh12345678"
LIMIT_S = 60

_FAKE_GOTTY = """#!{python} -SE
import json, os, sys
print(json.dumps({{"argv": sys.argv[1:], "credential": os.environ.get("GOTTY_CREDENTIAL")}}), flush=True)
"""
_GOTTY = shutil.which(os.environ.get("KNS_GOTTY") or "gotty")
real = pytest.mark.skipif(_GOTTY is None, reason="NOT TESTED against the real gotty: there is none (set KNS_GOTTY)")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The image's own programs on PATH, behind a fake gotty; a credential as kns writes it."""
    fake = tmp_path / "bin" / "gotty"
    fake.parent.mkdir()
    fake.write_text(_FAKE_GOTTY.format(python=sys.executable), encoding="utf-8")
    fake.chmod(0o755)
    (tmp_path / "credential").write_text(f"ana:{PASSWORD}", encoding="utf-8")
    return {
        "PATH": f"{fake.parent}:{IMAGE / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KNS_SHELL_CREDENTIAL": str(tmp_path / "credential"),
        "KNS_SHELL_RC": str(IMAGE / "etc" / "bashrc"),
        "KNS_TERMINATION_LOG": str(tmp_path / "termination-log"),
    }


def _start(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kns-shell"], env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def _option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_gotty_gets_the_credential_in_its_environment_and_nowhere_else(environ: dict[str, str]) -> None:
    """Every user can read arguments with `ps`. The shells that gotty starts do not inherit the credential."""
    given = json.loads(_start({**environ, "KNS_SHELL_PATH": "/7/gotty-shell", "KNS_SHELL_TITLE": "kns-job-7"}).stdout)
    argv = given["argv"]
    assert given["credential"] == f"ana:{PASSWORD}"
    assert not [argument for argument in argv if PASSWORD in argument]
    assert argv[argv.index("env") :][:4] == ["env", "--unset", "GOTTY_CREDENTIAL", "bash"]
    assert (_option(argv, "--path"), _option(argv, "--title-format")) == ("/7/gotty-shell", "kns-job-7")
    assert (_option(argv, "--address"), _option(argv, "--port")) == ("", "8080")
    assert {"--permit-write", "--permit-arguments=false"} <= set(argv)


@pytest.mark.parametrize(
    "credential",
    ["", "ana", "ana:", f":{PASSWORD}", f"o'neil:{PASSWORD}", f"a\\b:{PASSWORD}", f"ana:{PASSWORD}\nroot:x"],
    ids=["empty", "no password", "empty password", "no user", "a quote", "a backslash", "two lines"],
)
def test_a_credential_that_is_none_is_refused(environ: dict[str, str], credential: str) -> None:
    """gotty would take an empty one for a login that anybody has."""
    Path(environ["KNS_SHELL_CREDENTIAL"]).write_text(credential, encoding="utf-8")
    _check_refused(environ, environ["KNS_SHELL_CREDENTIAL"])


def test_a_missing_credential_is_refused(environ: dict[str, str]) -> None:
    Path(environ["KNS_SHELL_CREDENTIAL"]).unlink()
    _check_refused(environ, "cannot read")


@pytest.mark.parametrize("path", ["gotty-shell", "/", "/a b", "/a//b", "/$(id)"])
def test_a_path_that_is_none_is_refused(environ: dict[str, str], path: str) -> None:
    _check_refused({**environ, "KNS_SHELL_PATH": path}, "KNS_SHELL_PATH")


def _check_refused(environ: dict[str, str], words: str) -> None:
    """Exit code 64. Kubernetes shows the reason as the termination message. It contains no secret."""
    done = _start(environ)
    assert (done.returncode, done.stdout) == (64, "")
    assert words in done.stderr
    assert Path(environ["KNS_TERMINATION_LOG"]).read_text(encoding="utf-8") == done.stderr
    assert PASSWORD not in done.stderr


def test_refused_logins_are_counted_and_every_line_is_passed_on() -> None:
    """A path that a client sent is never taken for a status."""
    lines = [
        "2026/01/05 14:15:30 GoTTY is starting with command: env",
        "2026/01/05 14:15:31 10.244.0.9:4242 401 GET /gotty-shell/",
        "2026/01/05 14:15:31 10.244.0.9:4242 200 GET /gotty-shell/ 401 GET /",
        "2026/01/05 14:15:32 [fd00::9]:4242 401 GET /gotty-shell/auth_token.js",
        "2026/01/05 14:15:33 Connection closed by client: 10.244.0.9:4242, connections: 0/10",
        "2026/01/05 14:15:34 Connection closed by an error: failed to authenticate websocket connection: "
        "10.244.0.9:4242, connections: 0/10",
    ]
    counted = {1: 1, 3: 2, 5: 3}
    done = subprocess.run(
        [IMAGE / "bin" / "kns-shell-log"],
        input="\n".join(lines),  # without an end of line: the log of a gotty that was killed
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    expected = []
    for index, line in enumerate(lines):
        expected += [line, *([f"kns-shell: refused logins: {counted[index]}"] if index in counted else [])]
    assert done.stdout.splitlines() == expected


# --- the real gotty


@dataclass(frozen=True)
class Shell:
    """A running gotty. `url` is its address with the path, without a trailing slash."""

    url: str
    process: subprocess.Popen[str]

    def read_log_until(self, words: str) -> None:
        """Read its log up to a line with these words."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if words in line:
                return
        raise AssertionError(f"no {words!r} in {''.join(lines)}")


@pytest.fixture
def shell(environ: dict[str, str], tmp_path: Path) -> Iterator[Shell]:
    assert _GOTTY is not None
    (tmp_path / "bin" / "gotty").unlink()
    (tmp_path / "bin" / "gotty").symlink_to(_GOTTY)
    (port,) = find_ports(1)
    given = {"KNS_SHELL_ADDRESS": "127.0.0.1", "KNS_SHELL_PORT": str(port), "KNS_SHELL_PATH": "/7/gotty-shell"}
    with subprocess.Popen(
        ["kns-shell"],
        env={**environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    ) as process:
        try:
            shell = Shell(f"http://127.0.0.1:{port}/7/gotty-shell", process)
            shell.read_log_until("HTTP server is listening")
            yield shell
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=LIMIT_S)


@pytest.mark.proves("security", "open a shell from another site or without login")
@real
def test_only_the_right_login_comes_in_and_the_others_are_counted(shell: Shell) -> None:
    with httpx.Client(trust_env=False, timeout=LIMIT_S) as client:
        answers = [
            client.get(f"{shell.url}/", auth=auth).status_code
            for auth in (None, ("ana", "wrong"), ("bob", PASSWORD), ("", ""), ("ana", PASSWORD))
        ]
        assert answers == [401, 401, 401, 401, 200]
        assert client.get(f"{shell.url}/auth_token.js").status_code == 401
        moved = client.get(shell.url, auth=("ana", PASSWORD))
    assert (moved.status_code, moved.headers["location"]) == (307, "/7/gotty-shell/")
    shell.read_log_until("kns-shell: refused logins: 5")


@real
def test_a_terminal_is_behind_the_websocket_and_does_not_know_the_login(shell: Shell) -> None:
    with _connect(shell, token=f"ana:{PASSWORD}") as terminal:
        terminal.send("1echo answer-$((6*7)) logins-$(env | grep -c GOTTY_CREDENTIAL) $0\n")
        assert "answer-42 logins-0 bash" in _read_line(terminal, "answer-42 ")
    shell.read_log_until("Connection closed by client")


@pytest.mark.proves("security", "open a shell from another site or without login")
@real
@pytest.mark.parametrize("token", ["", "ana:wrong"])
def test_a_websocket_without_the_login_is_closed_and_counted(shell: Shell, token: str) -> None:
    with _connect(shell, token=token) as terminal, pytest.raises(WebSocketConnectionClosedException):
        terminal.recv()
    shell.read_log_until("kns-shell: refused logins: 1")


@pytest.mark.proves("security", "open a shell from another site or without login")
@real
def test_another_site_cannot_open_the_websocket(shell: Shell) -> None:
    with (
        pytest.raises(WebSocketBadStatusException, match="403"),
        _connect(shell, token=f"ana:{PASSWORD}", origin="http://evil.example.org"),
    ):
        pass


@real
def test_sigterm_ends_it_with_a_client_connected(shell: Shell) -> None:
    """As Kubernetes ends a pod; the grace period is 5 s."""
    with _connect(shell, token=f"ana:{PASSWORD}"):
        shell.read_log_until("New client connected")
        shell.process.send_signal(signal.SIGTERM)
        shell.process.wait(timeout=30)


@contextlib.contextmanager
def _connect(shell: Shell, *, token: str, origin: str | None = None) -> Iterator[WebSocket]:
    url = shell.url.replace("http", "ws", 1) + "/ws"
    with contextlib.closing(
        create_connection(url, subprotocols=["webtty"], timeout=LIMIT_S, origin=origin, http_no_proxy=["127.0.0.1"])
    ) as connection:
        connection.send(json.dumps({"Arguments": "", "AuthToken": token}))
        yield connection


def _read_line(terminal: WebSocket, words: str) -> str:
    """The output of the terminal up to a line with these words. Times out if there is none."""
    text = ""
    while words not in text or "\n" not in text.rpartition(words)[2]:
        message = str(terminal.recv())
        text += base64.b64decode(message[1:]).decode("utf-8", "replace") if message.startswith("1") else ""
    return text
