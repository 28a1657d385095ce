"""
One serving job of the smallest app, seen from all sides: what bounds its pods, what belongs to its Ingress, what the
host measures of it, and the sums that stay when it has ended.
"""

import base64
import json
import re
from typing import Any

import pytest

from demo.overlay import NAMESPACE
from demo.page import fetch_page
from tests.e2e.ingress import NOBODY, find_ingress, jobs_domain, require_code, require_copy
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.portal import Portal
from tests.e2e.scheduler import CONFIG
from tests.e2e.shell import check_none
from tests.e2e.site import Site
from tests.e2e.tenant import a_pod, host_copy
from tests.e2e.waiting import NotYetError

_DEFAULT = {"default": {"cpu": 1, "memory": "1Gi"}, "default_request": {"cpu": "200m", "memory": "256Mi"}}
_BACK_S = 20.0
_MEASURED_S = 150.0  # metrics-server measures a pod after some 30 s, and kns may remember an answer for 15
_COUNTED_S = 150.0  # kns counts what is requested once a minute, unless the site says otherwise
_SMALL_KIB = 4 * 1024 * 1024  # memory of machine kns-small
_EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (Normal|Warning) \w+ \w+/[\w.-]+: .*")


@pytest.fixture(scope="module")
def job(module_jobs: JobKeeper) -> TrialJob:
    job = module_jobs.submit("hello")
    job.wait_until_serving()
    return job


def test_a_pod_without_resources_gets_the_sites(site: Site, job: TrialJob) -> None:
    """The pod on the host has the site's LimitRange; by default one core and 1Gi, with requests of 200m and 256Mi."""
    with nested_kubectl(site.target, job.number) as inside:
        inside.run("apply", "--filename=-", stdin=json.dumps(a_pod("bare", container={"resources": {}})))
    resources = host_copy(site, job, "bare")["spec"]["containers"][0]["resources"]
    for part, default in (("limits", "default"), ("requests", "default_request")):
        expected = {key: str(value) for key, value in _site_default(site)[default].items()}
        # kns adds a share of ephemeral storage: tests/e2e/test_limits.py.
        assert resources[part] == expected | {"ephemeral-storage": resources[part]["ephemeral-storage"]}


def test_a_program_inside_can_verify_tokens_by_oidc(site: Site, job: TrialJob) -> None:
    """Discovery leads to the keys at a name that resolves inside."""
    with nested_kubectl(site.target, job.number) as inside:
        found = json.loads(inside.run("get", "--raw=/.well-known/openid-configuration"))
        keys = json.loads(inside.run("get", "--raw=/openid/v1/jwks"))["keys"]
    assert found["jwks_uri"] == "https://kubernetes.default.svc.cluster.local/openid/v1/jwks"
    assert found["issuer"] in found["jwks_uri"]
    assert keys


def _site_default(site: Site) -> dict[str, Any]:
    """The LimitRange that the installation is configured with."""
    config = site.kubectl.get("configmap", CONFIG, f"--namespace={NAMESPACE}").get("data", {})
    encoded = config.get("JARVICE_KNS_DEFAULT_LIMIT_RANGE")
    return dict(json.loads(base64.b64decode(encoded))) if encoded else _DEFAULT


def test_an_app_that_does_not_ask_for_a_shell_has_none(site: Site, job: TrialJob) -> None:
    """The site allows shells."""
    check_none(site, job)
    assert job.condition("ShellReady") is None
    assert not [line for line in job.tail() if "shell" in line]


def test_an_ingress_changed_by_hand_is_restored(site: Site, job: TrialJob) -> None:
    before = find_ingress(site, job)["spec"]
    patch = [{"op": "replace", "path": "/spec/rules/0/host", "value": "elsewhere.example.org"}]
    name = (job.namespace, f"--namespace={job.namespace}")
    site.kubectl.run("patch", "ingress", *name, "--type=json", f"--patch={json.dumps(patch)}")
    job.wait_for(lambda: _require_spec(site, job, before), timeout_s=_BACK_S, what="its spec as before")
    site.kubectl.run("delete", "ingress", *name)
    job.wait_for(lambda: _require_spec(site, job, before), timeout_s=_BACK_S, what="the Ingress again")
    job.wait_for(lambda: require_code(job, 200), timeout_s=_BACK_S, what="the page")


def _require_spec(site: Site, job: TrialJob, spec: dict[str, Any]) -> None:
    found = site.kubectl.find("ingress", job.namespace, f"--namespace={job.namespace}")
    if found is None or found["spec"] != spec:
        raise NotYetError(f"Ingress: {found}")


@pytest.mark.proves("security", "an Ingress of its own")
def test_an_app_cannot_make_ingresses_of_the_host(site: Site, job: TrialJob, jobs: JobKeeper) -> None:
    """
    Its Ingresses stay inside, also one that claims the host of another job. A Service that is made after them reaches
    the host, so the syncer has seen them.
    """
    if not site.ingress_url:
        pytest.skip("needs an ingress controller that is reached by its address (KNS_INGRESS_URL)")
    victim = jobs.submit("hello", machine="kns-nowhere")  # its name is enough
    claimed = [f"kns-job-{victim.number}.{jobs_domain(site)}", f"claimed.{jobs_domain(site)}"]
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
        job.wait_for(lambda: require_copy(site, job, "marker"), timeout_s=30, what="a later Service's copy")
    found = site.kubectl.get("ingresses", f"--namespace={job.namespace}")["items"]
    assert [ingress["metadata"]["name"] for ingress in found] == [job.namespace]
    everywhere = site.kubectl.get("ingresses", "--all-namespaces")["items"]
    others = [ingress for ingress in everywhere if ingress["metadata"]["namespace"] != victim.namespace]
    hosts = [rule["host"] for ingress in others for rule in ingress["spec"]["rules"]]
    assert [host for host in claimed if host in hosts] == []
    for host in claimed:
        assert fetch_page(f"http://{host}/claimed", site.ingress_url) == (404, NOBODY)


def test_use_and_events_of_a_job_are_those_of_the_host(portal: Portal, admin: Portal, job: TrialJob) -> None:
    """Last of this file: the job is shut down, and its sums stay in the record."""

    def measure() -> dict[str, Any]:
        answer = portal.ask("metrics", number=job.number)
        if answer.status_code != 200:
            raise NotYetError(f"{answer.status_code}: {answer.text.strip()}")
        return dict(answer.json())

    found = job.wait_for(measure, timeout_s=_MEASURED_S, what="metrics")
    summary = found["summary"]
    assert found["itemized"] == {key: [value] for key, value in summary.items()}
    assert summary["memory_total"] == _SMALL_KIB
    assert 0 < summary["memory_used"] < _SMALL_KIB
    assert 0 <= summary["cpu_used"] <= 100

    lines = admin.get("events", number=job.number).splitlines()
    assert [line for line in lines if not _EVENT.fullmatch(line)] == []
    assert lines == sorted(lines, key=lambda line: line.partition(" ")[0])
    assert any(f" Normal Scheduled Pod/{job.namespace}-" in line for line in lines), lines

    def count() -> None:
        usage = job.record()["status"].get("usage", {})
        if not (usage.get("cores", 0) > 0 and usage.get("gib", 0) > 0):
            raise NotYetError(f"{usage}")

    job.wait_for(count, timeout_s=_COUNTED_S, what="usage")
    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    status = job.record()["status"]
    last = status["usageReports"][-1]
    assert last["time"] == status["endTime"]
    assert last["seconds"] > 0
    assert last["coreSeconds"] > 0
    assert last["gibSeconds"] > 0
