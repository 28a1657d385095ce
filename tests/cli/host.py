"""A host cluster for the commands of a job's own cluster. kubectl is a script that answers like the real one."""

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kns.model import names
from kns.model.job.conditions import ConditionType
from tests.api.client import Api
from tests.builders import JobBuilder, a_job
from tests.cli.conftest import Terminal
from tests.patience import PATIENCE_S

NAMESPACE = "kns-job-7"
PORT = 40123
SCRIPT = r"""#!/bin/sh
cd '{folder}' || exit 9
echo "$*" >> calls
echo "$KUBECONFIG ${{KNS_APIKEY:-}}" >> environments
[ -e refusal ] && {{ cat refusal >&2; exit 1; }}
case "$1" in
  get) [ ! -e "$2-$3.json" ] || cat "$2-$3.json" ;;
  port-forward)
    echo $$ >> pids
    [ -e lost ] && {{ rm lost; echo 'Forwarding from 127.0.0.1:{port} -> 8443'; exit 1; }}
    [ -e no-port ] && {{ cat no-port; exit 1; }}
    echo 'Forwarding from 127.0.0.1:{port} -> 8443'
    exec sleep 600 ;;
  version) cat version ;;
  cp) cat "$KUBECONFIG" > used; cat messages; [ ! -e copied ] || touch "$(cat copied)"; exit "$(cat status)" ;;
esac
"""


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ADMIN = f"""
clusters:
- cluster:
    certificate-authority-data: {encode("authority")}
    server: https://evil.example.org
  name: evil
users:
- name: admin
  user:
    client-certificate-data: {encode("certificate")}
    client-key-data: {encode("key")}
    exec: {{command: /tmp/evil}}
"""


@dataclass
class Host:
    """What the script knows of the host cluster."""

    folder: Path

    def store(self, kind: str, name: str, content: dict[str, Any]) -> None:
        (self.folder / f"{kind}-{name}.json").write_text(json.dumps(content))

    def store_job(self, name: str = "20260105141530-00007-hello-user1_s1") -> None:
        self.store("namespace", NAMESPACE, {"metadata": {"annotations": {names.JOB_NAME_ANNOTATION: name}}})
        self.store("service", NAMESPACE, {"spec": {"clusterIP": "10.96.0.9"}})
        self.store("secret", f"{NAMESPACE}-certs", {"data": {"admin.conf": encode(ADMIN)}})

    def store_shell(self) -> None:
        data = {"certificate-authority": encode("authority"), "token": encode("shell-token")}
        self.store("secret", names.SHELL_ACCESS, {"data": data})

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def check_nothing_runs(self) -> None:
        pids = self.lines("pids")
        assert pids, "no port was opened"
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(int(pid), 0)


def make_host(folder: Path) -> Host:
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(SCRIPT.format(folder=folder, port=PORT))
    program.chmod(0o755)
    host = Host(folder)
    host.write("version", "Client Version: v1.36.0\n")
    host.write("status", "0")
    host.write("messages", "")
    host.store_job()
    return host


def make_terminal(api: Api, folder: Path, host: Host) -> Terminal:
    """A terminal whose programs are those of `host`, and which has the kubeconfig of another cluster."""
    terminal = Terminal(api, folder)
    terminal.environ |= {"PATH": f"{host.folder}:{os.environ['PATH']}", "KUBECONFIG": "/host.conf"}
    return terminal


def serving(number: int = 7) -> JobBuilder:
    return a_job().numbered(number).condition(ConditionType.NAMESPACE_READY, at_s=1).started().exposed()


def list_left(terminal: Terminal) -> list[str]:
    folder = terminal.folder / "clusters"
    return [each.name for each in folder.iterdir() if each.is_dir()] if folder.exists() else []


def prepare_run(api: Api, terminal: Terminal, host: Host) -> None:
    """The submitted job serves when it is looked at for the second time."""
    terminal.steps = [lambda: serve(api, host)]


def serve(api: Api, host: Host) -> None:
    """The only job serves from now on."""
    (job,) = api.jobs.list_jobs()
    assert job.spec.accepted is not None
    namespace = job.spec.accepted.location.namespace
    annotations = {names.JOB_NAME_ANNOTATION: job.spec.accepted.name}
    host.store("namespace", namespace, {"metadata": {"annotations": annotations}})
    host.store("service", namespace, {"spec": {"clusterIP": "10.96.0.9"}})
    host.store("secret", f"{namespace}-certs", {"data": {"admin.conf": encode(ADMIN)}})
    api.jobs.write_status(job, serving(job.number or 0).build().status)


_PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background of a shell ignores it
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv.pop(1) == "nohup" else signal.SIG_DFL)
from kns.__main__ import run_command_line
run_command_line()
"""


def start_real(address: str, terminal: Terminal, *args: str, nohup: bool = False) -> "subprocess.Popen[str]":
    """The real program, without a terminal: with one, kns would leave Ctrl-C to it."""
    environ = {**terminal.environ, "KNS_URL": address, "KNS_CONFIG_DIR": str(terminal.folder)}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "nohup" if nohup else "", *args],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_real(program: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Status, output and errors."""
    try:
        output, errors = program.communicate(timeout=PATIENCE_S)
    finally:
        program.kill()
    return program.returncode, output, errors


def run_real(address: str, terminal: Terminal, *args: str) -> tuple[int, str, str]:
    return finish_real(start_real(address, terminal, *args))
