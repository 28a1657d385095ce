"""What bounds a job's pods: the LimitRange of the site or of the AppDef, and the machine as a quota."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.kubectl import Kubectl
from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from kns.model.names import host_name
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import CONFIG
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_IMAGE = "docker.io/library/busybox:1.35"
_DEFAULT = {"default": {"cpu": 1, "memory": "1Gi"}, "default_request": {"cpu": "200m", "memory": "256Mi"}}
_EVENT_S = 60.0
_TENANTS = "vcluster.loft.sh/namespace=default"


@pytest.fixture(scope="module")
def plain(module_jobs: JobKeeper) -> TrialJob:
    """A job under the site's LimitRange; started together with the other."""
    return module_jobs.submit("hello")


@pytest.fixture(scope="module")
def limited(module_jobs: JobKeeper, plain: TrialJob) -> TrialJob:
    """A job whose AppDef has a LimitRange of its own."""
    job = module_jobs.submit("limits")
    for either in (plain, job):
        either.wait_until_serving()
    return job


@pytest.fixture
def inside(site: Site, limited: TrialJob) -> Iterator[Kubectl]:
    with nested_kubectl(site.target, limited.number) as kubectl:
        yield kubectl


def _a_pod(name: str, resources: dict[str, Any] | None = None) -> dict[str, Any]:
    """A pod that no node takes, so it costs the machine nothing; it counts in a quota from the moment it exists."""
    container = {"name": "main", "image": _IMAGE, "command": ["sleep", "3600"], "resources": resources or {}}
    spec = {"containers": [container], "nodeSelector": {"example.org/no-such-node": "true"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _whole(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def _host_pod(site: Site, job: TrialJob, name: str) -> dict[str, Any]:
    """The copy on the host of a pod inside."""

    def probe() -> dict[str, Any]:
        copy = host_name(name, "default", job.namespace)
        found: dict[str, Any] | None = site.kubectl.find("pod", copy, f"--namespace={job.namespace}")
        if found is None:
            raise NotYetError(f"no pod {copy} on the host")
        return found

    found: dict[str, Any] = job.wait_for(probe, timeout_s=_EVENT_S, what=f"pod {name} on the host")
    return found


def _site_default(site: Site) -> dict[str, Any]:
    """The LimitRange that the installation is configured with."""
    config = site.kubectl.get("configmap", CONFIG, f"--namespace={NAMESPACE}").get("data", {})
    encoded = config.get("JARVICE_KNS_DEFAULT_LIMIT_RANGE")
    return dict(json.loads(base64.b64decode(encoded))) if encoded else _DEFAULT


def test_a_pod_without_resources_gets_the_sites(site: Site, plain: TrialJob, limited: TrialJob) -> None:
    """By default one core and 1Gi, requested 200m and 256Mi: so says the pod on the host."""
    with nested_kubectl(site.target, plain.number) as inside:
        inside.run("apply", "--filename=-", stdin=json.dumps(_a_pod("bare")))
    resources = _host_pod(site, plain, "bare")["spec"]["containers"][0]["resources"]
    expected = _site_default(site)
    assert resources["limits"] == {key: str(value) for key, value in expected["default"].items()}
    assert resources["requests"] == {key: str(value) for key, value in expected["default_request"].items()}


def test_the_appdefs_limit_range_takes_its_place(limited: TrialJob) -> None:
    """The web pod of examples/limits says nothing about resources, its AppDef does."""
    pods = limited.pods(selector=_TENANTS)
    assert len(pods) == 1
    assert pods[0]["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "300m", "memory": "96Mi"},
        "requests": {"cpu": "30m", "memory": "48Mi"},
    }


def test_a_tenant_gets_the_whole_machine_and_no_more(
    site: Site, portal_machine: dict[str, Any], limited: TrialJob, inside: Kubectl
) -> None:
    """
    Two pods that together ask for exactly the machine are admitted on the host; the next one stays Pending inside,
    and an event there says that the quota is full.
    """
    inside.run("scale", "deployment/web", "--namespace=default", "--replicas=0")
    host = (f"--namespace={limited.namespace}", f"--selector={_TENANTS}")
    site.kubectl.run("delete", "pods", *host, "--grace-period=0", "--force")  # it would take its 30 s of grace
    limited.wait_for(
        lambda: _require_no_pods(limited), timeout_s=_EVENT_S, what="no pod of the app's own, so that all is left"
    )
    cores, memory = portal_machine["mc_cores"], portal_machine["mc_ram"]
    half = _whole(f"{cores * 500}m", f"{memory * 512}Mi")
    for name in ("half-1", "half-2"):
        inside.run("apply", "--filename=-", stdin=json.dumps(_a_pod(name, half)))
    for name in ("half-1", "half-2"):
        _host_pod(site, limited, name)

    inside.run("apply", "--filename=-", stdin=json.dumps(_a_pod("too-much", _whole("100m", "128Mi"))))

    def refused() -> str:
        events = inside.get("events", "--namespace=default", "--field-selector=involvedObject.name=too-much")["items"]
        told = [event["message"] for event in events if "exceeded quota" in event["message"]]
        if not told:
            raise NotYetError(f"events: {[event['message'] for event in events]}")
        return str(told[0])

    message = limited.wait_for(refused, timeout_s=_EVENT_S, what="an event about the quota")
    assert "exceeded quota: kns-quota" in message
    assert "requests.cpu=100m" in message
    assert inside.get("pod", "too-much", "--namespace=default")["status"]["phase"] == "Pending"
    copy = host_name("too-much", "default", limited.namespace)
    assert site.kubectl.find("pod", copy, f"--namespace={limited.namespace}") is None


def _require_no_pods(job: TrialJob) -> None:
    if pods := job.pods(selector=_TENANTS):
        raise NotYetError(f"{len(pods)} pods")


@pytest.fixture
def portal_machine(site: Site, limited: TrialJob) -> dict[str, Any]:
    """The job's machine, as it was when the job was accepted."""
    machine: dict[str, Any] = limited.record()["spec"]["accepted"]["machine"]
    return machine
