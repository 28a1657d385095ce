"""A job's URL routes to the target's pods and to nothing else, whatever happens to the target while the job serves."""

from collections.abc import Callable
from typing import Any

import pytest

from kns.model import names
from kns.model.errors import RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason
from kns.model.site import IngressSettings, parse_jobs_domain
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.fakes.host import a_copy
from tests.flow.conftest import Simulation
from tests.flow.interruptions import refuse_apply

pytestmark = pytest.mark.proves(
    "main",
    "Ingress: every form of address, TLS by Secret, annotations; a target that is late, changes, disappears or "
    "leads elsewhere",
)

JOB = "kns-job-7"
COPY = "web-x-default-x-kns-job-7"
MARK = {names.SYNCED_LABEL: JOB, names.SYNCED_NAMESPACE_LABEL: "default"}
FIT = a_copy(JOB)


def test_the_backend_is_a_service_of_ours_with_the_targets_pods(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    (path,) = _ingress(sim)["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"] == {"service": {"name": "kns-target", "port": {"number": 80}}}
    assert _target(sim)["spec"] == {
        "clusterIP": "10.96.1.7",  # of the host
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "publishNotReadyAddresses": False,
        "selector": {"app": "web", **MARK},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
    }


UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("ExternalName", {"type": "ExternalName", "externalName": "example.org", "selector": None}, "is of type External"),
    ("ExternalName with a selector", {"type": "ExternalName", "externalName": "example.org"}, "is of type External"),
    ("no selector", {"selector": None}, "has no selector"),
    ("an empty selector", {"selector": {}}, "has no selector"),
    ("other ports", {"ports": [{"port": 80}, {"port": 443}]}, "has no TCP port 8080 (it has 80, 443)"),
    ("UDP", {"ports": [{"port": 8080, "protocol": "UDP"}]}, "has no TCP port 8080 (it has no TCP port at all)"),
    ("headless without ports", {"clusterIP": "None", "ports": []}, "has no TCP port 8080 (it has no TCP port at all)"),
]


@pytest.mark.proves("security", "a target that leads the ingress controller elsewhere")
@pytest.mark.parametrize(("spec", "says"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_a_target_that_leads_elsewhere_is_never_served(
    sim: Simulation, job: JobBuilder, spec: dict[str, Any], says: str
) -> None:
    """The record says why, and the Ingress leads to no pod. At the limit the job ends with that reason."""
    sim.configure(target_limit_s=60)
    sim.host.target_appears = False
    _deploy(sim, job)
    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, **spec))
    assert sim.step().summary == "wait"
    assert sim.job.status.reason == Reason.TARGET_UNFIT
    assert f"target Service default/web {says}" in str(sim.job.status.message)
    assert (sim.job.status.url, "selector" in _target(sim)["spec"]) == (None, False)
    sim.run(until="ended")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.TARGET_UNFIT)
    assert str(sim.job.status.message).endswith(", 60 s after the deployment")


def test_a_target_that_appears_late_is_served(sim: Simulation, job: JobBuilder) -> None:
    sim.host.target_appears = False
    _deploy(sim, job)
    sim.clock.advance(500)
    assert sim.step().summary == "wait"
    sim.host.put(Kind.SERVICE, JOB, COPY, FIT)
    assert sim.step().summary == "serving"
    assert sim.job.status.is_true(ConditionType.EXPOSED)


@pytest.mark.parametrize(
    ("spec", "leads_to"),
    [
        ({"ports": [{"port": 9090, "targetPort": 9091}]}, {"targetPort": 9091}),
        (
            {"ports": [{"port": 8080, "targetPort": "admin", "name": "h2", "appProtocol": "kubernetes.io/h2c"}]},
            {"targetPort": "admin", "appProtocol": "kubernetes.io/h2c"},
        ),
        ({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 80}]}, {"targetPort": 80}),
        (
            {"type": "NodePort", "ports": [{"port": 80, "targetPort": 80}, {"port": 8080, "nodePort": 30000}]},
            {"targetPort": 8080},
        ),
        ({"clusterIP": "None", "ports": [{"port": 8080, "targetPort": "http"}]}, {"targetPort": "http"}),
    ],
    ids=["its only port has another number", "appProtocol", "its only TCP port", "a node port", "headless"],
)
def test_a_changed_port_is_followed(
    sim: Simulation, job: JobBuilder, spec: dict[str, Any], leads_to: dict[str, Any]
) -> None:
    """kns's Service keeps its own port number and name, so the Ingress stays unchanged."""
    _serve(sim, job)
    before = _ingress(sim)
    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, **spec))
    assert sim.step().summary == "serving"
    assert _target(sim)["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", **leads_to}]
    assert _ingress(sim) == before


