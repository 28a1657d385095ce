"""The metrics of the scheduler's replicas, read through the API server."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.errors import BenchError
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE

_SELECTOR = "--selector=app.kubernetes.io/name=kns-scheduler"
_PORT = 9090
_RECONCILE = "kns_reconcile_duration_seconds"
_STAGE = "kns_stage_duration_seconds"

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Replica:
    """The metrics of one pod at one moment. `samples` is (name, sorted labels) -> value."""

    pod: str
    samples: dict[tuple[str, Labels], float]

    def value(self, name: str, **labels: str) -> float:
        """The value of a sample; 0 if it does not exist yet."""
        return self.samples.get((name, tuple(sorted(labels.items()))), 0.0)

    @property
    def memory_kib(self) -> float:
        """Resident memory."""
        return self.value("process_resident_memory_bytes") / 1024

    @property
    def cpu_s(self) -> float:
        """Processor time since the start of the process."""
        return self.value("process_cpu_seconds_total")


@dataclass(frozen=True, slots=True)
class Work:
    """
    The work of the reconciler between two moments. 99 of 100 reconciles took no longer than `within_s`, a bound of the
    histogram's buckets. `stages` has the mean seconds from the acceptance of a job to the end of a stage.
    """

    reconciles: int
    mean_ms: float | None
    within_s: float | None
    cpu_s: float
    stages: dict[str, float]


def read_replicas(kubectl: Kubectl) -> list[Replica]:
    """
    The metrics of all replicas, ordered by pod name.

    Raises:
        BenchError: no replica runs, or one does not respond.
    """
    try:
        pods = kubectl.get("pods", f"--namespace={NAMESPACE}", _SELECTOR)["items"]
        found = [
            Replica(name, parse_samples(kubectl.run("get", "--raw", _path(name))))
            for name in sorted(pod["metadata"]["name"] for pod in pods if _is_running(pod))
        ]
    except DemoError as error:
        raise BenchError(f"metrics of the scheduler: {error}") from error
    if not found:
        raise BenchError(f"no pod of the scheduler runs in namespace {NAMESPACE}")
    return found


def parse_samples(text: str) -> dict[tuple[str, Labels], float]:
    """
    Parse the text format of Prometheus.

    >>> parse_samples('# TYPE kns_leader gauge\\nkns_leader 1.0\\n')
    {('kns_leader', ()): 1.0}
    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def compare_work(before: Sequence[Replica], after: Sequence[Replica]) -> Work:
    """
    The work of all replicas between two readings.

    Raises:
        BenchError: a replica was replaced, so its counters are lost.
    """
    pairs = list(_pair(before, after))
    counts: dict[tuple[str, Labels], float] = {}
    for old, new in pairs:
        for key, value in new.samples.items():
            counts[key] = counts.get(key, 0.0) + value - old.samples.get(key, 0.0)
    reconciles = counts.get((f"{_RECONCILE}_count", ()), 0.0)
    stages = {
        dict(labels)["stage"]: counts[f"{_STAGE}_sum", labels] / count
        for (name, labels), count in counts.items()
        if name == f"{_STAGE}_count" and count > 0
    }
    return Work(
        reconciles=round(reconciles),
        mean_ms=counts[f"{_RECONCILE}_sum", ()] / reconciles * 1000 if reconciles else None,
        within_s=_bound(counts, 0.99 * reconciles) if reconciles else None,
        cpu_s=sum(new.cpu_s - old.cpu_s for old, new in pairs),
        stages=dict(sorted(stages.items(), key=lambda item: item[1])),
    )


def _bound(counts: dict[tuple[str, Labels], float], wanted: float) -> float:
    """The lowest bound of a bucket with at least that count; infinite if only the last bucket has it."""
    buckets = sorted(
        (float(dict(labels)["le"]), count) for (name, labels), count in counts.items() if name == f"{_RECONCILE}_bucket"
    )
    return next((bound for bound, count in buckets if count >= wanted), math.inf)


def _pair(before: Sequence[Replica], after: Sequence[Replica]) -> Iterable[tuple[Replica, Replica]]:
    if [replica.pod for replica in before] != [replica.pod for replica in after]:
        raise BenchError("a pod of the scheduler was replaced during the measurement; measure again")
    return zip(before, after, strict=True)


def _is_running(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") == "Running"


def _path(pod: str) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{_PORT}/proxy/metrics"
