"""
The Posit Job Launcher's plugin on a real cluster: the real program, the minimal Role, jobs that really run.

The tests speak the Launcher's protocol over stdin and stdout. They share one namespace and, except one, one plugin.
The last tests read what the plugin's account asked: together, the others need each right of the Role.
"""

import base64
import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.launcher.tools.roles import RoleKind, build_rbac
from kns.plain import names
from testbed import paths
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for
from tests.launcher.client import Launcher, Message
from tests.launcher.rights import IN_PAGES, NEVER_LOGGED, Asked, read_asked

NAMESPACE, ACCOUNT = "kns-e2e-posit", "job-launcher"
IMAGE = "docker.io/library/busybox:1.35"
WITHOUT_SHELL = "registry.k8s.io/pause:3.10"
_STARTED_S, _GONE_S = 60.0, 90.0
# Counts twice a second until it is ended, and says so if it gets SIGTERM.
COUNTER = "trap 'echo trapped; exit 5' TERM; i=0; while true; do i=$((i+1)); echo $i; sleep 0.5; done"


@contextlib.contextmanager
def configuring(site: Site, folder: Path, *, namespace: str = NAMESPACE) -> Iterator[Path]:
    """The configuration of a plugin with the minimal Role, in a namespace that is deleted afterwards."""
    objects = build_rbac(RoleKind.MINIMAL, namespace=namespace, account=ACCOUNT, with_nodes=True)
    site.kubectl.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    token = folder / "token"
    token.write_text(site.kubectl.run("create", "token", ACCOUNT, f"--namespace={namespace}", "--duration=2h"))
    token.chmod(0o600)
    config = yaml.safe_load(Path(site.target.kubeconfig).read_text())
    cluster = config["clusters"][0]["cluster"]
    authority = cluster.get("certificate-authority-data")
    if authority is None:
        authority = base64.b64encode(Path(cluster["certificate-authority"]).read_bytes()).decode()
    (folder / "launcher.kubernetes.conf").write_text(
        f"api-url={cluster['server']}\n"
        f"auth-token-path={token}\n"
        f"certificate-authority={authority}\n"
        f"kubernetes-namespace={namespace}\n"
        f"scratch-path={folder / 'scratch'}\n"
        f"logging-dir={folder / 'logs'}\n"
        f"profile-config={folder / 'profiles.conf'}\n"
        "log-level=DEBUG\n"
    )
    (folder / "profiles.conf").write_text(
        "[*]\nplacement-constraints=example.org/nowhere\nmax-cpus=1\n"
        "cpu-request-ratio=0.05\n"  # the jobs have room on a node that others use as well
    )
    (folder / "launcher.conf").write_text(
        "[server]\naddress=127.0.0.1\n\n[cluster]\nname=Kubernetes\ntype=Kubernetes\n"
    )
    yield folder
    with_nodes = ("clusterrole", "clusterrolebinding")
    site.kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    for obj in objects:
        if obj["kind"].lower() in with_nodes:
            site.kubectl.run("delete", obj["kind"], obj["metadata"]["name"], "--ignore-not-found")


@pytest.fixture(scope="module")
def folder(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with configuring(site, tmp_path_factory.mktemp("posit")) as folder:
        yield folder


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Launcher]:
    argv = [sys.executable, "-m", "kns.launcher.program", "--unprivileged=1", "--heartbeat-interval-seconds=1"]
    argv += [f"--launcher-config-file={folder / 'launcher.conf'}"]
    argv += [f"--config-file={folder / 'launcher.kubernetes.conf'}"]
    launcher = Launcher(argv, folder / "stderr")
    try:
        assert launcher.bootstrap()["messageType"] == 1
        launcher.send(4, username="*", jobId="*", request_id=900)
        yield launcher
    finally:
        launcher.end()


def read_audit_log(site: Site, folder: Path, *, namespace: str = NAMESPACE) -> Asked:
    if not site.target.is_testbed:
        pytest.skip("KUBECONFIG names a cluster of yours, and only the testbed's API server has a known audit log")
    return read_asked(folder / "launcher.kubernetes.conf", paths.AUDIT_LOG, namespace=namespace)


@pytest.fixture(scope="module")
def launcher(folder: Path) -> Iterator[Launcher]:
    with starting(folder) as launcher:
        yield launcher


def submit(launcher: Launcher, **job: Any) -> str:
    found: str = launcher.submit(container={"image": IMAGE}, **job)["id"]
    return found


def wait_output(launcher: Launcher, request: int, text: str) -> None:
    launcher.wait(lambda m: m["requestId"] == request and text in m.get("output", ""))


