"""The Ingress of a job, compared as a whole, and how its drift is recognised."""

from typing import Any

import pytest

from kns.model.site import (
    IngressSettings,
    JobAddress,
    JobsDomain,
    parse_jobs_domain,
)
from kns.objects.drift import is_as_applied, stamp
from kns.objects.ingress import build_ingress
from tests.builders import a_location
from tests.unit.objects.shared import meta

DOMAIN = JobsDomain("jobs.example.org")
SUBDOMAIN = DOMAIN.address(7)


def an_ingress(address: JobAddress = SUBDOMAIN, **settings: Any) -> dict[str, Any]:
    return build_ingress(
        a_location(),
        address=address,
        service="web-x-default-x-kns-job-7",
        settings=IngressSettings(**settings),
    )


@pytest.mark.proves(
    "objects",
    "Namespace, virtual cluster and Ingress of a job share one name; labels and annotation are fixed",
)
@pytest.mark.proves(
    "objects",
    "The path is not stripped; issuers use `tls-<host>`; the administrator's annotations win; kns makes no "
    "certificate; without a class or a certificate in the settings, the Ingress has none",
)
@pytest.mark.proves(
    "appdef",
    "AppDef versions from 2 on are accepted; so are the old spelling of `nested_kubernetes` (but not both), flags"
    " as strings, full Kubernetes versions, and a URL below a path",
)
@pytest.mark.parametrize(
    ("address", "host", "path"),
    [
        (SUBDOMAIN, "kns-job-7.jobs.example.org", "/"),
        (DOMAIN.address(7, prefix=True), "jobs.example.org", "/7"),
        (JobsDomain("jobs.example.org", path="/job$").address(7), "jobs.example.org", "/job7"),
        (JobsDomain("jobs.example.org", "http", 8080).address(7), "kns-job-7.jobs.example.org", "/"),
    ],
)
def test_ingress_forms(address: JobAddress, host: str, path: str) -> None:
    """Contract E.6. Without settings there is no class, annotation or TLS block, so the controller's defaults apply."""
    backend = {"service": {"name": "web-x-default-x-kns-job-7", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}
    assert an_ingress(address) == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta("kns-job-7"),
        "spec": {"rules": [rule]},
    }


@pytest.mark.proves(
    "objects",
    "The path is not stripped; issuers use `tls-<host>`; the administrator's annotations win; kns makes no "
    "certificate; without a class or a certificate in the settings, the Ingress has none",
)
@pytest.mark.parametrize(
    ("settings", "annotations", "tls"),
    [
        ({"ingress_class": "traefik"}, {}, None),
        ({"ingress_class": "my-nginx"}, {"nginx.org/websocket-services": "web-x-default-x-kns-job-7"}, None),
        ({"cert_secret": "tls-jarvice", "cert_issuer": "ca"}, {}, "tls-jarvice"),
        (
            {"cert_issuer": "ca", "cert_cluster_issuer": "big"},
            {"cert-manager.io/issuer": "ca"},
            f"tls-{SUBDOMAIN.host}",
        ),
        ({"cert_cluster_issuer": "big"}, {"cert-manager.io/cluster-issuer": "big"}, f"tls-{SUBDOMAIN.host}"),
        (
            {"cert_issuer": "ca", "annotations": {"cert-manager.io/issuer": "other", "a": "b"}},
            {"cert-manager.io/issuer": "other", "a": "b"},
            f"tls-{SUBDOMAIN.host}",
        ),
    ],
)
def test_ingress_settings(settings: dict[str, Any], annotations: dict[str, str], tls: str | None) -> None:
    """The first certificate setting applies; the administrator's annotations override all others."""
    ingress = an_ingress(**settings)
    assert ingress["metadata"].get("annotations", {}) == annotations
    assert ingress["spec"].get("tls") == ([{"hosts": [SUBDOMAIN.host], "secretName": tls}] if tls else None)
    assert ingress["spec"].get("ingressClassName") == settings.get("ingress_class")


DOMAINS = ("jobs.example.org", "jobs.example.org/job$", "http://jobs.example.org:8080/$/app", "jobs.example.org/1$")


@pytest.mark.parametrize("text", DOMAINS)
def test_no_two_jobs_claim_the_same_host_or_path(text: str) -> None:
    """Under one jobs domain, for any AppDefs. No job's path is below another job's on the same host, either."""
    domain = parse_jobs_domain(text)
    claims: dict[tuple[str, str], int] = {}
    for number in range(1, 1200):
        for prefix in (False, True):
            address = domain.address(number, prefix=prefix)
            assert claims.setdefault((address.host, address.path), number) == number
    for (host, path), number in claims.items():
        above = [path.rsplit("/", depth)[0] or "/" for depth in range(1, path.count("/") + 1)]
        assert {claims.get((host, one), number) for one in above} <= {number}


def test_the_stamp_tells_what_was_dropped_and_lets_others_add() -> None:
    """A key that kns no longer wants looks like an addition by others; the digest shows the difference."""
    ingress = stamp(an_ingress(cert_secret="tls", annotations={"a": "b"}))
    assert is_as_applied(ingress, ingress)
    assert is_as_applied({**ingress, "status": {}, "spec": {**ingress["spec"], "ingressClassName": "x"}}, ingress)
    assert not is_as_applied(ingress, stamp(an_ingress(annotations={"a": "b"})))
    assert not is_as_applied(ingress, stamp(an_ingress(cert_secret="tls")))
    assert not is_as_applied(None, ingress)
    listed = {key: value for key, value in ingress.items() if key not in ("kind", "apiVersion")}
    assert is_as_applied(listed, ingress)
