"""The real program `kns` against a real kns, as a user's script calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.target import ROOT
from kns.cli.exits import Exit
from tests.e2e.jobs import JobKeeper
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

_LIMIT_S = 300 * PATIENCE  # the longest command waits for a job to serve
_AGAIN_S = 30.0
_START_S = str(round(240 * PATIENCE))


class Program:
    """Runs `kns` as user1, signed in by variables."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KNS_")},
            "KNS_URL": site.url,
            "KNS_USERNAME": site.user.username,
            "KNS_APIKEY": site.user.apikey,
            "KNS_CONFIG_DIR": str(folder),
        }

    def run(self, *args: str, status: int = 0) -> str:
        """Again if there was no answer, which other tests cause that restart kns; but not what begins or ends a job."""

        def answered() -> "subprocess.CompletedProcess[str]":
            done = self._call(*args)
            if done.returncode == Exit.UNREACHABLE != status and args[0] not in ("submit", "stop"):
                raise NotYetError(done.stderr)
            return done

        done = wait_for(answered, timeout_s=_AGAIN_S, what=f"kns {args[0]}")
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def _call(self, *args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kns", *args]
        return subprocess.run(
            command, env=self._environ, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )

    def read(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--output", "json"))


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
    listed = wait_for(lambda: _list_one(program), timeout_s=_AGAIN_S, what="the job in the list")
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
