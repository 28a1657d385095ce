"""The soak, against scripted answers: what counts as left behind, the slope of memory, and that no job stays."""

import json
from typing import Any

import httpx
import pytest

from bench import soak
from bench.errors import BenchError
from bench.scheduler import Replica
from bench.soak import Life, Result, Soak
from demo.screen import Screen
from demo.snapshot import Snapshot
from demo.target import Target, choose_target
from kns.client import ApiKey, Client

COUNTER = ("ConfigMap", "kns-system", "kns-job-numbers")


class _Cluster:
    """kubectl and kns at once: jobs serve at once, and each leaves what `leaves` says."""

    def __init__(self, *, leaves: tuple[str, ...] = (), ends_as: str = "COMPLETED", serves: bool = True) -> None:
        self.numbers: list[int] = []
        self.stopped: list[str] = []
        self.objects: dict[str, str] = {"kns-job-numbers": "1"}
        self._leaves = leaves
        self._ends_as = ends_as
        self._serves = serves
        self._state = "RUNS"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = request.url.path.removeprefix("/jarvice/")
        if route == "submit":
            self.numbers.append(len(self.numbers) + 1)
            self.objects["kns-job-numbers"] += "1"
            self.objects |= dict.fromkeys(self._leaves, "1")
            self._state = "RUNS" if self._serves else "COMPLETED WITH ERROR"
            return httpx.Response(200, json={"name": "n", "number": self.numbers[-1]})
        if route in ("shutdown", "terminate"):
            self.stopped.append(route)
            self._state = self._ends_as
            return httpx.Response(200, json={})
        if route == "info":
            return httpx.Response(200, json={"url": "http://job"})
        if route == "output":
            return httpx.Response(200, text="why")
        return httpx.Response(200, json={str(self.numbers[-1]): {"job_status": self._state, "job_substatus_text": ""}})

    def run(self, *arguments: str, **_: Any) -> str:
        if arguments[0] == "api-resources":
            return "configmaps"
        if arguments[0] == "top":
            return "a   3m   90Mi\n"
        if arguments[0] == "get":
            items = [
                {
                    "kind": "ConfigMap",
                    "metadata": {"name": name, "namespace": "kns-system", "uid": name, "resourceVersion": version},
                }
                for name, version in self.objects.items()
            ]
            return json.dumps({"items": items})
        assert arguments[:3] == ("delete", "nj", f"kns-job-{self.numbers[-1]}")
        return ""

    def find(self, *_: str) -> None:
        return None


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The scheduler's memory, one reading after another, and pages that are there."""
    readings: list[float] = []

    def read(_: object) -> list[Replica]:
        value = readings.pop(0) if readings else 1024.0
        return [Replica("a", {("process_resident_memory_bytes", ()): value * 1024})]

    monkeypatch.setattr(soak, "read_replicas", read)
    monkeypatch.setattr(soak, "find_page_problem", lambda url, ingress: None)
    monkeypatch.setattr(soak, "SETTLE_S", 0.0)
    return readings


def _soak(cluster: _Cluster) -> Soak:
    client = Client("http://kns", ApiKey("user1", "key-1"), transport=httpx.MockTransport(cluster))
    kubectl: Any = cluster
    return Soak(_target(), kubectl, client, Screen(), app="hello", machine="kns-small")


def _target() -> Target:
    return choose_target({})


def test_lives_that_leave_nothing_are_whole() -> None:
    """The counter of job numbers is the one object that they may write to."""
    result = _soak(_Cluster()).run(3)
    assert [life.number for life in result.lives] == [1, 2, 3]
    assert result.is_whole
    assert "Objects of 1 kinds: 1 before, 1 after." in soak.render(result)


def test_what_is_left_is_named() -> None:
    result = _soak(_Cluster(leaves=("stray",))).run(2)
    assert not result.is_whole
    text = soak.render(result)
    assert "ConfigMap: 1 before, 2 after" in text
    assert "left: ConfigMap kns-system/stray" in text


def test_what_is_left_with_a_jobs_name_is_not_taken_for_somebody_elses() -> None:
    result = _soak(_Cluster(leaves=("kns-job-2-output",))).run(2)
    assert "left: ConfigMap kns-system/kns-job-2-output" in soak.render(result)


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (_Cluster(serves=False), "job 1 ended: why"),
        (_Cluster(ends_as="TERMINATED"), "job 1 ended as TERMINATED after a shutdown"),
    ],
    ids=["never serves", "ends otherwise"],
)
def test_a_life_that_fails_ends_it_and_is_taken_back(cluster: _Cluster, message: str) -> None:
    one = _soak(cluster)
    with pytest.raises(BenchError, match=message):
        one.run(2)
    assert cluster.stopped[-1:] == ["terminate"]
    assert one.result is not None
    assert not one.result.is_whole


def test_memory_is_reported_as_a_slope(world: list[float]) -> None:
    """2 KiB more after each life of the second half; what the first half took does not count."""
    world.extend([500.0, 1000.0, 2048.0, 3072.0, 3074.0])
    result = _soak(_Cluster()).run(4)
    assert result.slope_kib("a") == pytest.approx(2)
    assert "| a | 0.5 MiB | 1.0 MiB | 2.0 MiB | 3.0 MiB | +2.0 KiB |" in soak.render(result)
    assert "kubectl top: a 3m 90Mi" in soak.render(result)
    told = soak.to_json(result)
    assert told["slope_kib"] == {"a": pytest.approx(2)}
    assert json.loads(json.dumps(told))["whole"] is True


def test_one_life_has_no_slope() -> None:
    empty = Snapshot(kinds=1, objects={COUNTER: ("1", "1")})
    result = Result(
        app="hello", wanted=1, start_kib={"a": 1.0}, before=empty, lives=[Life(1, [("x", 2.0)], {"a": 1.0})]
    )
    assert result.slope_kib("a") is None
    assert "The end was not compared with the start." in soak.render(result)


def test_without_an_address_nothing_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main([], {}) == 2
    assert "is not set" in capsys.readouterr().err
