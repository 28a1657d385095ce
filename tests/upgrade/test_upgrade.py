"""
Updates: this release continues a job of an earlier release from any state to its end, and nothing is left.

The stored jobs were made by that release's own code over the same simulated host.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from kns.model import names
from kns.model.job.conditions import ConditionType
from kns.model.job.job import JobState, StopReason
from kns.model.job.record import job_from_record, spec_to_record, status_to_record
from kns.ports import Kind
from tests.flow.conftest import Simulation
from tests.upgrade.record import STATES
from tests.upgrade.stored import LIVES, StoredLife, list_versions

pytestmark = pytest.mark.proves("main", "Jobs of 0.1.0 continue after an upgrade, whatever their stage")

ROOT = Path(__file__).parents[2]
EACH_LIFE = pytest.mark.parametrize("life", LIVES, ids=lambda life: f"{life.version}-{life.state}")
LIVE = ("submitted", "spawning", "deploying", "serving")


def lives_in(*states: str) -> pytest.MarkDecorator:
    chosen = [life for life in LIVES if life.state in states]
    return pytest.mark.parametrize("life", chosen, ids=lambda life: f"{life.version}-{life.state}")


def restore(sim: Simulation, life: StoredLife) -> None:
    """The update: the objects of the old release, and a new release that has just started."""
    sim.clock.advance((life.now - sim.clock.now()).total_seconds())
    sim.store.add(job_from_record(life.record))
    sim.outputs.outputs[sim.record] = life.output
    if life.tokens:
        sim.tokens.tokens[sim.record] = life.tokens
    sim.host.restore(life.objects)


def test_every_release_has_its_lives_stored() -> None:
    """Users have every version that the changelog calls a release, and will update from it."""
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert released
    assert sorted(released) == list_versions()


@pytest.mark.parametrize("version", list_versions())
def test_no_moment_is_missing(version: str) -> None:
    assert {life.state for life in LIVES if life.version == version} == STATES.keys()


# --- the record


@EACH_LIFE
def test_its_record_is_read_whole(life: StoredLife) -> None:
    """The new release preserves every value that the old release wrote."""
    job = job_from_record(life.record)
    assert _lost(life.record["spec"], spec_to_record(job.spec)) == []
    assert _lost(life.record["status"], status_to_record(job.status)) == []


@EACH_LIFE
def test_its_record_fits_the_schema_of_this_version(life: StoredLife) -> None:
    """The CRD is updated first. The API server then validates old records against it and drops unknown fields."""
    schema = _read_schema()
    record = {key: life.record[key] for key in ("spec", "status")}
    jsonschema_rs.validate(schema, record)
    assert _dropped(schema, record) == []


# --- continuing


@lives_in(*LIVE)
def test_a_live_job_comes_to_serve_and_ends_as_if_nothing_had_been(sim: Simulation, life: StoredLife) -> None:
    restore(sim, life)
    sim.run(until="serving")
    serving = sim.job.status
    assert serving.job_status is JobState.PROCESSING
    assert serving.url == "https://kns-job-7.jobs.example.org"
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.COMPLETED
    assert sim.host.left == []


@lives_in("deploying", "serving", "draining")
def test_what_runs_is_not_touched(sim: Simulation, life: StoredLife) -> None:
    """Applying a control plane or an init job again would replace its pod and lose all data inside."""
    restore(sim, life)
    sim.run(until="draining" if life.state == "draining" else "serving")
    assert not [call for call in sim.host.calls if re.match(r"(apply|delete) (Deployment|StatefulSet|Job) ", call)]


@lives_in("spawning")
def test_a_control_plane_in_an_earlier_release_s_namespace_fits_its_quota(sim: Simulation, life: StoredLife) -> None:
    """That release counted the chart's pod. With higher limits of kns's own pods, the tenant's would be refused."""
    without = [obj for obj in life.objects if obj["kind"] not in ("Deployment", "Pod")]
    restore(sim, replace(life, objects=without))
    sim.run(until="serving")
    deployment = sim.host.read(Kind.DEPLOYMENT, "kns-job-7", "kns-job-7")
    assert deployment is not None
    assert [each["name"] for each in deployment["spec"]["template"]["spec"]["containers"]] == ["syncer"]


@lives_in("serving")
def test_a_serving_job_keeps_its_start_its_address_and_its_secrets(sim: Simulation, life: StoredLife) -> None:
    restore(sim, life)
    before = sim.job.status
    sim.run(until="serving")
    after = sim.job.status
    assert (after.start_time, after.url, after.control_plane_uid) == (
        before.start_time,
        before.url,
        before.control_plane_uid,
    )
    assert sim.tokens.read(sim.record) == life.tokens


@lives_in("draining")
def test_a_job_that_was_told_to_end_ends(sim: Simulation, life: StoredLife) -> None:
    restore(sim, life)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.COMPLETED
    assert sim.host.left == []


@lives_in("ended", "removing")
def test_an_ended_job_is_removed(sim: Simulation, life: StoredLife) -> None:
    """The namespace belongs to the job, even without the labels that later releases add."""
    restore(sim, life)
    sim.run(until="retained")
    assert sim.job.status.is_true(ConditionType.REMOVED)
    assert sim.job.status.job_status is JobState.TERMINATED
    assert sim.host.left == []


@lives_in("removed")
def test_an_ended_and_removed_job_costs_nothing_and_goes_in_its_time(sim: Simulation, life: StoredLife) -> None:
    restore(sim, life)
    left_s = sim.run(until="retained").requeue_after_s
    assert (sim.host.calls, sim.store.writes[1:]) == ([], [])
    assert left_s is not None
    sim.clock.advance(left_s)
    sim.run(until="gone")


@lives_in(*LIVE[1:])
def test_deleting_its_record_leaves_nothing(sim: Simulation, life: StoredLife) -> None:
    restore(sim, life)
    sim.store.delete(sim.job)
    sim.run(until="gone")
    assert sim.host.left == []


def test_the_first_releases_namespaces_have_no_mark_of_their_installation() -> None:
    """The tests above matter because labels that later releases use are missing here."""
    (life,) = (life for life in LIVES if (life.version, life.state) == ("0.1.0", "ended"))
    (namespace,) = (obj for obj in life.objects if obj["kind"] == Kind.NAMESPACE)
    assert names.JOB_LABEL in namespace["metadata"]["labels"]
    assert names.INSTALLATION_LABEL not in namespace["metadata"]["labels"]


# --- comparing


def _read_schema() -> dict[str, Any]:
    crd = yaml.safe_load((ROOT / "manifests" / "crd-nestedjob.yaml").read_text("utf-8"))
    (version,) = crd["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _lost(old: Any, new: Any, path: str = "") -> list[str]:
    """Paths of values in `old` that differ in `new`. An absent value counts as `false`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [found for key, value in old.items() for found in _lost(value, new.get(key), f"{path}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [found for index, (one, other) in pairs for found in _lost(one, other, f"{path}[{index}]")]
    return [] if old == new or (old is False and new is None) else [f"{path}: {old!r} -> {new!r}"]


def _dropped(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Paths of the values that the API server would drop."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema:
        return []
    if isinstance(value, list):
        return [f for index, item in enumerate(value) for f in _dropped(schema["items"], item, f"{path}[{index}]")]
    if not isinstance(value, dict):
        return []
    known = schema.get("properties", {})
    unknown = [f"{path}.{key}" for key in value if key not in known]
    return unknown + [f for key in value if key in known for f in _dropped(known[key], value[key], f"{path}.{key}")]
