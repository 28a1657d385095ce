"""A job's Ingress and what it leads to, as the host has them."""

import ssl
from typing import Any
from urllib.parse import urlsplit

import httpx

from demo.overlay import NAMESPACE
from tests.e2e.jobs import TrialJob
from tests.e2e.scheduler import CONFIG
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError

NOBODY = "404 page not found\n"
"""The body of traefik's answer for a host or path that no Ingress claims."""


def jobs_domain(site: Site) -> str:
    """The installation's jobs domain, without scheme, port and path."""
    text: str = site.kubectl.get("configmap", CONFIG, f"--namespace={NAMESPACE}")["data"]["JARVICE_JOBS_DOMAIN"]
    return str(urlsplit(text if "://" in text else f"https://{text}").hostname)


def find_ingress(site: Site, job: TrialJob) -> dict[str, Any]:
    """The job's own Ingress."""
    found: dict[str, Any] = site.kubectl.get("ingress", job.namespace, f"--namespace={job.namespace}")
    return found


def require_code(job: TrialJob, code: int) -> None:
    """
    Raises:
        NotYetError: the job's page answers with another status.
    """
    if (found := job.page()[0]) != code:
        raise NotYetError(f"page: {found}")


def require_copy(site: Site, job: TrialJob, service: str) -> dict[str, Any]:
    """
    The copy on the host of a Service in the job's namespace `default`.

    Raises:
        NotYetError: there is none yet.
    """
    name = f"{service}-x-default-x-{job.namespace}"
    found: dict[str, Any] | None = site.kubectl.find("service", name, f"--namespace={job.namespace}")
    if found is None:
        raise NotYetError(f"no Service {name}")
    return found


def tls_client(certificate: bytes | None) -> httpx.Client:
    """A client that trusts this certificate and no other; without one, any."""
    context = ssl.create_default_context(cadata=certificate.decode() if certificate else None)
    if certificate is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(verify=context, trust_env=False, timeout=20 * PATIENCE)


def get_tls(client: httpx.Client, site: Site, host: str, path: str) -> httpx.Response:
    """By https at the ingress controller's address, asking for the host as a browser would (SNI)."""
    place = httpx.URL(site.ingress_url).copy_with(scheme="https", port=443, raw_path=path.encode())
    return client.get(place, headers={"Host": host}, extensions={"sni_hostname": host})
