"""The real program `kns` against a real kns, as a user's script calls it."""

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from demo.target import ROOT
from tests.e2e.jobs import JobKeeper
from tests.e2e.program import AGAIN_S, LIMIT_S, Program
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for
from tests.tls_front import tls_front

_START_S = str(round(240 * PATIENCE))


@pytest.fixture
def program(site: Site, jobs: JobKeeper, tmp_path: Path) -> Iterator[Program]:
    """`jobs` removes whatever a failed test leaves."""
    del jobs
    program = Program(site, tmp_path)
    yield program
    for job in program.read("list", "--label", _LABEL):
        program.run("terminate", str(job["number"]))


_LABEL = "e2e-command-line"


def test_a_job_is_submitted_watched_read_and_stopped(program: Program, jobs: JobKeeper) -> None:
    """One script: submit and wait, list, timeline, explanation, output, stop and wait, output again."""
    shown = program.run("submit", "hello", "-m", "kns-small", "-l", _LABEL, "--wait", "--timeout", _START_S)
    url = shown.splitlines()[-1]
    assert url.startswith(("http://", "https://"))
    assert any("start the virtual cluster: done" in line for line in shown.splitlines())
    listed = wait_for(lambda: _list_one(program), timeout_s=AGAIN_S, what="the job in the list")
    number = str(listed["number"])
    job_of_both = jobs.adopt(listed["number"], listed["name"])
    job_of_both.wait_until_serving()  # at both replicas
    assert listed["status"] == "PROCESSING STARTING"

    job = program.read("show", number)
    assert job["connection"]["url"] == url
    steps = {step["name"]: step for step in job["steps"]}
    assert steps["serve"]["state"] == "active"
    took = [steps[name]["seconds"] for name in ("namespace", "vcluster", "prepare", "init", "ingress")]
    assert all(seconds is not None for seconds in took), steps
    assert program.read("explain", number)["standing"] == "serving"
    assert program.run("open", "--print", number) == f"{url}\n"

    seen = program.run("logs", number).splitlines()
    assert seen[0] == "[1/1] web, attempt 1"
    program.run("stop", number, "--wait", "--timeout", _START_S)
    job_of_both.wait_until_ended()
    assert program.run("logs", number).splitlines() == [*seen, "the job was shut down"]
    program.run("watch", number, "--until", "ended")
    ended = program.read("show", number)
    assert (ended["status"], ended["connection"]) == ("COMPLETED", None)
    assert {step["name"]: step["state"] for step in ended["steps"]}["remove"] == "done"


def _list_one(program: Program) -> dict[str, Any]:
    """A list has what its replica has seen."""
    found: list[dict[str, Any]] = program.read("list", "--label", _LABEL)
    if not found:
        raise NotYetError("no job in the list")
    (listed,) = found
    return listed


def test_a_mistake_is_one_line_with_its_status(program: Program) -> None:
    program.run("show", "999999999", status=4)
    program.run("submit", "hello", "-m", "no-such-machine", status=5)


def test_a_cluster_is_a_step_of_a_pipeline(program: Program) -> None:
    """`kns run` submits, runs a program in the job's cluster, gives its status, and leaves nothing."""
    script = "kubectl get namespaces --output=name; exit 3"
    submission = ("run", "hello", "-m", "kns-small", "-l", _LABEL, "-t", "00:30:00", "--timeout", _START_S)
    shown = program.run(*submission, "--", "sh", "-c", script, status=3)
    assert "namespace/kube-system" in shown.splitlines()
    assert not [name for name in shown.split() if name.startswith("namespace/kns-")], "that would be the host"
    (job,) = program.read("list", "--all", "--label", _LABEL, "--limit", "1")
    program.run("watch", str(job["number"]), "--until", "ended", "--timeout", _START_S, status=8)
    assert _left(program) == []


