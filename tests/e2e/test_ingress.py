"""
Where a job's URL leads to, through the real ingress controller: every form of the address, TLS, annotations, and a
target that comes late, changes and goes.

That websockets pass is shown by `test_shell.py`: its terminal is one.
"""

import base64
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from demo.kubectl import Kubectl
from demo.nested import nested_kubectl
from demo.page import fetch_page
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import CONFIG, scheduler_settings
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_TLS = "e2e-tls"
_ENTRY_POINTS = "traefik.ingress.kubernetes.io/router.entrypoints"
_NOBODY = "404 page not found\n"  # the controller's own words
_HTTPS_PORT = 443
_FOLLOW_S = 90.0  # kns looks once a minute where no pod comes or goes
_AGAIN_S = 30.0  # and every ten seconds while the target is lost
_LIMIT_S = 15


def _domain(site: Site) -> str:
    """The installation's jobs domain, without scheme, port and path."""
    text: str = site.kubectl.get("configmap", CONFIG, "--namespace=kns-system")["data"]["JARVICE_JOBS_DOMAIN"]
    return str(urlsplit(text if "://" in text else f"https://{text}").hostname)


@pytest.fixture(autouse=True)
def _own_controller(site: Site) -> None:
    """The ports and annotations here are those of the testbed's traefik."""
    if not site.ingress_url:
        pytest.skip("needs an ingress controller that is reached by its address (KNS_INGRESS_URL)")


# --- the forms of the address


def test_a_path_of_the_common_host_if_the_appdef_asks(site: Site, jobs: JobKeeper) -> None:
    """Not stripped on the way; a number that merely begins alike leads nowhere; no TLS block, no annotation of ours."""
    job = jobs.submit("prefix")
    job.wait_until_serving()
    url = urlsplit(job.info()["url"])
    assert (url.hostname, url.path) == (_domain(site), f"/{job.number}/")
    code, text = job.page()
    assert (code, "<h1>Prefix</h1>" in text) == (200, True)
    origin = f"{url.scheme}://{url.netloc}"
    for elsewhere in (f"{job.number}0/", ""):
        assert fetch_page(f"{origin}/{elsewhere}", site.ingress_url) == (404, _NOBODY)
    ingress = _ingress(site, job)
    assert "tls" not in ingress["spec"]
    assert list(ingress["metadata"]["annotations"]) == ["kns.io/applied"]
    with _tls_client(None) as client:  # what there is by itself: the controller's own certificate
        assert _get_tls(client, site, str(url.hostname), url.path).status_code == 200


def test_one_setting_moves_new_jobs_below_a_path_and_gives_them_scheme_port_annotations_and_tls(
    site: Site, jobs: JobKeeper
) -> None:
    """
    `http://<domain>:8080/job$`: scheme and port are in the URL only. The annotation is obeyed, the certificate is that
    of the Secret, a target that never appears ends its job. With the former settings back, the job keeps its address,
    and loses certificate and annotation.
    """
    domain = _domain(site)
    certificate, key = _a_certificate(domain)
    settings = {
        "JARVICE_JOBS_DOMAIN": f"http://{domain}:8080/job$",
        "JARVICE_JOBS_INGRESS_ANNOTATIONS": json.dumps({_ENTRY_POINTS: "websecure"}),
        "JARVICE_JOBS_INGRESS_CERT_SECRET_NAME": _TLS,
        "KNS_TARGET_LIMIT": str(_LIMIT_S),
    }
    with scheduler_settings(site.kubectl, **settings):
        job, late = jobs.submit("prefix"), jobs.submit("late")
        job.wait_until_started()
        _put_tls_secret(site, job, certificate, key)
        path = f"/job{job.number}/"
        url = f"http://{domain}:8080/job{job.number}"
        job.wait_for(lambda: _require_url(job, url), timeout_s=150, what="its URL")
        with _tls_client(certificate) as client:
            job.wait_for(
                lambda: _require_page(client, site, domain, path), timeout_s=60, what="the page, by the certificate"
            )
        assert fetch_page(f"{url}/", site.ingress_url) == (404, _NOBODY)  # only the https entry point
        ingress = _ingress(site, job)
        assert ingress["spec"]["tls"] == [{"hosts": [domain], "secretName": _TLS}]
        assert ingress["spec"]["rules"][0]["host"] == domain

        assert late.wait_until_ended() == "COMPLETED WITH ERROR"
        assert late.record()["status"]["reason"] == "TargetNotFound"
        assert late.output()[-1] == (
            f"target Service default/web is not in the virtual cluster, {_LIMIT_S} s after the deployment"
        )

    job.wait_for(lambda: _require_no_tls(site, job), timeout_s=60, what="an Ingress by the former settings")
    assert job.info()["url"] == f"{url}/"
    job.wait_for(lambda: _require_code(job, 200), timeout_s=30, what="the page by plain http")


