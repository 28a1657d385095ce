"""What a tenant tries from inside, and what comes of it on the host."""

from typing import Any

from demo.kubectl import Kubectl
from kns.model.names import host_name
from tests.e2e.jobs import TrialJob
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

ROOT_VOLUME: dict[str, Any] = {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
_IMAGE = "docker.io/library/busybox:1.35"
_EVENT_S = 60.0


def a_pod(name: str, *, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that no node takes, and so small that no quota stands in the way of what else is tried with it."""
    small = {"cpu": "1m", "memory": "8Mi"}
    resources = {"requests": small, "limits": small}
    main = {"name": "main", "image": _IMAGE, "command": ["sleep", "3600"], "resources": resources, **(container or {})}
    nowhere = {"nodeSelector": {"example.org/no-such-node": "true"}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [main], **nowhere, **spec}}


def await_event(job: TrialJob, inside: Kubectl, name: str, text: str) -> None:
    """Until the tenant is told so, by an event of its own pod."""

    def probe() -> None:
        events = inside.get("events", "--namespace=default", f"--field-selector=involvedObject.name={name}")["items"]
        messages = [event.get("message", "") for event in events]
        if not any(text in message for message in messages):
            raise NotYetError(str(messages))

    job.wait_for(probe, timeout_s=_EVENT_S, what=f"an event of {name}: {text}")


def host_copy(site: Site, job: TrialJob, name: str) -> dict[str, Any]:
    """The pod that the syncer made for the tenant's."""

    def probe() -> dict[str, Any]:
        copy = site.kubectl.find("pod", host_name(name, "default", job.namespace), f"--namespace={job.namespace}")
        if copy is None:
            raise NotYetError("no copy on the host")
        return dict(copy)

    found: dict[str, Any] = job.wait_for(probe, timeout_s=_EVENT_S, what=f"pod {name} on the host")
    return found