TLS_LOOK: list[tuple[dict[str, Any], str]] = [
    ({"port": 443, "targetPort": 8080}, "port 443"),
    ({"port": 8080, "targetPort": 8080, "name": "https-web"}, "port https-web"),
    ({"port": 8080, "targetPort": 8080, "appProtocol": "HTTPS"}, "appProtocol HTTPS"),
]


@pytest.mark.parametrize(("port", "found"), TLS_LOOK, ids=[row[1] for row in TLS_LOOK])
def test_no_name_or_number_of_a_port_makes_the_controller_speak_tls(
    sim: Simulation, job: JobBuilder, port: dict[str, Any], found: str
) -> None:
    """The backend's port is always `http`, 80. The condition says what a target with such a port has to speak."""
    _serve(sim, job)
    before = _ingress(sim)
    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, ports=[port]))
    assert sim.step().summary == "serving"
    (ours,) = _target(sim)["spec"]["ports"]
    assert (ours["name"], ours["port"], ours["targetPort"]) == ("http", 80, 8080)
    assert _ingress(sim) == before
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert exposed.is_true
    assert exposed.message == (
        f"target Service default/web has {found}: the URL shows an error if its pods do not speak plain HTTP"
    )
    sim.host.put(Kind.SERVICE, JOB, COPY, FIT)
    sim.step()
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert exposed.message == ""


def test_a_changed_selector_is_followed_and_cannot_leave_the_tenants_pods(sim: Simulation, job: JobBuilder) -> None:
    """Even if the copy's selector names vcluster's own labels."""
    _serve(sim, job)
    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, selector={"app": "green", names.SYNCED_LABEL: "another"}))
    sim.step()
    assert _target(sim)["spec"]["selector"] == {"app": "green", **MARK}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda sim: sim.host.drop(Kind.SERVICE, JOB, COPY), Reason.TARGET_GONE),
        (
            lambda sim: sim.host.put(
                Kind.SERVICE, JOB, COPY, a_copy(JOB, type="ExternalName", externalName="example.org")
            ),
            Reason.TARGET_UNFIT,
        ),
    ],
    ids=["gone", "made an ExternalName"],
)
def test_a_job_serves_on_when_its_target_is_lost_and_follows_it_when_it_is_back(
    sim: Simulation, job: JobBuilder, change: Callable[[Simulation], Any], reason: Reason
) -> None:
    """However long it takes: condition Exposed says so, and the URL and kns's Service stay unchanged."""
    _serve(sim, job)
    url, ours = sim.job.status.url, _target(sim)
    change(sim)
    for _ in range(3):
        result = sim.step()
        assert (result.summary, result.requeue_after_s) == ("serving", 10)
        sim.clock.advance(10_000)
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert (exposed.status, exposed.reason) == ("False", reason)
    assert exposed.message.endswith("the URL leads to the last known pods")
    assert (sim.job.status.url, sim.job.status.reason, _target(sim)) == (url, None, ours)

    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, selector={"app": "new"}))
    assert sim.step().requeue_after_s == 60
    assert sim.job.status.is_true(ConditionType.EXPOSED)
    assert _target(sim)["spec"]["selector"]["app"] == "new"


BY_HAND: dict[str, dict[str, Any]] = {
    "a wider selector": {"selector": {"app": "web", **MARK, "a": "b"}},
    "another port": {"ports": [{"port": 1}]},
    "the port with another number": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]},
    "an ExternalName": {"type": "ExternalName", "externalName": "example.org"},
    "pods that are not ready": {"publishNotReadyAddresses": True},
    "one pod for each client": {"sessionAffinity": "ClientIP"},
}


def test_a_serving_job_is_looked_at_each_minute(sim: Simulation, job: JobBuilder) -> None:
    """That costs no request: what it looks at is in the watch caches."""
    _serve(sim, job)
    assert sim.step().requeue_after_s == 60


