"""
Plain jobs on the real API server, with the token of an account that has the minimal Role and nothing more.

No node and no controller runs: the test makes the pod and says what a node would say.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.namespaced import NamespacedCluster, WatchLimits
from kns.launcher.tools.roles import RoleKind, build_rbac
from kns.model.errors import KnsError, MetricsMissingError, NotFoundError, RefusedError
from kns.plain import names
from kns.plain.control import Operation
from kns.plain.inputs import InputFiles
from kns.plain.job import Constraint, Container, Mount, PlainJob, Port, Resources, SecretVariable, Variable
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.kept import KEEP
from kns.plain.objects import build_job, build_service
from kns.plain.state import Status
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer
from tests.policies.api_server import RefusedError as RefusedByServer

NAMESPACE, ACCOUNT = "posit-plain", "job-launcher"
PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "Role": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
}
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
FULL = PlainJob(
    name="Everything $(at) once",
    user="ana@example.org",
    container=Container("docker.io/library/busybox:1.35", 1000, 100, (7, 8)),
    command="echo",
    args=("a", "$HOME"),
    environment=(Variable("A", "$(A) $$"), Variable("B", "")),
    secrets=(SecretVariable("PASSWORD", "db", "password"),),
    stdin="exit\n",
    working_directory="/tmp",
    ports=(Port(80), Port(81, 8081)),
    mounts=(
        Mount("/nfs", {"nfs": {"server": "nfs01", "path": "/home"}}),
        Mount("/claim", {"persistentVolumeClaim": {"claimName": "home"}}, read_only=True, sub_path="ana"),
    ),
    resources=Resources({"cpu": "2", "memory": "512M", "nvidia.com/gpu": "1"}, {"cpu": "500m"}),
    constraints=(Constraint("example.org/zone", "a"),),
    tags=("one", "two words"),
)


def pods_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def jobs_of(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


PODS, JOBS = pods_of(NAMESPACE), jobs_of(NAMESPACE)


@pytest.fixture(scope="module")
def client(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeClient]:
    for obj in build_rbac(RoleKind.MINIMAL, namespace=NAMESPACE, account=ACCOUNT, with_nodes=False):
        api.apply(f"{PATHS[obj['kind']]}/{obj['metadata']['name']}", obj)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = api.call("POST", f"{PATHS['ServiceAccount']}/{ACCOUNT}/token", request)["status"]["token"]
    cluster = json.loads(api.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = tmp_path_factory.mktemp("ca") / "ca.crt"
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    client = connect_with_token(cluster["server"], read_token=lambda: str(token), authority_file=authority)
    yield client
    client.close()


class Rig:
    """`PlainJobs` and its keeper over the real API server."""

    def __init__(self, client: KubeClient, scratch: Path) -> None:
        limits = WatchLimits(page=2, timeout_s=60)
        self.stop = threading.Event()
        self.cluster = NamespacedCluster(
            client, namespace=NAMESPACE, selector=f"{names.LABEL}=c", clock=SystemClock(), keep=KEEP, limits=limits
        )
        inputs = InputFiles(scratch)
        build = Build(
            lambda job, generate_name: build_job(job, generate_name=generate_name),
            lambda job, job_id, service: build_service(job, job_id=job_id, service=service),
        )
        self.jobs = PlainJobs(self.cluster, name="c", build=build, inputs=inputs)
        clock = FakeClock(datetime.now(UTC) + timedelta(hours=2))  # so that a job expires as soon as it has ended
        self.keeper = Keeper(self.jobs, self.cluster, inputs=inputs, clock=clock, expiry=timedelta(hours=1))
        self.threads = self.cluster.start(self.stop)
        until(lambda: self.cluster.is_synced)

    def status(self, job_id: str) -> Status:
        return self.jobs.find(job_id).state.status


@pytest.fixture
def rig(client: KubeClient, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(client, tmp_path)
    yield made
    made.stop.set()


def until(holds: Callable[[], bool]) -> None:
    """Watches need a moment."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def make_pod(api: ApiServer, job_id: str, *, namespace: str = NAMESPACE) -> str:
    """What the Job controller makes."""
    job = api.call("GET", f"{jobs_of(namespace)}/{job_id}")
    template = job["spec"]["template"]
    labels = {**template["metadata"]["labels"], "job-name": job_id}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_id, "uid": job["metadata"]["uid"], "controller": True}
    meta = {"name": f"{job_id}-pod", "labels": labels, "ownerReferences": [owner]}
    spec = {key: value for key, value in template["spec"].items() if key != "schedulerName"}
    api.call("POST", pods_of(namespace), {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    return f"{job_id}-pod"


def set_status(api: ApiServer, pod: str, state: dict[str, Any], phase: str, *, namespace: str = NAMESPACE) -> None:
    """What a node says."""
    status = {
        "phase": phase,
        "containerStatuses": [
            {"name": names.CONTAINER, "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        ],
    }
    path = f"{pods_of(namespace)}/{pod}/status"
    api.call("PATCH", path, {"status": status}, content_type="application/merge-patch+json")


def test_the_life_of_a_job(api: ApiServer, rig: Rig) -> None:
    view = rig.jobs.submit(FULL)
    assert view.state.status is Status.PENDING
    assert view.job == PlainJob(**{**_fields(FULL), "stdin": ""})
    service = api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{view.id}")
    node_port = service["spec"]["ports"][0]["nodePort"]
    until(lambda: rig.jobs.find(view.id).published == {(80, FULL.ports[0].protocol): node_port})
    pod = make_pod(api, view.id)
    until(lambda: rig.jobs.find(view.id).state.pod == pod)
    set_status(api, pod, {"running": {"startedAt": "2026-01-05T14:15:31Z"}}, "Running")
    until(lambda: rig.status(view.id) is Status.RUNNING)
    # No node answers, so no signal arrives, and the node is asked to end the pod instead.
    done = rig.jobs.control(view.id, Operation.STOP)
    assert done.is_complete is False
    assert api.call("GET", f"{PODS}/{pod}")["spec"]["activeDeadlineSeconds"] == 1
    ended = {"exitCode": 143, "reason": "Error", "finishedAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    set_status(api, pod, {"terminated": ended}, "Failed")
    until(lambda: rig.status(view.id) is Status.KILLED)
    rig.keeper.look(view.id)
    until(lambda: rig.jobs.peek(view.id) is None)
    with pytest.raises(RefusedByServer):
        api.call("GET", f"{JOBS}/{view.id}")


def _fields(job: PlainJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in PlainJob.__slots__}


def test_cancel_keeps_the_record(api: ApiServer, rig: Rig) -> None:
    view = rig.jobs.submit(PlainJob(name="a", user="ana", container=Container("i"), command="true"))
    assert rig.jobs.control(view.id, Operation.CANCEL).is_complete
    assert api.call("GET", f"{JOBS}/{view.id}")["spec"]["suspend"] is True
    assert rig.status(view.id) is Status.CANCELED
    rig.keeper.look(view.id)
    assert names.END in api.call("GET", f"{JOBS}/{view.id}")["metadata"]["annotations"]


def test_events_are_watched_without_a_list(api: ApiServer, rig: Rig) -> None:
    view = rig.jobs.submit(PlainJob(name="a", user="ana", container=Container("i"), command="true"))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e1"},
        "involvedObject": {"kind": "Job", "name": view.id, "namespace": NAMESPACE, "apiVersion": "batch/v1"},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "exceeded quota",
        "lastTimestamp": "2026-01-05T14:15:30Z",
    }
    api.call("POST", EVENTS, event)
    until(lambda: "FailedCreate: exceeded quota" in rig.jobs.find(view.id).state.message)


def test_a_second_process_reads_the_same(rig: Rig, client: KubeClient, tmp_path: Path) -> None:
    """Lists come in pages of two."""
    for _ in range(5):
        rig.jobs.submit(FULL)
    other = Rig(client, tmp_path / "other")
    try:
        until(lambda: [v.job for v in other.jobs.list_views()] == [v.job for v in rig.jobs.list_views()])
    finally:
        other.stop.set()


def test_what_the_server_does_not_accept(api: ApiServer, rig: Rig) -> None:
    before = len(api.call("GET", JOBS)["items"])
    mounts = (Mount("/a", {"emptyDir": {}}), Mount("/a", {"emptyDir": {}}))
    job = PlainJob(name="a", user="ana", container=Container("i"), mounts=mounts)
    with pytest.raises(RefusedError, match="mountPath"):
        rig.jobs.submit(job)
    assert len(api.call("GET", JOBS)["items"]) == before


def test_errors_of_logs_commands_and_metrics(api: ApiServer, rig: Rig) -> None:
    """The classes on which the reader of outputs and the streams of resources rely."""
    view = rig.jobs.submit(PlainJob(name="a", user="ana", container=Container("i"), command="true"))
    cluster = rig.cluster
    with pytest.raises(NotFoundError):
        cluster.open_log("none", names.CONTAINER, stream="", since="", follow=True)
    pod = make_pod(api, view.id)
    with pytest.raises(RefusedError):
        cluster.open_log(pod, names.CONTAINER, stream="Stderr", since="", follow=False)
    assert cluster.can_split_streams() is True
    with pytest.raises(KnsError):
        cluster.run_in(pod, names.CONTAINER, ("true",))
    with pytest.raises(KnsError):
        cluster.send_input(pod, names.CONTAINER, b"x")
    with pytest.raises(MetricsMissingError):
        cluster.read_usage(pod)
    assert cluster.read_node("none") is None
    with pytest.raises(NotFoundError):
        cluster.patch_job("none", {"metadata": {}})
    cluster.delete_service("none")
    cluster.delete_job("none", uid="x")
    cluster.delete_job(view.id, uid="another")
    assert cluster.read_job(view.id) is not None
