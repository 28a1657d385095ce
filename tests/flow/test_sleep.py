"""A job falls asleep and wakes up, over a simulated host."""

from collections import Counter
from dataclasses import replace

import pytest

from kns.model import names
from kns.model.errors import KnsError, RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, Rest, StopReason
from kns.model.site import GatewayRef, IngressSettings
from kns.ports import Kind, Object
from tests.builders import JobBuilder
from tests.fakes.host import UNSCHEDULABLE
from tests.flow.conftest import Simulation

NAMESPACE = "kns-job-7"
WEB = f"web-x-default-x-{NAMESPACE}"
SHELL_IMAGE = "registry.example.org/kns-gotty:1"


def read_rest(sim: Simulation) -> Rest:
    return sim.job.status.rest


@pytest.fixture
def serving(sim: Simulation, job: JobBuilder) -> Simulation:
    """A job with a volume and a web shell that serves."""
    sim.configure(virtual=replace(sim.site.virtual, storage_class="fast"), shell_image=SHELL_IMAGE)
    sim.submit(job.with_nested(enable_gotty_shell=True))
    sim.run(until="serving")
    settle(sim)
    return sim


def settle(sim: Simulation, *, times: int = 5) -> None:
    for _ in range(times):
        sim.host.settle()
        sim.step()


def ask(sim: Simulation, *, asleep: bool) -> None:
    sim.store.set_sleep(sim.job, asleep=asleep)


def fall_asleep(sim: Simulation) -> None:
    ask(sim, asleep=True)
    sim.run(until="asleep")


def pods(sim: Simulation) -> list[str]:
    return [pod["metadata"]["name"] for pod in sim.host.list_objects(Kind.POD, NAMESPACE)]


def backends(sim: Simulation) -> dict[str, str]:
    ingress = sim.host.read(Kind.INGRESS, NAMESPACE, NAMESPACE)
    assert ingress is not None
    (rule,) = ingress["spec"]["rules"]
    return {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}


def the_slice(sim: Simulation) -> Object:
    found = sim.host.read(Kind.ENDPOINT_SLICE, NAMESPACE, names.WAKE)
    assert found is not None
    return found


def test_an_awake_job_has_its_pods_and_leads_to_them(serving: Simulation) -> None:
    assert len(pods(serving)) == 4
    assert backends(serving) == {"/": names.TARGET, "/gotty-shell": names.SHELL}


def test_a_sleeping_job_has_no_pod_and_leads_to_kns(serving: Simulation) -> None:
    fall_asleep(serving)
    assert pods(serving) == []
    assert backends(serving) == {"/": names.WAKE, "/gotty-shell": names.WAKE}
    found = the_slice(serving)
    assert found["metadata"]["labels"][names.SERVICE_NAME_LABEL] == names.WAKE
    assert [each["addresses"] for each in found["endpoints"]] == [["10.0.0.1"], ["10.0.0.2"]]
    assert [port["port"] for port in found["ports"]] == [8080]
    service = serving.host.read(Kind.SERVICE, NAMESPACE, names.WAKE)
    assert service is not None
    assert "selector" not in service["spec"]


def test_a_sleeping_job_is_still_running_for_the_portal(serving: Simulation) -> None:
    url = serving.job.status.url
    fall_asleep(serving)
    status = serving.job.status
    assert (status.job_status, int(status.substatus), status.url) == (JobState.PROCESSING, 0, url)
    assert (status.rest, status.activity) == (Rest.ASLEEP, "asleep")


