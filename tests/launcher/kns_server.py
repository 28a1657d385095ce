"""
kns for the plugin, over HTTP: jobs, their states, and behind `/kns/cluster/NUMBER` one cluster for all of them.

It is no kinder than the real one where the plugin could lean on it: the same idempotency key gives the same job, a
cluster answers only while its job runs, errors have kns's forms, and every request needs the API key.
"""

import base64
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.adapters.faulty_server import Answer, Seen
from tests.launcher.cluster import JOBS, NAMESPACE, Cluster

USERNAME, APIKEY, APP = "posit", "key:with:colons", "empty"
APP_ENTRY = {
    "id": APP,
    "data": {
        "name": APP,
        "description": "",
        "author": "",
        "commands": {"Run": {"description": "", "parameters": {}, "machines": None}},
        "machines": ["*"],
    },
}
MACHINES: dict[str, dict[str, Any]] = {
    "kns-small": {"mc_cores": 2, "mc_ram": 4, "mc_properties": "appkind=kns"},
    "kns-large": {"mc_cores": 8, "mc_ram": 32, "mc_properties": "appkind=kns"},
    "kns-gpu": {"mc_cores": 8, "mc_ram": 32, "mc_gpus": 1, "mc_properties": "appkind=kns"},
    "classic": {"mc_cores": 64, "mc_ram": 512},
}
_CLUSTER = re.compile(r"/kns/cluster/([0-9]+)(/.*)")
_BASIC = "Basic " + base64.b64encode(f"{USERNAME}:{APIKEY}".encode()).decode()


@dataclass
class Submitted:
    number: int
    label: str
    machine: str
    key: str
    is_up: bool = False
    ended: str = ""  # why


def build_detail(job: Submitted) -> dict[str, Any]:
    """The answer of `/kns/job`."""
    return {
        **dict.fromkeys(("label", "project", "reason", "url", "walltime_seconds", "walltime_end", "usage")),
        **dict.fromkeys(("submitted", "now"), "2026-01-05T14:15:30Z"),
        "number": job.number,
        "name": f"job-{job.number}",
        "namespace": f"kns-job-{job.number}",
        "user": USERNAME,
        "app": APP,
        "command": "Run",
        "nodes": 1,
        "rest": "awake",
        "exit_code": 0,
        "steps": [],
        "machine": job.machine,
        "status": "TERMINATED" if job.ended else "PROCESSING" if job.is_up else "SUBMITTED",
        "substatus": "starting virtual cluster",
        "message": job.ended or None,
        "started": "2026-01-05T14:15:31Z" if job.is_up else None,
        "ended": "2026-01-05T14:15:31Z" if job.ended else None,
    }


