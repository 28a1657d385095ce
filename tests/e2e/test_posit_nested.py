"""
Nested jobs of the Posit Job Launcher on a real cluster: the real program, the minimal Role, and a virtual cluster of
kns for each job. kns must have KNS_CLUSTER_GATEWAY=all, as the demo's installation does.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kns.plain import names
from tests.e2e.jobs import SPAWN_S
from tests.e2e.portal import Portal
from tests.e2e.site import Site
from tests.e2e.test_posit import COUNTER, configuring, read_audit_log, read_served, starting, submit, wait_output
from tests.e2e.waiting import NotYetError, wait_for
from tests.launcher.client import Launcher

NAMESPACE = "kns-e2e-posit-nested"
_STARTED_S, _GONE_S = 60.0, 180.0


@pytest.fixture(scope="module")
def nested(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plugin whose jobs are nested. Whatever a failed test leaves is ended."""
    with configuring(site, tmp_path_factory.mktemp("posit"), namespace=NAMESPACE) as folder:
        yield _configure(site, folder)
        for number in _list_numbers(site):
            Portal(site.url, site.user).ask("terminate", number=number)


def _configure(site: Site, folder: Path) -> Path:
    credentials = folder / "kns.credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"{site.user.username}:{site.user.apikey}\n")
    conf = folder / "launcher.kubernetes.conf"
    conf.write_text(
        f"{conf.read_text()}nested=1\nnested-url={site.url}\nnested-credentials-path={credentials}\nnested-app=hello\n"
        "nested-machine=kns-small\n"  # the demo's smallest machine has no node
    )
    return folder


@pytest.fixture(scope="module")
def launcher(nested: Path) -> Iterator[Launcher]:
    with starting(nested) as launcher:
        yield launcher


def _list_numbers(site: Site) -> list[int]:
    jobs = site.kubectl.get("jobs", f"--namespace={NAMESPACE}")["items"]
    notes = [job["metadata"].get("annotations", {}) for job in jobs]
    return [int(note[names.NESTED]) for note in notes if names.NESTED in note]


def _read_record(site: Site, job: str) -> dict[str, Any]:
    found: dict[str, Any] = site.kubectl.get("job", job, f"--namespace={NAMESPACE}")
    return found


def _require_over(site: Site, job: str) -> None:
    record = _read_record(site, job)
    if names.NESTED_OVER not in record["metadata"]["annotations"]:
        raise NotYetError(f"the cluster of {job}")


def await_start(launcher: Launcher, job: str) -> None:
    """A cluster needs longer than the Launcher of the tests waits for a message."""

    def require_start() -> None:
        state = launcher.state(job)
        if state["status"] == "Pending":
            raise NotYetError(f"{job}: {state.get('statusMessage')}")

    wait_for(require_start, timeout_s=SPAWN_S, what=f"{job} runs")


def test_a_session_from_submission_to_nothing_left(launcher: Launcher, site: Site) -> None:
    """Start, network, output, end; then the cluster is gone, and state and output remain."""
    job = submit(
        launcher,
        name="A session",
        command="mkdir /tmp/w; echo served > /tmp/w/index.html; httpd -p 8000 -h /tmp/w; echo ready; read x; exit 3",
        stdin="go\n",
        exposedPorts=[{"targetPort": 8000}],
        tags=["nested"],
    )
    number = int(_read_record(site, job)["metadata"]["annotations"][names.NESTED])
    launcher.wait(lambda m: m.get("id") == job and "its cluster" in m.get("statusMessage", ""))
    await_start(launcher, job)
    request = launcher.follow(job)
    wait_output(launcher, request, "ready")
    launcher.wait_status(job, "Finished")
    state = launcher.state(job)
    assert (state["exitCode"], state["tags"]) == (3, ["nested"])
    assert launcher.output(request)[0] == "ready\n"
    wait_for(partial(_require_over, site, job), timeout_s=_GONE_S, what=f"the end of the cluster of {job}")

    def gone() -> None:
        if site.kubectl.find("namespace", f"kns-job-{number}") is not None:
            raise NotYetError(f"namespace kns-job-{number}")

    wait_for(gone, timeout_s=_GONE_S, what=f"namespace of job {number} is gone")
    assert launcher.output(launcher.follow(job))[0] == "ready\n"
    assert launcher.state(job)["exitCode"] == 3
    assert site.kubectl.get("pods", f"--namespace={NAMESPACE}", f"--selector=job-name={job}")["items"] == []


def test_a_port_signals_and_a_restart(nested: Path) -> None:
    """A port at the pod's address; suspend, resume; the plugin is killed and started again; stop."""
    with starting(nested) as first:
        job = submit(
            first,
            command=f"mkdir /tmp/w; echo served > /tmp/w/index.html; httpd -p 8000 -h /tmp/w; {COUNTER}",
            exposedPorts=[{"targetPort": 8000}],
            resourceLimits=[{"type": "cpuCount", "value": "1"}],
        )
        await_start(first, job)
        request = first.follow(job)
        wait_output(first, request, "2")
        network = first.ask(8, username="ana", jobId=job)
        assert first.state(job)["exposedPorts"] == [{"targetPort": 8000, "protocol": "TCP"}]
        assert read_served(network, 8000) == b"served\n"
        assert first.control(job, 0).get("operationComplete") is True
        first.wait_status(job, "Suspended")
        first.kill()
    with starting(nested) as second:
        assert second.state(job)["status"] == "Suspended"
        assert second.control(job, 1).get("operationComplete") is True
        request = second.follow(job)
        wait_output(second, request, "3")
        assert second.control(job, 2).get("operationComplete") is True
        second.wait_status(job, "Killed")
        assert "trapped" in second.output(request)[0]
        assert second.state(job)["exitCode"] == 5


def test_a_job_that_waits_is_canceled(launcher: Launcher, site: Site) -> None:
    job = submit(launcher, command="true")
    assert launcher.control(job, 4).get("operationComplete") is True
    launcher.wait_status(job, "Canceled")
    wait_for(partial(_require_over, site, job), timeout_s=_GONE_S, what=f"the end of the cluster of {job}")


def test_what_cannot_run_nested_makes_nothing(launcher: Launcher, site: Site) -> None:
    before = _list_numbers(site)
    mount = {"type": "nfs", "mountPath": "/home", "source": {"host": "nfs01", "path": "/home"}}
    answer = launcher.ask(
        2,
        username="ana",
        job={"name": "x", "user": "ana", "container": {"image": "x"}, "command": "true", "mounts": [mount]},
    )
    assert (answer["messageType"], answer["errorCode"]) == (-1, 2), json.dumps(answer)
    assert "storage of the host" in answer["errorMessage"]
    assert _list_numbers(site) == before


def test_nothing_was_forbidden(nested: Path) -> None:
    """The minimal Role is enough for the records."""
    log = "".join(path.read_text() for path in (nested / "logs").iterdir())
    assert ": 403, " not in log
    assert '"level": "error"' not in log


def test_the_audit_log_shows_no_verb_beyond_the_role(site: Site, nested: Path) -> None:
    """And what is about a pod goes through kns: on the host, a nested job is a record alone. The last test."""
    asked = read_audit_log(site, nested, namespace=NAMESPACE)
    assert (asked.beyond, asked.refused) == (frozenset(), frozenset())
    assert {"create services", "get pods/attach", "get pods/exec", "get pods/log", "patch pods"} <= asked.unused
    assert asked.unused.isdisjoint({"create jobs.batch", "patch jobs.batch", "watch jobs.batch"})
