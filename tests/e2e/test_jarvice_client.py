"""The published client (`jarviceclient3`), unchanged, as its users call it, against the running service."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kns.client import ApiKey
from tests.e2e.jobs import JobKeeper
from tests.e2e.portal import Portal
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

_CLI = Path(sys.executable).parent / "jarvice_cli"
_CALL_S = 30.0
_ENDED_S = 90.0  # `wait_for` asks every 5 s until the job has ended
# Every command of the client, by protocol. The last three reach a vault's own SFTP server, never kns.
_OVER_HTTP = frozenset(
    {
        *("submit", "jobs", "summary", "status", "info", "connect", "tail", "output", "action", "apps", "machines"),
        *("shutdown", "terminate", "wait_for", "shutdown_all", "terminate_all"),
    }
)
_OVER_SFTP = frozenset({"ls", "download", "upload"})
_CHOICES = re.compile(r"invalid choice: 'nonsense' \(choose from (.+)\)")

Cli = Callable[..., str]


def _call(home: Path, *arguments: str, timeout_s: float = _CALL_S) -> "subprocess.CompletedProcess[str]":
    assert _CLI.exists(), f"no {_CLI}: jarviceclient3 is one of the development dependencies"
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    environ = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    return subprocess.run(
        [str(_CLI), *arguments],
        env={**environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=timeout_s * PATIENCE,
        check=False,
    )


def _build_cli(url: str, account: ApiKey, home: Path) -> Cli:
    """`jarvice_cli COMMAND ...`; returns its output. It always exits with 0, so only the text shows what happened."""

    def call(command: str, *arguments: str, timeout_s: float = _CALL_S) -> str:
        who = ("-apiurl", url, "-username", account.username, "-apikey", account.apikey)

        def answered() -> "subprocess.CompletedProcess[str]":
            done = _call(home, *who, command, *arguments, timeout_s=timeout_s)
            if _has_no_answer(command, done.stderr):
                raise NotYetError(done.stderr)
            return done

        done = wait_for(answered, timeout_s=_CALL_S, what=command)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return call


def _has_no_answer(command: str, errors: str) -> bool:
    """
    Whether it met a replica of kns that has just ended: other tests restart kns meanwhile, and the client asks once.

    A submission is not sent twice, unless it was not sent at all.
    """
    return "Connection refused" in errors or ("ConnectionError" in errors and command != "submit")


@pytest.fixture
def cli(site: Site, tmp_path: Path) -> Cli:
    """The client as user1."""
    return _build_cli(site.url, site.user, tmp_path)


@pytest.fixture
def other_cli(site: Site, tmp_path: Path) -> Cli:
    """The client as user2."""
    return _build_cli(site.url, site.other, tmp_path)


def test_these_are_all_of_its_commands(tmp_path: Path) -> None:
    """A new command in a later release needs a test here."""
    found = _CHOICES.search(_call(tmp_path, "nonsense").stderr)
    assert found is not None
    assert set(re.findall(r"[a-z_]+", found[1])) == _OVER_HTTP | _OVER_SFTP


def test_every_command_of_the_published_client_works(cli: Cli, portal: Portal, jobs: JobKeeper) -> None:
    """apps, machines, submit, jobs, summary, status, tail, info, connect, action, shutdown, output, terminate."""
    assert "hello" in json.loads(cli("apps"))
    assert list(json.loads(cli("apps", "-name", "hello"))) == ["hello"]
    assert json.loads(cli("machines"))["kns-small"]["mc_cores"] == 2

    submission = {
        "app": "hello",
        "application": {"command": "Hello"},
        "machine": {"type": "kns-small", "nodes": 1},
        "job_label": "by jarvice_cli",
    }
    answer = json.loads(cli("submit", "-job", json.dumps(submission)))
    assert set(answer) == {"name", "number"}
    job = jobs.adopt(answer["number"], answer["name"])
    number = str(job.number)
    job.wait_until_listed()
    assert json.loads(cli("jobs"))[number]["job_name"] == job.name
    job.wait_until_serving()

    assert json.loads(cli("status", "-number", number))[number]["job_status"] == "PROCESSING STARTING"
    assert json.loads(cli("status", "-name", job.name))[number]["job_name"] == job.name
    assert "[1/1] web, attempt 1\n" in cli("tail", "-number", number)
    info = json.loads(cli("info", "-number", number))
    assert info["url"].endswith(info["address"])
    assert json.loads(cli("connect", "-number", number)) == {
        "address": info["address"],
        "password": info["password"],
    }
    for command in ("status", "info", "connect", "tail"):
        assert cli(command, "-name", job.name) == cli(command, "-number", number), command
    assert cli("tail", "-number", number, "-lines", "1").strip() == cli("tail", "-number", number).splitlines()[-2]
    assert _documents(cli("action", "-number", number, "-action", "restart")) == [
        {"error": {"code": 400}},
        {"error": "Invalid parameter(s)"},
    ]
    item = _summary(cli)[number]
    assert (item["job_label"], item["machine_type"], item["nodes"]) == ("by jarvice_cli", "kns-small", 1)
    assert (item["application"], item["address"]) == ("hello", info["address"])
    too_early, _ = json.JSONDecoder().raw_decode(cli("output", "-number", number))
    assert too_early == {"error": {"code": 404}}

    assert json.loads(cli("shutdown", "-number", number)) == {"status": "shutdown requested"}
    waited = cli("wait_for", "-number", number, timeout_s=_ENDED_S)
    assert waited.splitlines()[-1] == f"Job {number} ended with Status: COMPLETED"
    job.wait_until_ended()  # at both replicas
    assert cli("output", "-number", number, "-lines", "1").strip() == "the job was shut down"
    assert cli("output", "-name", job.name) == cli("output", "-number", number)
    assert number not in json.loads(cli("jobs"))
    assert number not in _summary(cli)
    assert json.loads(cli("terminate", "-number", number)) == {"status": "terminated"}
    assert job.status()["job_status"] == "COMPLETED"


def test_all_jobs_of_a_user_are_ended_at_once(other_cli: Cli, other: Portal, jobs: JobKeeper) -> None:
    """shutdown_all ends running jobs and reports the others as refused; terminate_all ends the rest."""
    running, waiting = (
        jobs.adopt(*other.submit("hello", machine=machine), portal=other) for machine in ("kns-small", "kns-nowhere")
    )
    running.wait_until_started()
    waiting.wait_until_listed()
    numbers = {str(running.number), str(waiting.number)}
    assert set(json.loads(other_cli("jobs"))) == numbers, "user2 has other jobs, which this test would end"

    refused, told = _documents(other_cli("shutdown_all"))
    assert refused == [{"number": {"error": {"code": 404}}}]
    assert {entry["number"]: entry["result"] for entry in told} == {
        str(running.number): {"status": "shutdown requested"},
        str(waiting.number): {"error": "Running job is not found"},
    }
    waited = other_cli("wait_for", "-number", str(running.number), timeout_s=_ENDED_S)
    assert waited.splitlines()[-1] == f"Job {running.number} ended with Status: COMPLETED"
    running.wait_until_ended()  # at both replicas

    terminated = {"number": str(waiting.number), "result": {"status": "terminated"}}
    assert _documents(other_cli("terminate_all")) == [[terminated]]
    assert waiting.wait_until_ended() == "CANCELED"
    assert json.loads(other_cli("jobs")) == {}
    assert _summary(other_cli) == {}


def test_a_wrong_key_is_told_as_such(site: Site, tmp_path: Path) -> None:
    """401 with its message, from a job route and from submit."""
    stranger = _build_cli(site.url, ApiKey("nobody", "no-such-key"), tmp_path)
    assert _documents(stranger("jobs")) == [{"error": {"code": 401}}, {"error": "Unauthorized"}]
    refused = _documents(stranger("submit", "-job", json.dumps({"app": "hello", "machine": {"type": "kns-small"}})))
    assert refused == [{"error": {"code": 401}}, {"error": "Not Authorized"}]


def _documents(text: str) -> list[Any]:
    """The JSON documents in its output. The error, if there is one, comes before the answer."""
    found, rest = [], text.lstrip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].lstrip()
    return found


def _summary(cli: Cli) -> dict[str, Any]:
    return {item["job_number"]: item for item in json.loads(cli("summary"))["items"]}