class KnsServer(Cluster):
    """The methods of `Cluster` move what runs inside; `raise_cluster` and `end` move the job of kns."""

    def __init__(self) -> None:
        self.submitted: dict[int, Submitted] = {}
        self.refusal: Answer | None = None
        self._numbers = itertools.count(7)
        super().__init__()

    def find_one(self, job_id: str) -> Submitted:
        (found,) = [each for each in self.submitted.values() if each.label.endswith(f" {job_id}")]
        return found

    def raise_cluster(self, job_id: str) -> None:
        self.find_one(job_id).is_up = True

    def end(self, job_id: str, why: str = "terminated") -> None:
        found = self.find_one(job_id)
        found.ended, found.is_up = why, False

    def has_inside(self, job_id: str) -> bool:
        return self.find(*JOBS, NAMESPACE, job_id) is not None

    # --- requests

    def answer(self, seen: Seen) -> Answer:
        if (match := _CLUSTER.fullmatch(seen.path)) is not None:
            problem = self._check_cluster(match, seen)
            return problem or super().answer(_move_inside(seen, match[2]))
        if (seen.headers.get("x-api-username"), seen.headers.get("x-api-key")) != (USERNAME, APIKEY):
            credentials = (seen.body or {}).get("user") if isinstance(seen.body, dict) else None
            if credentials != {"username": USERNAME, "apikey": APIKEY}:
                return Answer(401, {"error": "Unauthorized"})
        return self._answer_kns(seen)

    def _answer_kns(self, seen: Seen) -> Answer:
        json_type = {"Content-Type": "application/json"}
        if seen.path == "/jarvice/submit":
            return self.refusal or Answer(200, self._submit(seen), json_type)
        if seen.path == "/jarvice/machines":
            return Answer(200, MACHINES, json_type)
        if seen.path == "/jarvice/apps":
            return Answer(200, {APP: APP_ENTRY} if seen.query["name"] == APP else {}, json_type)
        if seen.path == "/jarvice/jobs":
            live = {str(n): {"job_label": job.label} for n, job in self.submitted.items() if not job.ended}
            return Answer(
                200, {n: job for n, job in live.items() if seen.query["label"] in job["job_label"]}, json_type
            )
        job = self.submitted.get(int(seen.query["number"]))
        if job is None:
            return Answer(404, {"error": "Job not found"}, json_type)
        if seen.path == "/jarvice/terminate":
            job.ended, job.is_up = job.ended or "terminated", False
            return Answer(200, {"status": "terminated"}, json_type)
        if seen.path == "/jarvice/metrics":
            usage = {"cpu_used": 50, "memory_used": 65536, "memory_total": 1}
            return Answer(200, {"itemized": {}, "summary": usage}, json_type)
        assert seen.path == "/kns/job", seen.path
        return Answer(200, build_detail(job), json_type)

    def _submit(self, seen: Seen) -> dict[str, Any]:
        key = seen.headers["idempotency-key"]
        for job in self.submitted.values():
            if job.key == key:
                return {"number": job.number, "name": f"job-{job.number}"}
        assert seen.body["app"] == APP
        number = next(self._numbers)
        self.submitted[number] = Submitted(number, seen.body["job_label"], seen.body["machine"]["type"], key)
        return {"number": number, "name": f"job-{number}"}

    def _check_cluster(self, match: re.Match[str], seen: Seen) -> Answer | None:
        job = self.submitted.get(int(match[1]))
        if seen.headers.get("authorization") != _BASIC:
            return Answer(401, {"kind": "Status", "message": "kns: wrong", "code": 401})
        if job is None or not job.is_up:
            return Answer(410, {"kind": "Status", "message": f"kns: job {match[1]} does not run", "code": 410})
        return None

    def stream(self, seen: Seen, scripted: Iterator[bytes] | None) -> Iterator[bytes] | None:
        match = _CLUSTER.fullmatch(seen.path)
        if match is None or self._check_cluster(match, seen) is not None:
            return scripted
        return super().stream(_move_inside(seen, match[2]), scripted)

    def upgrade(self, seen: Seen, handler: BaseHTTPRequestHandler) -> bool:
        match = _CLUSTER.fullmatch(seen.path)
        if match is None or self._check_cluster(match, seen) is not None:
            return False
        return super().upgrade(_move_inside(seen, match[2]), handler)

    def _refuse(self, seen: Seen) -> Answer | None:
        """The account of kns may do everything inside."""
        return None


def _move_inside(seen: Seen, path: str) -> Seen:
    """The fake cluster has one namespace, whose name is that of the plugin's."""
    body = seen.body
    if isinstance(body, dict) and (body.get("metadata") or {}).get("namespace"):
        assert body["metadata"]["namespace"] == "default"
        body = {**body, "metadata": {**body["metadata"], "namespace": NAMESPACE}}
    return replace(seen, path=path.replace("/namespaces/default/", f"/namespaces/{NAMESPACE}/"), body=body)


def write_credentials(folder: Path) -> str:
    path = folder / "credentials"
    path.write_text(f"{USERNAME}:{APIKEY}\n")
    return str(path)
