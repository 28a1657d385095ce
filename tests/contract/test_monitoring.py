"""Alert rules and the dashboard use only metrics, labels and values that exist."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from kns import metrics
from kns.model.job.conditions import Reason
from kns.stages import STAGES

FOLDER = Path(__file__).resolve().parents[2] / "monitoring"
OF_OTHERS = {"apiserver_storage_size_bytes", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def selectors(expr: Any) -> Iterator[Any]:
    """All vector selectors of a parsed expression."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "args", "param"):
        child = getattr(expr, name, None)
        for each in child if isinstance(child, list) else [child] if child is not None else []:
            yield from selectors(each)


def samples() -> dict[str, set[str]]:
    """The names of all samples that kns exports, with the labels of each."""
    assert metrics
    found: dict[str, set[str]] = {}
    for collector, names in REGISTRY._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    return found


@pytest.mark.parametrize(("name", "expr"), list(expressions()), ids=lambda value: re.sub(r"\W+", "-", value)[:40])
def test_an_expression_parses_and_asks_for_metrics_that_exist(name: str, expr: str) -> None:
    known = samples()
    asked = list(selectors(promql_parser.parse(expr)))
    assert asked, f"{name}: no metric found in {expr}"
    for selector in asked:
        assert selector.name in known or selector.name in OF_OTHERS, f"{name}: there is no metric {selector.name}"
        for matcher in () if selector.name in OF_OTHERS else selector.matchers.matchers:
            assert matcher.name in known[selector.name], f"{name}: {selector.name} has no label {matcher.name}"


def test_log_events_in_the_rules_are_those_that_kns_writes() -> None:
    sources = "".join(path.read_text() for path in (FOLDER.parent / "kns").rglob("*.py"))
    named = re.findall(r"Look for (\w+) in the log", (FOLDER / "rules.yaml").read_text())
    assert named
    assert [event for event in named if f'"{event}"' not in sources] == []


def test_what_alerts_count_exists_before_its_first_event() -> None:
    """Prometheus sees no increase in a series that begins with 40: all jobs may fail together after a restart."""
    program = """if True:
    from prometheus_client import REGISTRY
    from kns import metrics
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name in ("kns_jobs_ended_total", "kns_reconcile_total"):
                print(*sample.labels.values(), sample.value)
    """
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(found.splitlines()) == {"error 0.0", *(f"{reason} 0.0" for reason in Reason)}


def test_values_in_the_rules_are_those_that_kns_uses() -> None:
    text = (FOLDER / "rules.yaml").read_text() + (FOLDER / "dashboard.json").read_text().replace("\\", "")
    assert set(re.findall(r'stage="(\w+)"', text)) <= {stage.name for stage in STAGES}
    (reasons,) = re.findall(r'reason!~"([\w|]+)"', text)
    assert set(reasons.split("|")) <= {str(reason) for reason in Reason}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["for"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "action"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_which_installation_it_is_about(rule: dict[str, Any]) -> None:
    """Two installations in one cluster differ by this label, and the jobs of one must not hide those of the other."""
    if "kns_" not in rule["expr"]:
        return
    sums = re.findall(r"\b(?:sum|max|min|count|avg)\b *(by \([^)]*\))?", rule["expr"])
    assert sums
    assert [each for each in sums if not re.search(r"\bnamespace\b", each)] == []
    assert "$labels.namespace" in rule["annotations"]["summary"]
