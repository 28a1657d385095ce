"""The plugin's process, its jobs in a real API server, and the clock of `bench.posit`."""

import base64
import json
import re
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.memory import read_memory_mib
from kns.launcher.tools.roles import RoleKind, build_rbac
from kns.plain import names
from tests.launcher.client import Launcher
from tests.policies.api_server import ApiServer

NAMESPACE, ACCOUNT = "bench-posit", "job-launcher"
USERS = 20  # who share the jobs
ANSWER_S = 120.0  # as long as the Launcher waits
STATUS_STREAM = 1_000_000  # the request id of the stream of all jobs
_HEAD = re.compile(rb'\{"messageType":(-?\d+),"requestId":(\d+)')
_SMALL = 65_536  # bytes; larger answers are not decoded, so that the clock's own work is small
_STATUS, _ERROR = 3, -1
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "Role": f"{_RBAC}/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"{_RBAC}/namespaces/{NAMESPACE}/rolebindings",
    "ClusterRole": f"{_RBAC}/clusterroles",
    "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
}
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_WATCHES = re.compile(r"^apiserver_longrunning_requests\{(.*)\} (\d+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Fields = Callable[[int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Burst:
    """A kind of request. `fields` makes the message of the n-th one, without its id; `after` runs after each burst."""

    name: str
    fields: Fields
    after: Callable[[Sequence[int]], None] = lambda _ids: None


@dataclass(frozen=True, slots=True)
class _Arrival:
    time: float
    kind: int
    size: int


class Clock(Launcher):
    """A Launcher that notes when each frame arrived. Large frames are not decoded."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self.arrivals: dict[int, _Arrival] = {}
        self.statuses: list[tuple[float, str, str]] = []  # time, job, status
        super().__init__(argv, log)

    def await_all(self, ids: Sequence[int]) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: self.is_over or all(each in self.arrivals for each in ids), ANSWER_S)
        if missing := [each for each in ids if each not in self.arrivals]:
            raise BenchError(f"{len(missing)} of {len(ids)} requests had no answer; the log: {self._describe(0)}")

    def await_status(self, job_id: str, status: str, *, since: int) -> float:
        def find() -> float | None:
            return next((at for at, job, said in self.statuses[since:] if (job, said) == (job_id, status)), None)

        with self._arrived:
            self._arrived.wait_for(lambda: self.is_over or find() is not None, ANSWER_S)
            found = find()
        if found is None:
            raise BenchError(f"job {job_id} was not reported as {status}; {self._describe(0)}")
        return found

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while len(head := stream.read(4)) == 4:
            body = stream.read(struct.unpack(">I", head)[0])
            self._note(time.perf_counter(), body)
        with self._arrived:
            self.is_over = True
            self._arrived.notify_all()

    def _note(self, now: float, body: bytes) -> None:
        match = _HEAD.match(body)
        if match is None:
            raise BenchError(f"a frame begins with {body[:60]!r}")
        kind, request_id = int(match[1]), int(match[2])
        message: dict[str, Any] = {"messageType": kind, "requestId": request_id}
        if len(body) <= _SMALL:
            message = json.loads(body)
        with self._arrived:
            if kind == _STATUS:
                self.statuses.append((now, message["id"], message["status"]))
                for each in message["sequences"]:
                    self.arrivals.setdefault(each["requestId"], _Arrival(now, kind, len(body)))
            elif kind != 0:
                self.messages.append(message)
                self.arrivals[request_id] = _Arrival(now, kind, len(body))
            self._arrived.notify_all()


class Rig:
    """A plugin in a namespace of its own, with the minimal Role."""

    def __init__(self, api: ApiServer, folder: Path) -> None:
        self.api = api
        self.jobs: list[str] = []
        self._own_watches = _count_watches(api)
        self.clock = Clock(_prepare(api, folder), folder / "plugin.stderr")

    def __enter__(self) -> "Rig":
        answer = self.clock.bootstrap()
        if answer["messageType"] != 1:
            raise BenchError(f"the plugin does not start: {answer}")
        self.clock.send(4, username="*", jobId="*", request_id=STATUS_STREAM)
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.end()

    def start_jobs(self, count: int, *, variables: int) -> None:
        """Submit jobs, and let their pods run."""
        ids = [self.clock.send(2, **build_submission(number, variables=variables)) for number in range(count)]
        for request_id in ids:
            self.clock.await_all([request_id])
        answers = {message["requestId"]: message for message in self.clock.messages}
        for request_id in ids:
            if answers[request_id]["messageType"] == _ERROR:
                raise BenchError(f"a submission failed: {answers[request_id]['errorMessage']}")
        self.jobs = [answers[request_id]["jobs"][0]["id"] for request_id in ids]
        for job_id in self.jobs:
            self._make_pod(job_id)
            self._set_state(job_id, "running")
        for job_id in self.jobs:
            self.clock.await_status(job_id, "Running", since=0)

    def burst(self, burst: Burst, count: int) -> tuple[list[float], int]:
        """Send requests at once; their times in ms, and the size of the last answer."""
        sent: dict[int, float] = {}
        for number in range(count):
            fields = burst.fields(number)
            before = time.perf_counter()
            sent[self.clock.send(fields.pop("message_type"), **fields)] = before
        self.clock.await_all(list(sent))
        arrivals = {request_id: self.clock.arrivals[request_id] for request_id in sent}
        if failed := [request_id for request_id, each in arrivals.items() if each.kind == _ERROR]:
            said = next(m["errorMessage"] for m in self.clock.messages if m["requestId"] == failed[0])
            raise BenchError(f"{burst.name}: {len(failed)} of {count} requests failed, the first: {said}")
        burst.after(list(sent))
        times = [1000 * (arrivals[request_id].time - began) for request_id, began in sent.items()]
        return times, next(reversed(arrivals.values())).size

    def measure_changes(self, count: int) -> list[float]:
        """
        Times in ms from before the API server gets a pod's new status until the frame arrived. Each change is the
        container's, from running to waiting and back.
        """
        times = []
        for number in range(count):
            job_id = self.jobs[number // 2 % len(self.jobs)]
            state, status = ("waiting", "Pending") if number % 2 == 0 else ("running", "Running")
            since, began = len(self.clock.statuses), time.perf_counter()
            self._set_state(job_id, state)
            times.append(1000 * (self.clock.await_status(job_id, status, since=since) - began))
        if count % 2:
            self._set_state(self.jobs[(count - 1) // 2 % len(self.jobs)], "running")
        return times

    @contextmanager
    def load(self, at_once: int) -> Iterator[None]:
        """Lists and single jobs, again and again."""
        stop, problems = threading.Event(), []
        kinds = [burst for burst in build_bursts(self) if burst.name in ("all jobs", "one job")]

        def run() -> None:
            try:
                while not stop.is_set():
                    for burst in kinds:
                        self.burst(burst, at_once // 2 or 1)
            except BenchError as error:
                problems.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if problems:
            raise problems[0]

    def count_watches(self) -> dict[str, int]:
        """The plugin's open watches by kind, as the API server counts them: those that were not open before it."""
        return dict(_count_watches(self.api) - self._own_watches)

    def count_connections(self) -> int:
        """Open sockets of the process. Its stdin and stdout are pipes."""
        folder = Path(f"/proc/{self.clock.process.pid}/fd")
        return sum(str(each.readlink()).startswith("socket:") for each in folder.iterdir())

    def memory_mib(self, *, peak: bool = False) -> float:
        return read_memory_mib(self.clock.process.pid, peak=peak)

    def server_version(self) -> str:
        return str(self.api.call("GET", "/version")["gitVersion"])

    def _make_pod(self, job_id: str) -> None:
        """What the Job controller makes."""
        job = self.api.call("GET", f"{_JOBS}/{job_id}")
        template = job["spec"]["template"]
        meta = {"name": f"{job_id}-pod", "labels": {**template["metadata"]["labels"], "job-name": job_id}}
        self.api.call("POST", _PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})

    def _set_state(self, job_id: str, state: str) -> None:
        """What a node says."""
        said = {"startedAt": "2026-01-05T14:15:31Z"} if state == "running" else {"reason": "X", "message": "a reason"}
        container = {"name": names.CONTAINER, "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        status = {
            "phase": "Running",
            "hostIP": "10.0.0.1",
            "containerStatuses": [{**container, "state": {state: said}}],
        }
        path = f"{_PODS}/{job_id}-pod/status"
        self.api.call("PATCH", path, {"status": status}, content_type="application/merge-patch+json")


