"""The parts of `bench.scale` that need no cluster: reading the audit log, the tables, and the engine alone."""

import asyncio
import dataclasses
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench.errors import BenchError
from bench.scale import Run, main, to_json
from bench.scale_audit import AuditLog, Requests
from bench.scale_engine import measure_engine
from bench.scale_host import KNS_USER, YARDSTICK
from bench.scale_jobs import Jobs, Life
from bench.scale_report import SECTION, build_tables, write_section
from bench.scale_result import Level, Load, Phase, Result
from bench.scale_yardstick import Yardstick
from kns.client import ApiKey

LOAD = Load(
    levels=(10,),
    burst=0,
    rate=1.0,
    poisson_s=1.0,
    idle_s=60.0,
    ended=5,
    drain=0,
    window=1,
    yardstick=2,
    engine=0,
    workers=8,
    seed=1,
    patience_s=10.0,
)


def an_event(verb: str, resource: str, *, user: str = KNS_USER, code: int = 200, **more: Any) -> dict[str, Any]:
    ref = {"resource": resource, **more.pop("ref", {})}
    return {"verb": verb, "user": {"username": user}, "objectRef": ref, "responseStatus": {"code": code}, **more}


def write(path: Path, *events: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_each_reading_of_the_audit_log_has_what_is_new(tmp_path: Path) -> None:
    """A line that the server is still writing counts in the next reading."""
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    assert log.read_new().kns.by_kind == {}
    write(path, an_event("patch", "services"), an_event("get", "pods", ref={"subresource": "log"}))
    with path.open("a") as file:
        file.write('{"verb": "get", "user": {"username": "')
    first = log.read_new().kns
    assert dict(first.by_kind) == {("patch", "services"): 1, ("get", "pods/log"): 1}
    assert (first.reads, first.writes) == (1, 1)
    with path.open("a") as file:
        file.write(f'{KNS_USER}"}}, "objectRef": {{"resource": "secrets"}}}}\n')
    assert dict(log.read_new().kns.by_kind) == {("get", "secrets"): 1}


def test_requests_are_counted_for_those_who_made_them(tmp_path: Path) -> None:
    """Watches, renewals of the Lease and other accounts are no requests for a job; refusals are counted beside."""
    path, manager = tmp_path / "audit.log", "kube-controller-manager/v1.36.3"
    inside = {"namespace": YARDSTICK}
    write(
        path,
        an_event("watch", "pods"),
        an_event("update", "leases"),
        an_event("create", "secrets", code=409),
        an_event("create", "pods", user="admin", userAgent=manager, ref=inside),
        an_event("patch", "pods", user="admin", userAgent="kns", ref=inside),
    )
    asked = AuditLog(path).read_new()
    assert dict(asked.kns.by_kind) == {("create", "secrets"): 1}
    assert dict(asked.kns.own) == {("update", "leases"): 1}
    assert dict(asked.kns.refused) == {("create", "secrets", 409): 1}
    assert dict(asked.controllers.by_kind) == {("create", "pods"): 1}


def a_result() -> Result:
    cpu = {"kns": 3.0, "etcd": 1.0}
    idle = Phase("idle", 10, seconds=60.0, cpu_s=cpu)
    idle.requests.by_kind["get", "services"] = 20
    poisson = Phase("poisson", 10, seconds=5.0, lives=4, cpu_s=cpu, spans_ms={"ready": [1000.0, 3000.0]})
    poisson.requests.by_kind["patch", "services"] = 8
    poisson.requests.by_kind["get", "secrets"] = 4
    result = Result(LOAD, empty_mib=100.0)
    result.levels.append(Level(10, 5, idle, poisson, 110.0, 2.0, 1.5, 105.0))
    result.phases["drain"] = Phase("drain of 2", 0, seconds=4.0, lives=2, cpu_s=cpu, requests=poisson.requests)
    controllers = Requests()
    controllers.by_kind["create", "pods"] = 2
    result.yardstick = Yardstick(2, requests=controllers, spans_ms={"gone": [10.0, 20.0]})
    return result


def test_the_tables_have_figures_for_one_job() -> None:
    text = "\n".join(build_tables(a_result()))
    for row in (
        "| ready | arrivals, 10 live | 1.0 s | 3.0 s | 3.0 s | 2 |",
        "| gone | 2 batch/v1 Jobs at once | 10 ms | 20 ms | 20 ms | 2 |",
        "| reads of an idle job in a minute | 2.000 |",
        "| writes of an idle job in a minute | 0.000 |",
        "| processor time of kns for an idle job in a minute | 300.0 ms |",
        "| of that for each live job | 1024 KiB |",
        "| writes for a whole life | 2.0 |",
        "| drain of 2 | 2 | 0.50 | 2.0 | 4.0 | 0.0 | 500 ms | 1500 ms |",
        "| patch services | 4.00 | 0.00 |",
        "| create pods | 0.00 | 1.00 |",
    ):
        assert row in text, text


def test_the_figures_replace_those_of_the_last_run(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{SECTION.begin}\nold\n{SECTION.end}\nafter\n")
    result = a_result()
    for _ in range(2):
        write_section(tmp_path, build_tables(result), result)
    text = page.read_text()
    assert text.startswith(f"before\n{SECTION.begin}\n")
    assert text.endswith(f"{SECTION.end}\nafter\n")
    assert (text.count("| patch services |"), "old" in text) == (1, False)
    for name in ("cost", "spans"):
        assert (tmp_path / f"performance-scale-{name}.png").stat().st_size > 0


def test_the_figures_are_json() -> None:
    encoded = json.loads(json.dumps(to_json(a_result())))
    assert encoded["phases"]["drain"]["requests"]["by_kind"] == {"patch services": 8, "get secrets": 4}


def test_the_engine_alone_lives_lives() -> None:
    """Each is served and removed: more reconciles than lives, and more calls than reconciles."""
    engine = measure_engine(3)
    assert engine.lives == 3
    assert engine.lives < engine.reconciles < engine.calls
    assert engine.seconds > 0


@pytest.mark.parametrize("wrong", ["1000,100", "0", "20000", "a"])
def test_levels_that_make_no_sense_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--levels", wrong])
    assert "--levels" in capsys.readouterr().err


def test_a_folder_that_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "0", "--keep", str(tmp_path)]) == 2
    assert "File exists" in capsys.readouterr().err