def test_a_look_at_a_serving_job_reads_no_service(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 5000 serving jobs, two reads of each in a minute were 170 requests a second."""
    _serve(sim, job)
    asked: list[Kind] = []
    read = sim.host.read
    monkeypatch.setattr(sim.host, "read", lambda kind, *rest: asked.append(kind) or read(kind, *rest))  # type: ignore[func-returns-value]  # append returns None, so `or` reads
    sim.clock.advance(60)
    assert sim.step().summary == "serving"
    assert Kind.SERVICE not in asked


def test_a_target_too_large_for_the_cache_is_followed_all_the_same(sim: Simulation, job: JobBuilder) -> None:
    """It has sixty ports, and costs its own job the reads."""
    _serve(sim, job)
    ports = [{"name": f"port-{number}", "port": 8000 + number, "protocol": "TCP"} for number in range(60)]
    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, selector={"app": "green"}, ports=[*FIT["spec"]["ports"], *ports]))
    assert sim.step().requeue_after_s == 60
    assert _target(sim)["spec"]["selector"]["app"] == "green"


def _other_host(ingress: dict[str, Any]) -> None:
    ingress["spec"]["rules"][0]["host"] = "other.example.org"


def _other_backend(ingress: dict[str, Any]) -> None:
    ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "somebody"


def _no_annotations(ingress: dict[str, Any]) -> None:
    ingress["metadata"]["annotations"] = {}


@pytest.mark.parametrize("change", [_other_host, _other_backend, _no_annotations])
def test_an_ingress_changed_by_hand_is_put_back(sim: Simulation, job: JobBuilder, change: Callable[..., None]) -> None:
    _serve(sim, job)
    before = _ingress(sim)
    sim.host.change(Kind.INGRESS, JOB, JOB, change)
    sim.step()
    assert _ingress(sim) == before


@pytest.mark.parametrize("spec", BY_HAND.values(), ids=BY_HAND)
def test_our_service_changed_by_hand_is_put_back(sim: Simulation, job: JobBuilder, spec: dict[str, Any]) -> None:
    """The watch of kns's own Services reports it."""
    _serve(sim, job)
    before = _target(sim)
    sim.host.change(Kind.SERVICE, JOB, "kns-target", lambda found: found["spec"].update(spec))
    assert sim.step().requeue_after_s == 60
    assert _target(sim)["spec"] == before["spec"]


def test_ingress_and_service_removed_by_hand_are_put_back(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    before = _ingress(sim)["spec"], _target(sim)["spec"]
    sim.host.drop(Kind.INGRESS, JOB, JOB)
    sim.host.drop(Kind.SERVICE, JOB, "kns-target")
    sim.step()
    assert (_ingress(sim)["spec"], _target(sim)["spec"]) == before


def test_what_a_certificate_manager_adds_stays(sim: Simulation, job: JobBuilder) -> None:
    """The path of a challenge, and annotations. Two controllers that undo each other would never stop."""

    def add(ingress: dict[str, Any]) -> None:
        challenge = {"path": "/.well-known/acme-challenge/x", "pathType": "Exact", "backend": {}}
        ingress["spec"]["rules"][0]["http"]["paths"].insert(0, challenge)
        ingress["metadata"]["annotations"]["acme.cert-manager.io/x"] = "y"

    _serve(sim, job)
    sim.host.change(Kind.INGRESS, JOB, JOB, add)
    before = _ingress(sim)
    sim.step()
    assert _ingress(sim) == before


def test_other_settings_count_for_jobs_that_run_already(sim: Simulation, job: JobBuilder) -> None:
    """Class, annotations and certificate are added and removed again."""
    _serve(sim, job)
    before = _ingress(sim)
    sim.configure(ingress=IngressSettings(ingress_class="public", annotations={"a": "b"}, cert_secret="tls"))
    sim.step()
    changed = _ingress(sim)
    assert changed["spec"]["ingressClassName"] == "public"
    assert changed["spec"]["tls"] == [{"hosts": ["kns-job-7.jobs.example.org"], "secretName": "tls"}]
    assert changed["metadata"]["annotations"]["a"] == "b"
    sim.configure(ingress=IngressSettings())
    sim.step()
    assert _ingress(sim) == before


@pytest.mark.parametrize("domain", ["http://new.example.org:8080/job$", None])
def test_a_job_keeps_the_address_that_it_was_told(sim: Simulation, job: JobBuilder, domain: str | None) -> None:
    """The app's configuration contains the URL by then."""
    _serve(sim, job)
    before, calls = _ingress(sim), list(sim.host.calls)
    sim.configure(jobs_domain=parse_jobs_domain(domain) if domain else None)
    assert sim.step().summary == "serving"
    assert sim.job.status.url == "https://kns-job-7.jobs.example.org"
    assert (_ingress(sim), sim.host.calls) == (before, calls)


def test_a_job_that_serves_without_url_stays_so(sim: Simulation, job: JobBuilder) -> None:
    """A jobs domain that the site gets later must neither end the job for lack of a target nor change its address."""
    sim.configure(jobs_domain=None)
    sim.host.target_appears = False
    _serve(sim, job)
    sim.configure(jobs_domain=parse_jobs_domain("jobs.example.org"), shell_image="registry.example.org/kns-gotty:1")
    sim.clock.advance(10_000)
    assert sim.step().summary == "serving"
    assert (sim.job.status.url, sim.job.status.is_true(ConditionType.EXPOSED)) == (None, True)


def test_an_address_that_another_job_kept_is_not_claimed_a_second_time(sim: Simulation, job: JobBuilder) -> None:
    """Job 17 got `/17` while the domain had no path; under `/1$` that would be the path of job 7."""
    sim.configure(jobs_domain=parse_jobs_domain("jobs.example.org/1$"))
    backend = {"service": {"name": "kns-target", "port": {"number": 8080}}}
    rules = [{"host": "jobs.example.org", "http": {"paths": [{"path": "/17", "backend": backend}]}}]
    labels = {names.JOB_LABEL: "17"}
    sim.host.put(Kind.INGRESS, "kns-job-17", "kns-job-17", {"metadata": {"labels": labels}, "spec": {"rules": rules}})
    sim.host.change(
        Kind.INGRESS, "kns-job-17", "kns-job-17", lambda obj: obj["metadata"].update(namespace="kns-job-17")
    )
    _deploy(sim, job)
    assert sim.job.status.reason == Reason.ADDRESS_TAKEN
    assert "https://jobs.example.org/17 is the address of kns-job-17" in str(sim.job.status.message)
    sim.host.drop(Kind.INGRESS, "kns-job-17", "kns-job-17")
    assert sim.step().summary == "serving"


@pytest.mark.parametrize("kind", [Kind.INGRESS, Kind.SERVICE])
def test_a_refusal_never_ends_a_job_that_serves(sim: Simulation, job: JobBuilder, kind: Kind) -> None:
    """A later admission rule refuses what new settings require."""
    _serve(sim, job)
    sim.host.refuse = {kind: "denied by policy"}
    sim.configure(ingress=IngressSettings(ingress_class="other"))
    sim.host.put(Kind.SERVICE, JOB, COPY, a_copy(JOB, selector={"app": "new"}))
    result = sim.step()
    assert (result.summary, result.requeue_after_s) == ("serving", 60)
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert (exposed.reason, "denied by policy" in exposed.message) == (Reason.REFUSED_BY_HOST, True)


def test_a_refusal_at_the_start_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    refuse_apply(sim.host, "Ingress", RefusedError("denied by policy"))
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.REFUSED_BY_HOST


def test_a_lost_target_does_not_keep_the_job_from_ending(sim: Simulation, job: JobBuilder) -> None:
    _serve(sim, job)
    sim.host.drop(Kind.SERVICE, JOB, COPY)
    sim.step()
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.host.left) == (JobState.COMPLETED, [])


def _deploy(sim: Simulation, job: JobBuilder) -> None:
    """Reconcile until stage ingress."""
    sim.submit(job)
    sim.live_until(lambda: sim.job.status.is_true(ConditionType.DEPLOYED))


def _serve(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.step()


def _read(sim: Simulation, kind: Kind, name: str) -> dict[str, Any]:
    found = sim.host.read(kind, JOB, name)
    assert found is not None
    return found


def _ingress(sim: Simulation) -> dict[str, Any]:
    return _read(sim, Kind.INGRESS, JOB)


def _target(sim: Simulation) -> dict[str, Any]:
    return _read(sim, Kind.SERVICE, "kns-target")


def test_what_a_webhook_changes_is_said_and_applied_once(sim: Simulation, job: JobBuilder) -> None:
    """The site's policy sets another class. Each apply has the same result, so kns repeats it if that changes."""
    sim.configure(ingress=IngressSettings(ingress_class="public"))
    sim.host.webhooks[Kind.INGRESS] = lambda ingress: ingress["spec"].update(ingressClassName="internal")
    _serve(sim, job)
    sim.host.calls.clear()
    sim.go_on(3600)
    apply = f"apply Ingress {JOB}/{JOB}"
    assert sim.host.calls.count(apply) == 0
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert exposed.is_true
    assert exposed.message.startswith(f"a webhook of the host changes Ingress {JOB} whenever kns applies it (")
    sim.host.change(Kind.INGRESS, JOB, JOB, lambda ingress: ingress["spec"].update(rules=[]))
    sim.go_on(120)
    assert sim.host.calls.count(apply) == 1
    assert _ingress(sim)["spec"]["rules"]
    del sim.host.webhooks[Kind.INGRESS]
    sim.host.drop(Kind.INGRESS, JOB, JOB)
    sim.go_on(120)
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert (_ingress(sim)["spec"]["ingressClassName"], exposed.message) == ("public", "")
