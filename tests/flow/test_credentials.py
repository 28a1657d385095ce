"""Registry credentials that change while a job runs: what follows them, how soon, and what it costs."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from kns.adapters.recent import OBJECT_AGE_S
from kns.model import names
from kns.model.errors import KnsError, RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, Rest
from kns.ports import Kind, Object
from tests.builders import WEB_TARGET, JobBuilder, a_catalog, a_job, an_app
from tests.fakes.stores import StaticCatalog
from tests.flow.conftest import Simulation

REGISTRY = "registry.example.org"  # of the images of all these jobs
LAB = {**WEB_TARGET, "service_namespace": "lab"}
SOON_S = int(OBJECT_AGE_S) + 60  # the age of a shared answer, and a requeue


def document(**tokens: str) -> str:
    """A Docker configuration in base64; keys are registries, with `_` for `.`."""
    auths = {registry.replace("_", "."): {"auth": token} for registry, token in tokens.items()}
    return base64.b64encode(json.dumps({"auths": auths}).encode()).decode()


def set_site(sim: Simulation, text: str | None) -> None:
    if text is None:
        sim.host.drop(Kind.SECRET, "kns-system", "jarvice-docker")
    else:
        sim.host.put(Kind.SECRET, "kns-system", "jarvice-docker", {"data": {".dockerconfigjson": text}})


def set_app(sim: Simulation, text: str | None) -> None:
    sim.catalog = StaticCatalog(a_catalog(apps={"hello": an_app(pullsecret=text)}))


def run_for(sim: Simulation, seconds: int, *, step_s: int = 10) -> None:
    for _ in range(0, seconds, step_s):
        sim.clock.advance(step_s)
        sim.host.settle()
        assert sim.step().summary in ("serving", "wait")


def read_auths(secret: Object | None) -> dict[str, str]:
    """The token for each registry."""
    assert secret is not None
    auths = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    return {registry: entry["auth"] for registry, entry in auths.items()}


def in_namespace(sim: Simulation) -> dict[str, str]:
    return read_auths(sim.host.read(Kind.SECRET, "kns-job-7", "kns-pull"))


def inside(sim: Simulation, namespace: str = "default") -> dict[str, str]:
    return read_auths(sim.virtual.objects["Secret", namespace, "kns-pull"])


def message_of(sim: Simulation, kind: ConditionType) -> str:
    condition = sim.job.status.condition(kind)
    assert condition is not None
    assert condition.is_true
    return condition.message


def serve(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")


def test_the_sites_credentials_are_followed(sim: Simulation, job: JobBuilder) -> None:
    set_site(sim, document(registry_example_org="old", other_example_org="x"))
    serve(sim, job)
    assert in_namespace(sim) == {REGISTRY: "old"}
    set_site(sim, document(registry_example_org="new", other_example_org="x"))
    run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "new"}
    assert "new" not in sim.job.status.model_dump_json()


@pytest.mark.parametrize("target", [WEB_TARGET, LAB], ids=["default", "a later namespace"])
def test_the_apps_credentials_are_followed_inside_too(sim: Simulation, job: JobBuilder, target: dict[str, Any]) -> None:
    """In every namespace that got them, and in one that comes later."""
    set_app(sim, document(registry_example_org="old"))
    sim.virtual.namespaces |= {"foreign"}
    sim.submit(job.with_nested(targets=[target]))
    run_for(sim, 60, step_s=2)
    assert sim.job.status.is_true(ConditionType.DEPLOYED)
    set_app(sim, document(registry_example_org="new"))
    run_for(sim, SOON_S)
    assert (in_namespace(sim), inside(sim)) == ({REGISTRY: "new"}, {REGISTRY: "new"})
    sim.virtual.namespaces.add("lab")
    run_for(sim, SOON_S)
    assert (("Secret", "lab", "kns-pull") in sim.virtual.objects) == (target is LAB)
    set_app(sim, document(registry_example_org="newest"))
    run_for(sim, SOON_S)
    assert inside(sim) == {REGISTRY: "newest"}
    if target is LAB:
        assert inside(sim, "lab") == {REGISTRY: "newest"}
    assert ("Secret", "foreign", "kns-pull") not in sim.virtual.objects


@pytest.fixture
def sleeping(sim: Simulation, job: JobBuilder) -> Simulation:
    """A job that falls asleep with credentials that expire in its sleep."""
    sim.configure(virtual=replace(sim.site.virtual, storage_class="fast"))
    set_app(sim, document(registry_example_org="old"))
    serve(sim, job)
    sim.store.set_sleep(sim.job, asleep=True)
    sim.run(until="asleep")
    set_app(sim, document(registry_example_org="new"))
    return sim


def test_credentials_that_expired_in_the_sleep_are_new_before_the_app_starts(sleeping: Simulation) -> None:
    """Otherwise its pods cannot pull their images, and the job waits for them as long as it may."""
    sleeping.host.app_starts = False
    sleeping.store.set_sleep(sleeping.job, asleep=False)
    for _ in range(10):
        sleeping.step()
        sleeping.host.settle()
    assert sleeping.job.status.rest is Rest.WAKING
    assert (in_namespace(sleeping), inside(sleeping)) == ({REGISTRY: "new"}, {REGISTRY: "new"})


def test_new_credentials_are_written_once_to_a_job_that_sleeps(sleeping: Simulation) -> None:
    """Its record does not say what was delivered: its stages are not asked."""
    for _ in range(3):
        sleeping.step()
    secret = f"apply Secret kns-job-7/{names.PULL_SECRET}"
    assert [call for call in sleeping.host.calls if call.startswith(secret)] == [secret] * 2  # at its start, and once


def test_an_init_pod_that_cannot_pull_gets_new_credentials(sim: Simulation, job: JobBuilder) -> None:
    set_site(sim, document(registry_example_org="expired"))
    sim.configure(init_stuck_limit_s=600)
    sim.host.pull_error = "401 Unauthorized"
    sim.submit(job)
    sim.run(until="wait")
    run_for(sim, 30, step_s=2)
    assert sim.job.status.reason == Reason.IMAGE_NOT_PULLABLE
    set_site(sim, document(registry_example_org="new"))
    run_for(sim, SOON_S, step_s=2)
    assert in_namespace(sim) == {REGISTRY: "new"}


def test_idle_jobs_cost_no_write_and_no_read_of_their_own(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read every half minute for all jobs together."""
    set_site(sim, document(registry_example_org="a"))
    set_app(sim, document(app_example_org="b"))
    records = [f"kns-job-{number}" for number in range(7, 12)]
    for number, record in enumerate(records, 7):
        sim.record = record
        sim.store.add_spec(a_job().numbered(number).build().spec, record=record)
        sim.run(until="serving")
    reads: list[str] = []
    read = sim.host.read

    def count(kind: Kind, namespace: str, name: str) -> Object | None:
        reads.append(f"{kind} {namespace}/{name}")
        return read(kind, namespace, name)

    monkeypatch.setattr(sim.host, "read", count)
    monkeypatch.setattr(sim.host._shared, "_read", count)
    calls, writes, minutes = list(sim.host.calls), sim.store.writes, 10
    for _ in range(minutes * 6):
        sim.clock.advance(10)
        for record in records:
            sim.record = record
            sim.step()
    assert sim.host.calls == calls
    credentials = [what for what in reads if what.startswith("Secret ")]
    assert set(credentials) <= {"Secret kns-system/jarvice-docker"}
    assert len(credentials) <= minutes * 60 / OBJECT_AGE_S
    assert sim.store.writes == writes


