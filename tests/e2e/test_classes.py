"""Runtime classes that jobs see, and GPUs: a machine's quota, and nodes that are kept for those who ask for one."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from demo.kubectl import Kubectl
from demo.nested import nested_kubectl
from kns.model.names import host_name
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import scheduler_settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_SHOWN, _HIDDEN, _ABSENT = "kns-e2e-shown", "kns-e2e-hidden", "kns-e2e-absent"
_HANDLER = "runc"  # every containerd has it
_GPU = "nvidia.com/gpu"
_IMAGE = "docker.io/library/busybox:1.35"
_IN = "--namespace=default"
_RUNNING_S = 60.0


@contextlib.contextmanager
def _runtime_classes(kubectl: Kubectl) -> Iterator[None]:
    """Two classes of the host that differ in their names only."""
    try:
        for name in (_SHOWN, _HIDDEN):
            found = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}}
            kubectl.run("apply", "--filename=-", stdin=json.dumps({**found, "handler": _HANDLER}))
        yield
    finally:
        kubectl.run("delete", "runtimeclass", _SHOWN, _HIDDEN, "--ignore-not-found")


@contextlib.contextmanager
def _gpu_nodes(kubectl: Kubectl) -> Iterator[None]:
    """
    Every node advertises two GPUs that it has not got, and keeps pods off that do not tolerate it.

    An extended resource in the node's status is all that Kubernetes asks for; no device is behind it.
    """
    names = [node["metadata"]["name"] for node in kubectl.get("nodes")["items"]]
    try:
        for name in names:
            _advertise(kubectl, name, "2")
            kubectl.run("taint", "node", name, f"{_GPU}=present:NoSchedule", "--overwrite")
        yield
    finally:
        for name in names:
            kubectl.run("taint", "node", name, f"{_GPU}:NoSchedule-", check=False)
            _advertise(kubectl, name, None)


def _advertise(kubectl: Kubectl, node: str, count: str | None) -> None:
    """None takes it back."""
    amount = {_GPU: count}
    patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
    kubectl.run("patch", "node", node, "--subresource=status", "--type=merge", f"--patch={patch}")


def _pod(name: str, *, gpus: int = 0, **spec: Any) -> str:
    small = {"cpu": "50m", "memory": "32Mi"}
    limits = {**small, **({_GPU: str(gpus)} if gpus else {})}
    container = {
        "name": "main",
        "image": _IMAGE,
        "command": ["sleep", "3600"],
        "resources": {"requests": small, "limits": limits},
    }
    body = {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    meta = {"name": name, "namespace": "default"}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body})


def _await_running(job: TrialJob, inside: Kubectl, name: str) -> None:
    def probe() -> None:
        status = inside.get("pod", name, _IN)["status"]
        if status.get("phase") != "Running":
            raise NotYetError(str(status))

    job.wait_for(probe, timeout_s=_RUNNING_S, what=f"pod {name} running")


def _host_copy(site: Site, job: TrialJob, name: str) -> dict[str, Any]:
    copy: dict[str, Any] = site.kubectl.get(
        "pod", host_name(name, "default", job.namespace), f"--namespace={job.namespace}"
    )
    return copy


def test_a_listed_runtime_class_shows_inside_and_pods_run_in_it(site: Site, jobs: JobKeeper) -> None:
    """One that is not listed does not show, and one that the host lacks holds nothing up."""
    listed = f"{_SHOWN},{_ABSENT}"
    with (
        _runtime_classes(site.kubectl),
        scheduler_settings(site.kubectl, JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC=listed),
    ):
        job = jobs.submit("hello")
        job.wait_until_serving()
        with nested_kubectl(site.target, job.number) as inside:
            classes = {item["metadata"]["name"]: item["handler"] for item in inside.get("runtimeclasses")["items"]}
            assert classes == {_SHOWN: _HANDLER}
            inside.run("apply", "--filename=-", stdin=_pod("in-class", runtimeClassName=_SHOWN))
            _await_running(job, inside, "in-class")
            refused = inside.run("apply", "--filename=-", stdin=_pod("hidden", runtimeClassName=_HIDDEN), check=False)
        assert _HIDDEN in refused
        assert "not found" in refused
        assert _host_copy(site, job, "in-class")["spec"]["runtimeClassName"] == _SHOWN


def test_a_gpu_machine_gives_its_gpus_on_nodes_kept_for_them_and_no_more(site: Site, jobs: JobKeeper) -> None:
    """Of the node's two the machine has one: the first pod runs, the second is refused by the job's quota."""
    with _gpu_nodes(site.kubectl):
        job = jobs.submit("hello", machine="kns-gpu")
        job.wait_until_serving()
        quota = site.kubectl.get("resourcequota", "kns-quota", f"--namespace={job.namespace}")
        assert quota["spec"]["hard"][f"requests.{_GPU}"] == "1"
        with nested_kubectl(site.target, job.number) as inside:
            assert inside.get("configmap", "kns-job", _IN)["data"]["KNS_GPUS"] == "1"
            inside.run("apply", "--filename=-", stdin=_pod("first", gpus=1))
            _await_running(job, inside, "first")
            inside.run("apply", "--filename=-", stdin=_pod("second", gpus=1))
            job.wait_for(lambda: _require_refused(inside, "second"), timeout_s=_RUNNING_S, what="the quota's refusal")
        copy = _host_copy(site, job, "first")
        assert copy["spec"]["containers"][0]["resources"]["limits"][_GPU] == "1"
        assert {"key": _GPU, "operator": "Exists", "effect": "NoSchedule"} in copy["spec"]["tolerations"]
        second = host_name("second", "default", job.namespace)
        assert site.kubectl.find("pod", second, f"--namespace={job.namespace}") is None


def test_a_machine_without_gpus_gives_none(site: Site, jobs: JobKeeper) -> None:
    with _gpu_nodes(site.kubectl):
        job = jobs.submit("hello")
        job.wait_until_serving()
        with nested_kubectl(site.target, job.number) as inside:
            inside.run("apply", "--filename=-", stdin=_pod("greedy", gpus=1))
            job.wait_for(lambda: _require_refused(inside, "greedy"), timeout_s=_RUNNING_S, what="the quota's refusal")


def _require_refused(inside: Kubectl, name: str) -> None:
    events = inside.get("events", _IN, f"--field-selector=involvedObject.name={name}")["items"]
    messages = [event.get("message", "") for event in events]
    if not any("exceeded quota: kns-quota" in text and f"requests.{_GPU}=1" in text for text in messages):
        raise NotYetError(str(messages))
