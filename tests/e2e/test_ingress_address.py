"""
Settings for the address of jobs' pages, through the real ingress controller: path, scheme, port, annotations and TLS.

`test_shell.py` shows that websockets pass: its terminal uses one.
"""

import json

import httpx
import pytest

from demo.page import fetch_page
from tests.e2e.certificate import build_tls_secret, make_certificate
from tests.e2e.ingress import NOBODY, find_ingress, get_tls, jobs_domain, require_code, tls_client
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import Settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_TLS = "e2e-tls"
_ENTRY_POINTS = "traefik.ingress.kubernetes.io/router.entrypoints"
_LIMIT_S = 30  # within which, on a busy machine, the other job's target is there

pytestmark = [
    pytest.mark.alone,
    pytest.mark.proves(
        "main",
        "Ingress: every form of address, TLS by Secret, annotations; a target that is late, changes, disappears or "
        "leads elsewhere",
    ),
]


@pytest.fixture(autouse=True)
def _own_controller(site: Site) -> None:
    """The ports and annotations here are those of the testbed's traefik."""
    if not site.ingress_url:
        pytest.skip("needs an ingress controller that is reached by its address (KNS_INGRESS_URL)")


def test_one_setting_moves_new_jobs_below_a_path_and_gives_them_scheme_port_annotations_and_tls(
    site: Site, settings: Settings, jobs: JobKeeper
) -> None:
    """
    `http://<domain>:8080/job$`: scheme and port appear only in the URL. The controller obeys the annotation and uses
    the certificate of the Secret. A target that never appears ends its job. When the usual settings are back, the job
    keeps its address and loses certificate and annotation.
    """
    domain = jobs_domain(site)
    certificate, key = make_certificate(domain)
    variables = {
        "JARVICE_JOBS_DOMAIN": f"http://{domain}:8080/job$",
        "JARVICE_JOBS_INGRESS_ANNOTATIONS": json.dumps({_ENTRY_POINTS: "websecure"}),
        "JARVICE_JOBS_INGRESS_CERT_SECRET_NAME": _TLS,
        "KNS_TARGET_LIMIT": str(_LIMIT_S),
    }
    settings.use(**variables)
    job, late = jobs.submit("prefix"), jobs.submit("late")
    job.wait_until_started()
    secret = build_tls_secret(_TLS, job.namespace, certificate, key)
    site.kubectl.run("apply", "--filename=-", stdin=json.dumps(secret))
    path = f"/job{job.number}/"
    url = f"http://{domain}:8080/job{job.number}"
    job.wait_for(lambda: _require_url(job, url), timeout_s=150, what="its URL")
    with tls_client(certificate) as client:
        job.wait_for(
            lambda: _require_page(client, site, domain, path), timeout_s=60, what="the page, with the certificate"
        )
    assert fetch_page(f"{url}/", site.ingress_url) == (404, NOBODY)  # only the https entry point
    ingress = find_ingress(site, job)
    assert ingress["spec"]["tls"] == [{"hosts": [domain], "secretName": _TLS}]
    assert ingress["spec"]["rules"][0]["host"] == domain

    assert late.wait_until_ended() == "COMPLETED WITH ERROR"
    assert late.record()["status"]["reason"] == "TargetNotFound"
    assert late.output()[-1] == (
        f"target Service default/web is not in the virtual cluster, {_LIMIT_S} s after the deployment"
    )

    settings.restore()
    job.wait_for(lambda: _require_no_tls(site, job), timeout_s=60, what="an Ingress by the usual settings")
    assert job.info()["url"] == f"{url}/"
    job.wait_for(lambda: require_code(job, 200), timeout_s=30, what="the page by plain http")


def _require_url(job: TrialJob, url: str) -> None:
    """As soon as there is one it is this one."""
    found = job.record()["status"].get("url")
    if found is None:
        raise NotYetError("no URL")
    assert found == url


def _require_no_tls(site: Site, job: TrialJob) -> None:
    found = find_ingress(site, job)
    if "tls" in found["spec"] or _ENTRY_POINTS in found["metadata"]["annotations"]:
        raise NotYetError(f"Ingress: {found}")


def _require_page(client: httpx.Client, site: Site, host: str, path: str) -> None:
    """The connection stands only if the certificate is the trusted one."""
    answer = get_tls(client, site, host, path)
    if answer.status_code != 200:
        raise NotYetError(f"page: {answer.status_code} {answer.text[:200]}")
    assert "<h1>Prefix</h1>" in answer.text
