"""The web shell: only with both permissions, behind the job's login, gone with the job, and never a job's failure."""

import base64
import json
from typing import Any

import pytest

from kns.model.errors import ForbiddenError, KnsError, RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.connection import shell_url
from kns.model.job.job import JobState, StopReason, Substatus
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation
from tests.flow.interruptions import refuse_apply

IMAGE = "registry.example.org/kns-gotty:1"
SHELL_OBJECTS = {f"{kind} kns-job-7/kns-shell" for kind in ("Deployment", "Secret", "Service")}


@pytest.fixture
def sim(sim: Simulation) -> Simulation:
    """A site that allows shells."""
    sim.configure(shell_image=IMAGE)
    return sim


@pytest.fixture
def job(job: JobBuilder) -> JobBuilder:
    """A job whose AppDef asks for one."""
    return job.with_nested(enable_gotty_shell="true")


def test_both_permissions_make_a_shell_below_the_jobs_url(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    assert set(sim.host.left) >= SHELL_OBJECTS
    assert _paths(sim) == {"/": "kns-target", "/gotty-shell": "kns-shell"}
    assert shell_url(sim.job) == "https://kns-job-7.jobs.example.org/gotty-shell"
    assert sim.job.status.is_true(ConditionType.SHELL_READY)
    assert "shell" not in sim.outputs.read(sim.job).render()


def test_its_login_is_the_jobs_and_its_kubeconfig_an_accounts(sim: Simulation, job: JobBuilder) -> None:
    """A token of the virtual cluster, and not the administrator's certificate."""
    _serve(sim, job)
    data = _read(sim, Kind.SECRET)["stringData"]
    assert data["credential"] == f"user1:{'P' * 16}"
    config = json.loads(data["kubeconfig"])
    assert config["users"] == [{"name": "kns-shell", "user": {"token": "token-inside"}}]
    assert config["clusters"][0]["cluster"]["server"] == "https://10.96.1.7:443"
    assert base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]) == b"ca"
    assert "P" * 16 not in json.dumps(_read(sim, Kind.DEPLOYMENT))


@pytest.mark.parametrize(
    ("allowed", "asked", "reason", "warning"),
    [
        (False, True, Reason.SHELL_NOT_ALLOWED, "which this site does not allow"),
        (True, False, None, None),
        (False, False, None, None),
    ],
    ids=["asked, not allowed", "allowed, not asked", "neither"],
)
def test_one_permission_is_none(
    sim: Simulation, job: JobBuilder, allowed: bool, asked: bool, reason: Reason | None, warning: str | None
) -> None:
    """The job serves without a shell. Only a request that the site refuses is reported, in the output too."""
    sim.configure(shell_image=IMAGE if allowed else None)
    _serve(sim, job.with_nested(enable_gotty_shell=asked))
    assert not [left for left in sim.host.left if "shell" in left]
    assert list(_paths(sim)) == ["/"]
    condition = sim.job.status.condition(ConditionType.SHELL_READY)
    assert (condition.reason if condition else None) == reason
    lines = [line for line in sim.outputs.read(sim.job).lines() if "shell" in line]
    assert len(lines) == bool(warning)
    assert all(str(warning) in line for line in lines)
    assert shell_url(sim.job) is None


