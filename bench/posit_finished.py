"""
The memory of finished jobs in the plugin: `python -m bench.posit_finished --finished 10000`.

The jobs come as the stream of a list, as an API server sends it, with managed fields and all else that a real Job and
its pod have. They pass through the plugin's own adapter, cache and answers, in a process of their own.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.command import between
from bench.errors import BenchError
from bench.memory import read_memory_mib
from kns.adapters.clock import SystemClock
from kns.launcher.built import BuiltObjects
from kns.launcher.frames import Outbox
from kns.launcher.ports import Options, Profile
from kns.launcher.process import Parts, make_cluster
from kns.launcher.requests import parse_request
from kns.plain import names
from kns.plain.job import Container, Mount, PlainJob, Resources, Variable
from kns.plain.objects import build_job, mark_job
from kns.plain.state import State, Status, encode_end

_START_S = 600.0
_FIRST = 1_000_000  # the resource version of the first object


@dataclass(frozen=True, slots=True)
class Finished:
    """Resident memory in MiB: of the plugin without jobs, with them, and the most; and what a list of all takes."""

    jobs: int
    without_mib: float
    with_mib: float
    peak_mib: float
    first_list_ms: float
    next_list_ms: float
    list_bytes: int


def measure_finished(count: int, *, variables: int) -> Finished:
    """
    Write the lists, and measure in a process of its own, which has nothing of what made them.

    Raises:
        BenchError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="kns-bench-posit-") as folder:
        _write_lists(Path(folder), count, variables=variables)
        argv = [sys.executable, "-m", "bench.posit_finished", "--lists", folder]
        done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=_START_S, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(argv[1:])} failed with exit status {done.returncode}")
    return Finished(**json.loads(done.stdout.splitlines()[-1]))  # log lines are before it


def _write_lists(folder: Path, count: int, *, variables: int) -> None:
    """`jobs.json` and so on: the lines of a streamed list, as the API server sends them."""
    end = {"resourceVersion": str(2 * _FIRST), "annotations": {"k8s.io/initial-events-end": "true"}}
    for plural, make, number_of in (("jobs", _make_job, count), ("pods", _make_pod, count), ("services", _make_pod, 0)):
        with (folder / f"{plural}.json").open("w") as lines:
            for number in range(number_of):
                lines.write(json.dumps({"type": "ADDED", "object": make(number, variables)}) + "\n")
            lines.write(json.dumps({"type": "BOOKMARK", "object": {"metadata": end}}) + "\n")


