"""The program as a whole: help, completion, errors of the server and of the network, colours."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from kns.cli import login
from kns.cli.app import app
from kns.cli.exits import Exit, explain_client_error
from kns.client import NoResponseError, ResponseError
from kns.model.errors import UnavailableError
from tests.api.client import Api
from tests.builders import a_job
from tests.cli.conftest import Terminal
from tests.patience import PATIENCE_S

DOCS = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"


def _commands() -> list[str]:
    return sorted(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


@pytest.mark.parametrize("command", _commands())
def test_every_command_has_help(terminal: Terminal, command: str) -> None:
    result = terminal.run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_the_page_has_every_command_and_every_exit_status() -> None:
    text = DOCS.read_text("utf-8")
    hidden = {name for name, command in get_command(app).commands.items() if command.hidden}  # type: ignore[attr-defined]  # it is a group
    assert [command for command in _commands() if f"`kns {command}" not in text and command not in hidden] == []
    assert [status for status in Exit if f"| {status.value} |" not in text] == []


def test_without_a_command_there_is_help(terminal: Terminal) -> None:
    assert "Usage" in terminal.run().output


def test_a_wrong_argument_is_status_2(terminal: Terminal) -> None:
    assert terminal.run("list", "--nonsense").exit_code == 2


def test_a_server_that_does_not_answer_is_named(terminal: Terminal) -> None:
    terminal.bridge.fail = 1
    line = terminal.refuse(6, "list")
    assert line.startswith(
        "GET https://kns.example.org/jarvice/jobs: no response: connection refused; check the address"
    )


def test_a_server_that_is_not_ready_is_status_6(api: Api, terminal: Terminal) -> None:
    api.jobs.faults["walk_jobs"] = UnavailableError("not yet")
    assert terminal.refuse(6, "list").startswith("kns is not ready")


ERRORS = [
    (NoResponseError("GET u", httpx.ConnectError("refused")), Exit.UNREACHABLE, "GET u: no response: refused"),
    (ResponseError("GET u", 401, "Unauthorized"), Exit.SIGNED_OUT, "kns does not accept these credentials"),
    (ResponseError("POST u", 401, "Account billing not active"), Exit.SIGNED_OUT, "your account is not active"),
    (ResponseError("GET u", 403, "no right"), Exit.SIGNED_OUT, "no right"),
    (ResponseError("GET u", 404, "Job not found"), Exit.NOT_FOUND, "there is no such job"),
    (ResponseError("GET u/kns/job", 404, "Not found"), Exit.UNREACHABLE, "this kns is too old"),
    (ResponseError("GET u", 404, "Running job is not found"), Exit.REFUSED, "the job is not running"),
    (ResponseError("GET u", 409, "it has ended"), Exit.REFUSED, "refused: it has ended"),
    (ResponseError("GET u", 429, "Too many requests"), Exit.REFUSED, "Too many requests; wait a minute"),
    (ResponseError("GET u", 429, "Only one active job allowed per VM"), Exit.REFUSED, "you have as many live jobs"),
    (ResponseError("GET u", 500, "Internal error"), Exit.UNREACHABLE, "kns failed: GET u: 500 Internal error"),
    (ResponseError("GET u", 503, "not ready"), Exit.UNREACHABLE, "kns is not ready"),
]


@pytest.mark.parametrize(("error", "status", "words"), ERRORS, ids=[str(row[0]) for row in ERRORS])
def test_errors_have_a_status_and_a_sentence(error: NoResponseError | ResponseError, status: Exit, words: str) -> None:
    found, sentence = explain_client_error(error)
    assert (found, sentence[: len(words)]) == (status, words)


USAGE = [
    (("--none",), "no such option: --none; see `kns --help`"),
    (("lsit",), "no such command 'lsit'"),
    (("show",), "missing argument 'JOB'; see `kns show --help`"),
    (("list", "-o", "foo"), "invalid value for '--output' / '-o': 'foo' is not one of 'table', 'json', 'yaml'"),
    (("catalog", "check"), "missing argument"),
]


@pytest.mark.parametrize(("args", "words"), USAGE, ids=[" ".join(row[0]) for row in USAGE])
def test_wrong_arguments_are_one_line(terminal: Terminal, args: tuple[str, ...], words: str) -> None:
    assert terminal.refuse(2, *args).startswith(words)


def test_without_arguments_the_help_is_shown(terminal: Terminal) -> None:
    for args in ((), ("catalog",)):
        assert "Usage: kns" in terminal.run(*args).output


def test_an_unexpected_error_is_not_hidden(api: Api, terminal: Terminal) -> None:
    def explode() -> None:
        raise ZeroDivisionError

    api.add(a_job())
    terminal.steps = [explode]
    with pytest.raises(ZeroDivisionError):
        terminal.run("watch", "7")


def _run_on_a_terminal(folder: Path, *args: str, **environ: str) -> str:
    """What the real program prints to a terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "kns", *args]
    env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "KNS_CONFIG_DIR": str(folder), **environ}
    subprocess.run(command, stdout=follower, stderr=follower, env=env, check=False, timeout=120)
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(leader)
    return text.decode()


