"""What the measurements make of the scheduler's metrics."""

import math
from typing import Any

import pytest

from bench import scheduler
from bench.errors import BenchError
from bench.scheduler import Replica, compare_work, parse_samples, read_replicas
from demo.errors import DemoError


def a_replica(
    pod: str = "a", *, reconciles: dict[str, int] | None = None, cpu_s: float = 0.0, vcluster: int = 0
) -> Replica:
    """`reconciles`: bucket's bound -> how many took no longer; each took 10 ms."""
    buckets = reconciles or {}
    text = ["# TYPE kns_reconcile_duration_seconds histogram"]
    text += [f'kns_reconcile_duration_seconds_bucket{{le="{bound}"}} {count}' for bound, count in buckets.items()]
    total = buckets.get("+Inf", 0)
    text += [f"kns_reconcile_duration_seconds_count {total}", f"kns_reconcile_duration_seconds_sum {total * 0.01}"]
    text += ["# TYPE kns_stage_duration_seconds histogram"]
    text += [f'kns_stage_duration_seconds_count{{stage="vcluster"}} {vcluster}'] if vcluster else []
    text += [f'kns_stage_duration_seconds_sum{{stage="vcluster"}} {vcluster * 20.0}'] if vcluster else []
    text += ["# TYPE process_cpu_seconds counter", f"process_cpu_seconds_total {cpu_s}"]
    text += ["# TYPE process_resident_memory_bytes gauge", "process_resident_memory_bytes 104857600"]
    return Replica(pod, parse_samples("\n".join(text) + "\n"))


class _Pods:
    """kubectl, for two pods one of which is terminating."""

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    def get(self, *arguments: str) -> Any:
        terminating = {"name": "old", "deletionTimestamp": "now"}
        running = {"phase": "Running"}
        return {"items": [{"metadata": {"name": "b"}, "status": running}, {"metadata": terminating, "status": running}]}

    def run(self, *arguments: str) -> str:
        if self._fails:
            raise DemoError("503")
        assert arguments == ("get", "--raw", "/api/v1/namespaces/kns-system/pods/b:9090/proxy/metrics")
        return "# TYPE kns_leader gauge\nkns_leader 1.0\n"


def test_only_what_happened_meanwhile_counts() -> None:
    """Of 100 new reconciles 99 took no longer than 0.1 s; the standby adds its own share of the processor."""
    before = [a_replica("a", reconciles={"0.1": 50, "+Inf": 50}, cpu_s=1, vcluster=1), a_replica("b", cpu_s=1)]
    after = [a_replica("a", reconciles={"0.1": 149, "+Inf": 150}, cpu_s=3, vcluster=3), a_replica("b", cpu_s=1.5)]
    work = compare_work(before, after)
    assert work.reconciles == 100
    assert work.mean_ms == pytest.approx(10)
    assert work.within_s == 0.1
    assert work.cpu_s == 2.5
    assert work.stages == {"vcluster": 20.0}


def test_slow_reconciles_are_in_the_last_bucket() -> None:
    work = compare_work([a_replica()], [a_replica(reconciles={"600": 98, "+Inf": 100})])
    assert work.within_s == math.inf


def test_without_a_reconcile_there_is_no_mean() -> None:
    work = compare_work([a_replica()], [a_replica()])
    assert (work.reconciles, work.mean_ms, work.within_s, work.stages) == (0, None, None, {})


def test_a_replaced_pod_is_no_measurement() -> None:
    with pytest.raises(BenchError, match="was replaced during the measurement"):
        compare_work([a_replica("a")], [a_replica("b")])


def test_only_pods_that_stay_are_asked() -> None:
    (replica,) = read_replicas(_Pods())  # type: ignore[arg-type]  # stands in for kubectl
    assert (replica.pod, replica.value("kns_leader")) == ("b", 1)


def test_memory_is_the_process_own() -> None:
    assert a_replica().memory_kib == 100 * 1024


def test_a_replica_that_does_not_answer_is_named() -> None:
    with pytest.raises(BenchError, match="metrics of the scheduler: 503"):
        scheduler.read_replicas(_Pods(fails=True))  # type: ignore[arg-type]  # stands in for kubectl