def test_the_quota_has_room_for_it_and_usage_does_not_count_it(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    hard = _read(sim, Kind.RESOURCE_QUOTA, "kns-quota")["spec"]["hard"]
    assert hard["requests.cpu"] == "2180m"  # the machine's 2 cores; syncer, CoreDNS, init, shell: 100 + 10 + 50 + 20
    used = {"requests.cpu": "130m", "requests.memory": "696Mi"}  # the same without init; the tenant requests nothing
    sim.host.change(Kind.RESOURCE_QUOTA, "kns-job-7", "kns-quota", lambda quota: quota.update(status={"used": used}))
    sim.clock.advance(61)
    sim.step()
    assert sim.job.status.usage is not None
    assert sim.job.status.usage.rates == (0, 0, 0, 0)


def test_a_job_without_url_has_no_shell_and_says_so(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job.without_target())
    assert _reason(sim) == Reason.SHELL_WITHOUT_URL
    assert not [left for left in sim.host.left if "shell" in left]
    assert "warning: the AppDef asks for a web shell, but the job has no URL" in sim.outputs.read(sim.job).render()


def test_a_prefix_of_the_common_host_is_in_front_of_the_shells_path(sim: Simulation, job: JobBuilder) -> None:
    """The Ingress does not strip the path, so the pod must know it."""
    _serve(sim, job.with_nested(ingress_type="prefix"))
    assert _paths(sim) == {"/7": "kns-target", "/7/gotty-shell": "kns-shell"}
    (container,) = _read(sim, Kind.DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    assert {"name": "KNS_SHELL_PATH", "value": "/7/gotty-shell"} in container["env"]
    assert shell_url(sim.job) == "https://jobs.example.org/7/gotty-shell"


@pytest.mark.parametrize("waits", ["ImagePullBackOff", "CrashLoopBackOff"])
def test_a_shell_that_does_not_start_leaves_the_job_serving(sim: Simulation, job: JobBuilder, waits: str) -> None:
    """The condition has the pod's message, the job's own state is unaffected, and the shell starts when it can."""
    sim.host.shell_waits = waits
    _serve(sim, job)
    assert _reason(sim) == Reason.SHELL_NOT_STARTED
    status = sim.job.status
    assert (status.job_status, status.substatus, status.reason) == (JobState.PROCESSING, Substatus.NONE, None)
    condition = status.condition(ConditionType.SHELL_READY)
    assert condition is not None
    assert waits in condition.message
    assert IMAGE in condition.message
    assert shell_url(sim.job) is None

    sim.host.shell_waits = None
    sim.host.settle()
    sim.step()
    assert shell_url(sim.job) is not None


@pytest.mark.parametrize("kind", ["Secret", "Service", "Deployment"])
@pytest.mark.parametrize("error", [RefusedError, ForbiddenError])
def test_what_the_host_refuses_of_the_shell_is_no_failure_of_the_job(
    sim: Simulation, job: JobBuilder, kind: str, error: type[KnsError]
) -> None:
    """kns tries again every minute."""
    sim.submit(job)
    relent = refuse_apply(sim.host, kind, error("denied by policy"), name="kns-shell")
    assert sim.run(until="serving").requeue_after_s == 60
    condition = sim.job.status.condition(ConditionType.SHELL_READY)
    assert condition is not None
    assert (condition.reason, "denied by policy" in condition.message) == (Reason.SHELL_NOT_STARTED, True)
    assert sim.job.status.job_status is JobState.PROCESSING

    relent()
    for _ in range(2):
        sim.step()
        sim.host.settle()
    sim.step()
    assert sim.job.status.is_true(ConditionType.SHELL_READY)


def test_the_sites_pull_secret_serves_the_shells_registry(sim: Simulation, job: JobBuilder) -> None:
    """From the site's logins the job gets those for the registries of its images, including the shell's."""
    logins = {"auths": {"shells.example.org": {"auth": "YTpi"}, "other.example.org": {"auth": "YTpi"}}}
    encoded = base64.b64encode(json.dumps(logins).encode()).decode()
    sim.configure(shell_image="shells.example.org/kns-gotty:1")
    sim.host.put(Kind.SECRET, "kns-system", "jarvice-docker", {"data": {".dockerconfigjson": encoded}})
    _serve(sim, job)
    given = json.loads(base64.b64decode(_read(sim, Kind.SECRET, "kns-pull")["data"][".dockerconfigjson"]))
    assert list(given["auths"]) == ["shells.example.org"]
    assert _read(sim, Kind.DEPLOYMENT)["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "kns-pull"}]


def test_a_virtual_cluster_that_gives_no_account_is_waited_for_and_given_up(sim: Simulation, job: JobBuilder) -> None:
    """As with a shell that was allowed after the job's start. After the limit kns stops polling."""
    sim.configure(init_stuck_limit_s=10)
    sim.host.shell_account = False
    _serve(sim, job)
    assert _reason(sim) == Reason.SHELL_STARTING
    sim.clock.advance(11)
    sim.step()
    assert _reason(sim) == Reason.SHELL_NOT_STARTED


@pytest.mark.parametrize("user", ["o'neil", "a:b", "back\\slash", "zoë"])
def test_a_name_that_no_login_can_carry_has_no_shell(sim: Simulation, job: JobBuilder, user: str) -> None:
    _serve(sim, job.owned_by(user))
    assert _reason(sim) == Reason.SHELL_NOT_STARTED
    assert not set(sim.host.left) & SHELL_OBJECTS


def test_a_permission_taken_back_ends_the_running_shells(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    sim.configure(shell_image=None)
    sim.step()
    sim.host.settle()
    sim.step()
    assert "Deployment kns-job-7/kns-shell" not in sim.host.left
    assert _reason(sim) == Reason.SHELL_NOT_ALLOWED
    assert shell_url(sim.job) is None


def test_a_shell_removed_by_hand_is_put_back(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    sim.host.drop(Kind.DEPLOYMENT, "kns-job-7", "kns-shell")
    sim.step()
    assert _reason(sim) == Reason.SHELL_STARTING
    sim.host.settle()
    sim.step()
    assert sim.job.status.is_true(ConditionType.SHELL_READY)


def test_a_serving_job_with_a_shell_costs_no_write(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    calls, writes = list(sim.host.calls), list(sim.store.writes)
    for _ in range(3):
        assert sim.step().summary == "serving"
    assert (sim.host.calls, sim.store.writes) == (calls, writes)


def test_its_pod_ends_in_the_first_reconcile_after_the_end(sim: Simulation, job: JobBuilder) -> None:
    """And with it all connections, also if something holds up the namespace."""
    _serve(sim, job)
    sim.host.namespace_stuck = "Some content in the namespace has finalizers remaining"
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="removing")
    assert _read(sim, Kind.POD, "kns-shell-0")["metadata"]["deletionGracePeriodSeconds"] == sim.site.grace_s
    sim.host.settle()
    sim.host.settle()
    assert sim.host.read(Kind.POD, "kns-job-7", "kns-shell-0") is None
    sim.host.namespace_stuck = None
    sim.run(until="retained")
    assert sim.host.left == []


def _serve(sim: Simulation, job: JobBuilder) -> None:
    """Reconcile until the job serves, and some seconds longer for its shell."""
    sim.submit(job)
    sim.run(until="serving")
    for _ in range(3):
        sim.host.settle()
        assert sim.step().summary == "serving"


def _read(sim: Simulation, kind: Kind, name: str = "kns-shell") -> dict[str, Any]:
    found = sim.host.read(kind, "kns-job-7", name)
    assert found is not None
    return found


def _paths(sim: Simulation) -> dict[str, str]:
    """The Ingress's paths with their Services, in order; empty without an Ingress."""
    (rule,) = _read(sim, Kind.INGRESS, "kns-job-7")["spec"]["rules"]
    return {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}


def _reason(sim: Simulation) -> str | None:
    condition = sim.job.status.condition(ConditionType.SHELL_READY)
    return condition.reason if condition else None
