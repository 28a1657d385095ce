"""On a site with a Gateway a job gets an HTTPRoute, and it is exposed only once the Gateway serves that route."""

from collections.abc import Callable
from typing import Any

import pytest

from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason
from kns.model.site import GatewayRef, parse_jobs_domain
from kns.ports import Kind
from tests.builders import JobBuilder, a_job
from tests.flow.conftest import Simulation

JOB = "kns-job-7"
GATEWAY = GatewayRef("infra", "public", "https")
PARENT = {
    "group": "gateway.networking.k8s.io",
    "kind": "Gateway",
    "namespace": "infra",
    "name": "public",
    "sectionName": "https",
}


@pytest.fixture
def site(sim: Simulation) -> Simulation:
    """A site whose Gateway has the listener that the setting names."""
    _use_gateway(sim, GATEWAY)
    spec = {"gatewayClassName": "example", "listeners": [{"name": "http"}, {"name": "https"}]}
    sim.host.put(Kind.GATEWAY, "infra", "public", {"spec": spec})
    return sim


def test_a_job_has_a_route_and_no_ingress(site: Simulation, job: JobBuilder) -> None:
    _serve(site, job)
    assert _route(site)["spec"] == {
        "parentRefs": [PARENT],
        "hostnames": ["kns-job-7.jobs.example.org"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "kns-target", "port": 80}],
            }
        ],
    }
    assert site.job.status.url == "https://kns-job-7.jobs.example.org"
    assert not [name for name in site.host.left if name.startswith("Ingress")]


def test_a_path_of_the_common_host_is_a_path_of_the_route(site: Simulation, job: JobBuilder) -> None:
    site.configure(jobs_domain=parse_jobs_domain("jobs.example.org/job$"))
    _serve(site, job)
    spec = _route(site)["spec"]
    assert spec["hostnames"] == ["jobs.example.org"]
    assert spec["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/job7"}}]


def test_a_job_without_an_answer_of_the_gateway_has_no_url(site: Simulation, job: JobBuilder) -> None:
    """Until the controller answers. The message says who did not."""
    site.host.route_reason = ""
    _deploy(site, job)
    assert site.step().summary == "wait"
    assert (site.job.status.url, site.job.status.reason) == (None, Reason.ROUTE_NOT_ACCEPTED)
    assert site.job.status.message == (
        "no controller of GatewayClass example has answered for Gateway infra/public/https yet"
    )
    site.host.route_reason = "Accepted"
    site.host.settle()
    assert site.step().summary == "serving"
    assert site.job.status.is_true(ConditionType.EXPOSED)


REFUSED = [
    (
        "NotAllowedByListeners",
        "no listener of Gateway infra/public/https admits routes of namespace kns-job-7; admit namespaces with the "
        "label kns.io/job in its allowedRoutes",
    ),
    (
        "NoMatchingListenerHostname",
        "no listener of Gateway infra/public/https admits the host kns-job-7.jobs.example.org; change its hostname",
    ),
    ("NoMatchingParent", "Gateway infra/public/https has no listener for the route, or that listener is not ready"),
    ("Pending", "Gateway infra/public/https does not serve the route: Accepted is False, Pending"),
]


