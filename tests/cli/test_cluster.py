"""
Commands that reach a job's own cluster. kubectl is a shell script that answers like the real one; it and the user's
programs are real processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from kns.cli.children import run_program
from kns.cli.nested import hold_file
from kns.model.job.conditions import ConditionType, Reason
from tests.api.client import Api
from tests.builders import a_job
from tests.cli.conftest import Terminal
from tests.cli.host import NAMESPACE, PORT, Host, encode, list_left, make_host, make_terminal, run_real, serving
from tests.web.serving import serving as serving_page
from tests.web.ui import Ui

pytestmark = pytest.mark.timeout(300)  # it starts programs that wait for a signal


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return make_host(tmp_path / "host")


@pytest.fixture
def terminal(api: Api, tmp_path: Path, host: Host) -> Terminal:
    return make_terminal(api, tmp_path / "kns", host)


# --- connect


@pytest.mark.proves("security", "read a kubeconfig of a job that `kns connect` left behind")
def test_a_program_gets_a_kubeconfig_that_is_gone_afterwards(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path
) -> None:
    api.add(serving())
    seen = tmp_path / "seen"
    script = (
        f'cat "$KUBECONFIG" > {seen}; stat -c %a "$KUBECONFIG" "$(dirname "$KUBECONFIG")" >&2 > {seen}.mode; exit 3'
    )
    result = terminal.run("connect", "7", "--", "sh", "-c", script)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "")
    config = yaml.safe_load(seen.read_text())
    (cluster,), (user,) = config["clusters"], config["users"]
    assert cluster["cluster"] == {
        "server": f"https://127.0.0.1:{PORT}",
        "tls-server-name": "localhost",
        "certificate-authority-data": encode("authority"),
    }
    assert user["user"] == {"client-certificate-data": encode("certificate"), "client-key-data": encode("key")}
    assert Path(f"{seen}.mode").read_text().split() == ["600", "700"]
    assert list_left(terminal) == []
    host.check_nothing_runs()
    forward = f"port-forward --namespace={NAMESPACE} --address=127.0.0.1 service/{NAMESPACE} :443"
    assert forward in host.lines("calls")
    assert {line.strip() for line in host.lines("environments")} == {"/host.conf"}, "the host's, and no key of kns"


def test_the_account_of_the_web_shell_is_used_if_there_is_one(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path
) -> None:
    api.add(serving())
    host.store_shell()
    terminal.run("connect", "7", "--port", "6443", "--", "sh", "-c", f'cat "$KUBECONFIG" > {tmp_path}/seen')
    (user,) = yaml.safe_load((tmp_path / "seen").read_text())["users"]
    assert user["user"] == {"token": "shell-token"}
    assert host.lines("calls")[-1].endswith(f"service/{NAMESPACE} 6443:443")


def test_the_host_can_be_named_and_is_known_to_programs_inside(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path
) -> None:
    api.add(serving())
    inside = f'echo "$KNS_HOST_KUBECONFIG $KNS_JOB" > {tmp_path}/seen'
    terminal.run("connect", "7", "--host-kubeconfig", "/other.conf", "--", "sh", "-c", inside)
    assert (tmp_path / "seen").read_text() == "/other.conf 7\n"
    assert {line.strip() for line in host.lines("environments")} == {"/other.conf"}


def test_a_job_of_somebody_else_is_refused_before_the_host_is_asked(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving().owned_by("user3", payer="user3"))
    for command in (["connect", "7", "--", "true"], ["kubeconfig", "7"], ["cp", "7", "web:/a", "a"]):
        assert terminal.refuse(4, *command).startswith("there is no such job")
    assert terminal.refuse(4, "port-forward", "7", "service/web", "80").startswith("there is no such job")
    assert [line for line in host.lines("calls") if not line.startswith("version")] == []


@pytest.mark.proves("security", "be mistaken for a job of another site with the same number")
def test_the_same_number_at_another_site_is_another_job(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    host.store_job("20260105141530-00007-hello-user3_s1")
    line = terminal.refuse(5, "connect", "7", "--", "true")
    assert "is not that of job 7; KUBECONFIG must lead" in line
    assert line.endswith("--gateway needs none")
    (host.folder / f"namespace-{NAMESPACE}.json").unlink()
    assert "is not that of job 7" in terminal.refuse(5, "connect", "7", "--", "true")
    assert not any("secret" in line for line in host.lines("calls"))


FAULTS = [
    (
        "refusal",
        'Error from server (Forbidden): secrets "kns-job-7-certs" is forbidden: User "ana" cannot get resource\n',
        3,
        "lacks this right: use --gateway or `kns shell`, or ask its administrator",
    ),
    ("refusal", "The connection to the server 10.0.0.1:6443 was refused\n", 6, "this site, or use --gateway"),
    ("no-port", "error: unable to forward port because pod is not running\n", 6, "pod is not running"),
]


@pytest.mark.parametrize(("file", "text", "status", "words"), FAULTS, ids=[row[3] for row in FAULTS])
def test_a_host_that_refuses_is_one_sentence(
    api: Api, terminal: Terminal, host: Host, file: str, text: str, status: int, words: str
) -> None:
    api.add(serving())
    host.write(file, text)
    assert words in terminal.refuse(status, "connect", "7", "--", "true")
    assert list_left(terminal) == []


def test_control_characters_of_the_host_reach_no_terminal(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    host.write("refusal", "error: \x1b]0;title\x07\n")
    assert "\\x1b]0;title\\x07" in terminal.refuse(6, "connect", "7", "--", "true")


def test_a_job_without_a_cluster_is_one_sentence(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(a_job())
    (host.folder / f"service-{NAMESPACE}.json").unlink()
    assert terminal.refuse(5, "connect", "7", "--", "true").startswith("job 7 has no cluster yet; `kns watch 7`")
    (host.folder / f"namespace-{NAMESPACE}.json").unlink()
    assert terminal.refuse(5, "connect", "7", "--", "true").startswith("job 7 has no cluster yet")
    api.add(serving().ended())
    said = terminal.refuse(5, "connect", "7", "--", "true")
    assert said.endswith(f"the cluster in KUBECONFIG has no namespace {NAMESPACE}: it is removed, or on another site")


def test_whoever_keeps_an_ended_job_reaches_its_cluster(api: Api, terminal: Terminal, host: Host) -> None:
    """Also one that ended asleep: kns starts its pods again. Once it is being removed, nobody does."""
    api.add(serving().resting(Reason.ASLEEP).ended().condition(ConditionType.REMOVED, true=False, reason=Reason.KEPT))
    assert terminal.run("connect", "7", "--", "true").exit_code == 0
    file = host.folder / f"namespace-{NAMESPACE}.json"
    namespace = json.loads(file.read_text())
    namespace["metadata"]["deletionTimestamp"] = "2026-01-05T14:15:30Z"
    file.write_text(json.dumps(namespace))
    assert terminal.refuse(5, "connect", "7", "--", "true").endswith("and its cluster is being removed")


def test_a_sleeping_job_says_how_to_wake_it(api: Api, terminal: Terminal) -> None:
    api.add(a_job().resting(Reason.ASLEEP))
    said = terminal.refuse(5, "connect", "7", "--", "true")
    assert said == "job 7 is asleep; `kns wake 7 --wait` brings it back"


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "Exec format error"), (b"#!/nowhere/sh\n", "No such file or directory")]
)
def test_a_kubectl_that_cannot_be_executed_is_named(
    api: Api, terminal: Terminal, host: Host, content: bytes, why: str
) -> None:
    """It is for another machine, or it was not loaded completely."""
    api.add(serving())
    program = host.folder / "kubectl"
    program.write_bytes(content)
    said = terminal.refuse(2, "connect", "7", "--", "true")
    assert said == f"cannot start {program}: {why}; install it: https://kubernetes.io/docs/tasks/tools/"


def test_without_kubectl_nothing_is_submitted(api: Api, terminal: Terminal) -> None:
    terminal.environ["PATH"] = "/nowhere"
    assert terminal.refuse(2, "run", "hello", "--", "true").startswith("there is no kubectl on PATH; install it")
    assert terminal.bridge.seen == []


def test_a_program_that_does_not_exist_is_named(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    assert terminal.refuse(2, "connect", "7", "--", "/no/program").startswith("cannot start /no/program")
    host.check_nothing_runs()
    line = terminal.refuse(2, "run", "hello", "--", "/no/program")
    assert line == "there is no program /no/program, so nothing was submitted"


def test_a_lost_connection_is_opened_again_at_the_same_port(
    api: Api, terminal: Terminal, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kns.cli.kubectl._AGAIN_AFTER_S", 0.0)
    api.add(serving())
    host.write("lost", "")
    wait = f"while [ $(wc -l < {host.folder}/pids) -lt 2 ]; do sleep 0.05; done"
    assert terminal.run("connect", "7", "--", "sh", "-c", wait).exit_code == 0
    first, second = (line.split()[-1] for line in host.lines("calls") if line.startswith("port-forward"))
    assert (first, second) == (":443", f"{PORT}:443")
    host.check_nothing_runs()


# --- kubeconfig


def test_a_kubeconfig_lasts_as_long_as_the_job(api: Api, terminal: Terminal, host: Host, tmp_path: Path) -> None:
    api.add(serving())
    file, states = tmp_path / "job.conf", []

    def look() -> None:
        states.append((file.read_text().count(f"127.0.0.1:{PORT}"), file.stat().st_mode & 0o777))

    terminal.steps = [look, lambda: api.add(serving().ended())]
    result = terminal.run("kubeconfig", "7", "--file", str(file))
    assert (result.exit_code, result.stdout) == (0, f"export KUBECONFIG={file}\n")
    assert states == [(1, 0o600)]
    assert not file.exists()
    assert not file.is_symlink()
    host.check_nothing_runs()


def test_a_kubeconfig_outlasts_a_restart_of_kns(api: Api, terminal: Terminal, host: Host, tmp_path: Path) -> None:
    """A proxy before kns answers for it meanwhile, and a replica that has just started is not ready."""
    api.add(serving())
    file = tmp_path / "job.conf"

    def answer(status: int) -> None:
        assert file.exists()
        terminal.bridge.other = lambda _request: httpx.Response(status, text="<h1>Bad Gateway</h1>")

    def end() -> None:
        terminal.bridge.other = None
        api.add(serving().ended())

    terminal.steps = [lambda: answer(502), lambda: answer(503), end]
    result = terminal.run("kubeconfig", "7", "--file", str(file))
    assert (result.exit_code, result.stderr, terminal.steps) == (0, "", [])
    host.check_nothing_runs()


def test_a_kubeconfig_of_a_job_that_is_no_longer_the_users_ends(api: Api, terminal: Terminal) -> None:
    api.add(serving())

    def delete() -> None:
        terminal.bridge.other = lambda _request: httpx.Response(404, json={"error": "x"})

    terminal.steps = [delete]
    assert terminal.run("kubeconfig", "7").exit_code == 4


def test_a_file_that_exists_is_never_replaced(api: Api, terminal: Terminal, host: Host, tmp_path: Path) -> None:
    api.add(serving())
    file = tmp_path / "mine"
    file.write_text("mine")
    assert terminal.refuse(2, "kubeconfig", "7", "-f", str(file)).startswith(f"{file} exists; choose another name")
    assert file.read_text() == "mine"
    assert list_left(terminal) == []
    host.check_nothing_runs()


@pytest.mark.proves("security", "read a kubeconfig of a job that `kns connect` left behind")
def test_a_file_of_a_killed_program_is_removed_by_the_next(tmp_path: Path) -> None:
    folder, link = tmp_path / "clusters", tmp_path / "job.conf"
    script = (
        "import os, signal, sys; from pathlib import Path; from kns.cli.nested import hold_file\n"
        "with hold_file(Path(sys.argv[1]), 'credentials', link=Path(sys.argv[2])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(2):  # the second one removes what the first one left, its link too
        killed = subprocess.run([sys.executable, "-c", script, str(folder), str(link)], check=False)
        assert killed.returncode == -9
    assert link.read_text() == "credentials"
    with hold_file(folder, "mine") as mine, hold_file(folder, "other") as other:
        assert not link.exists(), "the credentials are gone"
        assert (mine.read_text(), other.read_text()) == ("mine", "other")
    assert [each for each in folder.iterdir() if each.is_dir()] == []


@pytest.mark.proves("security", "put another kubeconfig or site in the place of the user's")
def test_a_folder_that_others_can_write_gets_no_kubeconfig(api: Api, terminal: Terminal, host: Host) -> None:
    """They could put another one in its place, and a kubeconfig can name programs to run."""
    api.add(serving())
    folder = terminal.folder / "clusters"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert terminal.refuse(2, "connect", "7", "--", "true").startswith(f"others can write {folder}")
    assert list(folder.iterdir()) == []
    host.check_nothing_runs()


# --- Signals: the real program and a real server


@pytest.mark.proves("security", "read a kubeconfig of a job that `kns connect` left behind")
@pytest.mark.parametrize(("signal", "status"), [("TERM", 143), ("INT", 130), ("HUP", 129)])
def test_a_signal_ends_everything(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path, signal: str, status: int
) -> None:
    """The program sends the signal to kns, which passes it on; the program waits for it."""
    api.add(serving())
    wait = f'trap "exit {status}" {signal}; kill -{signal} $PPID; while :; do sleep 0.05; done'
    inside = f'cp "$KUBECONFIG" {tmp_path}/seen; {wait}'
    with serving_page(Ui(api)) as address:
        found, output, errors = run_real(address, terminal, "connect", "7", "--", "sh", "-c", inside)
    assert (found, output) == (status, ""), errors
    assert (tmp_path / "seen").exists()
    assert list_left(terminal) == []
    host.check_nothing_runs()


def test_a_signal_before_the_program_runs_ends_everything(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    host.write("no-port", "")
    program = host.folder / "kubectl"
    program.write_text(program.read_text().replace("[ -e no-port ]", "kill -TERM $PPID; exec sleep 600\n    [ -e x ]"))
    with serving_page(Ui(api)) as address:
        status, _, errors = run_real(address, terminal, "connect", "7", "--", "true")
    assert status == 143, errors
    assert list_left(terminal) == []
    host.check_nothing_runs()


def test_a_program_that_ignores_signals_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.cli.children.GRACE_S", 0.0)
    script = 'trap "" TERM; kill -TERM $PPID; while :; do sleep 0.05; done'
    assert run_program(["sh", "-c", script], os.environ) == 128 + 9


# --- cp and port-forward


def test_files_are_copied_by_kubectl(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    result = terminal.run("cp", "7", "web-0:/data/a", "-x", "-n", "lab", "-c", "main")
    assert result.exit_code == 2, "a name that looks like an option is none"
    result = terminal.run("cp", "7", "./-x", "web-0:/data/a", "-n", "lab", "-c", "main")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert "cp --namespace=lab --container=main -- ./-x web-0:/data/a" in host.lines("calls")
    assert f"127.0.0.1:{PORT}" in "\n".join(host.lines("used"))
    assert list_left(terminal) == []


def test_a_copy_that_fails_is_one_sentence_without_control_characters(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    host.write("messages", "tar: removing /\n" * 10_000 + "tar: \x1b]0;title\x07: no such file\n")
    host.write("status", "1")
    line = terminal.refuse(1, "cp", "7", "web-0:/a", "a")
    assert "tar: removing /; tar: \\x1b]0;title\\x07: no such file; check both paths" in line


NOTICE = "tar: removing leading '/' from member names\n"


def test_a_copy_of_what_is_not_there_is_a_failure_although_kubectl_succeeds(
    api: Api, terminal: Terminal, host: Host, tmp_path: Path
) -> None:
    """kubectl ends when the archive does, and may not wait for the status of `tar`."""
    api.add(serving())
    target = tmp_path / "out"
    host.write("messages", NOTICE)
    assert terminal.refuse(1, "cp", "7", "web-0:/no", str(target)).startswith(
        "nothing was copied: there is no web-0:/no"
    )
    target.write_text("older")
    os.utime(target, (1, 1))
    assert terminal.refuse(1, "cp", "7", "web-0:/no", str(target)).startswith("nothing was copied")
    host.write("copied", str(target))
    assert terminal.run("cp", "7", "web-0:/a", str(target)).exit_code == 0
    host.write("messages", NOTICE + "tar: can't open '/no': No such file or directory\ntar: error exit delayed\n")
    line = terminal.refuse(1, "cp", "7", "web-0:/no", str(target))
    assert line.startswith("not everything was copied: tar: can't open '/no': No such file or directory; check both")


@pytest.mark.parametrize("version", ["Client Version: v1.15.3\n", "nonsense\n"])
def test_an_old_kubectl_does_not_copy(api: Api, terminal: Terminal, host: Host, version: str) -> None:
    api.add(serving())
    host.write("version", version)
    assert terminal.refuse(2, "cp", "7", "web-0:/a", "a").startswith("this kubectl is older than 1.30")


@pytest.mark.parametrize("paths", [("a", "b"), ("web:/a", "web:/b"), ("./a:b", "c")])
def test_one_side_of_a_copy_is_in_a_pod(terminal: Terminal, paths: tuple[str, str]) -> None:
    assert terminal.refuse(2, "cp", "7", *paths).startswith("exactly one of SRC and DST must be POD:PATH")


def test_ports_of_the_job_are_forwarded(api: Api, terminal: Terminal, host: Host) -> None:
    api.add(serving())
    program = host.folder / "kubectl"
    program.write_text(program.read_text().replace("  version)", "  port-forward) ;;\n  version)"))
    inner = 'case "$*" in *deployment/web*) exit 5 ;; esac\n'
    program.write_text(program.read_text().replace('case "$1" in\n', inner + 'case "$1" in\n', 1))
    result = terminal.run("port-forward", "7", "deployment/web", "8080:80", "90", "-n", "lab")
    assert result.exit_code == 5
    assert "port-forward --address=127.0.0.1 --namespace=lab deployment/web 8080:80 90" in host.lines("calls")
    assert terminal.refuse(2, "port-forward", "7", "--", "service/web", "--address=0.0.0.0").startswith("write it like")
    host.check_nothing_runs()
