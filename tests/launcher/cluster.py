"""
A cluster for the plugin: the small API server, with the Job controller and the node as far as a test moves them.

It is no kinder than the real one where the plugin could lean on it: a pod follows its Job only when the test says so, a
suspended Job loses its pods, a log is refused before its container starts, a signal needs a running container, events
can only be watched, and what the Role does not allow is 403.
"""

import copy
import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kns.launcher.tools.roles import MINIMAL
from tests.adapters.api_server import ApiServer, failure
from tests.adapters.faulty_server import Answer, Seen
from tests.launcher.web_socket import ServedSocket

NAMESPACE = "rstudio"
NODE = "node-1"
JOBS, PODS, SERVICES = ("/apis/batch/v1", "jobs"), ("/api/v1", "pods"), ("/api/v1", "services")
_SUB = re.compile(r"/api/v1/namespaces/rstudio/pods/([^/]+)/(log|exec|attach)")
# The smallest Role that the plugin is said to need, by resource.
ROLE = {"metrics" if group == "metrics.k8s.io" else kind: set(verbs) for (group, kind), verbs in MINIMAL.items()}
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/rstudio/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _end(code: int) -> bytes:
    if code == 0:
        return json.dumps({"status": "Success"}).encode()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return json.dumps({"status": "Failure", "details": {"causes": causes}, "message": f"exit code {code}"}).encode()


