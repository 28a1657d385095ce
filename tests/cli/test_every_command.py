"""
Every command: in every format, with answers that are none of kns, and without what it needs. A command that
is missing in the table fails a test.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from kns.cli.app import app
from kns.cli.posit_command import add_posit
from kns.cli.preflight_command import add_preflight
from kns.cli.prepare_command import add_prepare
from kns.cli.render_command import add_render
from kns.launcher.tools import commands as posit
from kns.launcher.tools.session import Sinks
from kns.launcher.tools.tokens import Token
from kns.model.catalog.catalog import hash_key
from kns.model.findings import Finding, Severity
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.output import JobOutput
from kns.ports import Kind
from tests.api.client import Api
from tests.builders import a_job, an_appdef, catalog_files
from tests.cli.conftest import URL, Terminal

pytestmark = pytest.mark.timeout(300)  # some of the commands start programs

ADMIN = {"KNS_USERNAME": "admin1", "KNS_APIKEY": "key-admin1"}
FOUND = [Finding("host API", Severity.OK, "answers")]


class PositTools:
    """In place of `kns.launcher.tools.commands`, which needs an API server."""

    Sinks = Sinks
    rbac = staticmethod(posit.rbac)

    def preflight(self, _arguments: Any) -> Iterator[Finding]:
        yield from FOUND

    def find_kubeconfig(self) -> None: ...

    def token(self, **_options: Any) -> Token:
        return Token("secret", datetime(2026, 1, 5, tzinfo=UTC))

    def run(self, _job: Any, **_options: Any) -> int:
        return 0

    def templates(self, _mode: str, _arguments: Any, say: Callable[[str], None], *, verbose: bool) -> int:
        say(f"valid {verbose}")
        return 0


def _build_program() -> typer.Typer:
    """The program as it is installed, with what only a cluster could answer replaced."""
    whole = copy.copy(app)
    whole.registered_commands, whole.registered_groups = [*app.registered_commands], [*app.registered_groups]
    add_preflight(whole, lambda: FOUND)
    add_prepare(whole, lambda _all_versions: FOUND)
    add_render(whole, lambda _body, **_options: iter([("host", "namespace", {"kind": "Namespace"})]))
    add_posit(whole, PositTools)
    return whole


PROGRAM = _build_program()


def _list_names(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _list_names(command, (*prefix, name))
        else:
            yield " ".join((*prefix, name))


NAMES = frozenset(_list_names(get_command(PROGRAM)))


class World:
    """kns with a serving job 7, an ended job 8 and a sleeping job 9, and a terminal for one command."""

    def __init__(self, folder: Path) -> None:
        self.api = Api()
        self.api.ports = replace(self.api.ports, has_volume=lambda _job: True)
        serving = a_job().started().exposed().condition(ConditionType.SHELL_READY, at_s=50)
        self.api.add(serving.with_accepted(walltime_s=3600), output="one\ntwo\n")
        ended = self.api.add(a_job().numbered(8).started().exposed().ended().removed())
        self.api.outputs.write(ended, JobOutput(log="one\ntwo\n"))
        self.api.add(a_job().numbered(9).resting(Reason.ASLEEP))
        event = {"type": "Normal", "reason": "R", "message": "m", "lastTimestamp": "2026-01-05T14:16:00Z"}
        self.api.namespaces.objects[Kind.EVENT, "kns-job-7"] = [event]
        self.terminal = Terminal(self.api, folder / "kns", program=PROGRAM)
        programs = folder / "programs"
        programs.mkdir()
        (programs / "kubectl").write_text("#!/bin/sh\necho v1.36.0\n")
        (programs / "kubectl").chmod(0o755)
        self.terminal.environ |= {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)}
        (folder / "appdef.json").write_text(json.dumps(an_appdef()))
        files = catalog_files()
        for account in files["users.json"].values():
            account["apikey_sha256"] = hash_key(account.pop("apikey"))
        for name, content in files.items():
            (folder / "catalog" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "catalog" / name).write_text(json.dumps(content))
        self.folder = folder

    def end(self) -> None:
        self.api.add(a_job().started().exposed().ended())

    def wake(self) -> None:
        self.api.add(a_job().numbered(9).exposed())

    def serve(self) -> None:
        """The submitted job."""
        job = self.api.jobs.find(10)
        assert job is not None
        self.api.jobs.write_status(job, a_job().numbered(10).started().exposed().build().status)
        self.api.tokens.ensure(job)

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def sign_in(self) -> None:
        for name in ("KNS_URL", "KNS_USERNAME", "KNS_APIKEY"):
            del self.terminal.environ[name]
        assert self.terminal.run("login", "--url", URL, "-u", "user1", text="key-user1\n").exit_code == 0

    def run(self, row: "Row", *options: str) -> Any:
        for step in row.before:
            step(self)
        self.terminal.environ |= row.environ
        self.terminal.steps = [partial(step, self) for step in row.steps]
        words = [word.format(folder=self.folder) for word in row.words]
        place = words.index("--") if "--" in words else len(words)
        return self.terminal.run(*words[:place], *options, *words[place:], text=row.text)


@dataclass(frozen=True)
class Row:
    """
    One command. `kind`: `data` is one value; `stream` is a line or document for each; `program` prints what another
    program does.
    """

    words: tuple[str, ...]
    kind: str = "data"
    site: bool = True  # it asks kns
    environ: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    before: tuple[Callable[[World], None], ...] = ()
    steps: tuple[Callable[[World], None], ...] = ()
    status: int = 0
    option: str = "-o"

    @property
    def name(self) -> str:
        return next(name for end in (2, 1) if (name := " ".join(self.words[:end])) in NAMES)


def row(words: str, **options: Any) -> Row:
    return Row(tuple(words.split()), **options)


LOCAL: dict[str, Any] = {"site": False}
TABLE = [
    row("login --url https://kns.example.org -u user1", text="key-user1\n"),
    row("logout", before=(World.sign_in,), **LOCAL),
    row("profiles", before=(World.sign_in,), **LOCAL),
    row("use default", before=(World.sign_in,), **LOCAL),
    row("submit hello -m kns-small"),
    row("submit hello -m kns-small --wait", steps=(World.serve,)),
    row("submit hello --dry-run"),
    row("list"),
    row("list -w", kind="stream", steps=(World.interrupt,), status=130),
    row("show 7"),
    row("explain 7"),
    row("watch 7"),
    row("watch 8"),
    row("logs 7"),
    row("logs -f 8", kind="stream"),
    row("events 7", environ=ADMIN),
    row("open 7"),
    row("shell 7"),
    row("usage 7"),
    row("stop 7 8"),
    row("stop --wait 8"),
    row("terminate 7"),
    row("sleep 7"),
    row("wake 9"),
    row("wake 9 --wait", steps=(World.wake,)),
    row("extend 7 --by 01:00:00"),
    row("keep 7", environ=ADMIN),
    row("delete 8 --yes", environ=ADMIN),
    row("limits"),
    row("overview", environ=ADMIN),
    row("apps"),
    row("app hello"),
    row("machines"),
    row("kubeconfig 7", kind="stream", steps=(World.end,)),
    row("connect 7 -- true", kind="program"),
    row("run hello -m kns-small -- true", kind="program", steps=(World.serve,)),
    row("cp 7 ./a web:/a", kind="program"),
    row("port-forward 7 service/web 80", kind="program"),
    row("validate {folder}/appdef.json", **LOCAL),
    row("catalog check {folder}/catalog", **LOCAL),
    row("catalog hash-key --generate", **LOCAL),
    row("catalog hash-key", text="a-key-with-twenty-characters\n", **LOCAL),
    row("render hello -u user1 -m kns-small", **LOCAL),
    row("preflight", **LOCAL),
    row("prepare", **LOCAL),
    row("posit preflight", option="--output", **LOCAL),
    row("posit rbac", option="--output", **LOCAL),
    row("posit token", option="--output", **LOCAL),
    row("posit templates validate", option="--output", **LOCAL),
    row("posit run true", kind="program", **LOCAL),
]


def _each(rows: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[" ".join(row.words) for row in rows])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_table_has_every_command() -> None:
    assert {row.name for row in TABLE} == NAMES


@_each([row for row in TABLE if row.kind != "program"])
def test_json_and_yaml_are_data_alone(row: Row, tmp_path: Path) -> None:
    found = {}
    for output in ("json", "yaml"):
        folder = tmp_path / output
        folder.mkdir()
        result = World(folder).run(row, row.option, output)
        assert (result.exit_code, result.stderr) == (row.status, ""), result.output
        found[output] = _decode(row, output, result.stdout.replace(str(folder), ""))
    if "--generate" not in row.words and "kubeconfig" not in row.words:  # they are random
        assert found["json"] == found["yaml"]
    assert found["json"] != []


def _decode(row: Row, output: str, text: str) -> Any:
    if output == "yaml":
        values = list(yaml.safe_load_all(text))
        return (
            values
            if row.kind == "stream" or row.words[0] == "render" or row.words[:2] == ("posit", "rbac")
            else values[0]
        )
    if row.kind == "stream":
        return [json.loads(line) for line in text.splitlines()]
    found = json.loads(text)
    return [each["object"] for each in found] if row.words[0] == "render" else found


@_each(TABLE)
def test_a_pipe_gets_no_colours_and_no_notes(row: Row, world: World) -> None:
    result = world.run(row)
    assert (result.exit_code, result.stderr) == (row.status, ""), result.output
    assert "\x1b" not in result.stdout
    assert row.kind != "program" or result.stdout == ""


@_each(TABLE)
def test_wrong_arguments_and_variables_are_status_2(row: Row, world: World) -> None:
    row = replace(row, before=())
    if row.words[:2] != ("posit", "run"):  # its unknown options are those of the program
        assert _refuse(world, row, 2, "--nonsense").startswith("no such option: --nonsense")
    assert "UTF-8" in _refuse(world, row, 2, "\udcff")
    world.terminal.environ["KNS_OUTPUT"] = "xml"
    assert _refuse(world, row, 2) == "KNS_OUTPUT is 'xml'; it must be one of table, json, yaml"


def _refuse(world: World, row: Row, status: int, *options: str) -> str:
    """The one line with which the command fails, of several jobs the first; nothing is on standard output."""
    result = world.run(row, *options)
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    lines = str(result.stderr).splitlines()
    assert len(lines) == 1 or [line.startswith("kns: job ") for line in lines] == [True] * len(row.words[1:])
    assert lines[0].startswith("kns: ")
    return lines[0].removeprefix("kns: ")


OF_SITE = [row for row in TABLE if row.site]


@_each(OF_SITE)
def test_without_credentials_that_kns_accepts_it_is_status_3(row: Row, world: World) -> None:
    row = replace(row, environ={}, text="wrong\n" if row.text else None)
    world.terminal.environ["KNS_APIKEY"] = "wrong"
    assert "does not accept these credentials" in _refuse(world, row, 3)
    world.terminal.bridge.seen.clear()
    del world.terminal.environ["KNS_APIKEY"]
    if row.words[0] != "login":
        assert "run `kns login --url https://kns.example.org`" in _refuse(world, row, 3)
        assert world.terminal.bridge.seen == []


def _patient(row: Row) -> Row:
    """Enough steps for a command that waits for kns to come back."""
    return replace(row, steps=(lambda _world: None,) * 40)


@_each(OF_SITE)
def test_without_an_answer_it_is_status_6(row: Row, world: World) -> None:
    world.terminal.bridge.fail = 1000
    assert "connection refused; check the address" in _refuse(world, _patient(row), 6)


DEEP = "[" * 20_000 + "]" * 20_000
OTHERS: dict[str, Callable[[httpx.Request], httpx.Response]] = {
    "a page": lambda _request: httpx.Response(200, html="<html>\x1b]0;t\x07</html>"),
    "a list": lambda _request: httpx.Response(200, json=[1]),
    "another object": lambda _request: httpx.Response(200, json={"7": {"job_number": "\x1b[1m"}, "number": True}),
    "too deep": lambda _request: httpx.Response(200, headers={"Content-Type": "application/json"}, text=DEEP),
    "large number": lambda _request: httpx.Response(
        200, headers={"Content-Type": "application/json"}, text=f'{{"number": {"9" * 10_000}}}'
    ),
    "compressed": lambda _request: httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b"\x1f\x8b"),
    "redirect": lambda _request: httpx.Response(307, headers={"Location": "https://evil.example.org/\x1b"}),
    "failure": lambda _request: httpx.Response(500, text="<html>\x1b]0;t\x07</html>" * 1000),
}


@pytest.mark.proves(
    "security",
    "get a user's key sent to another address, or stop the command line with an answer that is none of kns",
)
@_each(OF_SITE)
def test_another_server_at_the_address_is_one_sentence(row: Row, world: World) -> None:
    """Credentials go to that address only, whatever it answers."""
    for name, other in OTHERS.items():
        world.terminal.bridge.other = other
        line = _refuse(world, _patient(row), 6)
        assert line.isprintable(), name
        assert len(line) < 1000, name
    assert {request.url.host for request in world.terminal.bridge.seen} == {"kns.example.org"}


EVIL = "\x1b]0;owned\x07\x9b31m\u202e\r\n$(id)\x00\ud800"


def _poison(answer: Any) -> Any:
    """Every text of an answer gets characters that control a terminal, except times."""
    if isinstance(answer, dict):
        return {key: _poison(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_poison(value) for value in answer]
    if isinstance(answer, str) and not (answer[:4].isdigit() and answer.endswith("Z")):
        return answer + EVIL
    return answer


@pytest.mark.proves("security", "control the terminal of whoever lists jobs, reads output or an app's description")
@pytest.mark.parametrize("output", ["table", "json", "yaml"])
@_each(OF_SITE)
def test_no_text_of_a_server_controls_a_terminal(row: Row, world: World, output: str) -> None:
    """A log in a pipe is as the app wrote it, and is not tried here."""
    world.terminal.bridge.change = _poison
    found = replace(row, steps=(*row.steps[:1], *(lambda _world: None,) * 30, World.interrupt))
    as_log = output == "table" and row.words[0] in ("logs", "events")
    result = world.run(found, *(() if row.kind == "program" else (row.option, output)))
    assert result.exit_code in {0, 1, 2, 3, 4, 5, 6, 7, 8, 130}
    shown = result.stderr if as_log else result.output
    assert [char for char in shown if not char.isprintable() and char not in "\n\t"] == []
    assert "\n$(id)" not in shown or row.words[0] == "app", (
        "a description may have lines; nothing else begins a new one"
    )


OF_JOBS = [row for row in OF_SITE if any(word in "789" for word in row.words)]


@_each(OF_JOBS)
def test_a_job_that_does_not_exist_is_status_4(row: Row, world: World) -> None:
    words = tuple("99" if word in ("7", "8", "9") else word for word in row.words)
    assert "there is no such job" in _refuse(world, replace(row, words=words), 4)


def _list_options(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _list_options(command, (*prefix, name))
        else:
            yield from (((*prefix, name), each) for each in command.params if each.param_type_name == "option")


_OPTIONS = list(_list_options(get_command(PROGRAM)))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "soon", ""])
@pytest.mark.parametrize("command", [path for path, param in _OPTIONS if "--timeout" in param.opts], ids=" ".join)
def test_a_timeout_ends_some_time(command: tuple[str, ...], value: str) -> None:
    result = CliRunner().invoke(PROGRAM, [*command, f"--timeout={value}"])
    assert result.exit_code == 2
    assert "invalid value for '--timeout'" in result.output
    assert "is not a number of seconds from 0 to 359999999" in result.output