@pytest.mark.parametrize(("reason", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_refused_route_ends_the_job_at_the_limit(site: Simulation, job: JobBuilder, reason: str, says: str) -> None:
    site.configure(target_limit_s=60)
    site.host.route_reason = reason
    _deploy(site, job)
    site.host.settle()
    assert site.step().summary == "wait"
    assert site.job.status.message == says
    site.run(until="ended")
    assert (site.job.status.job_status, site.job.status.reason) == (JobState.FAILED, Reason.ROUTE_NOT_ACCEPTED)
    assert site.job.status.message == f"{says}, 60 s after the deployment"


def _drop_gateway(sim: Simulation) -> None:
    sim.host.drop(Kind.GATEWAY, "infra", "public")


def _rename_listener(sim: Simulation) -> None:
    sim.host.change(Kind.GATEWAY, "infra", "public", lambda found: found["spec"]["listeners"].pop())


def _break_gateway(sim: Simulation) -> None:
    broken = {"type": "Programmed", "status": "False", "reason": "Invalid", "message": "no address"}
    sim.host.change(Kind.GATEWAY, "infra", "public", lambda found: found.update(status={"conditions": [broken]}))


SILENT: list[tuple[Callable[[Simulation], None], str]] = [
    (_drop_gateway, "the host cluster has no Gateway infra/public"),
    (_rename_listener, "Gateway infra/public has no listener https (it has http)"),
    (_break_gateway, "Gateway infra/public is not Programmed: Invalid no address"),
]


@pytest.mark.parametrize(("change", "says"), SILENT, ids=["no Gateway", "no listener", "not programmed"])
def test_a_gateway_that_is_not_there_is_named(
    site: Simulation, job: JobBuilder, change: Callable[[Simulation], None], says: str
) -> None:
    site.host.route_reason = ""
    change(site)
    _deploy(site, job)
    site.step()
    assert site.job.status.message == says


def test_a_host_without_the_kind_ends_jobs_with_that_reason_and_lets_them_end(
    site: Simulation, job: JobBuilder
) -> None:
    """The watch never fills its cache, and a job neither waits without an end nor stays."""
    site.configure(target_limit_s=60)
    site.host.route_cache = "GET httproutes: 404, page not found"
    _deploy(site, job)
    site.step()
    assert str(site.job.status.message).endswith("not filled yet: GET httproutes: 404, page not found")
    site.run(until="ended")
    assert site.job.status.reason == Reason.ROUTE_NOT_ACCEPTED
    site.run(until="retained")
    assert [name for name in site.host.left if JOB in name] == []


def test_a_serving_job_whose_route_is_no_longer_served_goes_on(site: Simulation, job: JobBuilder) -> None:
    _serve(site, job)
    site.host.route_reason = "NotAllowedByListeners"
    site.host.settle()
    result = site.step()
    assert (result.summary, result.requeue_after_s) == ("serving", 10)
    exposed = site.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert (exposed.status, exposed.reason) == ("False", Reason.ROUTE_NOT_ACCEPTED)
    site.host.route_reason = "Accepted"
    site.host.settle()
    site.step()
    assert site.job.status.is_true(ConditionType.EXPOSED)


def test_an_answer_to_an_older_route_does_not_count(site: Simulation, job: JobBuilder) -> None:
    _serve(site, job)
    site.host.route_reason = ""

    def edit(route: dict[str, Any]) -> None:
        route["metadata"]["generation"] = 2
        for parent in route["status"]["parents"]:
            for condition in parent["conditions"]:
                condition["observedGeneration"] = 1

    site.host.change(Kind.HTTP_ROUTE, JOB, JOB, edit)
    site.step()
    assert not site.job.status.is_true(ConditionType.EXPOSED)


def test_the_answer_of_another_gateway_does_not_count(site: Simulation, job: JobBuilder) -> None:
    _serve(site, job)
    site.host.route_reason = ""

    def move(route: dict[str, Any]) -> None:
        for parent in route["status"]["parents"]:
            parent["parentRef"] = {**PARENT, "sectionName": "http"}

    site.host.change(Kind.HTTP_ROUTE, JOB, JOB, move)
    site.step()
    assert not site.job.status.is_true(ConditionType.EXPOSED)


def test_a_route_changed_or_removed_by_hand_is_put_back(site: Simulation, job: JobBuilder) -> None:
    _serve(site, job)
    before = _route(site)["spec"]
    site.host.change(Kind.HTTP_ROUTE, JOB, JOB, lambda found: found["spec"].update(hostnames=["other.example.org"]))
    site.step()
    assert _route(site)["spec"] == before
    site.host.drop(Kind.HTTP_ROUTE, JOB, JOB)
    site.step()
    assert _route(site)["spec"] == before


def test_running_jobs_get_the_other_object_and_keep_the_one_they_have(sim: Simulation, job: JobBuilder) -> None:
    """So DNS can move from the ingress controller to the Gateway, or back, at any time. The address stays."""
    _serve(sim, job)
    url = sim.job.status.url
    _use_gateway(sim, GATEWAY)
    sim.step()
    sim.host.settle()
    sim.step()
    assert {f"Ingress {JOB}/{JOB}", f"HTTPRoute {JOB}/{JOB}"} <= set(sim.host.left)
    assert (sim.job.status.url, sim.job.status.is_true(ConditionType.EXPOSED)) == (url, True)
    sim.configure(gateway=None)
    assert sim.step().summary == "serving"
    assert {f"Ingress {JOB}/{JOB}", f"HTTPRoute {JOB}/{JOB}"} <= set(sim.host.left)
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    assert [name for name in sim.host.left if JOB in name] == []


@pytest.mark.parametrize("gateway", [GATEWAY, None])
def test_an_address_that_another_jobs_route_has_is_not_claimed(
    site: Simulation, job: JobBuilder, gateway: GatewayRef | None
) -> None:
    """Also if the route is from the time when the site had a Gateway."""
    site.configure(gateway=gateway)
    other = {
        "metadata": {"namespace": "kns-job-17", "labels": {"kns.io/job": "17"}},
        "spec": {
            "parentRefs": [PARENT],
            "hostnames": ["kns-job-7.jobs.example.org"],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": []}],
        },
    }
    site.host.put(Kind.HTTP_ROUTE, "kns-job-17", "kns-job-17", other)
    _deploy(site, job)
    assert site.job.status.reason == Reason.ADDRESS_TAKEN


def test_routes_go_with_the_namespace(site: Simulation) -> None:
    """The job's and its web shell's."""
    site.configure(shell_image="registry.example.org/kns-gotty:1")
    _serve(site, a_job().with_nested(enable_gotty_shell=True))
    shell = site.host.read(Kind.HTTP_ROUTE, JOB, "kns-shell")
    assert shell is not None
    (rule,) = shell["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/gotty-shell"}}]
    assert rule["backendRefs"] == [{"name": "kns-shell", "port": 80}]
    site.store.request_stop(site.job, StopReason.SHUTDOWN)
    site.run(until="retained")
    assert [call for call in site.host.calls if call.startswith("delete ")] == [f"delete Namespace /{JOB}"]
    assert site.host.left == ["Gateway infra/public"]


