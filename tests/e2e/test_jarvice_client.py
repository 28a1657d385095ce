"""The published client (`jarviceclient3`), unchanged, as its users call it, against the running service."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.jobs import JobKeeper
from tests.e2e.portal import Portal
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_CLI = Path(sys.executable).parent / "jarvice_cli"
_CALL_S = 30

Cli = Callable[..., str]


@pytest.fixture
def cli(site: Site, tmp_path: Path) -> Cli:
    """`jarvice_cli COMMAND ...` as user1; what it prints. It ends with 0 whatever happens: the text must tell."""
    assert _CLI.exists(), f"no {_CLI}: jarviceclient3 is one of the development dependencies"
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    environ = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    account = ("-apiurl", site.url, "-username", site.user.username, "-apikey", site.user.apikey)

    def call(command: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(_CLI), *account, command, *arguments],
            env={**environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=_CALL_S,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout

    return call


def test_a_user_of_the_published_client_gets_along(cli: Cli, portal: Portal, jobs: JobKeeper) -> None:
    """apps, machines, submit, jobs, summary, status, tail, info, connect, shutdown, output, terminate."""
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
    item = _summary(cli)[number]
    assert (item["job_label"], item["machine_type"], item["nodes"]) == ("by jarvice_cli", "kns-small", 1)
    assert (item["application"], item["address"]) == ("hello", info["address"])
    too_early, _ = json.JSONDecoder().raw_decode(cli("output", "-number", number))
    assert too_early["error"]["code"] == 404

    assert json.loads(cli("shutdown", "-number", number)) == {"status": "shutdown requested"}

    def has_ended() -> None:
        state = json.loads(cli("status", "-number", number))[number]["job_status"]
        if state != "COMPLETED":
            raise NotYetError(state)

    job.wait_for(has_ended, timeout_s=60, what="COMPLETED, as the client sees it")
    assert cli("output", "-number", number, "-lines", "1").strip() == "the job was shut down"
    assert number not in json.loads(cli("jobs"))
    assert number not in _summary(cli)
    assert json.loads(cli("terminate", "-number", number)) == {"status": "terminated"}
    assert job.status()["job_status"] == "COMPLETED"


def _summary(cli: Cli) -> dict[str, Any]:
    return {item["job_number"]: item for item in json.loads(cli("summary"))["items"]}
