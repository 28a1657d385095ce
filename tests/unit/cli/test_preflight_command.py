"""How findings are printed, and the exit status."""

import json
from collections.abc import Iterable

import pytest
import typer
import yaml
from typer.testing import CliRunner

from kns.cli.preflight_command import add_preflight
from kns.model.findings import Finding, Severity

OK = Finding("host API", Severity.OK, "answers")
WARNING = Finding("metrics API", Severity.WARNING, "is not there", "install it")
FAULT = Finding("rights", Severity.FAULT, "missing: get\x1b[2J pods", "apply manifests/")
UNKNOWN = Finding("nodes", Severity.UNKNOWN, "this account may not see it")


def run(findings: Iterable[Finding], *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.callback()(lambda: None)
    add_preflight(app, lambda: findings)
    done = CliRunner().invoke(app, ["preflight", *arguments])
    return done.exit_code, done.output


def test_lines_with_what_to_do_below() -> None:
    """Text from the cluster cannot control the terminal."""
    status, output = run([OK, WARNING, FAULT])
    assert output.splitlines() == [
        "ok       host API: answers",
        "warning  metrics API: is not there",
        "         install it",
        "fault    rights: missing: get\\x1b[2J pods",
        "         apply manifests/",
        "1 ok, 1 warning, 1 fault, 0 unknown",
    ]
    assert status == 1


def test_only_a_fault_is_a_failure() -> None:
    assert run([OK, WARNING, UNKNOWN])[0] == 0


def test_yaml_for_programs() -> None:
    status, output = run([FAULT, OK], "-o", "yaml")
    assert [finding["verdict"] for finding in yaml.safe_load(output)] == ["fault", "ok"]
    assert status == 1


@pytest.mark.parametrize("option", ["--json", "-ojson"])
def test_json_for_programs(option: str) -> None:
    status, output = run([FAULT, OK], option)
    assert json.loads(output) == [
        {"check": "rights", "verdict": "fault", "said": "missing: get\x1b[2J pods", "todo": "apply manifests/"},
        {"check": "host API", "verdict": "ok", "said": "answers", "todo": ""},
    ]
    assert status == 1