def test_a_jobs_cluster_is_reached_with_access_to_the_host(program: Program, tmp_path: Path) -> None:
    """kubectl, a copy, a port, a kubeconfig; afterwards neither a file nor a kubectl is left."""
    program.run("submit", "hello", "-m", "kns-small", "-l", _LABEL, "--wait", "--timeout", _START_S)
    (job,) = program.read("list", "--label", _LABEL)
    number = str(job["number"])
    pods = program.run("connect", number, "--", "kubectl", "get", "pods", "-l", "app=web", "--output=name")
    pod = pods.strip().removeprefix("pod/")
    program.run("cp", number, f"{pod}:/etc/passwd", str(tmp_path / "passwd"))
    assert (tmp_path / "passwd").read_text().startswith("root:")
    with program.start("port-forward", number, "service/web", ":8080") as (child, line):
        port = int(line.split("127.0.0.1:")[1].split()[0])
        page = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30)
        assert "a Kubernetes cluster of its own" in page.text
        child.send_signal(signal.SIGTERM)
        assert child.wait(LIMIT_S) == 128 + signal.SIGTERM
    file = tmp_path / "job.conf"
    with program.start("kubeconfig", number, "--file", str(file)) as (child, line):
        assert line == f"export KUBECONFIG={file}\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        inside = {**program.environ, "KUBECONFIG": str(file)}
        found = subprocess.run(
            ["kubectl", "get", "service", "web", "--output=name"], env=inside, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert found.stdout == "service/web\n", found.stderr
        child.send_signal(signal.SIGINT)
        assert child.wait(LIMIT_S) == 130
    assert not file.is_symlink()
    assert _left(program) == []
    program.run("terminate", number)


_TICKS = """
apiVersion: v1
kind: Pod
metadata: {name: ticks}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: docker.io/library/busybox:1.35
      command: [sh, -c, "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.2; done"]
"""


def test_a_jobs_cluster_is_reached_through_kns(program: Program, site: Site, tmp_path: Path) -> None:
    """Without access to the host: get, apply, logs -f, watch, exec, cp, port-forward; errors in words."""
    before, kns = dict(program.environ), urlsplit(site.url)
    program.environ.pop("KUBECONFIG")
    program.environ["HOME"] = str(tmp_path)
    with tls_front(tmp_path, kns.hostname or "", kns.port or 80) as (url, authority):
        program.environ |= {"KNS_URL": url, "SSL_CERT_FILE": str(authority)}
        try:
            _use_cluster(program, site, tmp_path)
        finally:
            program.environ = before


def _use_cluster(program: Program, site: Site, tmp_path: Path) -> None:
    program.run("submit", "hello", "-m", "kns-small", "-l", _LABEL, "--wait", "--timeout", _START_S)
    (job,) = program.read("list", "--label", _LABEL)
    number = str(job["number"])

    def kubectl(*args: str, status: int = 0) -> str:
        return program.run("connect", number, "--", "kubectl", *args, status=status)

    assert "namespace/default" in kubectl("get", "namespaces", "--output=name")
    (tmp_path / "ticks.yaml").write_text(_TICKS)
    assert kubectl("apply", "-f", str(tmp_path / "ticks.yaml")) == "pod/ticks created\n"
    kubectl("wait", "--for=condition=Ready", "pod/ticks", "--timeout=120s")  # a watch
    assert kubectl("exec", "ticks", "--", "sh", "-c", "echo $((6*7)); exit 3", status=3) == "42\n"
    (tmp_path / "in").write_bytes(bytes(range(256)) * 4096)  # 1 MiB in both directions
    program.run("cp", number, str(tmp_path / "in"), "ticks:/tmp/data")
    program.run("cp", number, "ticks:/tmp/data", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    with program.start("port-forward", number, "service/web", ":8080") as (child, line):
        port = int(line.split("127.0.0.1:")[1].split()[0])
        with httpx.Client(trust_env=False, timeout=30) as client:  # several connections through one WebSocket
            pages = {client.get(f"http://127.0.0.1:{port}/", headers={"Connection": "close"}).text for _ in range(5)}
        (page,) = pages
        assert "a Kubernetes cluster of its own" in page
        child.send_signal(signal.SIGTERM)
        assert child.wait(LIMIT_S) == 128 + signal.SIGTERM
    with program.start("connect", number, "--", "kubectl", "logs", "--follow", "ticks") as (child, line):
        assert line == "tick 1\n"
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(20)][-1] == "tick 21\n"
        child.send_signal(signal.SIGTERM)
        child.wait(LIMIT_S)
    assert _left(program) == []

    file = tmp_path / "kept.conf"
    file.touch(mode=0o600)
    file.write_text(program.run("connect", number, "--", "sh", "-c", 'cat "$KUBECONFIG"'))
    program.run("terminate", number)
    inside = {**program.environ, "KUBECONFIG": str(file)}
    done = subprocess.run(
        ["kubectl", "get", "pods"], env=inside, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, f"job {number}" in done.stderr) == (1, True), done.stderr
    file.write_text(file.read_text().replace(site.user.apikey, "wrong"))
    done = subprocess.run(
        ["kubectl", "get", "pods"], env=inside, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert "the name, the API key or the token is wrong" in done.stderr


def test_a_job_of_somebody_else_is_not_reached(program: Program, site: Site) -> None:
    """Access to the host alone is not enough for the command line."""
    program.run("submit", "hello", "-m", "kns-small", "-l", _LABEL)
    (job,) = program.read("list", "--label", _LABEL)
    stranger = {**program.environ, "KNS_USERNAME": site.other.username, "KNS_APIKEY": site.other.apikey}
    command = [sys.executable, "-m", "kns", "connect", str(job["number"]), "--", "true"]
    done = subprocess.run(command, env=stranger, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("kns: there is no such job")


def _left(program: Program) -> list[str]:
    return [each.name for each in (program.folder / "clusters").iterdir() if each.is_dir()]
