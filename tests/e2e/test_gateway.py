"""
Jobs on a site with a Gateway, through the real controller: host and path form, the listener's certificate, a Gateway
that stops admitting jobs, and the way back to Ingresses.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.certificate import build_tls_secret, make_certificate
from tests.e2e.ingress import find_ingress, get_tls, jobs_domain, require_code, tls_client
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import Settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_NAMESPACE = "kns-e2e-gateway"
_TLS = "e2e-tls"
_ENTRY_POINTS = {"HTTP": 8000, "HTTPS": 8443}  # of the testbed's traefik: the ports of its pod
_JOBS = {"from": "Selector", "selector": {"matchExpressions": [{"key": "kns.io/job", "operator": "Exists"}]}}
_ANSWER_S = 60.0

pytestmark = pytest.mark.alone


@pytest.fixture
def certificate(site: Site) -> Iterator[bytes]:
    """A namespace with a Gateway, whose listeners admit jobs and have this certificate of the jobs domain."""
    if not site.ingress_url or site.kubectl.find("gatewayclass", "traefik") is None:
        pytest.skip("needs the testbed's traefik, with GatewayClass traefik, that is reached by its address")
    domain = jobs_domain(site)
    public, private = make_certificate(domain, f"*.{domain}")
    _apply(site, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    _apply(site, build_tls_secret(_TLS, _NAMESPACE, public, private))
    _apply(site, _a_gateway(_JOBS))
    yield public
    site.kubectl.run("delete", "namespace", _NAMESPACE, timeout_s=90)


def test_a_gateway_serves_jobs_by_host_and_by_path_and_back_to_ingresses(
    site: Site, settings: Settings, jobs: JobKeeper, certificate: bytes
) -> None:
    """
    Without an Ingress, by plain http and with the listener's certificate. A Gateway that admits no job any more is
    named in the record, and the job goes on. With the usual settings the job has an Ingress beside, and keeps its URL.
    """
    settings.use(JARVICE_JOBS_GATEWAY=f"{_NAMESPACE}/public")
    by_host, by_path = jobs.submit("hello"), jobs.submit("prefix")
    for job in (by_host, by_path):
        job.wait_until_serving()
        assert site.kubectl.find("ingress", job.namespace, f"--namespace={job.namespace}") is None
        assert job.page()[0] == 200
        url = urlsplit(job.info()["url"])
        with tls_client(certificate) as client:
            probe = partial(_require_page, client, site, str(url.hostname), url.path)
            job.wait_for(probe, timeout_s=_ANSWER_S, what="the page by the listener with TLS")
    assert urlsplit(by_path.info()["url"]).path == f"/{by_path.number}/"

    _apply(site, _a_gateway({"from": "Same"}))
    by_host.wait_for(lambda: _require_exposed(by_host, "RouteNotAccepted"), timeout_s=_ANSWER_S, what="not admitted")
    assert "admit namespaces with the label kns.io/job" in (by_host.condition("Exposed") or {})["message"]
    _apply(site, _a_gateway(_JOBS))
    by_host.wait_for(lambda: _require_exposed(by_host, "Ok"), timeout_s=_ANSWER_S, what="admitted again")

    before = by_host.info()["url"]
    settings.restore()
    by_host.wait_for(lambda: _require_ingress(site, by_host), timeout_s=_ANSWER_S, what="its Ingress")
    assert by_host.info()["url"] == before
    by_host.wait_for(lambda: require_code(by_host, 200), timeout_s=_ANSWER_S, what="the page through the Ingress")


def _require_page(client: httpx.Client, site: Site, host: str, path: str) -> None:
    if (found := get_tls(client, site, host, path).status_code) != 200:
        raise NotYetError(f"page: {found}")


def _a_gateway(allowed: dict[str, Any]) -> dict[str, Any]:
    tls = {"HTTP": {}, "HTTPS": {"tls": {"certificateRefs": [{"name": _TLS}]}}}
    listeners = [
        {"name": name.lower(), "protocol": name, "port": port, "allowedRoutes": {"namespaces": allowed}, **tls[name]}
        for name, port in _ENTRY_POINTS.items()
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public", "namespace": _NAMESPACE},
        "spec": {"gatewayClassName": "traefik", "listeners": listeners},
    }


def _apply(site: Site, manifest: dict[str, Any]) -> None:
    site.kubectl.run("apply", "--filename=-", stdin=json.dumps(manifest))


def _require_exposed(job: TrialJob, reason: str) -> None:
    found = job.condition("Exposed") or {}
    if found.get("reason") != reason:
        raise NotYetError(f"condition Exposed: {found}")


def _require_ingress(site: Site, job: TrialJob) -> None:
    if site.kubectl.find("ingress", job.namespace, f"--namespace={job.namespace}") is None:
        raise NotYetError("no Ingress")
    assert find_ingress(site, job)["spec"]["rules"]
