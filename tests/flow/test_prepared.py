"""The prepared state over a simulated host: it is made once, each job gets its own, and nothing waits for it."""

from dataclasses import replace

import pytest

from kns import metrics, prepare
from kns.model import names
from kns.model.findings import Severity
from kns.model.job.pool import parse_pools
from kns.objects.prepared_state import read_state_map
from kns.ports import Kind, Object
from kns.prepare import CHECK_S, FAILED_S, IDLE_S, RUNNING_S, StateKeeper, await_states, list_wanted_versions
from kns.stages.prepared import StateOutcome, prepare_states
from tests.builders import JobBuilder, a_job
from tests.fakes.host import FakeHost
from tests.flow.conftest import Simulation
from tests.flow.interruptions import Crash, interrupt
from tests.states import a_log

VERSION = "v1.36.0"
SYSTEM = "kns-system"
STATE = (Kind.CONFIG_MAP, SYSTEM, names.state_map(VERSION))
JOB = (Kind.JOB, SYSTEM, names.prepare_job(VERSION))


@pytest.fixture(autouse=True)
def _system_namespace(sim: Simulation) -> None:
    sim.host.put(Kind.NAMESPACE, "", SYSTEM, {})


@pytest.fixture
def prepared(sim: Simulation) -> Simulation:
    """A site whose state is made."""
    sim.host.prepare_log = a_log()
    _prepare(sim)
    return sim


def _prepare(sim: Simulation) -> None:
    for _ in range(3):
        prepare_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], now=sim.clock.now())
        sim.host.settle()


def _keeper(sim: Simulation, *wanted: str) -> StateKeeper:
    return StateKeeper(sim.host, sim.site, lambda: wanted, clock=sim.clock)


def _programs_of_kine(sim: Simulation) -> list[str]:
    deployment = sim.host.read(Kind.DEPLOYMENT, "kns-job-7", "kns-job-7")
    assert deployment is not None
    return [volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]]


def _state_of_the_job(sim: Simulation) -> str | None:
    config = sim.host.read(Kind.SECRET, "kns-job-7", "vc-config-kns-job-7")
    assert config is not None
    state: str | None = config["data"].get("state.db.gz")
    return state


def test_a_job_gets_its_own_state_before_its_control_plane(prepared: Simulation, job: JobBuilder) -> None:
    prepared.submit(job)
    prepared.run(until="serving")
    assert _state_of_the_job(prepared)
    assert "prepared" in _programs_of_kine(prepared)
    calls = [call for call in prepared.host.calls if "vc-config" in call or "Deployment" in call]
    assert "vc-config" in calls[0]


@pytest.mark.parametrize(("fast", "with_state"), [(True, False), (False, True)])
def test_a_setting_switches_it_off(prepared: Simulation, job: JobBuilder, fast: bool, with_state: bool) -> None:
    prepared.configure(virtual=replace(prepared.site.virtual, fast_start=fast, prepared_state=with_state))
    prepared.submit(job)
    prepared.run(until="serving")
    assert _state_of_the_job(prepared) is None
    assert "prepared" not in _programs_of_kine(prepared)
    assert _keeper(prepared).step() == CHECK_S


def _break(host: FakeHost, **data: str) -> None:
    host.change(*STATE, lambda obj: obj["data"].update(data))


@pytest.mark.parametrize("doubt", ["missing", "of another format", "of another image", "of another version"])
def test_without_a_state_that_fits_a_job_starts_with_an_empty_database(
    prepared: Simulation, job: JobBuilder, doubt: str
) -> None:
    if doubt == "missing":
        prepared.host.drop(*STATE)
    elif doubt == "of another format":
        _break(prepared.host, format="0")
    elif doubt == "of another image":
        _break(prepared.host, image="registry.example.org/loft-sh/kubernetes:v1.36.0")
    else:
        job = job.with_nested(kubernetes_version="v1.35")
    prepared.submit(job)
    prepared.run(until="serving")
    assert _state_of_the_job(prepared) is None
    assert "prepared" not in _programs_of_kine(prepared)