def test_without_the_programs_nothing_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("KNS_ETCD", raising=False)
    assert main(["--engine", "0"]) == 2
    assert "set KNS_KUBE_APISERVER" in capsys.readouterr().err


class FailingJobs(Jobs):
    """Each life begins and ends at once. The fourth that the drain begins fails."""

    def __init__(self) -> None:
        self.live = []
        self.at_once: list[int] = []
        self._begun = self._running = 0

    async def live_once(self) -> Life:
        number, self._begun = self._begun, self._begun + 1
        self._running += 1
        self.at_once.append(self._running)
        await asyncio.sleep(0)
        self._running -= 1
        if number == 4:  # 0 is the one before all measurements
            raise BenchError("job 4 is not gone after 900 s")
        return Life(number, ApiKey("ada", "key-ada"), sent=1.0, acked=2.0)

    async def raise_to(self, count: int, *, window: int) -> list[Life]:
        return []


def test_lives_that_ended_are_in_the_result_of_a_drain_that_fails(tmp_path: Path) -> None:
    load = dataclasses.replace(LOAD, levels=(1,), ended=0, idle_s=0.0, rate=0.01, drain=9, window=2)
    result, jobs = Result(load), FailingJobs()
    host: Any = SimpleNamespace(processes={}, audit_log=tmp_path / "audit.log")
    kns: Any = SimpleNamespace(
        pid=os.getpid(),
        count_reconciles=lambda: 0,
        start=lambda: 0.0,
        stop=lambda: None,
        await_caught_up=lambda records, *, within_s: 0.0,
    )
    run = Run(host, kns, jobs, result, Console(file=io.StringIO()))
    with pytest.raises(BenchError, match="job 4 is not gone"):
        asyncio.run(run.measure())
    drain = result.phases["drain"]
    assert drain.lives == len(drain.spans_ms["create-ack"]) >= 3
    assert drain.seconds > 0
    assert max(jobs.at_once) == 2