def read_served(network: Message, port: int) -> bytes:
    """What a job serves at the address of its network, once it answers."""
    url = f"http://{network['ipAddresses'][0]}:{port}/"

    def read() -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except OSError as error:
            raise NotYetError(str(error)) from error

    return wait_for(read, timeout_s=_STARTED_S, what=f"{url} answers")


def test_a_job_runs_and_its_end_is_known(launcher: Launcher) -> None:
    job = submit(
        launcher,
        name="Größe $(id)",
        command="echo out $A; echo err >&2; pwd; exit 3",
        environment=[{"name": "A", "value": "$(hostname) b"}],
        workingDirectory="/tmp",
        tags=["e2e"],
    )
    request = launcher.follow(job)
    launcher.wait_status(job, "Finished")
    text, _ = launcher.output(request)
    assert sorted(text.splitlines()) == ["/tmp", "err", "out $(hostname) b"]
    state = launcher.state(job)
    assert (state["exitCode"], state["tags"], state["name"]) == (3, ["e2e"], "Größe $(id)")
    assert launcher.output(launcher.follow(job))[0] == text


def test_stdin_arrives_by_attach(launcher: Launcher) -> None:
    script = "echo hello from stdin\n" + "# filler\n" * 20_000 + "echo the end\n"
    job = submit(launcher, exe="/bin/sh", stdin=script)
    launcher.wait_status(job, "Finished")
    assert launcher.output(launcher.follow(job))[0] == "hello from stdin\nthe end\n"


def test_suspend_resume_and_stop(launcher: Launcher) -> None:
    """The same process goes on, and SIGTERM reaches it."""
    job = submit(launcher, command=COUNTER)
    request = launcher.follow(job)
    wait_output(launcher, request, "2")
    assert launcher.control(job, 0).get("operationComplete") is True
    launcher.wait_status(job, "Suspended")
    after = len(launcher.messages)
    assert launcher.control(job, 1).get("operationComplete") is True
    launcher.wait(lambda m: m["messageType"] == 3 and (m["id"], m["status"]) == (job, "Running"), after=after)
    launcher.wait(lambda m: m["requestId"] == request and bool(m.get("output")), after=after)
    assert launcher.control(job, 2).get("operationComplete") is True
    launcher.wait_status(job, "Killed")
    text, _ = launcher.output(request)
    assert "trapped" in text
    counted = [int(line) for line in text.split() if line.isdigit()]
    assert counted == list(range(1, len(counted) + 1))
    assert launcher.state(job)["exitCode"] == 5


def test_kill_gives_no_chance(launcher: Launcher) -> None:
    job = submit(launcher, command=COUNTER)
    request = launcher.follow(job)
    wait_output(launcher, request, "1")
    assert launcher.control(job, 3).get("operationComplete") is True
    launcher.wait_status(job, "Killed")
    assert "trapped" not in launcher.output(request)[0]


def test_a_job_without_a_shell_is_ended_by_its_node(launcher: Launcher) -> None:
    job = launcher.submit(container={"image": WITHOUT_SHELL}, exe="/pause")["id"]
    launcher.wait_status(job, "Running")
    answer = launcher.control(job, 2)
    assert answer.get("operationComplete") is False, answer
    launcher.wait_status(job, "Killed")


def test_a_job_that_fits_no_node_is_cancelled(launcher: Launcher, site: Site) -> None:
    job = submit(
        launcher,
        command="true",
        placementConstraints=[{"name": "example.org/nowhere", "value": "x"}],
        exposedPorts=[{"targetPort": 80}],
    )
    launcher.wait(lambda m: m["messageType"] == 3 and m["id"] == job and "no node fits" in m.get("statusMessage", ""))
    assert launcher.control(job, 4).get("operationComplete") is True
    launcher.wait_status(job, "Canceled")

    def gone() -> None:
        for kind in ("pods", "services"):
            selector = (
                f"--selector={names.JOB_NAME_LABEL}={job}"
                if kind == "pods"
                else f"--field-selector=metadata.name={job}"
            )
            if site.kubectl.get(kind, f"--namespace={NAMESPACE}", selector)["items"]:
                raise NotYetError(f"{kind} of {job}")

    wait_for(gone, timeout_s=_GONE_S, what=f"the objects of {job} are gone")


def test_an_image_that_does_not_exist(launcher: Launcher) -> None:
    job = launcher.submit(container={"image": "registry.invalid/nothing:1"}, command="true")["id"]
    launcher.wait(
        lambda m: m["messageType"] == 3 and m["id"] == job and "cannot be pulled" in m.get("statusMessage", "")
    )
    launcher.control(job, 4)
    launcher.wait_status(job, "Canceled")