def test_a_restart_while_the_control_plane_is_applied_keeps_the_state(prepared: Simulation, job: JobBuilder) -> None:
    """A control plane that runs may have read it."""
    prepared.submit(job)
    apply = prepared.host.apply
    seen: list[str | None] = []

    def die_at_the_deployment(obj: Object) -> Object:
        if obj["kind"] == "Deployment" and not seen:
            seen.append(_state_of_the_job(prepared))
            raise Crash
        return apply(obj)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared.host, "apply", die_at_the_deployment)
        with pytest.raises(Crash):
            prepared.run(until="serving")
        prepared.clock.advance(30)
        prepared.run(until="serving")
    assert seen[0] is not None
    assert _state_of_the_job(prepared) == seen[0]


# --- making it


def test_the_keeper_makes_the_state_of_the_default_version_once(sim: Simulation) -> None:
    sim.host.prepare_log = a_log()
    keeper = _keeper(sim)
    assert keeper.step() == RUNNING_S
    sim.host.settle()
    assert keeper.step() == IDLE_S
    stored = sim.host.read(*STATE)
    assert stored is not None
    assert read_state_map(stored).image_id == "sha256:1"
    calls = len(sim.host.calls)
    sim.clock.advance(CHECK_S + 1)
    assert keeper.step() == IDLE_S
    assert len(sim.host.calls) == calls


@pytest.mark.parametrize("jump_s", [-365 * 86_400, 365 * 86_400])
def test_a_state_is_looked_at_again_after_its_time_whatever_the_wall_clock_does(
    prepared: Simulation, jump_s: float
) -> None:
    """It was deleted by hand. By a wall clock that is set back, the next look would be a year away."""
    keeper = _keeper(prepared)
    assert keeper.step() == IDLE_S
    prepared.host.drop(*STATE)
    prepared.host.drop(*JOB)
    prepared.clock.jump(jump_s)
    assert keeper.step() == IDLE_S
    prepared.clock.advance(CHECK_S + 1)
    assert keeper.step() == RUNNING_S


def test_a_version_gets_a_state_when_a_job_asks_for_it(sim: Simulation) -> None:
    sim.host.prepare_log = a_log()
    keeper = _keeper(sim, "v1.35", "v1.35", "v0.99")
    keeper.step()
    jobs = sorted(call.rpartition("/")[2] for call in sim.host.calls if "Job" in call)
    assert jobs == ["kns-prepare-v1-35-0", "kns-prepare-v1-36-0"]


def test_a_state_that_no_job_needs_any_more_is_not_counted(
    prepared: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would hide a version in use that has none."""
    counted: list[tuple[int, int]] = []
    monkeypatch.setattr(metrics, "set_prepared_states", lambda *, ready, missing: counted.append((ready, missing)))
    wanted = [""]
    keeper = StateKeeper(prepared.host, prepared.site, lambda: wanted, clock=prepared.clock)
    wanted.append("v1.35")
    for _ in range(3):
        keeper.step()
        prepared.host.settle()
    wanted[:] = ["", "v1.34"]
    keeper.step()
    assert counted[-2:] == [(2, 0), (1, 1)]


def test_the_versions_of_pools_and_of_starting_jobs_are_wanted(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job.with_nested(kubernetes_version="v1.34"))
    assert list(list_wanted_versions(sim.store, parse_pools("any=1,any@1.35=1,any@1.33=0"))) == ["", "v1.35", "v1.34"]


def test_few_starting_jobs_are_asked_for_their_version(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper's step comes again and again, and a site may have thousands of jobs that start."""
    monkeypatch.setattr(prepare, "MOST_STARTING", 2)
    for number in range(1, 5):
        sim.store.add(a_job().numbered(number).with_nested(kubernetes_version=f"v1.3{number}").build())
    assert len(list(list_wanted_versions(sim.store, ()))) == 2


def test_few_states_are_made_at_a_time(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MOST_VERSIONS", 1)
    _keeper(sim, "v1.35").step()
    assert [call.rpartition("/")[2] for call in sim.host.calls if "Job" in call] == ["kns-prepare-v1-36-0"]


def test_a_state_that_somebody_deleted_is_made_again(prepared: Simulation) -> None:
    keeper = _keeper(prepared)
    keeper.step()
    prepared.host.drop(*STATE)
    prepared.host.drop(*JOB)
    prepared.clock.advance(CHECK_S + 1)
    assert keeper.step() == RUNNING_S


def test_a_job_that_fails_is_reported_with_the_end_of_its_log(sim: Simulation) -> None:
    keeper = _keeper(sim)
    keeper.step()
    sim.host.settle()
    assert keeper.step() == FAILED_S
    (report,) = prepare_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], now=sim.clock.now())
    assert report.outcome is StateOutcome.FAILED
    assert "no space left on device" in report.detail


