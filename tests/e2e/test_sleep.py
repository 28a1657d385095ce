"""
Sleep on the real cluster, through the real ingress controller: a job that nobody uses falls asleep and has no pod left,
a request of its page brings the waiting page and then the app, what was in its cluster is still there, and a job is put
to sleep and woken by request, and ended in its sleep.
"""

from datetime import datetime
from typing import Any

import httpx
import pytest

from demo.page import fetch_page
from kns.client import Client
from testbed import layout
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.nothing_left import await_no_leftovers
from tests.e2e.scheduler import Settings, kill_leader, scheduler_pods
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, hold_for, wait_for

pytestmark = pytest.mark.alone

_METRICS = "http://traefik-metrics.traefik.svc:9000/metrics"
_IDLE_S = 30  # the shortest that a site can set
_ASLEEP_S = 60.0  # until a job that is idle is seen, and its pods have ended
_AWAKE_S = 60.0
_HOLD_S = 5.0
_IN = "--namespace=default"
_WAITING = "This app is waking up"
_NOT_ROUTED = "404 404 page not found"  # Traefik's, until it has seen the endpoints of the app's pod


@pytest.fixture(scope="module", autouse=True)
def _settings(site: Site, settings: Settings) -> None:
    if not site.target.is_testbed:
        pytest.skip("the storage class and the metrics of the ingress controller are the testbed's")
    settings.use(
        KNS_VCLUSTER_STORAGE_CLASS=layout.STORAGE_CLASS,
        KNS_IDLE_SLEEP=str(_IDLE_S),
        KNS_TRAFFIC_METRICS_URL=_METRICS,
    )


@pytest.fixture(scope="module")
def job(module_jobs: JobKeeper) -> TrialJob:
    job = module_jobs.submit("hello")
    job.wait_until_serving()
    return job


@pytest.fixture(scope="module")
def url(job: TrialJob) -> str:
    return str(job.info()["url"])


def _rest_of(job: TrialJob) -> str:
    condition = job.condition("Asleep")
    return str(condition["reason"]) if condition else ""


def _await_asleep(job: TrialJob) -> None:
    def probe() -> None:
        if (found := _rest_of(job)) != "Asleep":
            raise NotYetError(f"condition Asleep: {found!r}")

    job.wait_for(probe, timeout_s=_ASLEEP_S, what="asleep")


def _await_app(site: Site, job: TrialJob, url: str) -> set[str]:
    """Ask as a browser that reloads until the app answers. Returns what the page was before."""
    seen: set[str] = set()

    def probe() -> None:
        status, text = fetch_page(url, site.ingress_url)
        if status != httpx.codes.OK:
            seen.add(f"{status} {'waiting' if _WAITING in text or 'is waking up' in text else text}".strip())
            raise NotYetError(f"{status} {text[:200]}")

    job.wait_for(probe, timeout_s=_AWAKE_S, what="the app")
    return seen


def _ask(site: Site, route: str, job: TrialJob) -> None:
    client = Client(site.url, site.user, use_proxy=False)
    try:
        client.sleep(job.number) if route == "sleep" else client.wake(job.number)
    finally:
        client.close()


def test_an_idle_job_falls_asleep_and_a_visit_wakes_it(site: Site, job: TrialJob, url: str) -> None:
    with nested_kubectl(site.target, job.number) as inside:
        inside.run("create", "configmap", "kept", "--from-literal=word=asleep", _IN)
    _await_asleep(job)
    assert job.pods() == []
    entry = job.entry()
    assert (entry["job_status"], entry["job_substatus"], entry["job_substatus_text"]) == (
        "PROCESSING STARTING",
        0,
        "asleep",
    )
    before = job.record()["status"]["usage"]
    assert before["paused"]

    def still_asleep() -> None:
        assert _rest_of(job) == "Asleep"
        assert httpx.request("HEAD", site.ingress_url, headers={"Host": _host(url)}, trust_env=False).status_code == 503

    hold_for(_HOLD_S, still_asleep)
    seen = _await_app(site, job, url)
    assert "503 waiting" in seen
    assert seen <= {"503 waiting", _NOT_ROUTED}, "nothing else came before the app"
    with nested_kubectl(site.target, job.number) as inside:
        assert inside.get("configmap", "kept", _IN)["data"] == {"word": "asleep"}
        (pod,) = inside.get("pods", _IN)["items"]
        assert pod["status"]["phase"] == "Running"
    woken = job.condition("Asleep")
    assert woken is not None
    made, since = (
        datetime.fromisoformat(text) for text in (pod["metadata"]["creationTimestamp"], woken["lastTransitionTime"])
    )
    assert made < since, "it waited inside, so that the wake need not wait for a controller"
    usage = job.record()["status"]["usage"]
    assert not usage.get("paused")


def _host(url: str) -> str:
    return httpx.URL(url).netloc.decode()


def test_a_browser_gets_a_page_that_reloads_itself(site: Site, job: TrialJob, url: str) -> None:
    """And the leader may die in the meantime."""
    _ask(site, "sleep", job)
    _await_asleep(job)
    headers = {"Host": _host(url), "Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
    answer = httpx.get(site.ingress_url, headers=headers, trust_env=False)
    assert (answer.status_code, _WAITING in answer.text) == (503, True)
    assert 'http-equiv="refresh"' in answer.text
    kill_leader(site.kubectl)
    _await_app(site, job, url)


def test_the_address_follows_the_pods_of_kns(site: Site, job: TrialJob, url: str) -> None:
    _ask(site, "sleep", job)
    _await_asleep(job)

    def probe() -> None:
        found = site.kubectl.get("endpointslice", "kns-wake", f"--namespace={job.namespace}")
        leads_to = sorted(address for each in found["endpoints"] for address in each["addresses"])
        pods = scheduler_pods(site.kubectl)
        ready = sorted(pod["status"].get("podIP", "") for pod in pods)
        if leads_to != ready:
            raise NotYetError(f"leads to {leads_to}, kns is at {ready}")

    site.kubectl.run("delete", "pod", scheduler_pods(site.kubectl)[0]["metadata"]["name"], "--namespace=kns-system")
    wait_for(probe, timeout_s=_ASLEEP_S, what="the new address of kns")
    _ask(site, "wake", job)
    _await_app(site, job, url)


def test_a_job_ends_in_its_sleep_and_nothing_is_left(site: Site, job: TrialJob) -> None:
    _ask(site, "sleep", job)
    _await_asleep(job)
    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    await_no_leftovers(site, job)


def test_a_job_without_a_volume_does_not_sleep(site: Site, settings: Settings, jobs: JobKeeper) -> None:
    settings.use()
    plain = jobs.submit("hello")
    plain.wait_until_serving()
    client = Client(site.url, site.user, use_proxy=False)
    try:
        with pytest.raises(Exception, match="has no volume to keep its state in"):
            client.sleep(plain.number)
    finally:
        client.close()
    found: dict[str, Any] = plain.record()["spec"]
    assert "sleep" not in found
