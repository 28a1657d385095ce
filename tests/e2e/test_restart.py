"""The scheduler dies without a word, in the middle of a job: another one goes on, and everything happened once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import Leadership, await_leader, await_whole, kill_leader, remove_pod
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_SECONDS = 25  # of examples/slow, a line each


@pytest.fixture(autouse=True)
def _whole_again(site: Site) -> Iterator[None]:
    """Two replicas before and after, so that there is a standby."""
    await_whole(site.kubectl)
    yield
    await_whole(site.kubectl)


@dataclass(frozen=True, slots=True)
class Made:
    """What must be the same before and after: uids of what was made for the job."""

    namespace: str
    control_plane: str
    init_job: str | None


def _look(site: Site, job: TrialJob) -> Made:
    inside = f"--namespace={job.namespace}"
    init = site.kubectl.find("job", "kns-init", inside)
    return Made(
        namespace=site.kubectl.get("namespace", job.namespace)["metadata"]["uid"],
        control_plane=site.kubectl.get("deployment", job.namespace, inside)["metadata"]["uid"],
        init_job=init["metadata"]["uid"] if init else None,
    )


def _is_spawning(job: TrialJob) -> None:
    record = job.record()
    if record.get("status", {}).get("substatusText") != "starting virtual cluster" or not job.pods():
        raise NotYetError(f"{record.get('status')}")


def _runs_templates(job: TrialJob) -> None:
    if "second 3 of 25" not in (lines := job.tail()):
        raise NotYetError(f"{lines}")


def _kill_process(site: Site) -> Leadership:
    """The pod stays: its container is started again, and either that one or the standby leads."""
    killed = kill_leader(site.kubectl)
    leader = await_leader(site.kubectl, after=killed)
    if site.target.is_testbed:
        assert _restarts(site, killed.pod) == killed.restarts + 1
    return leader


def _restarts(site: Site, pod: str) -> int:
    status = site.kubectl.get("pod", pod, f"--namespace={NAMESPACE}")["status"]
    return int(status["containerStatuses"][0]["restartCount"])


def _kill_pod(site: Site) -> Leadership:
    """The pod goes with its process: only the standby can take over, once the Lease has run out."""
    killed = kill_leader(site.kubectl)
    remove_pod(site.kubectl, killed.pod)
    leader = await_leader(site.kubectl, after=killed, not_in=killed.pod)
    assert leader.transitions > killed.transitions
    return leader


@pytest.mark.parametrize("kill", [_kill_process, _kill_pod], ids=["process", "pod"])
@pytest.mark.parametrize(
    ("is_time", "app"),
    [(_is_spawning, "hello"), (_runs_templates, "slow")],
    ids=["while it spawns", "while templates run"],
)
def test_a_killed_leader_changes_nothing_but_who_leads(
    site: Site,
    jobs: JobKeeper,
    is_time: Callable[[TrialJob], None],
    app: str,
    kill: Callable[[Site], Leadership],
) -> None:
    """SIGKILL: the job comes to serve and ends as if nothing had been; nothing was made, run or logged twice."""
    job = jobs.submit(app)
    job.wait_for(lambda: is_time(job), timeout_s=120, what="the moment to kill")
    before = _look(site, job)
    kill(site)
    job.wait_until_serving()

    after = _look(site, job)
    assert (after.namespace, after.control_plane) == (before.namespace, before.control_plane)
    assert before.init_job in (None, after.init_job)
    _check_ran_once(site, job, app)
    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    assert job.output()[-1] == "the job was shut down"
    job.wait_until_removed()


def _check_ran_once(site: Site, job: TrialJob, app: str) -> None:
    """One record, one namespace, one init job with one pod that never restarted, every line of the log once."""
    label = f"--selector=kns.io/job={job.number}"
    kubectl = site.kubectl
    assert len(kubectl.get("nj", f"--namespace={NAMESPACE}", label)["items"]) == 1
    assert len(kubectl.get("namespaces", label)["items"]) == 1
    assert len(kubectl.get("jobs.batch", "--all-namespaces", label)["items"]) == 1
    assert len(kubectl.get("ingress", "--all-namespaces", label)["items"]) == 1
    for selector in ("batch.kubernetes.io/job-name=kns-init", f"app=vcluster,release={job.namespace}"):
        pods = job.pods(selector=selector)
        assert len(pods) == 1
        assert [c["restartCount"] for c in pods[0]["status"]["containerStatuses"]] == [0]

    lines = job.tail()
    items = ["web"] if app == "hello" else ["take your time", "web"]
    headers = [line for line in lines if line.startswith("[")]
    assert headers[: len(items)] == [f"[{i}/{len(items)}] {name}, attempt 1" for i, name in enumerate(items, 1)]
    assert lines.count("service/web created") == 1
    if app == "slow":
        assert [line for line in lines if line.startswith("second ")] == [
            f"second {second} of {_SECONDS}" for second in range(1, _SECONDS + 1)
        ]
    with nested_kubectl(site.target, job.number) as inside:
        assert inside.get("deployment", "web", "--namespace=default")["metadata"]["generation"] == 1
        progress = inside.get("configmap", "kns-init-progress", "--namespace=kube-system")["data"]
        assert sorted(progress) == [str(index) for index in range(len(items))]
