"""`kns validate`: every fault once, with line and column; warnings for keys without effect; the exit statuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kns.cli.app import app
from kns.cli.unknown import find_unknown_keys
from tests.builders import a_command, an_appdef

HELLO = Path(__file__).parents[3] / "examples" / "hello" / "appdef.json"


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KNS_KUBERNETES_VERSIONS", raising=False)


def _validate(folder: Path, content: Any, *options: str) -> tuple[Result, list[str]]:
    """The result for a file: exit status, and the lines on stderr without the file name."""
    file = folder / "app.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=1).encode())
    result = CliRunner().invoke(app, ["validate", str(file), *options])
    return result, [line.removeprefix(f"{file}:") for line in result.stderr.splitlines()]


def test_a_valid_appdef() -> None:
    result = CliRunner().invoke(app, ["validate", str(HELLO)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{HELLO}: valid\n"


def test_a_file_without_an_end_is_not_read_whole() -> None:
    result = CliRunner().invoke(app, ["validate", "/dev/zero"])
    assert (result.exit_code, result.stderr) == (2, "kns: cannot read /dev/zero: it has more than 4194304 bytes\n")


FAULTY = """{
\t"name": "é", "description": "d", "author": "a", "licensed": "yes",
\t"appdefversion": 1, "appkind": "kns", "classifications": [], "machines": ["*"], "vault-types": ["TAPE"],
\t"commands": {
\t\t"Hello": {"name": "n", "description": "", "path": "", "parameters": {}, "nested_kubernetes": {
\t\t\t"targets": [{"service_name": "web", "service_namespace": "default", "service_port": "80"}],
\t\t\t"kubernetes_version": "v1.99", "ingress_type": 5,
\t\t\t"templates": [{"name": "a", "type": "kubectl", "path": "a.yml", "retries": 3}, {"type": "shell"}]
\t\t}}
\t}, "comands": {}
}"""
NESTED = "commands.Hello.nested_kubernetes"
# What stands at the place, and what is said of it.
FAULTS = [
    ("{", "image: Field required"),
    ('"yes"', "licensed: Input should be a valid boolean"),
    ("1, ", "appdefversion: Input should be greater than or equal to 2"),
    ('"TAPE"', "vault-types[0]: Input should be 'FILE', 'BLOCK', 'BLOCK_ARRAY', 'NONE' or 'OBJECT'"),
    ('"80"', f"{NESTED}.targets[0].service_port: Input should be a valid integer"),
    (
        '"v1.99"',
        f"{NESTED}.kubernetes_version: v1.99 is not supported here; supported: v1.36, v1.35, v1.34, v1.33",
    ),
    ("5,", f"{NESTED}.ingress_type: Input should be 'subdomain' or 'prefix'"),
    ('{"type": "shell"', f"{NESTED}.templates[1].name: Field required"),
    ('"shell"', f"{NESTED}.templates[1].type: Input should be 'kubectl', 'kustomize' or 'custom'"),
    ('"retries"', f"warning: {NESTED}.templates[0].retries: unknown key, ignored; did you mean 'retry'?"),
    ('"comands"', "warning: comands: unknown key, ignored; did you mean 'commands'?"),
]


def _find(fragment: str) -> str:
    before = FAULTY[: FAULTY.index(fragment)].split("\n")
    return f"{len(before)}:{len(before[-1]) + 1}"


def test_all_problems_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    result, lines = _validate(tmp_path, FAULTY.encode())
    assert result.exit_code == 1
    assert result.stdout == ""
    assert lines == [f"{_find(fragment)}: {message}" for fragment, message in FAULTS]


def test_a_warning_alone_is_no_problem(tmp_path: Path) -> None:
    result, lines = _validate(tmp_path, an_appdef(colour="red"))
    assert result.exit_code == 0
    assert len(lines) == 1
    assert lines[0].endswith(": warning: colour: unknown key, ignored")


def test_the_old_spelling_is_followed_to_its_place(tmp_path: Path) -> None:
    command = a_command()
    nested = {**command.pop("nested_kubernetes"), "kubernetes_version": "v1.20.3", "targets": [{}], "tagets": []}
    result, lines = _validate(tmp_path, an_appdef(commands={"A": {**command, "nestedkubernetes": nested}}))
    assert result.exit_code == 1
    text = (tmp_path / "app.json").read_text().splitlines()
    keys = {line.partition(": ")[2].removeprefix("warning: ").partition(": ")[0]: line for line in lines}
    path = "commands.A.nested_kubernetes"
    for key, stands in (("kubernetes_version", '"v1.20.3"'), ("targets[0].service_name", "{}"), ("tagets", '"tagets"')):
        line, column, *_ = keys[f"{path}.{key}"].split(":")
        assert text[int(line) - 1][int(column) - 1 :].startswith(stands)


def test_what_fits_together_badly_is_listed_whole(tmp_path: Path) -> None:
    nested = a_command()["nested_kubernetes"]
    limits = {"max": {"cpu": 1, "memory": "1Mi"}, "min": {"cpu": "1"}}
    first = a_command(parameters={"a": {"if": "x"}, "b": {"ifnot": ["y", "z"]}}, variables={"1": {}, "PATH": {}})
    second = a_command(nested_kubernetes={**nested, "limit_range": limits})
    result, lines = _validate(tmp_path, an_appdef(commands={"A": first, "B": second}))
    assert result.exit_code == 1
    text = (tmp_path / "app.json").read_text().splitlines()
    told: dict[str, list[str]] = {}
    for line in lines:
        row, column, path, _ = line.split(":", 3)
        told.setdefault(path.strip(), []).append(text[int(row) - 1][int(column) - 1 :])
    assert {path: len(places) for path, places in told.items()} == {
        "commands.A.parameters.a.if": 1,
        "commands.A.parameters.b.ifnot": 2,
        "commands.A.variables.1": 1,
        "commands.A.variables.PATH": 1,
        "commands.B.nested_kubernetes.limit_range.max.cpu": 1,
        "commands.B.nested_kubernetes.limit_range.max.memory": 1,
        "commands.B.nested_kubernetes.limit_range.min.cpu": 1,
    }
    assert told["commands.B.nested_kubernetes.limit_range.max.memory"] == ['"1Mi"']


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{\n  "name": "x",,\n}', "2:15: is not JSON: Expecting property name enclosed in double quotes"),
        (b"", "1:1: is not JSON: Expecting value"),
        (b"\xff{}", "1:1: is not valid UTF-8 at byte 1; save it as UTF-8"),
        (b"\xff\xfe{\x00}\x00", "1:1: is UTF-16 or UTF-32; save it as UTF-8"),
        (b" []", "1:2: must be a JSON object"),
        (b"[" * 100_000, "1:1: is nested too deeply"),
    ],
)
def test_what_is_no_appdef_at_all(tmp_path: Path, content: bytes, line: str) -> None:
    result, lines = _validate(tmp_path, content)
    assert (result.exit_code, lines) == (1, [line])


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    """Windows editors write one; positions do not count it."""
    result, lines = _validate(tmp_path, json.dumps(an_appdef()).encode("utf-8-sig"))
    assert (result.exit_code, lines) == (0, [])
    result, lines = _validate(tmp_path, b"\xef\xbb\xbf []")
    assert (result.exit_code, lines) == (1, ["1:2: must be a JSON object"])


def test_a_key_given_twice_is_a_problem(tmp_path: Path) -> None:
    text = json.dumps(an_appdef()).removesuffix("}") + ', "name": 5}'
    result, lines = _validate(tmp_path, text.encode())
    assert result.exit_code == 1
    assert [line.partition(": ")[2] for line in lines] == ["name: appears twice"]


def test_keys_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    result, lines = _validate(tmp_path, an_appdef() | {"a\n\x1b[2J": 1})
    assert result.exit_code == 0
    assert "warning: a\\n\\x1b[2J: unknown key, ignored" in lines[0]


def test_a_key_that_is_no_text_is_refused_as_over_http(tmp_path: Path) -> None:
    result, lines = _validate(tmp_path, an_appdef() | {"a\ud800": 1})
    assert result.exit_code == 1
    assert lines[0].endswith("has a key with half of a surrogate pair, which is no text")


def test_versions_of_the_site(tmp_path: Path) -> None:
    appdef = an_appdef(commands={"A": a_command(nested={"kubernetes_version": "v1.33"})})
    assert _validate(tmp_path, appdef)[0].exit_code == 0
    result, lines = _validate(tmp_path, appdef, "--kubernetes-versions", "v1.36.3,v1.35.0")
    assert result.exit_code == 1
    assert lines[0].endswith("kubernetes_version: v1.33 is not supported here; supported: v1.36, v1.35")


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate"],
        ["validate", "/nowhere/app.json"],
        ["validate", "/"],
        ["validate", str(HELLO), "--kubernetes-versions", "1.36"],
        ["validate", str(HELLO), "--colour"],
        ["nothing"],
    ],
)
def test_wrong_use_has_a_status_of_its_own(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_keys_of_other_systems_are_known() -> None:
    """These keys have no effect on a nested job and cause no warning."""
    known = {"publicip": False, "ports": [], "webshell": True, "desktop": True, "mpirun": True, "verboseinit": True}
    command = {**a_command(), **known, "cmdscript": "", "variables": {}}
    appdef = an_appdef(commands={"A": command}, identity={}, hints=[], meta="", variables={})
    assert find_unknown_keys(appdef) == []


def test_a_path_that_the_templates_beside_it_have_not_got_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "templates" / "overlay").mkdir(parents=True)
    nested = {
        "templates": [
            {"name": "a", "type": "kustomize", "path": "overlay"},
            {"name": "b", "type": "kubectl", "path": "wep.yml"},
            {"name": "c", "type": "kubectl", "path": "https://example.org/x.yml", "format": "url"},
            {"name": "d", "type": "kubectl", "path": "x" * 100_000},
        ]
    }
    result, lines = _validate(tmp_path, an_appdef(commands={"Go": a_command(nested_kubernetes=nested)}))
    assert result.exit_code == 0
    assert len(lines) == 2
    key = "commands.Go.nested_kubernetes.templates"
    assert f"warning: {key}[1].path: is not in {tmp_path / 'templates'}" in lines[0]
    assert f"warning: {key}[3].path: is not in" in lines[1]