class Cluster(ApiServer):
    def __init__(self) -> None:
        self.metrics: dict[str, dict[str, str]] | None = {}  # by pod; None: no metrics-server
        self.nodes_visible = True
        self.silent = False  # watches are open and say nothing, as if the network had dropped them
        self.splits = False  # whether logs can be split into stdout and stderr
        self.exec_code = 0
        self.ends_at = "2026-01-05T14:16:31Z"  # what ends
        self.exec_refusal = ""  # why no command can be started
        self.commands: list[list[str]] = []
        self.inputs: dict[str, bytes] = {}
        self.beyond_role: list[str] = []
        self._logs: dict[str, list[tuple[str, bytes]]] = {}
        self._over: set[str] = set()  # pods whose log is complete
        self._logged = threading.Condition()
        self._clock = itertools.count(1)
        self._node_ports = itertools.count(30000)
        super().__init__()

    def close(self) -> None:
        with self._logged:
            self._logged.notify_all()
        super().close()

    # --- what tests do

    def find(self, prefix: str, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        """A copy, because a test that changes the stored object would change it without an event."""
        return copy.deepcopy(super().find(prefix, plural, namespace, name))

    def job(self, job_id: str) -> dict[str, Any]:
        found = self.find(*JOBS, NAMESPACE, job_id)
        assert found is not None, f"no Job {job_id}"
        return found

    def jobs(self) -> list[str]:
        return sorted(key[3] for key in self._objects if key[:2] == JOBS)

    def pod(self, job_id: str) -> dict[str, Any]:
        found = self.find(*PODS, NAMESPACE, pod_name(job_id))
        assert found is not None, f"no pod of {job_id}"
        return found

    def make_pod(self, job_id: str) -> None:
        """The Job controller makes the pod, which waits for a node."""
        template = json.loads(json.dumps(self.job(job_id)["spec"]["template"]))
        meta = template.get("metadata") or {}
        labels = {**meta.get("labels", {}), "job-name": job_id, "batch.kubernetes.io/job-name": job_id}
        self.put(
            *PODS,
            {
                "metadata": {
                    "name": pod_name(job_id),
                    "namespace": NAMESPACE,
                    "labels": labels,
                    "annotations": meta.get("annotations", {}),
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            },
        )

    def set_pod(self, job_id: str, **status: Any) -> None:
        with self._changed:
            pod = self.pod(job_id)
            self.put(*PODS, {**pod, "status": {**pod["status"], **status}})

    def run_pod(self, job_id: str) -> None:
        """The node starts the container."""
        with self._changed:
            if self.find(*PODS, NAMESPACE, pod_name(job_id)) is None:
                self.make_pod(job_id)
            pod = self.pod(job_id)
            container = pod["spec"]["containers"][0]["name"]
            state = {"running": {"startedAt": "2026-01-05T14:15:31Z"}}
            status = {
                "phase": "Running",
                "hostIP": "10.0.0.1",
                "hostIPs": [{"ip": "10.0.0.1"}],
                "podIP": "10.244.0.9",
                "containerStatuses": [{"name": container, "ready": True, "started": True, "state": state}],
            }
            self.put(*PODS, {**pod, "spec": {**pod["spec"], "nodeName": NODE}, "status": status})

    def end_pod(self, job_id: str, code: int = 0, *, reason: str = "") -> None:
        """The container ends, then the Job. Nobody knows the times of a container that the node has lost."""
        with self._changed:
            pod = self.pod(job_id)
            name = pod["spec"]["containers"][0]["name"]
            is_lost = reason == "ContainerStatusUnknown"
            ended = {
                "exitCode": code,
                "reason": reason or ("Completed" if code == 0 else "Error"),
                "startedAt": None if is_lost else "2026-01-05T14:15:31Z",
                "finishedAt": None if is_lost else self.ends_at,
            }
            status = {**pod["status"], "phase": "Succeeded" if code == 0 else "Failed"}
            status["containerStatuses"] = [{"name": name, "state": {"terminated": ended}}]
            self.end_log(job_id)
            self.put(*PODS, {**pod, "status": status})
            self.set_condition(job_id, "Complete" if code == 0 else "Failed")

    def set_condition(self, job_id: str, kind: str, **more: str) -> None:
        with self._changed:
            condition = {"type": kind, "status": "True", "lastTransitionTime": self.ends_at, **more}
            self.put(*JOBS, {**self.job(job_id), "status": {"conditions": [condition]}})

    def write_log(self, job_id: str, text: str, stream: str = "Stdout") -> None:
        with self._logged:
            time = f"2026-01-05T14:15:{next(self._clock) % 60:02d}.000000000Z".encode()
            lines = [(stream, time + b" " + line) for line in text.encode().split(b"\n")]
            self._logs.setdefault(pod_name(job_id), []).extend(lines)
            self._logged.notify_all()

    def end_log(self, job_id: str) -> None:
        with self._logged:
            self._over.add(pod_name(job_id))
            self._logged.notify_all()

    def warn(self, kind: str, name: str, reason: str, message: str) -> None:
        self.put(
            "/api/v1",
            "events",
            {
                "metadata": {"name": f"{name}.{next(self._clock)}", "namespace": NAMESPACE},
                "involvedObject": {"kind": kind, "name": name},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "lastTimestamp": f"2026-01-05T14:15:{next(self._clock) % 60:02d}Z",
            },
        )

    # --- requests

    def answer(self, seen: Seen) -> Answer:
        if (refused := self._refuse(seen)) is not None:
            return refused
        if seen.path == "/version":
            return Answer(200, {"major": "1", "minor": "36"})
        if seen.path.startswith("/apis/metrics.k8s.io"):
            return self._answer_metrics(seen)
        if seen.path.startswith("/api/v1/nodes/"):
            return self._answer_node(seen)
        if (sub := _SUB.fullmatch(seen.path)) is not None and sub[2] == "log":
            return self._refuse_log(seen, sub[1])
        if seen.method == "POST" and seen.path.endswith("/jobs") and (wrong := _find_doubled_mount(seen.body)):
            return failure(422, "Invalid", f"spec.template.spec.containers[0].volumeMounts[1].mountPath: {wrong}")
        if seen.method == "POST" and seen.path.endswith("/services"):
            for port in seen.body["spec"]["ports"]:
                port.setdefault("nodePort", next(self._node_ports))
        answer = super().answer(seen)
        if seen.method == "PATCH" and "/jobs/" in seen.path and answer.status == 200:
            self._suspend(answer.body)
        return answer

    def _refuse(self, seen: Seen) -> Answer | None:
        """403 for what is beyond the Role, as the real server says it."""
        match = _PATH.fullmatch(seen.path)
        if match is None:
            return None
        resource = match["plural"] + (f"/{match['sub']}" if match["sub"] else "")
        if match["group"] == "metrics.k8s.io":
            resource = "metrics"
        verb = _VERBS.get(seen.method) or ("watch" if seen.query.get("watch") else "get" if match["name"] else "list")
        if verb in ROLE.get(resource, set()):
            return None
        self.beyond_role.append(f"{verb} {resource}")
        return failure(403, "Forbidden", f'{resource} is forbidden: User "x" cannot {verb} resource "{resource}"')

    def stream(self, seen: Seen, scripted: Iterator[bytes] | None) -> Iterator[bytes] | None:
        if self._refuse(seen) is not None:
            return None
        sub = _SUB.fullmatch(seen.path)
        if sub is not None and sub[2] == "log" and self._refuse_log(seen, sub[1]).status == 200:
            return self._read_log(sub[1], seen)
        if self.silent and seen.query.get("watch"):
            return self._say_nothing()
        return super().stream(seen, scripted)

    def _say_nothing(self) -> Iterator[bytes]:
        self.closing.wait()
        yield from ()

    def _refuse_log(self, seen: Seen, pod: str) -> Answer:
        found = self.find(*PODS, NAMESPACE, pod)
        if found is None:
            return failure(404, "NotFound", f'pods "{pod}" not found')
        if seen.query.get("stream") and not self.splits:
            return failure(422, "Invalid", "stream: Forbidden: may not be specified")
        if not (found.get("status") or {}).get("containerStatuses"):
            return failure(400, "BadRequest", "container is waiting to start: ContainerCreating")
        return Answer(200, {})

    def _read_log(self, pod: str, seen: Seen) -> Iterator[bytes]:
        wanted, since = seen.query.get("stream"), seen.query.get("sinceTime", "")[:19].encode()
        position = 0
        while True:
            with self._logged:
                lines = self._logs.setdefault(pod, [])
                while seen.query.get("follow") and position == len(lines) and pod not in self._over:
                    if self.closing.is_set():
                        return
                    self._logged.wait(0.2)
                fresh, position = lines[position:], len(lines)
            for stream, line in fresh:
                if line[:19] >= since and wanted in (None, stream):
                    yield line
            if not fresh:
                return

    def _answer_metrics(self, seen: Seen) -> Answer:
        if self.metrics is None:
            return Answer(404, b"404 page not found\n")
        pod = seen.path.rpartition("/pods/")[2]
        if "/pods/" not in seen.path:
            return Answer(200, {"kind": "APIResourceList"})
        if pod not in self.metrics:
            return failure(404, "NotFound", f'podmetrics.metrics.k8s.io "{pod}" not found')
        container = (self.find(*PODS, NAMESPACE, pod) or {})["spec"]["containers"][0]["name"]
        return Answer(200, {"containers": [{"name": container, "usage": self.metrics[pod]}]})

    def _answer_node(self, seen: Seen) -> Answer:
        if not self.nodes_visible:
            return failure(403, "Forbidden", 'nodes "node-1" is forbidden: cannot get resource "nodes"')
        if seen.path != f"/api/v1/nodes/{NODE}":
            return failure(404, "NotFound", "nodes not found")
        addresses = [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "203.0.113.7"}]
        return Answer(200, {"metadata": {"name": NODE}, "status": {"addresses": addresses}})

    def _suspend(self, job: dict[str, Any]) -> None:
        """The Job controller deletes the pods of a suspended Job, and notes it after the answer to the patch."""
        name = job["metadata"]["name"]
        conditions = (job.get("status") or {}).get("conditions") or ()
        if not (job.get("spec") or {}).get("suspend") or any(each["type"] == "Suspended" for each in conditions):
            return
        if self.find(*PODS, NAMESPACE, pod_name(name)):
            self.drop(*PODS, NAMESPACE, pod_name(name))
        self.set_condition(name, "Suspended")

    def upgrade(self, seen: Seen, handler: BaseHTTPRequestHandler) -> bool:
        sub = _SUB.fullmatch(seen.path)
        if sub is None or sub[2] == "log" or seen.headers.get("upgrade", "").lower() != "websocket":
            return False
        pod = self.find(*PODS, NAMESPACE, sub[1])
        if pod is None or (pod.get("status") or {}).get("phase") != "Running":
            return False
        socket = ServedSocket(handler, seen.headers["sec-websocket-protocol"].split(",")[0].strip())
        if sub[2] == "attach":
            self._take_input(sub[1], socket)
            return True
        command = parse_qs(urlsplit(handler.path).query)["command"]
        self.commands.append(command)
        if self.exec_refusal:
            said = {"status": "Failure", "reason": "InternalError", "message": self.exec_refusal}
            socket.send(3, json.dumps(said).encode())
        else:
            socket.send(3, _end(self.exec_code))
        socket.close()
        return True

    def _take_input(self, pod: str, socket: ServedSocket) -> None:
        data = b""
        for stream, piece in socket.messages():
            if stream == 255:
                break
            data += piece
        self.inputs[pod] = data
        socket.send(3, _end(0))
        socket.close()


def _find_doubled_mount(job: dict[str, Any]) -> str:
    """What the real server says of two mounts at one place."""
    mounts = job["spec"]["template"]["spec"]["containers"][0].get("volumeMounts") or ()
    paths = [mount["mountPath"] for mount in mounts]
    return next((f'Invalid value: "{path}": must be unique' for path in paths if paths.count(path) > 1), "")


def pod_name(job_id: str) -> str:
    return f"{job_id}-pod"