def test_ctrl_c_at_a_prompt_is_status_130(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object) -> None:
        raise typer.Abort  # as `typer.prompt` does

    monkeypatch.setattr(login, "_ask", interrupt)
    result = terminal.run("login")
    assert (result.exit_code, result.output) == (Exit.INTERRUPTED, "")


_OUTPUTS = (("profiles", "--output", "json"), ("profiles",), ("--help",), ("watch", "--help"), ("--version",))


@pytest.mark.parametrize("args", _OUTPUTS, ids=" ".join)
@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["written at the end", "written at once"])
def test_a_reader_that_has_ended_ends_the_command_quietly(
    nobody_folder: Path, environ: dict[str, str], args: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kns", *args]
    env = {"PATH": os.environ["PATH"], "KNS_CONFIG_DIR": str(nobody_folder), **environ}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=env, check=False, timeout=PATIENCE_S)
    os.close(writer)
    assert (done.returncode, done.stderr) == (Exit.UNREAD, b"")


@pytest.mark.parametrize("args", _OUTPUTS, ids=" ".join)
@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["written at the end", "written at once"])
def test_a_full_disk_is_one_line(nobody_folder: Path, environ: dict[str, str], args: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "kns", *args]
    env = {"PATH": os.environ["PATH"], "KNS_CONFIG_DIR": str(nobody_folder), **environ}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, check=False, timeout=PATIENCE_S)
    expected = b"kns: the output is not complete: No space left on device\n"
    assert (done.returncode, done.stderr) == (Exit.FAILED, expected)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "status"), [("profiles -o json", 0), ("login --url http://127.0.0.1:1", 2)])
def test_streams_may_be_closed(nobody_folder: Path, command: str, status: int, closed: str) -> None:
    """As `cron` and `>&-` do. Standard input is then one without a terminal and without a text."""
    env = {"PATH": os.environ["PATH"], "KNS_CONFIG_DIR": str(nobody_folder)}
    shell = f'exec "$0" -m kns {command} {closed}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable], stdin=subprocess.DEVNULL, capture_output=True, env=env, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, b"Traceback" in done.stderr) == (status, False)


def test_colours_are_for_terminals_and_can_be_switched_off(nobody_folder: Path) -> None:
    assert "\x1b[1m" in _run_on_a_terminal(nobody_folder, "profiles")
    assert "\x1b[3" not in _run_on_a_terminal(nobody_folder, "--no-color", "profiles")
    assert "\x1b[3" not in _run_on_a_terminal(nobody_folder, "profiles", NO_COLOR="1")


@pytest.fixture
def nobody_folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").touch(mode=0o600)
    (tmp_path / "config.json").write_text('{"current": "a", "profiles": {"a": {"url": "https://a.example.org"}}}')
    return tmp_path


def test_completion_can_be_installed() -> None:
    found = {option for param in typer.main.get_command(app).params for option in param.opts}
    assert {"--install-completion", "--show-completion"} <= found


COMPLETION = {
    "bash": {"COMP_WORDS": "kns st", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "kns st"},
    "fish": {"_TYPER_COMPLETE_ARGS": "kns st", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.mark.parametrize("shell", COMPLETION)
def test_a_shell_completes_commands(terminal: Terminal, shell: str) -> None:
    """As the script does that `--install-completion` puts into the shell's configuration."""
    environ = {"_KNS_COMPLETE": f"complete_{shell}", **COMPLETION[shell]}
    result = CliRunner().invoke(app, [], prog_name="kns", env=environ, obj=terminal.surroundings)
    assert "stop" in result.stdout
    assert "list" not in result.stdout