def test_an_unchanged_source_changes_nothing_after_a_restart_of_kns(sim: Simulation, job: JobBuilder) -> None:
    """The record has the mark, so a new leader does not write into every job."""
    set_site(sim, document(registry_example_org="a"))
    set_app(sim, document(app_example_org="b"))
    serve(sim, job)
    calls = list(sim.host.calls)
    sim.virtual.objects.clear()
    run_for(sim, SOON_S)
    assert (sim.host.calls, sim.virtual.objects) == (calls, {})


def test_what_a_source_no_longer_has_stays_in_the_job(sim: Simulation, job: JobBuilder) -> None:
    set_site(sim, document(registry_example_org="site"))
    set_app(sim, document(app_example_org="app"))
    serve(sim, job)
    set_app(sim, document(app_example_org="newer"))
    set_site(sim, None)
    run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "site", "app.example.org": "newer"}
    set_app(sim, None)
    run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "site", "app.example.org": "newer"}
    assert inside(sim) == {"app.example.org": "newer"}


def test_a_job_that_started_without_credentials_gets_them_later(sim: Simulation, job: JobBuilder) -> None:
    serve(sim, job)
    assert sim.host.read(Kind.SECRET, "kns-job-7", "kns-pull") is None
    set_site(sim, document(registry_example_org="late"))
    run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "late"}


