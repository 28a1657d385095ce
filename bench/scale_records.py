"""Records of jobs that ended long ago, for `bench.scale`. They are written by an administrator, as if restored."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from bench.page_server import build_job
from bench.scale_host import SYSTEM
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import RECORDS
from kns.model import names
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import EXIT_CODES, JobState

_FIRST = 1_000_000  # numbers that no job of the run gets
_THREADS = 16


def make_ended_records(client: KubeClient, count: int, *, users: Sequence[str]) -> None:
    """Store so many records of jobs that were terminated and removed. kns must not run meanwhile."""
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda index: _store(client, _FIRST + index, users[index % len(users)]), range(count)))


def _store(client: KubeClient, number: int, user: str) -> None:
    record = build_job(number, user, version=1)
    for key in ("uid", "resourceVersion", "creationTimestamp"):
        del record["metadata"][key]
    record["metadata"]["finalizers"] = [names.FINALIZER]
    status = record.pop("status")
    stored = client.request("POST", RECORDS.path(SYSTEM), body=record)
    now = datetime.now(UTC) - timedelta(minutes=5)
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    ends = ((ConditionType.ENDED, Reason.TERMINATE), (ConditionType.REMOVED, Reason.OK))
    conditions = [
        {"type": str(kind), "status": "True", "reason": str(reason), "message": "", "lastTransitionTime": time}
        for kind, reason in ends
    ]
    ended = {
        **status,
        "jobStatus": str(JobState.TERMINATED),
        "exitCode": EXIT_CODES[JobState.TERMINATED],
        "endTime": time,
        "reason": str(Reason.TERMINATE),
        "message": "the job was terminated",
        "conditions": [*(status.get("conditions") or ()), *conditions],
    }
    path = RECORDS.path(SYSTEM, stored["metadata"]["name"]) + "/status"
    client.request("PUT", path, body={**stored, "status": ended})
