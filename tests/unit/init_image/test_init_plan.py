"""What the runner accepts as a plan, and what it says about the rest."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner.outcome import ExitCode, PlanRefused
from runner.plan import Apply, ApplyInline, Awaited, Script, parse_plan, read_plan

StepBuilder = Callable[..., dict[str, Any]]
AWAITED = {"annotation": "kns.io/record-uid", "value": "uid-1", "limitSeconds": 900}


def _plan(*steps: object, **changes: object) -> dict[str, object]:
    return {"version": 2, "templatesDir": "/templates", "awaits": AWAITED, "steps": list(steps)} | changes


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"path": "web.yml"}, Apply(("-f", "web.yml"))),
        ({"path": "folder", "format": ""}, Apply(("-f", "folder"))),
        ({"path": "a..b/..c", "format": ""}, Apply(("-f", "a..b/..c"))),
        ({"path": "https://x.test/a.yml", "format": "url"}, Apply(("-f", "https://x.test/a.yml"))),
        ({"path": base64.b64encode(b"kind: x\n").decode(), "format": "base64"}, ApplyInline(b"kind: x\n")),
        ({"type": "kustomize", "path": "overlays/lab"}, Apply(("-k", "overlays/lab"))),
        ({"type": "custom", "cmd": "IyEv\nYmlu\n"}, Script(b"#!/bin")),
    ],
)
def test_each_type_and_format_becomes_its_action(a_step: StepBuilder, changes: dict[str, Any], action: object) -> None:
    """The type and format of an entry say what is run."""
    assert action == parse_plan(_plan(a_step(**changes))).steps[0].action


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "/etc/passwd"}, "steps[0].path: '/etc/passwd' leaves the templates folder"),
        ({"path": "a/../../b"}, "steps[0].path: 'a/../../b' leaves the templates folder"),
        ({"type": "kustomize", "path": ".."}, "steps[0].path: '..' leaves"),
        ({"path": ""}, "steps[0].path: must name a file"),
        ({"path": "a\0b"}, "steps[0].path: must name a file"),
        ({"path": "\ud800"}, "steps[0].path: is not valid Unicode"),
        ({"path": 3}, "steps[0].path: must be a string"),
        ({"path": "file:///etc/passwd", "format": "url"}, "is not an http(s) URL"),
        ({"path": "no base64!", "format": "base64"}, "steps[0].path: is not base64"),
        ({"type": "custom", "cmd": "abc"}, "steps[0].cmd: is not base64"),
        ({"type": "custom", "cmd": "é"}, "steps[0].cmd: is not base64"),
        ({"type": "custom"}, "steps[0].cmd: must be a string"),
        ({"type": "helm"}, "no such item: type 'helm' with format ''"),
        ({"type": "kustomize", "format": "url"}, "no such item: type 'kustomize' with format 'url'"),
        ({"retries": -1}, "steps[0].retries: must be a whole number, 0 or more, found -1"),
        ({"retries": True}, "steps[0].retries"),
        ({"retrySleepSeconds": 1.5}, "steps[0].retrySleepSeconds"),
        ({"name": None}, "steps[0].name: must be a string"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_place(a_step: StepBuilder, changes: dict[str, Any], said: str) -> None:
    """The message names the entry, the key and what is wrong."""
    with pytest.raises(PlanRefused) as refused:
        parse_plan(_plan(a_step(**changes)))
    assert said in str(refused.value)
    assert refused.value.code == ExitCode.PLAN_REFUSED


def test_what_the_run_waits_for_is_part_of_the_plan() -> None:
    assert parse_plan(_plan()).awaited == Awaited("kns.io/record-uid", "uid-1", 900)


@pytest.mark.parametrize(
    ("awaits", "said"),
    [
        (None, "awaits.annotation: awaits must be an object"),
        ({**AWAITED, "annotation": 1}, "awaits.annotation: must be a string"),
        ({**AWAITED, "value": None}, "awaits.value: must be a string"),
        ({**AWAITED, "limitSeconds": "9"}, "awaits.limitSeconds: must be a whole number"),
    ],
)
def test_a_wait_for_nothing_is_refused(awaits: object, said: str) -> None:
    """Otherwise the items might run before the virtual cluster has what they use."""
    with pytest.raises(PlanRefused) as refused:
        parse_plan(_plan(awaits=awaits))
    assert said in str(refused.value)


@pytest.mark.parametrize("version", [1, 0, "2", True, None, 2.0])
def test_another_version_names_found_and_supported(version: object) -> None:
    """Only the number 2 is version 2."""
    with pytest.raises(PlanRefused, match=f"plan has version {version!r}, this init image supports version 2"):
        parse_plan(_plan(version=version))


def test_all_problems_come_at_once(a_step: StepBuilder) -> None:
    """One message reports every bad entry, and problems of the plan itself."""
    with pytest.raises(PlanRefused) as refused:
        parse_plan(_plan(a_step(path="/a"), a_step(), "x", templatesDir="relative"))
    assert str(refused.value) == (
        "plan refused: templatesDir: must be an absolute path; "
        "steps[0].path: '/a' leaves the templates folder; give it relative, without '..'; "
        "steps[2].type: entry must be an object"
    )


@pytest.mark.parametrize("document", [[], "x", None, _plan(steps={})])
def test_a_document_of_another_shape_is_refused(document: object) -> None:
    """No document raises anything but PlanRefused."""
    with pytest.raises(PlanRefused):
        parse_plan(document)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "is not JSON"), (b"\xff\xfe", "is not JSON"), (b"[" * 100_000, "is not JSON"), (None, "cannot read plan")],
)
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    """Missing, cut short or not text: the message names the file."""
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PlanRefused, match=said) as refused:
        read_plan(path)
    assert str(path) in str(refused.value)


def test_the_fingerprint_is_that_of_the_canonical_json(a_step: StepBuilder) -> None:
    """The order of keys does not count; every value does, also that of an unknown key."""
    entry = a_step(name="é", note=1)
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    backwards = dict(reversed(entry.items()))
    first, second, third = parse_plan(_plan(entry, backwards, entry | {"note": 2})).steps
    assert hashlib.sha256(canonical.encode()).hexdigest() == first.fingerprint == second.fingerprint
    assert first.fingerprint != third.fingerprint


@pytest.mark.proves("security", "a name that forges output lines")
def test_a_name_cannot_forge_output_lines(a_step: StepBuilder) -> None:
    """Control characters in a name become spaces, and it is clipped."""
    name = parse_plan(_plan(a_step(name="a\n[2/2] b\x1b[2J" + "x" * 400))).steps[0].name
    assert name.startswith("a [2/2] b [2Jxxx")
    assert len(name.encode()) <= 300