def test_the_tenants_pods_end_before_the_control_plane_and_nothing_replaces_them(serving: Simulation) -> None:
    """So their replacements wait inside for the moment when the job wakes."""
    before = len(serving.host.calls)
    fall_asleep(serving)
    calls = serving.host.calls[before:]
    places = [
        next(place for place, call in enumerate(calls) if call.startswith(each))
        for each in (
            f"apply Ingress {NAMESPACE}",
            f"apply ResourceQuota {NAMESPACE}",
            f"delete_pods {NAMESPACE}",
            f"scale StatefulSet {NAMESPACE}",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("grace_s", [0, 3])
def test_a_pod_that_never_ends_does_not_keep_the_control_plane_running(serving: Simulation, grace_s: int) -> None:
    """Its node is lost, for example. With a grace period of 0 its object would go, and its containers might run on."""
    serving.configure(grace_s=grace_s)
    serving.host.stuck_pods = {WEB}
    ask(serving, asleep=True)
    with pytest.raises(AssertionError, match="never came to asleep"):
        serving.run(until="asleep", limit=200)
    assert pods(serving) == [WEB]
    assert not [call for call in serving.host.calls if call.endswith("grace=0")]
    serving.host.stuck_pods.clear()
    serving.run(until="asleep")


@pytest.mark.parametrize("stuck", [WEB, f"{NAMESPACE}-0"], ids=["the app's", "the control plane's"])
def test_a_pod_that_never_ends_is_looked_at_ever_less_often(
    serving: Simulation, requests: Counter[str], stuck: str
) -> None:
    serving.host.stuck_pods = {stuck}
    ask(serving, asleep=True)
    serving.go_on(120)
    requests.clear()
    serving.go_on(3600)
    assert read_rest(serving) is Rest.FALLING_ASLEEP
    assert 60 <= requests["host.read"] / 2 <= 65  # the EndpointSlice and the Service that lead to kns
    assert requests["host.list_metadata"] <= 2 * 65
    serving.host.stuck_pods.clear()
    serving.run(until="asleep")


def test_a_job_that_waits_for_room_when_it_wakes_is_looked_at_ever_less_often(
    serving: Simulation, requests: Counter[str]
) -> None:
    fall_asleep(serving)
    serving.host.schedulable = False
    ask(serving, asleep=False)
    serving.go_on(120)
    requests.clear()
    serving.go_on(3600)
    assert 120 <= requests["host.read"] <= 130  # the quota of its sleep, and the way to kns


def test_a_sleeping_job_costs_no_write(serving: Simulation) -> None:
    fall_asleep(serving)
    calls, writes = len(serving.host.calls), len(serving.store.writes)
    for _ in range(3):
        result = serving.step()
        assert result.summary == "asleep"
        assert result.requeue_after_s is not None
        assert result.requeue_after_s >= 60
        serving.clock.advance(result.requeue_after_s)
    assert serving.host.calls[calls:] == []
    assert serving.store.writes[writes:] == []


def test_usage_stops_while_it_sleeps_and_goes_on_when_it_wakes(serving: Simulation) -> None:
    fall_asleep(serving)
    asleep = serving.job.status.usage
    assert asleep is not None
    serving.clock.advance(100_000)
    assert asleep.at(serving.clock.now()).seconds == asleep.seconds
    ask(serving, asleep=False)
    serving.run(until="serving")
    awake = serving.job.status.usage
    assert awake is not None
    assert awake.at(serving.clock.now()).seconds - asleep.seconds < 1000
    at = serving.clock.now()
    serving.clock.advance(500)
    assert awake.at(serving.clock.now()).seconds - awake.at(at).seconds == 500


def test_a_sleep_by_a_clock_that_is_wrong_is_not_charged(serving: Simulation) -> None:
    """It is a year ahead while the job falls asleep, and again while it begins to wake."""
    for asleep in (True, False):
        ask(serving, asleep=asleep)
        serving.clock_trusted = False
        serving.clock.advance(365 * 86400)
        settle(serving, times=1 if not asleep else 10)
        serving.clock.advance(-365 * 86400)
        serving.clock_trusted = True
        serving.run(until="serving" if not asleep else "asleep")
    usage = serving.job.status.usage
    assert usage is not None
    assert usage.at(serving.clock.now()).seconds < 100
    at = serving.clock.now()
    serving.clock.advance(500)
    assert usage.at(serving.clock.now()).seconds - usage.at(at).seconds == 500


def test_a_job_leads_to_its_app_again_only_when_the_app_is_ready(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.host.app_starts = False
    ask(serving, asleep=False)
    serving.run(until="waking up")
    settle(serving, times=20)
    assert read_rest(serving) is Rest.WAKING
    assert backends(serving)["/"] == names.WAKE
    serving.host.change(Kind.POD, NAMESPACE, WEB, lambda pod: pod.pop("status"))
    serving.host.app_starts = True
    serving.run(until="serving")
    assert read_rest(serving) is Rest.AWAKE
    assert backends(serving) == {"/": names.TARGET, "/gotty-shell": names.SHELL}
    settle(serving)
    assert len(pods(serving)) == 3, "the pod of the deployment is not made again"
    assert serving.job.status.is_true(ConditionType.SHELL_READY)


@pytest.fixture
def claiming(sim: Simulation, job: JobBuilder) -> Simulation:
    """
    A job asleep, and a new claim on its vault. The app's pod may wait for it: an `ephemeral` claim ends with its pod,
    and the next pod has another.
    """
    sim.configure(virtual=replace(sim.site.virtual, storage_class="fast"))
    sim.submit(job.with_vault())
    sim.run(until="serving")
    fall_asleep(sim)
    sim.host.put_claim(NAMESPACE, "web-data", "user1-data")
    sim.host.app_starts = False
    return sim


def test_a_claim_on_the_vault_that_is_made_in_the_sleep_is_bound_before_the_app_starts(claiming: Simulation) -> None:
    ask(claiming, asleep=False)
    settle(claiming, times=10)
    assert read_rest(claiming) is Rest.WAKING
    claim = claiming.host.read(Kind.PERSISTENT_VOLUME_CLAIM, NAMESPACE, "web-data")
    assert claim is not None
    assert claim.get("status") == {"phase": "Bound"}


def test_a_volume_that_the_host_refuses_is_not_tried_at_each_look(claiming: Simulation, requests: Counter[str]) -> None:
    claiming.host.refuse[Kind.PERSISTENT_VOLUME] = "denied by a policy"
    ask(claiming, asleep=False)
    requests.clear()
    claiming.go_on(400)
    assert read_rest(claiming) is Rest.WAKING
    assert 40 <= requests["host.apply"] <= 80


def test_an_app_that_never_becomes_ready_gets_its_address_back(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.host.app_starts = False
    ask(serving, asleep=False)
    serving.run(until="serving", limit=3000)
    assert backends(serving)["/"] == names.TARGET


def test_a_job_without_a_volume_stays_awake_and_says_why(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    ask(sim, asleep=True)
    assert sim.step().summary == "falling asleep"
    assert sim.step().summary == "serving"
    condition = sim.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", Reason.SLEEP_NOT_POSSIBLE)
    assert "no volume" in condition.message
    assert sim.step().summary == "sleep_withdrawn"
    assert sim.step().summary == "serving"
    writes = len(sim.store.writes)
    assert sim.step().summary == "serving"
    assert len(sim.store.writes) == writes, "it is not asked again and again"
    assert not any(call.startswith("scale") for call in sim.host.calls)


def test_a_job_that_does_not_serve_yet_does_not_sleep(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(virtual=replace(sim.site.virtual, storage_class="fast"))
    sim.submit(job)
    sim.step()
    ask(sim, asleep=True)
    sim.run(until="asleep")
    assert sim.job.status.has_been_exposed


def test_new_pods_of_kns_answer_in_place_of_the_old_ones(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.doors.addresses = ["10.0.0.9"]
    assert serving.step().summary == "asleep"
    assert [each["addresses"] for each in the_slice(serving)["endpoints"]] == [["10.0.0.9"]]


def test_new_pods_of_kns_answer_for_a_job_that_waits_for_room_when_it_wakes(serving: Simulation) -> None:
    """It may wait for hours, and pods of kns come and go. One moment without them changes nothing."""
    fall_asleep(serving)
    serving.host.schedulable = False
    ask(serving, asleep=False)
    settle(serving)
    assert read_rest(serving) is Rest.WAKING
    for addresses in ([], ["10.0.0.9"]):
        serving.doors.addresses = addresses
        serving.clock.advance(60)
        settle(serving)
    condition = serving.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert UNSCHEDULABLE in condition.message
    assert [each["addresses"] for each in the_slice(serving)["endpoints"]] == [["10.0.0.9"]]


def test_what_a_webhook_changes_of_a_sleeping_job_is_said_and_applied_once(serving: Simulation) -> None:
    """Each look finds the change, and another apply would have the same result."""
    apply = f"apply Ingress {NAMESPACE}/{NAMESPACE}"
    serving.host.webhooks[Kind.INGRESS] = lambda ingress: ingress["spec"].update(ingressClassName="internal")
    serving.configure(ingress=IngressSettings(ingress_class="public"))
    settle(serving)
    serving.host.calls.clear()
    fall_asleep(serving)
    serving.go_on(3600)
    assert serving.host.calls.count(apply) == 1
    condition = serving.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert condition.message.startswith("the next request of its page wakes it; a webhook of the host changes Ingress")
    serving.host.change(Kind.INGRESS, NAMESPACE, NAMESPACE, lambda ingress: _lead(ingress, names.TARGET))
    serving.go_on(1200)
    assert serving.host.calls.count(apply) == 2
    assert backends(serving)["/"] == names.WAKE
    ask(serving, asleep=False)
    serving.run(until="serving")
    assert backends(serving)["/"] == names.TARGET


def test_a_route_that_a_webhook_spoils_is_applied_once_for_a_sleeping_job(serving: Simulation) -> None:
    """The Gateway refuses what the webhook made of it."""
    serving.configure(gateway=GatewayRef("infra", "public"))
    serving.host.put(Kind.GATEWAY, "infra", "public", {"spec": {"listeners": [{"name": "http"}]}})
    serving.host.watches_routes = True
    serving.host.route_reason = "NoMatchingListenerHostname"
    serving.host.webhooks[Kind.HTTP_ROUTE] = lambda route: route["spec"].update(hostnames=["other.example.org"])
    settle(serving)
    serving.host.calls.clear()
    fall_asleep(serving)
    serving.go_on(3600)
    assert serving.host.calls.count(f"apply HTTPRoute {NAMESPACE}/{NAMESPACE}") == 1


def test_an_ingress_from_before_the_gateway_follows_the_job_into_its_sleep_and_back(serving: Simulation) -> None:
    """DNS may still lead there, so it must wake the job, and no longer show the waiting page afterwards."""
    serving.configure(ingress=IngressSettings("traefik", {"example.org/timeout": "60"}, cert_secret="jobs-tls"))
    settle(serving)
    fall_asleep(serving)
    serving.host.change(Kind.INGRESS, NAMESPACE, NAMESPACE, _add_challenge)
    own = serving.host.read(Kind.INGRESS, NAMESPACE, NAMESPACE)
    assert own is not None
    serving.configure(gateway=GatewayRef("infra", "public"), ingress=IngressSettings())
    serving.host.put(Kind.GATEWAY, "infra", "public", {"spec": {"listeners": [{"name": "http"}]}})
    serving.host.watches_routes = True
    ask(serving, asleep=False)
    serving.run(until="serving")
    assert backends(serving) == {"/": names.TARGET, names.SHELL_PATH: names.SHELL, "/challenge": "solver"}
    fall_asleep(serving)
    assert backends(serving) == {"/": names.WAKE, names.SHELL_PATH: names.WAKE, "/challenge": "solver"}
    found = serving.host.read(Kind.INGRESS, NAMESPACE, NAMESPACE)
    assert found is not None
    assert found["spec"] == own["spec"]
    assert found["metadata"]["annotations"] == own["metadata"]["annotations"]


def test_routes_from_the_time_of_the_gateway_follow_the_job_out_of_its_sleep_and_into_the_next(
    serving: Simulation,
) -> None:
    """The site went back to Ingresses while the job slept. DNS may still lead to the Gateway."""
    serving.configure(gateway=GatewayRef("infra", "public"))
    serving.host.put(Kind.GATEWAY, "infra", "public", {"spec": {"listeners": [{"name": "http"}]}})
    serving.host.watches_routes = True
    settle(serving)
    fall_asleep(serving)
    assert _routed(serving) == [names.WAKE, names.WAKE]
    own = serving.host.read(Kind.HTTP_ROUTE, NAMESPACE, NAMESPACE)
    assert own is not None
    serving.configure(gateway=None)
    ask(serving, asleep=False)
    serving.run(until="serving")
    assert _routed(serving) == [names.TARGET, names.SHELL]
    settle(serving)
    serving.host.calls.clear()
    serving.go_on(3600)
    assert not [call for call in serving.host.calls if "HTTPRoute" in call], "nothing to change costs nothing"
    fall_asleep(serving)
    assert _routed(serving) == [names.WAKE, names.WAKE]
    found = serving.host.read(Kind.HTTP_ROUTE, NAMESPACE, NAMESPACE)
    assert found is not None
    assert found["spec"] == own["spec"]
    serving.host.refuse[Kind.HTTP_ROUTE] = "denied the request"
    ask(serving, asleep=False)
    serving.run(until="serving")
    exposed = serving.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert exposed.is_true
    assert f"HTTPRoute {NAMESPACE} from the time of the Gateway leads where it led" in exposed.message


def _routed(sim: Simulation) -> list[str]:
    """The Services behind the route of the job and that of its shell."""
    routes = [sim.host.read(Kind.HTTP_ROUTE, NAMESPACE, name) or {} for name in (NAMESPACE, names.SHELL)]
    return [behind["name"] for route in routes for rule in route["spec"]["rules"] for behind in rule["backendRefs"]]


@pytest.mark.parametrize("error", [RefusedError, UnavailableError])
def test_an_ingress_from_before_the_gateway_that_cannot_follow_stops_nothing(
    serving: Simulation, monkeypatch: pytest.MonkeyPatch, error: type[KnsError]
) -> None:
    """A webhook refuses it, or does not answer. The job has its route, sleeps and wakes, and the condition says it."""
    apply = serving.host.apply

    def refuse_ingress(obj: Object) -> Object:
        if obj["kind"] == "Ingress":
            raise error("webhook validate.example.org")
        return apply(obj)

    serving.configure(gateway=GatewayRef("infra", "public"))
    serving.host.put(Kind.GATEWAY, "infra", "public", {"spec": {"listeners": [{"name": "http"}]}})
    serving.host.watches_routes = True
    monkeypatch.setattr(serving.host, "apply", refuse_ingress)
    fall_asleep(serving)
    serving.host.change(
        Kind.INGRESS, NAMESPACE, NAMESPACE, lambda ingress: _lead(ingress, names.WAKE)
    )  # as if it had followed before
    ask(serving, asleep=False)
    serving.run(until="serving")
    settle(serving)
    assert serving.host.read(Kind.HTTP_ROUTE, NAMESPACE, NAMESPACE) is not None
    exposed = serving.job.status.condition(ConditionType.EXPOSED)
    assert exposed is not None
    assert exposed.is_true
    assert "from before the Gateway leads where it led" in exposed.message


def _lead(ingress: Object, service: str) -> None:
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        path["backend"]["service"]["name"] = service


def _add_challenge(ingress: Object) -> None:
    """As a certificate manager does."""
    service = {"name": "solver", "port": {"number": 1}}
    path = {"path": "/challenge", "pathType": "Exact", "backend": {"service": service}}
    ingress["spec"]["rules"][0]["http"]["paths"].append(path)


def test_a_job_does_not_fall_asleep_while_nothing_could_wake_it(serving: Simulation) -> None:
    serving.doors.addresses = []
    ask(serving, asleep=True)
    with pytest.raises(AssertionError, match="never came to asleep"):
        serving.run(until="asleep", limit=20)
    assert len(pods(serving)) == 4
    condition = serving.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert "no pod of kns is ready" in condition.message


@pytest.mark.parametrize(
    "kind", [Kind.ENDPOINT_SLICE, Kind.SERVICE, Kind.INGRESS, Kind.RESOURCE_QUOTA, Kind.STATEFUL_SET]
)
def test_a_host_that_refuses_the_sleep_does_not_end_the_job(serving: Simulation, kind: Kind) -> None:
    """For example because the tenant has used up the quota of Services. Pods that have ended come back."""
    serving.host.refuse[kind] = "exceeded quota"
    ask(serving, asleep=True)
    serving.run(until="serving")
    settle(serving)
    assert len(pods(serving)) == 4
    condition = serving.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert condition.reason == Reason.SLEEP_NOT_POSSIBLE
    assert "exceeded quota" in condition.message
    serving.host.refuse.clear()
    serving.run(until="serving")
    assert backends(serving)["/"] == names.TARGET


def _refuse_to_sleep(sim: Simulation) -> None:
    sim.host.refuse[Kind.ENDPOINT_SLICE] = "exceeded quota"
    ask(sim, asleep=True)
    sim.run(until="sleep_withdrawn")
    sim.run(until="serving")
    sim.host.refuse.clear()


def test_a_refused_sleep_does_not_come_true_at_another_change(serving: Simulation) -> None:
    """For example when its user extends the walltime, and uses the job."""
    _refuse_to_sleep(serving)
    serving.store.set_keep(serving.job, keep=True)
    assert serving.step().summary == "serving"
    assert len(pods(serving)) == 4
    condition = serving.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert "exceeded quota" in condition.message


def test_a_job_that_could_not_sleep_may_be_asked_again(serving: Simulation) -> None:
    _refuse_to_sleep(serving)
    fall_asleep(serving)
    assert pods(serving) == []


def test_a_job_that_is_asked_again_at_once_is_not_taken_for_refused(serving: Simulation) -> None:
    """The new request comes before a reconcile has seen that the old one was withdrawn."""
    serving.host.refuse[Kind.ENDPOINT_SLICE] = "exceeded quota"
    ask(serving, asleep=True)
    serving.run(until="sleep_withdrawn")
    serving.host.refuse.clear()
    ask(serving, asleep=True)
    serving.run(until="asleep")


def test_a_host_that_refuses_to_wake_a_job_does_not_end_it(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.host.refuse[Kind.STATEFUL_SET] = "a webhook says no"
    ask(serving, asleep=False)
    for _ in range(5):
        serving.step()
        serving.clock.advance(10_000)
    assert read_rest(serving) is Rest.WAKING
    serving.host.refuse.clear()
    serving.run(until="serving")


def test_a_refusal_in_its_sleep_leaves_a_job_asleep(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.doors.addresses = ["10.0.0.9"]
    serving.host.refuse[Kind.ENDPOINT_SLICE] = "exceeded quota"
    assert serving.step().summary == "asleep"
    assert read_rest(serving) is Rest.ASLEEP


def test_a_job_is_woken_while_it_falls_asleep(serving: Simulation) -> None:
    ask(serving, asleep=True)
    for _ in range(4):
        serving.step()
    ask(serving, asleep=False)
    serving.run(until="serving")
    assert read_rest(serving) is Rest.AWAKE
    assert backends(serving)["/"] == names.TARGET


def test_pods_that_the_sleep_refused_are_tried_at_once_if_it_is_broken_off(serving: Simulation) -> None:
    """Their syncer runs on, and would wait as long again as they have waited."""
    count(serving, "4")
    settle(serving)
    serving.virtual.retried.clear()
    ask(serving, asleep=True)
    for _ in range(2):
        serving.step()
    serving.host.app_starts = False
    serving.host.settle()
    serving.virtual.add_pod("default", "replacement")
    count(serving, "1")
    ask(serving, asleep=False)
    settle(serving)
    assert read_rest(serving) is Rest.WAKING
    assert serving.virtual.retried == ["default/replacement"]


def count(sim: Simulation, cores: str) -> None:
    """The host counts that the job uses so many cores of 4."""
    status = {"hard": {"requests.cpu": "4"}, "used": {"requests.cpu": cores}}
    sim.host.change(Kind.RESOURCE_QUOTA, NAMESPACE, names.RESOURCE_QUOTA, lambda quota: quota.update(status=status))


@pytest.mark.parametrize(
    ("reason", "state"),
    [(StopReason.SHUTDOWN, JobState.COMPLETED), (StopReason.TERMINATE, JobState.TERMINATED)],
)
def test_a_sleeping_job_can_be_ended(serving: Simulation, reason: StopReason, state: JobState) -> None:
    fall_asleep(serving)
    serving.store.request_stop(serving.job, reason)
    serving.run(until="retained")
    assert serving.job.status.job_status is state
    assert serving.job.status.activity is None
    assert serving.host.left == []


@pytest.mark.parametrize("until", ["falling asleep", "asleep"])
def test_a_kept_job_that_ends_in_its_sleep_gets_its_pods_back(serving: Simulation, until: str) -> None:
    """Whoever keeps it wants to look at it. It costs no more once they are back."""
    before, behind = set(pods(serving)), backends(serving)
    ask(serving, asleep=True)
    serving.run(until=until)
    settle(serving)
    assert WEB not in pods(serving)
    serving.store.set_keep(serving.job, keep=True)
    serving.store.request_stop(serving.job, StopReason.TERMINATE)
    serving.run(until="kept")
    settle(serving)
    assert set(pods(serving)) == before - {"kns-init-0"}
    assert backends(serving) == behind
    serving.host.calls.clear()
    settle(serving)
    assert serving.host.calls == []


def test_a_kept_job_that_the_host_refuses_is_kept_without_its_pods(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.host.refuse[Kind.RESOURCE_QUOTA] = "denied the request by a webhook"
    serving.store.set_keep(serving.job, keep=True)
    serving.store.request_stop(serving.job, StopReason.TERMINATE)
    serving.run(until="kept")
    assert pods(serving) == []


def test_the_walltime_ends_a_job_in_its_sleep(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(virtual=replace(sim.site.virtual, storage_class="fast"))
    sim.submit(job.with_accepted(walltime_s=5000))
    sim.run(until="serving")
    fall_asleep(sim)
    result = sim.step()
    end = sim.job.walltime_end
    assert end is not None
    assert result.requeue_after_s is not None
    assert result.requeue_after_s <= (end - sim.clock.now()).total_seconds()
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.TERMINATED


def test_a_namespace_that_is_gone_ends_a_job_in_its_sleep(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.host.drop(Kind.NAMESPACE, "", NAMESPACE)
    assert serving.step().summary == "ended"
    assert serving.job.status.reason == Reason.NAMESPACE_GONE


def test_a_control_plane_that_is_gone_ends_a_job_in_its_sleep(serving: Simulation) -> None:
    fall_asleep(serving)
    serving.host.drop(Kind.STATEFUL_SET, NAMESPACE, NAMESPACE)
    assert serving.step().summary == "ended"
    assert serving.job.status.reason == Reason.CONTROL_PLANE_LOST


def test_a_job_waits_for_room_when_it_wakes_however_long(serving: Simulation) -> None:
    """Its state is intact, so time is no reason to end it. Its record has the scheduler's words."""
    fall_asleep(serving)
    serving.host.schedulable = False
    ask(serving, asleep=False)
    for _ in range(5):
        settle(serving, times=2)
        serving.clock.advance(10_000)
    condition = serving.job.status.condition(ConditionType.ASLEEP)
    assert condition is not None
    assert UNSCHEDULABLE in condition.message
    serving.host.schedulable = True
    serving.run(until="serving")
    assert read_rest(serving) is Rest.AWAKE


def test_a_control_plane_that_does_not_start_again_ends_the_job(serving: Simulation) -> None:
    """Counted from the moment when the job was woken."""
    fall_asleep(serving)
    serving.clock.advance(100_000)
    serving.host.control_plane_down = True
    ask(serving, asleep=False)
    woken = serving.clock.now()
    serving.run(until="ended", limit=3000)
    assert serving.job.status.reason == Reason.CONTROL_PLANE_UNAVAILABLE
    assert "did not wake up within 600 s" in (serving.job.status.message or "")
    assert (serving.clock.now() - woken).total_seconds() < 700


def test_a_job_without_a_page_sleeps_and_wakes_by_request(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(virtual=replace(sim.site.virtual, storage_class="fast"))
    sim.submit(job.without_target())
    sim.run(until="serving")
    fall_asleep(sim)
    assert sim.host.read(Kind.ENDPOINT_SLICE, NAMESPACE, names.WAKE) is None
    ask(sim, asleep=False)
    sim.run(until="serving")
    assert sim.job.status.rest is Rest.AWAKE


def test_the_record_of_a_sleeping_job_says_so_to_kubectl(serving: Simulation) -> None:
    from kns.model.job.record import status_to_record

    fall_asleep(serving)
    assert status_to_record(serving.job.status)["substatusText"] == "asleep"