def test_a_job_whose_pod_is_refused_is_reported_with_the_reason(sim: Simulation) -> None:
    """Such a Job has no failed pod, only a condition at the end of its time, and then goes and is made again."""
    keeper = _keeper(sim)
    keeper.step()
    ended = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}
    sim.host.change(*JOB, lambda job: job.update(status={"conditions": [ended]}))
    refusal = "pods is forbidden: exceeded quota: tight"
    event = {"reason": "FailedCreate", "message": refusal, "involvedObject": {"name": names.prepare_job(VERSION)}}
    sim.host.put(Kind.EVENT, SYSTEM, "refused", event)
    assert keeper.step() == FAILED_S
    (report,) = prepare_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], now=sim.clock.now())
    assert report.outcome is StateOutcome.FAILED
    assert "Job was active too long. " in report.detail
    assert refusal in report.detail


def test_a_result_that_cannot_be_used_is_a_failure(sim: Simulation) -> None:
    sim.host.prepare_log = "nothing"
    _prepare(sim)
    (report,) = prepare_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], now=sim.clock.now())
    assert report.outcome is StateOutcome.FAILED
    assert sim.host.read(*STATE) is None


def test_a_job_of_another_image_is_waited_for(sim: Simulation) -> None:
    """Its name has the version alone, and its result is of the other image."""
    sim.host.prepare_log = a_log()
    prepare_states(
        sim.host, SYSTEM, replace(sim.site.virtual, registry="old.example.org"), [VERSION], now=sim.clock.now()
    )
    sim.host.settle()
    (report,) = prepare_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], now=sim.clock.now())
    assert report.outcome is StateOutcome.RUNNING
    assert sim.host.read(*STATE) is None


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("method", ["apply", "read", "list_objects", "pod_log"])
@pytest.mark.parametrize("call", range(1, 4))
def test_a_crash_at_any_call_leaves_a_state_in_the_end(sim: Simulation, method: str, call: int, before: bool) -> None:
    sim.host.prepare_log = a_log()
    interrupt(sim.host, method, call, before=before, error=Crash)
    for _ in range(6):
        try:
            prepare_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], now=sim.clock.now())
        except Crash:
            continue
        sim.host.settle()
    stored = sim.host.read(*STATE)
    assert stored is not None
    assert read_state_map(stored)
    assert len([left for left in sim.host.left if left.startswith("Job ")]) == 1


def test_the_command_waits_for_each_version(sim: Simulation) -> None:
    sim.host.prepare_log = a_log()

    def sleep(seconds: float) -> None:
        sim.clock.advance(seconds)
        sim.host.settle()

    found = list(await_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], clock=sim.clock, sleep=sleep))
    assert [(finding.check, finding.severity) for finding in found] == [(VERSION, Severity.OK)]


def test_the_command_ends_if_the_job_does_not(sim: Simulation) -> None:
    found = list(await_states(sim.host, SYSTEM, sim.site.virtual, [VERSION], clock=sim.clock, sleep=sim.clock.advance))
    assert [finding.severity for finding in found] == [Severity.FAULT]
    assert "not finished" in found[0].said