class StoredClient:
    """A `KubeClient` that streams the lists of a folder, and whose watches say nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stream_lines(self, path: str, *, query: Mapping[str, str], **_: Any) -> Iterator[bytes]:
        if "sendInitialEvents" not in query:
            threading.Event().wait()
        with (self._folder / f"{path.rpartition('/')[2]}.json").open("rb") as lines:
            yield from lines


def _make_job(number: int, variables: int) -> dict[str, Any]:
    job = make_job(number, variables=variables)
    obj = mark_job(build_job(job, generate_name="x-"), job, cluster="Kubernetes", generate_name="x-")
    name = job_name(number)
    end = State(Status.FINISHED, exit_code=0, pod=f"{name}-abcde", host="node-1", has_run=True)
    obj["metadata"]["annotations"][names.END] = encode_end(end)
    obj["metadata"] |= _build_meta(name, number, owner=None)
    condition = {"status": "True", "lastProbeTime": _TIME, "lastTransitionTime": _TIME, "reason": "CompletionsReached"}
    kinds = ("SuccessCriteriaMet", "Complete")
    obj["status"] = {
        "conditions": [{"type": kind, "message": "Reached expected number", **condition} for kind in kinds],
        "startTime": _TIME,
        "completionTime": _TIME,
        "succeeded": 1,
        "ready": 0,
    }
    return obj


def _make_pod(number: int, variables: int) -> dict[str, Any]:
    spec = build_job(make_job(number, variables=variables), generate_name="x-")["spec"]["template"]["spec"]
    name = job_name(number)
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": _TIME, "finishedAt": _TIME, "containerID": "c" * 80}
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    meta = _build_meta(f"{name}-abcde", number, owner=name)
    meta["labels"] = {"job-name": name, "batch.kubernetes.io/job-name": name, names.LABEL: "Kubernetes"}
    return {
        "metadata": meta,
        "spec": {**spec, "nodeName": f"node-{number % 20}"},
        "status": {
            "phase": "Succeeded",
            "hostIP": "10.0.0.1",
            "hostIPs": [{"ip": "10.0.0.1"}],
            "podIP": f"10.244.{number % 250}.7",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": _TIME} for kind in conditions],
            "containerStatuses": [{"name": names.CONTAINER, "ready": False, "state": {"terminated": ended}}],
        },
    }


_TIME = "2026-01-05T14:15:31Z"


def job_name(number: int) -> str:
    return f"user{number % 20}-session-{number}-x7k2p"


def make_job(number: int, *, variables: int) -> PlainJob:
    user = f"user{number % 20}"
    source = {"server": "nfs01", "path": f"/home/{user}"}
    given = {"mountPath": f"/home/{user}", "type": "nfs", "source": {"host": "nfs01", "path": f"/home/{user}"}}
    return PlainJob(
        name=f"session {number}",
        user=user,
        container=Container("docker.io/library/busybox:1.35"),
        command="sleep",
        args=("1000",),
        environment=tuple(
            Variable(f"VARIABLE_{each}", hashlib.sha256(f"{number}-{each}".encode()).hexdigest())
            for each in range(variables)
        ),
        mounts=(Mount(f"/home/{user}", {"nfs": source}, given=given),),
        resources=Resources({"cpu": "1", "memory": "512M"}),
        tags=("rstudio-r-session", f"id-{number}"),
        extras={
            "resourceLimits": [{"type": "cpuCount", "value": "1"}, {"type": "memory", "value": "512"}],
            "config": [],
        },
    )


def _build_meta(name: str, number: int, *, owner: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {f"f:field-{index}": {f"f:part-{each}": {} for each in range(4)} for index in range(12)}
    managed = [{"manager": manager, "operation": "Update", "fieldsV1": fields} for manager in ("kns", "controller")]
    return {
        "name": name,
        "namespace": "rstudio",
        "uid": f"00000000-0000-0000-0000-{number:012d}",
        "resourceVersion": str(_FIRST + number),
        "creationTimestamp": _TIME,
        "managedFields": managed,
        **({"ownerReferences": [{"kind": "Job", "name": owner, "uid": "u", "controller": True}]} if owner else {}),
    }


def _measure(folder: Path) -> Finished:
    class OneProfile:
        def for_user(self, user: str) -> Profile:
            del user
            return Profile()

    class Sink(io.RawIOBase):
        size = 0

        def write(self, data: Any) -> int:
            self.size = len(data)
            return len(data)

    options = Options(scratch_path=folder, api_url="http://127.0.0.1:9", auth_token="a.b.c")
    sink, stop = Sink(), threading.Event()
    cluster = make_cluster(options, StoredClient(folder))  # type: ignore[arg-type]  # it has what lists use
    outbox = Outbox(sink, max_bytes=options.max_message_bytes)  # type: ignore[arg-type]  # writes only
    profiles, renderer = OneProfile(), BuiltObjects()
    parts = Parts(options, profiles, renderer, cluster, outbox, clock=SystemClock(), await_cluster=lambda: None)
    without = read_memory_mib(os.getpid(), peak=False)
    for cache in cluster.caches:
        threading.Thread(target=cache.run, args=(stop,), daemon=True).start()
    while not cluster.is_synced:
        stop.wait(0.05)
    listing = parse_request(b'{"messageType":3,"requestId":1,"username":"*","jobId":"*"}')
    times = []
    for _ in range(2):
        began = time.perf_counter()
        parts.plugin.answer(listing)
        times.append(round(1000 * (time.perf_counter() - began), 1))
    count = len(parts.jobs.list_views())
    if sink.size < count:
        raise BenchError(f"the list has {sink.size} bytes for {count} jobs")
    now, peak = (read_memory_mib(os.getpid(), peak=each) for each in (False, True))
    first, following = times
    return Finished(count, without, now, peak, first, following, sink.size)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.posit_finished", description=__doc__)
    parser.add_argument("--finished", type=between(int, 1, 50_000), default=10_000, help="finished jobs (10000)")
    parser.add_argument("--variables", type=between(int, 0, 500), default=40, help="variables of each (40)")
    parser.add_argument("--lists", type=Path, help="measure with the lists of this folder, in this process")
    given = parser.parse_args()
    if given.lists is None:
        result = measure_finished(given.finished, variables=given.variables)
    else:
        result = _measure(given.lists)
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the watches wait


if __name__ == "__main__":
    main()
