"""The measurement of starts: what it compares, what it writes, and that nothing stays."""

from pathlib import Path
from typing import Any

import pytest

from bench.chains import Start, read_conditions, read_log_marks
from bench.errors import BenchError
from bench.idle import Idle, measure_idle
from bench.start import Load, Result, measure
from bench.start_report import COLD, WARM, build_tables, write_section

LOG = """\
2026-11-28T09:00:02.250000001Z I1128 secure_serving.go:214] Serving securely on 127.0.0.1:6443
2026-11-28T09:00:01.5Z {"level":"info","msg":"vCluster version"}
2026-11-28T09:00:03.75Z {"level":"info","msg":"Serving securely on [::]:8443"}
2026-11-28T09:00:09Z {"level":"info","msg":"vCluster version"}
"""
WALL = 1795856400.0  # 2026-11-28T09:00:00Z


class _FakeChain:
    def __init__(self, name: str, seconds: float, *, fails_at: int = 0) -> None:
        self.name = name
        self.running: set[str] = set()
        self.log: list[str] = []
        self._seconds = seconds
        self._fails_at = fails_at
        self._count = 0

    def start(self, *, crowded: bool = False) -> Start:
        self._count += 1
        namespace = f"{self.name}-{self._count}"
        self.running.add(namespace)
        self.log.append(f"start {namespace}")
        if self._count == self._fails_at:
            raise BenchError("no page")
        return Start(namespace, self._seconds * self._count, {"proxy listens": self._seconds / 2})

    def end(self, start: Start) -> float:
        self.running.remove(start.namespace)
        return 1.0

    def clean_up(self) -> None:
        self.running.clear()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.start.time.sleep", lambda _: None)


def _run(*chains: _FakeChain, rounds: int = 3, at_once: int = 4) -> Result:
    result = Result(Load(rounds, at_once, idle=True, label="bench-1"))
    idle = Idle(500.0, 20.0, {"kns-job-1-abc/syncer": 100.0})
    measure(chains, lambda _: idle, result, say=lambda _: None)
    return result


def test_every_figure_stands_beside_its_peer() -> None:
    hand, kns = _FakeChain("by hand", 20.0), _FakeChain("kns", 5.0)
    result = _run(hand, kns)
    assert result.is_whole
    assert not hand.running | kns.running
    table = {row.key: row.text() for row in build_tables(result.chains)}
    assert table.keys() == {"page", "timeline", "at-once", "end", "memory", "processor"}
    assert "| to the page | 40.0 s (20.0 to 60.0) | 10.0 s (5.0 to 15.0) | 0.25 |" in table["page"]
    assert "| proxy listens | 10.0 s (10.0 to 10.0) | 2.5 s (2.5 to 2.5) | 0.25 |" in table["timeline"]
    assert "| sum | 500.0 MiB | 500.0 MiB | 1.00 |" in table["memory"]


def test_starts_from_a_pool_have_tables_of_their_own() -> None:
    result = _run(_FakeChain("by hand", 20.0), _FakeChain("kns, warm pool", 1.0))
    table = {row.key: row.text() for row in build_tables(result.chains, WARM)}
    assert "| start from a pool | by hand | kns, warm pool | ratio |" in table["page"]
    assert "| to all pages |" in table["at-once"]


def test_a_start_that_fails_is_removed_and_the_figures_stay() -> None:
    hand, kns = _FakeChain("by hand", 20.0), _FakeChain("kns", 5.0, fails_at=2)
    result = Result(Load(3, 0, idle=False, label="bench-1"))
    with pytest.raises(BenchError, match="no page"):
        measure((hand, kns), lambda _: Idle(1, 1, {}), result, say=lambda _: None)
    assert not hand.running | kns.running
    assert not result.is_whole
    assert len(result.chains["kns"].starts) == 1


def test_the_log_of_a_control_plane_has_the_marks() -> None:
    assert read_log_marks(LOG, WALL) == {"API server listens": 2.25, "syncer starts": 1.5, "proxy listens": 3.75}


def test_only_conditions_that_are_true_are_marks() -> None:
    conditions = [
        {"type": "Deployed", "status": "True", "lastTransitionTime": "2026-11-28T09:00:04.5Z"},
        {"type": "Exposed", "status": "False", "lastTransitionTime": "2026-11-28T09:00:05Z"},
    ]
    assert read_conditions({"status": {"conditions": conditions}}, WALL) == {"condition Deployed": 4.5}


class _FakeKubectl:
    """One node with a summary that grows by 2 ms of processor time a second."""

    def __init__(self) -> None:
        self.reads = 0

    def get(self, *_: str) -> Any:
        capacity = {"cpu": "2", "memory": "25165824Ki"}
        info = {"kubeletVersion": "v1.36.3", "containerRuntimeVersion": "containerd://2.4.2"}
        return {"items": [{"metadata": {"name": "n1"}, "status": {"capacity": capacity, "nodeInfo": info}}]}

    def run(self, *_: str) -> str:
        import json

        self.reads += 1
        stamp = f"2026-11-28T09:0{self.reads}:00Z"
        cpu = {"time": stamp, "usageCoreNanoSeconds": self.reads * 120_000_000}
        container = {"name": "syncer", "cpu": cpu, "memory": {"workingSetBytes": 100 * 2**20}}
        pods = [
            {"podRef": {"namespace": "kns-job-1", "name": "kns-job-1-5f-x2"}, "containers": [container]},
            {"podRef": {"namespace": "kns-job-1", "name": "web-1-x-default-x-kns-job-1"}, "containers": [container]},
            {"podRef": {"namespace": "kns-job-2", "name": "kns-job-2-5f-x2"}, "containers": [container]},
        ]
        return json.dumps({"pods": pods})


def test_idle_counts_the_cluster_and_not_its_app() -> None:
    idle = measure_idle(_FakeKubectl(), "kns-job-1", 0)  # type: ignore[arg-type]  # two of its methods
    assert (idle.memory_mib, idle.millicores) == (100.0, 2.0)
    assert list(idle.containers) == ["syncer"]


def test_the_page_gets_the_figures_and_keeps_its_other_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("bench.start_report._plot", lambda table, file: drawn.append(file.name))
    (tmp_path / "performance.md").write_text(f"# Before\n{COLD.begin}\nold\n{COLD.end}\nafter\n")
    result = _run(_FakeChain("by hand", 20.0), _FakeChain("kns", 5.0))
    write_section(tmp_path, COLD, build_tables(result.chains), _FakeKubectl())  # type: ignore[arg-type]  # one of its methods
    text = (tmp_path / "performance.md").read_text()
    assert text.startswith("# Before\n<!--")
    assert text.endswith("-->\nafter\n")
    assert "\nold\n" not in text
    assert "one node with 2 cores and 24 GiB" in text
    assert "![cold start](performance-start-page.png)" in text
    assert "performance-start-page.png" in drawn
