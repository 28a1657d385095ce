"""What a tenant does inside a job's cluster, and what of it appears on the host."""

from collections.abc import Mapping
from typing import Any

from demo.kubectl import Kubectl
from kns.model.names import host_name
from tests.e2e.jobs import TrialJob
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

ROOT_VOLUME: dict[str, Any] = {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
_IMAGE = "docker.io/library/busybox:1.35"
_SOON_S = 60.0


def a_pod(name: str, *, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that no node takes, and so small that no quota refuses it before whatever else is tried with it."""
    small = {"cpu": "1m", "memory": "8Mi"}
    resources = {"requests": small, "limits": small}
    main = {"name": "main", "image": _IMAGE, "command": ["sleep", "3600"], "resources": resources, **(container or {})}
    nowhere = {"nodeSelector": {"example.org/no-such-node": "true"}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [main], **nowhere, **spec}}


def small_pod(name: str, *, resources: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that runs. `resources` are more limits, beside those of cores and memory."""
    small = {"cpu": "50m", "memory": "32Mi"}
    limits = {"requests": small, "limits": {**small, **(resources or {})}}
    return a_pod(
        name, container={"resources": limits}, **{"nodeSelector": {}, "terminationGracePeriodSeconds": 1, **spec}
    )


def await_running(job: TrialJob, inside: Kubectl, name: str) -> None:
    """Wait until the tenant's pod runs."""

    def probe() -> None:
        status = inside.get("pod", name, "--namespace=default")["status"]
        if status.get("phase") != "Running":
            raise NotYetError(str(status))

    job.wait_for(probe, timeout_s=_SOON_S, what=f"pod {name} running")


def await_event(job: TrialJob, kubectl: Kubectl, name: str, *texts: str, namespace: str = "default") -> None:
    """Wait for an event of the object with all the texts in its message: by then something has judged the object."""

    def probe() -> None:
        selector = f"--field-selector=involvedObject.name={name}"
        events = kubectl.get("events", f"--namespace={namespace}", selector)["items"]
        messages = [event.get("message", "") for event in events]
        if not any(all(text in message for text in texts) for message in messages):
            raise NotYetError(str(messages))

    job.wait_for(probe, timeout_s=_SOON_S, what=f"an event of {name}: {', '.join(texts)}")


def host_copy(site: Site, job: TrialJob, name: str) -> dict[str, Any]:
    """Wait for the pod that the syncer makes on the host for the tenant's, and return it."""

    def probe() -> dict[str, Any]:
        copy = site.kubectl.find("pod", host_name(name, "default", job.namespace), f"--namespace={job.namespace}")
        if copy is None:
            raise NotYetError("no copy on the host")
        return dict(copy)

    found: dict[str, Any] = job.wait_for(probe, timeout_s=_SOON_S, what=f"pod {name} on the host")
    return found