def test_a_shell_that_is_no_longer_allowed_has_no_route(site: Simulation) -> None:
    site.configure(shell_image="registry.example.org/kns-gotty:1")
    _serve(site, a_job().with_nested(enable_gotty_shell=True))
    site.configure(shell_image=None)
    site.step()
    site.host.settle()
    assert f"HTTPRoute {JOB}/kns-shell" not in site.host.left
    assert site.job.status.is_true(ConditionType.EXPOSED)


def _use_gateway(sim: Simulation, gateway: GatewayRef) -> None:
    sim.configure(gateway=gateway)
    sim.host.watches_routes = True


def _deploy(sim: Simulation, job: JobBuilder) -> None:
    """Reconcile until stage ingress."""
    sim.submit(job)
    sim.live_until(lambda: sim.job.status.is_true(ConditionType.DEPLOYED))


def _serve(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.step()


def _route(sim: Simulation) -> dict[str, Any]:
    found = sim.host.read(Kind.HTTP_ROUTE, JOB, JOB)
    assert found is not None
    return found


def test_a_route_that_a_webhook_spoils_is_applied_once(sim: Simulation, job: JobBuilder) -> None:
    """The Gateway refuses what the webhook made of it. The condition names both."""
    _use_gateway(sim, GatewayRef("infra", "public"))
    sim.host.put(Kind.GATEWAY, "infra", "public", {"spec": {"listeners": [{"name": "http"}]}})
    _serve(sim, job)
    sim.host.route_reason = "NoMatchingListenerHostname"
    sim.host.webhooks[Kind.HTTP_ROUTE] = lambda route: route["spec"].update(hostnames=["other.example.org"])
    sim.host.change(Kind.HTTP_ROUTE, JOB, JOB, lambda route: route["spec"].update(hostnames=["x"]))
    sim.go_on(60)
    sim.host.calls.clear()
    sim.go_on(3600)
    assert sim.host.calls.count(f"apply HTTPRoute {JOB}/{JOB}") == 0
    exposed = sim.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert exposed.reason == Reason.ROUTE_NOT_ACCEPTED
    assert "a webhook of the host changes HTTPRoute" in exposed.message