def build_bursts(rig: Rig) -> list[Burst]:
    """The kinds of requests. Those that make jobs come last, because they make the lists longer."""
    pending: list[str] = []

    def one(number: int) -> str:
        return rig.jobs[number * 7 % len(rig.jobs)]

    def end_streams(ids: Sequence[int]) -> None:
        for request_id in ids:
            rig.clock.send(4, request_id=request_id, username="*", jobId="*", cancel=True)

    def note_jobs(ids: Sequence[int]) -> None:
        wanted = set(ids)
        pending.extend(m["jobs"][0]["id"] for m in rig.clock.messages if m["requestId"] in wanted)

    return [
        Burst("all jobs", lambda _: {"message_type": 3, "username": "*", "jobId": "*"}),
        Burst("one user's jobs", lambda n: {"message_type": 3, "username": f"user{n % USERS}", "jobId": "*"}),
        Burst(
            "all jobs, two fields",
            lambda _: {"message_type": 3, "username": "*", "jobId": "*", "fields": ["status", "name"]},
        ),
        Burst("one job", lambda n: {"message_type": 3, "username": "*", "jobId": one(n)}),
        Burst("cluster info", lambda n: {"message_type": 9, "username": f"user{n % USERS}"}),
        Burst("network", lambda n: {"message_type": 8, "username": "*", "jobId": one(n)}),
        Burst("status stream of one job", lambda n: {"message_type": 4, "username": "*", "jobId": one(n)}, end_streams),
        Burst("submit", lambda n: {"message_type": 2, **build_submission(n, variables=40)}, note_jobs),
        Burst("cancel", lambda _: {"message_type": 5, "username": "*", "jobId": pending.pop(), "operation": 4}),
    ]