def test_a_program_that_does_not_exist(launcher: Launcher) -> None:
    job = submit(launcher, exe="/no/such/program")
    assert "no/such/program" in launcher.wait_status(job, "Failed")["statusMessage"]


def test_too_much_memory(launcher: Launcher) -> None:
    job = submit(launcher, command="tail /dev/zero", resourceLimits=[{"type": "memory", "value": "16"}])
    assert "memory" in launcher.wait_status(job, "Killed")["statusMessage"]


def test_a_port_is_reached_at_the_node(launcher: Launcher) -> None:
    job = submit(
        launcher,
        command="mkdir /tmp/w; echo served > /tmp/w/index.html; httpd -f -p 8000 -h /tmp/w",
        exposedPorts=[{"targetPort": "8000"}],
    )
    launcher.wait_status(job, "Running")
    network = launcher.ask(8, username="ana", jobId=job)
    port = launcher.state(job)["exposedPorts"][0]["publishedPort"]
    assert read_served(network, port) == b"served\n"
    assert network["host"]
    request = launcher.send(7, username="ana", jobId=job)
    used = launcher.wait(lambda m: m["messageType"] == 6 and any(s["requestId"] == request for s in m["sequences"]))
    assert used["residentMemory"] > 0
    launcher.control(job, 3)
    launcher.wait_status(job, "Killed")
    launcher.wait(
        lambda m: m["messageType"] == 6 and m["complete"] and any(s["requestId"] == request for s in m["sequences"])
    )


def test_a_large_output(launcher: Launcher) -> None:
    """More than the 10 MiB after which a node rotates a log may lose lines, so it is less."""
    job = submit(
        launcher, command="i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo line number $i of many lines; done"
    )
    text, messages = launcher.output(launcher.follow(job))
    lines = text.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (
        60000,
        "line number 1 of many lines",
        "line number 60000 of many lines",
    )
    assert all(len(json.dumps(m)) < 5 * 1024 * 1024 for m in messages)


def test_an_expired_job_is_removed(launcher: Launcher, site: Site) -> None:
    """Its end is put into the past, because the shortest time until the expiry is an hour."""
    job = submit(launcher, command="true")
    launcher.wait_status(job, "Finished")

    def read_end() -> dict[str, Any]:
        notes = site.kubectl.get("job", job, f"--namespace={NAMESPACE}")["metadata"]["annotations"]
        if names.END not in notes:
            raise NotYetError(f"{job} has no record of its end")
        end: dict[str, Any] = json.loads(notes[names.END])
        return end

    end = wait_for(read_end, timeout_s=_STARTED_S, what=f"the plugin notes the end of {job}")
    past = json.dumps({**end, "ended": "2000-01-01T00:00:00+00:00"})
    site.kubectl.run("annotate", "job", job, f"--namespace={NAMESPACE}", "--overwrite", f"{names.END}={past}")

    def gone() -> None:
        if site.kubectl.find("job", job, f"--namespace={NAMESPACE}") is not None:
            raise NotYetError(f"job {job}")

    wait_for(gone, timeout_s=_GONE_S, what=f"{job} is removed")
    answer = launcher.get(job)
    assert (answer["messageType"], answer["errorCode"]) == (-1, 3)


def test_killed_and_started_again(folder: Path) -> None:
    """Everything is read from the cluster again, while the job goes on."""
    with starting(folder) as first:
        job = submit(first, command=COUNTER, tags=["kept"])
        first.wait_status(job, "Running")
        first.kill()
    with starting(folder) as second:
        state = second.state(job)
        assert (state["status"], state["tags"]) == ("Running", ["kept"])
        request = second.follow(job)
        wait_output(second, request, "3")
        second.control(job, 3)
        second.wait_status(job, "Killed")
        second.wait_heartbeats(1)
        assert second.close_input() == 0


def test_nothing_was_forbidden(folder: Path) -> None:
    """The minimal Role is enough."""
    log = "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert "plugin_started" in log
    assert ": 403, " not in log
    assert '"level": "error"' not in log


def test_the_audit_log_shows_no_verb_beyond_the_role(site: Site, folder: Path, request: pytest.FixtureRequest) -> None:
    """No request beyond the minimal Role, none refused; and no right of it is left over. The last test of this file."""
    asked = read_audit_log(site, folder)
    assert (asked.beyond, asked.refused) == (frozenset(), frozenset())
    written = {name for name in vars(request.module) if name.startswith("test_")}
    if written <= {item.name for item in request.session.items if item.path == request.path}:
        assert asked.unused - IN_PAGES == NEVER_LOGGED
