"""kns writes the plan, the init image reads it; neither imports the other, so this keeps them in step."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runner.cluster import _MARKED as MARKED
from runner.outcome import _REASONS as RUNNER_REASONS
from runner.plan import SUPPORTED_VERSION, Apply, ApplyInline, Plan, Script, parse_plan

from kns.model.appdef.appdef import NestedKubernetes, parse_appdef
from kns.model.errors import InvalidInputError
from kns.model.reading.parsing import parse_model
from kns.objects.init import build_plan_file
from kns.objects.inside import build_job_info
from kns.objects.plan import PLAN_VERSION, TEMPLATES_DIR, build_plan
from kns.stages.init import _REASONS as STAGE_REASONS
from tests.builders import a_job

ROOT = Path(__file__).resolve().parents[2]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _read(nested: NestedKubernetes) -> Plan:
    """The plan as the runner reads it."""
    return parse_plan(build_plan(nested, record_uid="uid-1", wait_limit_s=900))


ITEMS: list[tuple[dict[str, Any], object]] = [
    ({"type": "kubectl", "path": "web.yml"}, Apply(("-f", "web.yml"))),
    ({"type": "kubectl", "path": "a/b.yml", "format": ""}, Apply(("-f", "a/b.yml"))),
    (
        {"type": "kubectl", "path": "https://example.org/a.yml", "format": "url"},
        Apply(("-f", "https://example.org/a.yml")),
    ),
    ({"type": "kubectl", "path": b64("kind: X"), "format": "base64"}, ApplyInline(b"kind: X")),
    ({"type": "kustomize", "path": "overlay"}, Apply(("-k", "overlay"))),
    ({"type": "custom", "cmd": b64("#!/bin/sh\ntrue")}, Script(b"#!/bin/sh\ntrue")),
]


@pytest.mark.proves(
    "appdef",
    "There is at least one item; paths stay below `/templates`; a manifest may be in the AppDef in base64",
)
@pytest.mark.parametrize(("item", "action"), ITEMS, ids=[str(item) for item, _ in ITEMS])
def test_every_kind_of_item_means_the_same_on_both_sides(item: dict[str, Any], action: object) -> None:
    nested = parse_model(NestedKubernetes, {"templates": [{"name": "n", **item}]})
    plan = _read(nested)
    (step,) = plan.steps
    assert (step.name, step.action) == ("n", action)
    assert str(plan.templates_dir) == TEMPLATES_DIR


def test_versions_agree() -> None:
    assert PLAN_VERSION == SUPPORTED_VERSION


@pytest.mark.proves("appdef", "The default is 20 retries, 15 s apart")
def test_retries_are_the_items_own_or_the_global_ones() -> None:
    templates = [
        {"name": "own", "type": "kubectl", "path": "a", "retry": 0, "retry_sleep": 0},
        {"name": "global", "type": "kubectl", "path": "b"},
    ]
    settings_ = {"global_retry": 3, "global_retry_sleep": 7}
    nested = parse_model(NestedKubernetes, {"templates": templates, "templates_settings": settings_})
    own, shared = _read(nested).steps
    assert ((own.retries, own.retry_sleep_s), (shared.retries, shared.retry_sleep_s)) == ((0, 0), (3, 7))
    default = _read(parse_model(NestedKubernetes, {"templates": templates})).steps[1]
    assert (default.retries, default.retry_sleep_s) == (20, 15)


def test_the_configmap_holds_the_plan_as_the_runner_reads_it() -> None:
    accepted = a_job().build().spec.accepted
    assert accepted is not None
    text = build_plan_file(accepted, record_uid="uid-1", wait_limit_s=900)
    plan = parse_plan(json.loads(text))
    assert [step.name for step in plan.steps] == ["web"]
    assert plan.awaited.limit_s == 900


def test_the_runner_waits_for_what_kns_writes_last() -> None:
    """The annotation on Secret `kns-job`; the other objects of the namespace precede it."""
    awaited = _read(
        parse_model(NestedKubernetes, {"templates": [{"name": "n", "type": "kubectl", "path": "a"}]})
    ).awaited
    *_, last = build_job_info("default", public={}, secret={}, mark="uid-1")
    meta = last["metadata"]
    assert f"/api/v1/namespaces/{meta['namespace']}/secrets/{meta['name']}" == MARKED
    assert (last["kind"], meta["annotations"][awaited.annotation]) == ("Secret", awaited.value)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/appdef.json")), ids=lambda path: path.parent.name)
def test_every_example_runs_as_it_is(path: Path) -> None:
    appdef = parse_appdef(json.loads(path.read_text()))
    for command in appdef.commands.values():
        plan = _read(command.nested_kubernetes)
        assert len(plan.steps) == len(command.nested_kubernetes.templates)


WILD = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=20), "type": st.sampled_from(["kubectl", "kustomize", "custom"])},
    optional={
        "path": st.one_of(
            st.text(max_size=20),
            st.text(max_size=10).map(lambda text: f"https://{text}"),
            st.text(max_size=10).map(b64),
        ),
        "format": st.sampled_from(["", "url", "base64"]),
        "cmd": st.one_of(st.text(max_size=10), st.text(max_size=10).map(b64)),
        "retry": st.integers(-1, 3),
        "retry_sleep": st.integers(-1, 3),
    },
)


@given(st.lists(WILD, min_size=1, max_size=2))
def test_what_kns_accepts_the_runner_understands(items: list[dict[str, Any]]) -> None:
    """Otherwise a job would be accepted, spawn, and fail only then."""
    try:
        nested = parse_model(NestedKubernetes, {"templates": items})
    except InvalidInputError:
        return
    assert len(_read(nested).steps) == len(items)


def test_every_reason_of_the_init_image_is_known_to_the_stage() -> None:
    """Those of the runner from its table, those of take-templates from its text."""
    script = (ROOT / "init-image" / "bin" / "take-templates").read_text()
    from_script = set(re.findall(r"\bfail \d+ (\w+) ", script))
    assert from_script
    emitted = set(RUNNER_REASONS.values()) | from_script
    assert emitted - STAGE_REASONS.keys() == set()
    assert STAGE_REASONS.keys() - emitted == set(), "no image says these any more"
