"""What bounds a job's pods: the LimitRange of its AppDef, and its machine as a quota."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.kubectl import Kubectl
from kns.model.names import RETRIED_ANNOTATION, host_name
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.quota import await_used_up
from tests.e2e.site import Site
from tests.e2e.tenant import a_pod, await_event, host_copy
from tests.e2e.waiting import NotYetError, hold_for

_GONE_S = 60.0
_LOOK_S = 8.0  # kns must have looked at the full quota, or it does not see that room appears
_ROOM_S = 60.0  # the host counts the use of a quota anew within seconds, and kns looks at it within five more
_TENANTS = "vcluster.loft.sh/namespace=default"


@pytest.fixture(scope="module")
def limited(module_jobs: JobKeeper) -> TrialJob:
    """A job whose AppDef has a LimitRange of its own."""
    job = module_jobs.submit("limits")
    job.wait_until_serving()
    return job


@pytest.fixture
def inside(site: Site, limited: TrialJob) -> Iterator[Kubectl]:
    with nested_kubectl(site.target, limited.number) as kubectl:
        yield kubectl


def _whole(cpu: str, memory: str) -> dict[str, Any]:
    """Resources of a container: the requests are the limits."""
    amounts = {"cpu": cpu, "memory": memory}
    return {"resources": {"requests": amounts, "limits": amounts}}


def _apply(inside: Kubectl, name: str, container: dict[str, Any]) -> None:
    """A pod that no node takes, so it costs the machine nothing; a quota counts it from the moment it exists."""
    inside.run("apply", "--filename=-", stdin=json.dumps(a_pod(name, container=container)))


@pytest.mark.proves(
    "appdef",
    "`limit_range` of the AppDef replaces the site's; one that keeps out kns's own pods is refused",
)
def test_the_appdefs_limit_range_replaces_the_sites(limited: TrialJob) -> None:
    """The web pod of examples/limits names no resources; its AppDef does."""
    pods = limited.pods(selector=_TENANTS)
    assert len(pods) == 1
    assert pods[0]["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "300m", "memory": "96Mi", "ephemeral-storage": str(4 * 2**30)},
        "requests": {"cpu": "30m", "memory": "48Mi", "ephemeral-storage": str(64 * 2**20)},
    }


@pytest.mark.proves("security", "take more than the machine")
@pytest.mark.proves("security", "a LimitRange that raises its limits")
@pytest.mark.proves("objects", "The quota is the machine plus kns's own pods, without load balancers and node ports")
def test_a_tenant_gets_the_whole_machine_and_no_more(site: Site, limited: TrialJob, inside: Kubectl) -> None:
    """
    Two pods that together ask for exactly the machine are admitted on the host. The next one stays Pending inside, and
    an event there says that the quota is full. It starts when one of the others ends.
    """
    inside.run("scale", "deployment/web", "--namespace=default", "--replicas=0")
    host = (f"--namespace={limited.namespace}", f"--selector={_TENANTS}")
    site.kubectl.run(
        "delete", "pods", *host, "--grace-period=0", "--force", "--ignore-not-found"
    )  # it would take its 30 s of grace
    limited.wait_for(lambda: _require_no_pods(limited), timeout_s=_GONE_S, what="no pod of the app, so an unused quota")
    machine = limited.record()["spec"]["accepted"]["machine"]
    cores, memory = machine["mc_cores"], machine["mc_ram"]
    half = _whole(f"{cores * 500}m", f"{memory * 512}Mi")
    for name in ("half-1", "half-2"):
        _apply(inside, name, half)
    for name in ("half-1", "half-2"):
        host_copy(site, limited, name)
    await_used_up(site, limited, "requests.cpu", but="99m")

    _apply(inside, "too-much", _whole("100m", "128Mi"))
    await_event(limited, inside, "too-much", "exceeded quota: kns-quota", "requests.cpu=100m")
    copy = host_name("too-much", "default", limited.namespace)

    def still_refused() -> None:
        assert inside.get("pod", "too-much", "--namespace=default")["status"]["phase"] == "Pending"
        assert site.kubectl.find("pod", copy, f"--namespace={limited.namespace}") is None

    hold_for(_LOOK_S, still_refused)
    inside.run("delete", "pod", "half-1", "--namespace=default", "--grace-period=0", "--force")
    limited.wait_for(lambda: _require_retried(inside, "too-much"), timeout_s=_ROOM_S, what="a retry of the pod")
    host_copy(site, limited, "too-much")


def _require_retried(inside: Kubectl, name: str) -> None:
    """kns has woken the syncer for the pod, whatever delay that had reached."""
    meta = inside.get("pod", name, "--namespace=default")["metadata"]
    if RETRIED_ANNOTATION not in meta.get("annotations", {}):
        raise NotYetError(str(meta))


def _require_no_pods(job: TrialJob) -> None:
    if pods := job.pods(selector=_TENANTS):
        raise NotYetError(f"{len(pods)} pods")