# --- the target


@pytest.fixture(scope="module")
def late(module_jobs: JobKeeper) -> TrialJob:
    """A job whose target is not there."""
    return module_jobs.submit("late")


@pytest.fixture
def inside(site: Site, late: TrialJob) -> Iterator[Kubectl]:
    late.wait_until_started()
    with nested_kubectl(site.target, late.number) as kubectl:
        yield kubectl


def test_a_target_is_followed_from_its_late_coming_on(site: Site, late: TrialJob, inside: Kubectl) -> None:
    """It comes late, changes its port, goes, comes back as a name of a foreign host, and then as it should be."""
    late.wait_for(lambda: _require_exposed(late, "False", "NoTarget"), timeout_s=150, what="waiting for its target")
    assert site.kubectl.find("ingress", late.namespace, f"--namespace={late.namespace}") is None

    _apply(inside, _a_service(port=8080, target="http"))
    late.wait_until_serving()
    backend = _ingress(site, late)["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "kns-target", "port": {"number": 8080}}

    _apply(inside, _a_service(port=9090, target="http"))  # its only port has another number now
    late.wait_for(lambda: _require_tenants_port(site, late, 9090), timeout_s=_AGAIN_S, what="the copy of the change")
    _apply(inside, _a_service(port=9090, target=8081))  # where nobody listens
    late.wait_for(lambda: _require_our_port(site, late, 8081), timeout_s=_FOLLOW_S, what="the port followed")
    late.wait_for(lambda: _require_code(late, 502), timeout_s=_AGAIN_S, what="nobody at that port")
    _apply(inside, _a_service(port=9090, target=8080))
    late.wait_for(lambda: _require_code(late, 200), timeout_s=_FOLLOW_S, what="the page again")

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


def test_an_ingress_changed_by_hand_is_put_back(site: Site, jobs: JobKeeper) -> None:
    job = jobs.submit("hello")
    job.wait_until_serving()
    before = _ingress(site, job)["spec"]
    patch = [{"op": "replace", "path": "/spec/rules/0/host", "value": "elsewhere.example.org"}]
    name = (job.namespace, f"--namespace={job.namespace}")
    site.kubectl.run("patch", "ingress", *name, "--type=json", f"--patch={json.dumps(patch)}")
    job.wait_for(lambda: _require_spec(site, job, before), timeout_s=20, what="its spec as before")
    site.kubectl.run("delete", "ingress", *name)
    job.wait_for(lambda: _require_spec(site, job, before), timeout_s=20, what="the Ingress again")
    job.wait_for(lambda: _require_code(job, 200), timeout_s=20, what="the page")


def test_an_app_cannot_make_ingresses_of_the_host(site: Site, jobs: JobKeeper) -> None:
    """Its own stay inside, also one that claims another job's host; a Service made after it shows that sync goes on."""
    job, victim = jobs.submit("hello"), jobs.submit("hello")
    for either in (job, victim):
        either.wait_until_serving()
    claimed = [f"kns-job-{victim.number}.{_domain(site)}", f"claimed.{_domain(site)}"]
    with nested_kubectl(site.target, job.number) as inside:
        for number, host in enumerate(claimed):
            backend = {"service": {"name": "web", "port": {"number": 8080}}}
            paths = [{"path": "/claimed", "pathType": "Prefix", "backend": backend}]
            manifest = {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {"name": f"claim-{number}", "namespace": "default"},
                "spec": {"ingressClassName": "traefik", "rules": [{"host": host, "http": {"paths": paths}}]},
            }
            inside.run("apply", "--filename=-", stdin=json.dumps(manifest))
        inside.run("create", "service", "clusterip", "marker", "--tcp=80", "--namespace=default")
        job.wait_for(lambda: _require_copy(site, job, "marker"), timeout_s=_AGAIN_S, what="a later Service's copy")
    found = site.kubectl.get("ingresses", f"--namespace={job.namespace}")["items"]
    assert [ingress["metadata"]["name"] for ingress in found] == [job.namespace]
    everywhere = site.kubectl.get("ingresses", "--all-namespaces")["items"]
    hosts = [rule["host"] for ingress in everywhere for rule in ingress["spec"]["rules"]]
    assert (hosts.count(claimed[0]), hosts.count(claimed[1])) == (1, 0)
    assert fetch_page(f"http://{claimed[1]}/claimed", site.ingress_url) == (404, _NOBODY)


# --- what is looked at


def _ingress(site: Site, job: TrialJob) -> dict[str, Any]:
    found: dict[str, Any] = site.kubectl.get("ingress", job.namespace, f"--namespace={job.namespace}")
    return found


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


def _require_url(job: TrialJob, url: str) -> None:
    """As soon as there is one it is this one."""
    found = job.record()["status"].get("url")
    if found is None:
        raise NotYetError("no URL")
    assert found == url


def _require_code(job: TrialJob, code: int) -> None:
    if (found := job.page()[0]) != code:
        raise NotYetError(f"page: {found}")


def _require_spec(site: Site, job: TrialJob, spec: dict[str, Any]) -> None:
    found = site.kubectl.find("ingress", job.namespace, f"--namespace={job.namespace}")
    if found is None or found["spec"] != spec:
        raise NotYetError(f"Ingress: {found}")


def _require_no_tls(site: Site, job: TrialJob) -> None:
    found = _ingress(site, job)
    if "tls" in found["spec"] or _ENTRY_POINTS in found["metadata"]["annotations"]:
        raise NotYetError(f"Ingress: {found}")


def _require_copy(site: Site, job: TrialJob, service: str) -> dict[str, Any]:
    name = f"{service}-x-default-x-{job.namespace}"
    found: dict[str, Any] | None = site.kubectl.find("service", name, f"--namespace={job.namespace}")
    if found is None:
        raise NotYetError(f"no Service {name}")
    return found


def _require_tenants_port(site: Site, job: TrialJob, port: int) -> None:
    ports = _require_copy(site, job, "web")["spec"]["ports"]
    if [found["port"] for found in ports] != [port]:
        raise NotYetError(f"ports: {ports}")


def _require_our_port(site: Site, job: TrialJob, target: int) -> None:
    (port,) = site.kubectl.get("service", "kns-target", f"--namespace={job.namespace}")["spec"]["ports"]
    assert port["port"] == 8080
    if port["targetPort"] != target:
        raise NotYetError(f"port: {port}")


# --- TLS


def _a_certificate(host: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for the host, and its key; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def _put_tls_secret(site: Site, job: TrialJob, certificate: bytes, key: bytes) -> None:
    """As whatever a site has for that would do it."""
    data = {"tls.crt": certificate, "tls.key": key}
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": _TLS, "namespace": job.namespace},
        "data": {name: base64.b64encode(content).decode() for name, content in data.items()},
    }
    site.kubectl.run("apply", "--filename=-", stdin=json.dumps(manifest))


def _tls_client(certificate: bytes | None) -> httpx.Client:
    """A client that trusts this certificate and no other; without one, any."""
    context = ssl.create_default_context(cadata=certificate.decode() if certificate else None)
    if certificate is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(verify=context, trust_env=False, timeout=20)


def _get_tls(client: httpx.Client, site: Site, host: str, path: str) -> httpx.Response:
    """By https at the ingress controller's address, asking for the host as a browser would (SNI)."""
    place = httpx.URL(site.ingress_url).copy_with(scheme="https", port=_HTTPS_PORT, raw_path=path.encode())
    return client.get(place, headers={"Host": host}, extensions={"sni_hostname": host})


def _require_page(client: httpx.Client, site: Site, host: str, path: str) -> None:
    """The connection stands only if the certificate is the trusted one."""
    answer = _get_tls(client, site, host, path)
    if answer.status_code != 200:
        raise NotYetError(f"page: {answer.status_code} {answer.text[:200]}")
    assert "<h1>Prefix</h1>" in answer.text