def build_submission(number: int, *, variables: int) -> dict[str, Any]:
    user = f"user{number % USERS}"
    environment = [{"name": f"VARIABLE_{each}", "value": f"{user}-{each}-{'x' * 60}"} for each in range(variables)]
    job = {
        "name": f"session {number}",
        "user": user,
        "command": "sleep",
        "args": ["1000"],
        "container": {"image": "docker.io/library/busybox:1.35"},
        "environment": environment,
        "tags": ["rstudio-r-session", f"id-{number}"],
        "resourceLimits": [{"type": "cpuCount", "value": "1"}, {"type": "memory", "value": "512"}],
        "mounts": [{"mountPath": f"/home/{user}", "type": "nfs", "source": {"host": "nfs01", "path": f"/home/{user}"}}],
    }
    return {"username": user, "requestUsername": user, "job": job}


def _count_watches(api: ApiServer) -> Counter[str]:
    found: Counter[str] = Counter()
    for labels, count in _WATCHES.findall(api._client.get("/metrics").text):  # no JSON
        read = dict(_LABEL.findall(labels))
        if read.get("verb") == "WATCH":
            found[read["resource"]] += int(count)
    return found


def _prepare(api: ApiServer, folder: Path) -> list[str]:
    """Namespace, account and configuration; the command that starts the plugin."""
    for obj in build_rbac(RoleKind.MINIMAL, namespace=NAMESPACE, account=ACCOUNT, with_nodes=True):
        api.apply(f"{_PATHS[obj['kind']]}/{obj['metadata']['name']}", obj)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token = api.call("POST", f"{_PATHS['ServiceAccount']}/{ACCOUNT}/token", request)["status"]["token"]
    cluster: Mapping[str, str] = json.loads(api.kubeconfig.read_text())["clusters"][0]["cluster"]
    token_file, conf = folder / "token", folder / "launcher.kubernetes.conf"
    token_file.touch(0o600)
    token_file.write_text(token)
    authority = base64.b64encode(base64.b64decode(cluster["certificate-authority-data"])).decode()
    conf.write_text(
        f"api-url={cluster['server']}\nauth-token-path={token_file}\ncertificate-authority={authority}\n"
        f"kubernetes-namespace={NAMESPACE}\nscratch-path={folder / 'scratch'}\nlogging-dir={folder / 'log'}\n"
    )
    own = [f"--launcher-config-file={folder / 'launcher.conf'}", f"--config-file={conf}", "--unprivileged=1"]
    return [sys.executable, "-m", "kns.launcher.program", *own]