def test_a_source_that_becomes_unfit_leaves_the_job_its_credentials(sim: Simulation, job: JobBuilder) -> None:
    set_site(sim, document(registry_example_org="a"))
    serve(sim, job)
    good = message_of(sim, ConditionType.NAMESPACE_READY)
    set_site(sim, "no document")
    run_for(sim, SOON_S)
    unfit = message_of(sim, ConditionType.NAMESPACE_READY)
    assert unfit.startswith("Secret kns-system/jarvice-docker: .dockerconfigjson must be a Docker config.json")
    assert unfit.endswith("the job keeps its credentials")
    writes = sim.store.writes
    run_for(sim, SOON_S)
    assert sim.store.writes == writes
    assert in_namespace(sim) == {REGISTRY: "a"}
    set_site(sim, document(registry_example_org="a"))
    run_for(sim, SOON_S)
    assert message_of(sim, ConditionType.NAMESPACE_READY) == good


def test_a_secret_that_was_spoiled_by_hand_is_replaced(sim: Simulation, job: JobBuilder) -> None:
    set_site(sim, document(registry_example_org="a"))
    serve(sim, job)
    sim.host.put(Kind.SECRET, "kns-job-7", "kns-pull", {"data": {".dockerconfigjson": "spoiled"}})
    set_site(sim, document(registry_example_org="b"))
    run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "b"}


@pytest.mark.parametrize("fault", [UnavailableError("GET: 503"), RefusedError("webhook says no")])
def test_a_virtual_cluster_that_refuses_them_holds_nothing_up(
    sim: Simulation, job: JobBuilder, fault: KnsError
) -> None:
    set_app(sim, document(registry_example_org="old"))
    serve(sim, job)
    set_app(sim, document(registry_example_org="new"))
    sim.virtual.fault = fault
    run_for(sim, SOON_S)
    assert (in_namespace(sim), inside(sim)) == ({REGISTRY: "new"}, {REGISTRY: "old"})
    sim.virtual.fault = None
    run_for(sim, SOON_S)
    assert inside(sim) == {REGISTRY: "new"}


@pytest.mark.parametrize("call", ["read_shared", "apply"])
def test_a_host_that_refuses_them_holds_nothing_up(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    set_site(sim, document(registry_example_org="old"))
    serve(sim, job)
    set_site(sim, document(registry_example_org="new"))

    def fail(*_: object) -> None:
        raise UnavailableError("503")

    with monkeypatch.context() as patch:
        patch.setattr(sim.host, call, fail)
        run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "old"}
    run_for(sim, SOON_S)
    assert in_namespace(sim) == {REGISTRY: "new"}


def test_a_job_waits_for_fit_credentials_until_the_limit(sim: Simulation, job: JobBuilder) -> None:
    set_site(sim, "no document")
    sim.submit(job)
    sim.run(until="ended")
    status = sim.job.status
    assert (status.job_status, status.reason) == (JobState.FAILED, Reason.PULL_SECRET_UNFIT)
    assert str(status.message).startswith(f"after {sim.site.init_stuck_limit_s} s: Secret kns-system/jarvice-docker")
    sim.run(until="retained")
    assert [left for left in sim.host.left if "kns-job-7" in left] == []
