"""
Where a job's URL leads, through the real ingress controller: below a path, and to a target that appears late, changes
and disappears.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo.kubectl import Kubectl
from demo.page import fetch_page
from tests.e2e.ingress import NOBODY, find_ingress, get_tls, jobs_domain, require_code, require_copy, tls_client
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

pytestmark = pytest.mark.proves(
    "main",
    "Ingress: every form of address, TLS by Secret, annotations; a target that is late, changes, disappears or "
    "leads elsewhere",
)

_FOLLOW_S = 90.0  # kns looks once a minute where no pod comes or goes
_AGAIN_S = 30.0  # and every ten seconds while the target is lost


@pytest.fixture(autouse=True)
def _own_controller(site: Site) -> None:
    """The answers of the testbed's traefik are expected."""
    if not site.ingress_url:
        pytest.skip("needs an ingress controller that is reached by its address (KNS_INGRESS_URL)")


@pytest.fixture(scope="module")
def late(module_jobs: JobKeeper) -> TrialJob:
    """A job whose target does not exist."""
    return module_jobs.submit("late")


def test_a_path_of_the_common_host_if_the_appdef_asks(site: Site, late: TrialJob, jobs: JobKeeper) -> None:
    """
    The path is not stripped; another job's number with the same beginning leads nowhere; there is no TLS block and no
    annotation of ours. (The other job spawns meanwhile.)
    """
    job = jobs.submit("prefix")
    job.wait_until_serving()
    url = urlsplit(job.info()["url"])
    assert (url.hostname, url.path) == (jobs_domain(site), f"/{job.number}/")
    code, text = job.page()
    assert (code, "<h1>Prefix</h1>" in text) == (200, True)
    origin = f"{url.scheme}://{url.netloc}"
    for elsewhere in (f"{job.number}0/", ""):
        assert fetch_page(f"{origin}/{elsewhere}", site.ingress_url) == (404, NOBODY)
    ingress = find_ingress(site, job)
    assert "tls" not in ingress["spec"]
    assert list(ingress["metadata"]["annotations"]) == ["kns.io/applied"]
    with tls_client(None) as client:  # the controller serves https anyway, with a certificate of its own
        assert get_tls(client, site, str(url.hostname), url.path).status_code == 200


@pytest.fixture
def inside(site: Site, late: TrialJob) -> Iterator[Kubectl]:
    late.wait_until_started()
    with nested_kubectl(site.target, late.number) as kubectl:
        yield kubectl


def test_a_target_that_appears_late_is_followed(site: Site, late: TrialJob, inside: Kubectl) -> None:
    """It appears late, changes its port, disappears, comes back as the name of a foreign host, and then as it was."""
    late.wait_for(lambda: _require_exposed(late, "False", "NoTarget"), timeout_s=150, what="waiting for its target")
    # Made ahead, so that the controller has loaded it when the target comes. Until then it leads to no pod.
    assert find_ingress(site, late)
    ours = site.kubectl.get("service", "kns-target", f"--namespace={late.namespace}")
    assert not ours["spec"].get("selector")

    _apply(inside, _a_service(port=8080, target="http"))
    late.wait_until_serving()
    backend = find_ingress(site, late)["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "kns-target", "port": {"number": 80}}

    _apply(inside, _a_service(port=9090, target="http"))  # its only port has another number now
    late.wait_for(lambda: _require_tenants_port(site, late, 9090), timeout_s=_AGAIN_S, what="the copy of the change")
    _apply(inside, _a_service(port=9090, target=8081))  # where nobody listens
    late.wait_for(lambda: _require_our_port(site, late, 8081), timeout_s=_FOLLOW_S, what="the port followed")
    late.wait_for(lambda: require_code(late, 502), timeout_s=_AGAIN_S, what="nobody at that port")
    _apply(inside, _a_service(port=9090, target=8080))
    late.wait_for(lambda: require_code(late, 200), timeout_s=_FOLLOW_S, what="the page again")

    inside.run("delete", "service", "web", "--namespace=default")
    late.wait_for(lambda: _require_exposed(late, "False", "TargetGone"), timeout_s=_FOLLOW_S, what="gone")
    assert late.status()["job_status"] == "PROCESSING STARTING"
    assert late.page()[0] == 200

    _apply(inside, {"type": "ExternalName", "externalName": "example.org", "ports": [{"port": 8080}]})
    late.wait_for(lambda: _require_exposed(late, "False", "TargetUnfit"), timeout_s=_AGAIN_S, what="unfit")
    assert "<h1>Late</h1>" in late.page()[1]

    inside.run("delete", "service", "web", "--namespace=default")
    _apply(inside, _a_service(port=8080, target="http"))
    late.wait_for(lambda: _require_exposed(late, "True", "Ok"), timeout_s=_FOLLOW_S, what="back")
    assert late.page()[0] == 200


def _a_service(*, port: int, target: int | str) -> dict[str, Any]:
    return {"selector": {"app": "web"}, "ports": [{"port": port, "targetPort": target}]}


def _apply(inside: Kubectl, spec: dict[str, Any]) -> None:
    """The target, as its author would make or change it."""
    meta = {"name": "web", "namespace": "default"}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    inside.run("apply", "--filename=-", stdin=json.dumps(manifest))


def _require_exposed(job: TrialJob, status: str, reason: str) -> None:
    found = job.condition("Exposed") or {}
    if (found.get("status"), found.get("reason")) != (status, reason):
        raise NotYetError(f"condition Exposed: {found}")


def _require_tenants_port(site: Site, job: TrialJob, port: int) -> None:
    ports = require_copy(site, job, "web")["spec"]["ports"]
    if [found["port"] for found in ports] != [port]:
        raise NotYetError(f"ports: {ports}")


def _require_our_port(site: Site, job: TrialJob, target: int) -> None:
    (port,) = site.kubectl.get("service", "kns-target", f"--namespace={job.namespace}")["spec"]["ports"]
    assert port["port"] == 80
    if port["targetPort"] != target:
        raise NotYetError(f"port: {port}")
