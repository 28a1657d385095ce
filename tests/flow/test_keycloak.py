"""A job's own Keycloak client, over a realm in memory: created once, delivered, corrected, deleted with the job."""

import base64
import json
from collections.abc import Callable

import pytest

from kns.model.errors import (
    ForbiddenError,
    KnsError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason, Substatus
from kns.model.site import KeycloakSettings
from kns.ports import Kind
from tests.builders import JobBuilder, a_job
from tests.fakes.keycloak import MemoryRealm
from tests.flow.conftest import Simulation
from tests.flow.interruptions import MOST_CALLS, Crash, fresh, interrupt, run_on

NAME = "kns-job-7"
URL = "https://kns-job-7.jobs.example.org"
LIMIT_S = 60
TRANSIENT: dict[type[KnsError], Reason] = {
    UnavailableError: Reason.KEYCLOAK_UNREACHABLE,
    UnauthorizedError: Reason.KEYCLOAK_UNAUTHORIZED,
    ForbiddenError: Reason.KEYCLOAK_FORBIDDEN,
}


@pytest.fixture
def realm(sim: Simulation) -> MemoryRealm:
    """The site has a Keycloak."""
    realm = MemoryRealm()
    sim.identity = realm
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", LIMIT_S))
    return realm


@pytest.fixture
def job() -> JobBuilder:
    """An app that asks for a client."""
    return a_job().with_nested(keycloak={"redirect_paths": ["/oauth/callback", "/other"], "namespace": "lab"})


def test_a_name_that_is_taken_by_a_client_that_kns_cannot_see_ends_the_job_at_the_limit(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating it is refused and looking it up finds nothing, for example because of permissions inside the realm."""
    realm.clients[NAME] = {"id": "key-0", "clientId": NAME}
    seen = 0

    def find_client(client_id: str) -> None:
        nonlocal seen
        assert client_id == NAME
        seen += 1

    monkeypatch.setattr(realm, "find_client", find_client)
    sim.submit(job)
    sim.run(until="ended")
    status = sim.job.status
    assert (status.job_status, status.reason) == (JobState.FAILED, Reason.KEYCLOAK_REFUSED)
    assert "already exists" in str(status.message)
    assert seen < LIMIT_S


def test_the_client_is_as_the_contract_says(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    client = dict(realm.clients[NAME])
    assert len(client.pop("secret")) >= 32
    assert client.pop("description").startswith("Made by kns for job 7")
    assert client == {
        "id": "key-1",
        "clientId": NAME,
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "clientAuthenticatorType": "client-secret",
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        "rootUrl": URL,
        "baseUrl": URL,
        "redirectUris": [f"{URL}/other", f"{URL}/oauth/callback"],
        "webOrigins": ["+"],
        "attributes": {
            "post.logout.redirect.uris": "+",
            "kns.record-uid": sim.job.uid,
            "kns.installation": "uid-of-kns",
            "realm_client": "false",
        },
    }
    assert realm.calls == [f"create {NAME}"]


def test_every_path_is_allowed_if_the_app_names_none(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    sim.submit(job.with_nested(keycloak=True, ingress_type="prefix"))
    sim.run(until="serving")
    assert realm.clients[NAME]["redirectUris"] == ["https://jobs.example.org/7/*"]


def test_a_job_without_an_address_gets_a_client_that_leads_nowhere(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder
) -> None:
    sim.submit(job.without_target())
    sim.run(until="serving")
    assert realm.clients[NAME]["redirectUris"] == []
    assert "rootUrl" not in realm.clients[NAME]


def test_id_and_secret_reach_the_app_and_nobody_else(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    """Inside in `default` and in the namespace that the app names, for the init pod on the host; not in the record."""
    sim.virtual.namespaces.add("lab")
    sim.submit(job)
    sim.run(until="serving")
    secret = realm.clients[NAME]["secret"]
    told = {
        "KNS_KEYCLOAK_URL": "https://kc.example.org/auth",
        "KNS_KEYCLOAK_REALM": "jarvice",
        "KNS_KEYCLOAK_CLIENT_ID": NAME,
        "KNS_KEYCLOAK_CLIENT_SECRET": secret,
    }
    for namespace in ("default", "lab"):
        assert told.items() <= sim.virtual.objects["Secret", namespace, "kns-job"]["stringData"].items()
        assert not [key for key in sim.virtual.objects["ConfigMap", namespace, "kns-job"]["data"] if "KEYCLOAK" in key]
    on_host = sim.host.read(Kind.SECRET, NAME, "kns-init-env")
    assert on_host is not None
    assert told.items() <= on_host["stringData"].items()
    assert secret not in sim.job.spec.model_dump_json() + sim.job.status.model_dump_json()


def test_a_namespace_that_appears_later_gets_them_too(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    assert ("Secret", "lab", "kns-job") not in sim.virtual.objects
    sim.virtual.namespaces.add("lab")
    sim.step()
    assert "KNS_KEYCLOAK_CLIENT_ID" in sim.virtual.objects["Secret", "lab", "kns-job"]["stringData"]


def test_an_app_that_does_not_ask_leaves_no_trace(sim: Simulation, realm: MemoryRealm) -> None:
    realm.fault = AssertionError("asked")
    sim.submit(a_job())
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert "KEYCLOAK" not in json.dumps([*sim.virtual.objects.values()])
    assert not [call for call in sim.host.calls if "keycloak" in call]


def test_a_serving_job_does_not_ask_keycloak(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    realm.fault = AssertionError("asked")
    calls, writes = list(sim.host.calls), list(sim.store.writes)
    for _ in range(3):
        assert sim.step().summary == "serving"
    assert (sim.host.calls, sim.store.writes) == (calls, writes)


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.TERMINATED, JobState.FAILED])
def test_the_client_goes_with_its_job(sim: Simulation, realm: MemoryRealm, job: JobBuilder, state: JobState) -> None:
    if state is JobState.FAILED:
        sim.host.init_exit = {"exitCode": 1}
        sim.submit(job)
    else:
        sim.submit(job)
        sim.run(until="serving")
        stop = {JobState.COMPLETED: StopReason.SHUTDOWN, JobState.TERMINATED: StopReason.TERMINATE}[state]
        sim.store.request_stop(sim.job, stop)
    sim.run(until="retained")
    assert sim.job.status.job_status is state
    assert realm.clients == {}
    assert realm.calls == [f"create {NAME}", f"delete {NAME}"]
    assert sim.host.left == []


# --- changes of the client by others


def test_a_client_deleted_by_hand_comes_back_as_the_app_knows_it(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder
) -> None:
    """While the app is not deployed. The client gets its earlier secret again."""
    _deploy(sim, job)
    before = realm.clients.pop(NAME)
    sim.step()
    assert realm.clients[NAME]["secret"] == before["secret"]
    assert realm.clients[NAME]["id"] != before["id"]


def test_a_client_changed_by_hand_is_put_right(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    _deploy(sim, job)
    client = realm.clients[NAME]
    secret = client["secret"]
    realm.clients[NAME] = {**client, "enabled": False, "secret": "another", "name": "a name of theirs"}
    sim.step()
    after = realm.clients[NAME]
    assert (after["enabled"], after["secret"], after["name"]) == (True, secret, "a name of theirs")
    sim.step()
    assert realm.calls == [f"create {NAME}", f"update {NAME}"]


def test_a_client_deleted_by_hand_is_no_obstacle_at_the_end(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder
) -> None:
    sim.submit(job)
    sim.run(until="serving")
    realm.clients.clear()
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert realm.calls == [f"create {NAME}"]


def test_a_client_without_a_mark_is_adopted(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    realm.clients[NAME] = {"clientId": NAME, "id": "theirs", "secret": "x", "attributes": {}, "redirectUris": []}
    sim.submit(job)
    sim.run(until="serving")
    assert realm.calls == [f"update {NAME}"]
    info = sim.virtual.objects["Secret", "default", "kns-job"]["stringData"]
    assert realm.clients[NAME]["secret"] == info["KNS_KEYCLOAK_CLIENT_SECRET"]


def test_a_client_of_another_record_is_neither_used_nor_removed(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder
) -> None:
    theirs = {"clientId": NAME, "id": "theirs", "attributes": {"kns.record-uid": "another"}}
    realm.clients[NAME] = dict(theirs)
    sim.submit(job)
    sim.run(until="retained")
    assert sim.job.status.reason == Reason.KEYCLOAK_FOREIGN
    assert realm.clients == {NAME: theirs}
    assert sim.host.left == []


def test_a_secret_deleted_by_hand_changes_nothing_for_the_app(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder
) -> None:
    """Once the app knows its client's secret, kns generates no other."""
    _deploy(sim, job)
    secret = realm.clients[NAME]["secret"]
    sim.host.drop(Kind.SECRET, NAME, "kns-keycloak")
    sim.step()
    assert realm.clients[NAME]["secret"] == secret


# --- Keycloak refuses or does not answer


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: error.__name__)
def test_a_job_waits_for_keycloak_and_says_why(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder, error: type[KnsError]
) -> None:
    """With growing delays, in substatus 1003, without a write per try. The job continues when Keycloak answers."""
    realm.fault = error("what is wrong")
    _spawn(sim, job)
    waits, writes = [], len(sim.store.writes)
    for _ in range(5):
        result = sim.step()
        assert result.requeue_after_s is not None
        waits.append(result.requeue_after_s)
        sim.clock.advance(result.requeue_after_s)
    assert waits == sorted(waits)
    assert waits[0] == 2
    status = sim.job.status
    assert (status.job_status, status.substatus) == (JobState.PROCESSING, Substatus.PREPARING)
    assert (status.reason, status.message) == (TRANSIENT[error], "what is wrong")
    assert len(sim.store.writes) - writes <= 1
    realm.fault = None
    sim.run(until="serving")


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: error.__name__)
def test_after_the_limit_the_job_fails_with_that_reason(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder, error: type[KnsError]
) -> None:
    """Exactly at the limit, counted from the first failure. The namespace is removed in any case."""
    realm.fault = error("what is wrong")
    _spawn(sim, job)
    since = sim.job.status.condition(ConditionType.KEYCLOAK_READY)
    assert since is not None
    sim.run(until="ended")
    status = sim.job.status
    assert (status.job_status, status.reason) == (JobState.FAILED, TRANSIENT[error])
    assert status.end_time is not None
    assert (status.end_time - since.last_transition_time).total_seconds() == LIMIT_S
    assert str(sim.job.status.message) == f"after {LIMIT_S} s: what is wrong"
    realm.fault = None
    sim.run(until="retained")


def test_what_keycloak_refuses_fails_the_job_at_once(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    realm.fault = RefusedError("400: A redirect URI uses an illegal scheme")
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.KEYCLOAK_REFUSED
    assert "illegal scheme" in str(sim.job.status.message)


def test_keycloak_switched_off_after_the_job_was_taken(sim: Simulation, realm: MemoryRealm, job: JobBuilder) -> None:
    sim.identity = None
    sim.submit(job)
    sim.run(until="retained")
    assert sim.job.status.reason == Reason.KEYCLOAK_OFF
    assert sim.host.left == []


@pytest.mark.parametrize("fault", [*TRANSIENT, RefusedError, None], ids=str)
def test_a_client_that_is_there_needs_no_keycloak_any_more(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder, fault: type[KnsError] | None
) -> None:
    """Keycloak fails, or is switched off (None), while the templates run."""
    _deploy(sim, job)
    if fault is None:
        sim.identity = None
    else:
        realm.fault = fault("gone")
    sim.host.init_exit = {"exitCode": 0}
    sim.run(until="serving")


@pytest.mark.parametrize("error", [*TRANSIENT, RefusedError], ids=lambda error: error.__name__)
def test_a_removal_waits_for_keycloak_but_holds_back_no_namespace(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder, error: type[KnsError]
) -> None:
    sim.submit(job)
    sim.run(until="serving")
    realm.fault = error("no answer")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    with pytest.raises(AssertionError, match="never came to retained"):
        sim.run(until="retained", limit=60)
    assert sim.host.left == []
    assert sim.job.status.job_status is JobState.TERMINATED
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert not removed.is_true
    assert removed.message == f"Keycloak client {NAME} is still there: no answer"
    assert sim.step().requeue_after_s == 30
    realm.fault = None
    sim.run(until="retained")
    assert realm.clients == {}


def test_a_removal_ends_without_the_client_if_keycloak_was_switched_off(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder
) -> None:
    """The way to remove a job if Keycloak never answers again."""
    sim.submit(job)
    sim.run(until="serving")
    sim.identity = None
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert list(realm.clients) == [NAME]


@pytest.mark.parametrize("realm_now", ["jarvice", "another"])
def test_a_client_that_stays_in_a_former_realm_is_told_once(
    sim: Simulation, realm: MemoryRealm, job: JobBuilder, realm_now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """kns has no access to the realm that the site used before. In the same realm somebody deleted the client."""
    sim.submit(job)
    sim.run(until="serving")
    sim.identity = MemoryRealm()
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", realm_now, LIMIT_S))
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    told = [line for line in capsys.readouterr().out.splitlines() if "keycloak_client_left" in line]
    assert len(told) == (realm_now == "another")
    assert all("https://kc.example.org/auth/realms/jarvice" in line and NAME in line for line in told)


# --- interruptions


@pytest.mark.parametrize("error", [Crash, UnavailableError], ids=["crash", "lost answer"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("method", ["create_client", "delete_client", "find_client"])
def test_an_interruption_at_every_call_to_keycloak_leaves_one_client_and_then_none(
    sim: Simulation,
    realm: MemoryRealm,
    job: JobBuilder,
    method: str,
    before: bool,
    error: type[BaseException],
) -> None:
    for call in range(1, MOST_CALLS):
        one_realm = MemoryRealm()
        one = Simulation(**{**vars(sim), **fresh(sim), "identity": one_realm})
        used = interrupt(one_realm, method, call, before=before, error=error)
        _live(one, job, lambda: _check_one_client(one, one_realm))  # noqa: B023 - called within the round
        assert one_realm.clients == {}
        assert one_realm.calls == [f"create {NAME}", f"delete {NAME}"]
        assert one.host.left == []
        if used() < call:
            break
    assert 1 < call < MOST_CALLS - 1


def _live(sim: Simulation, job: JobBuilder, check: Callable[[], None]) -> None:
    sim.submit(job)
    run_on(sim, "serving")
    check()
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    run_on(sim, "retained")


def _check_one_client(sim: Simulation, realm: MemoryRealm) -> None:
    """The app and Keycloak have the same secret."""
    kept = sim.host.read(Kind.SECRET, NAME, "kns-keycloak")
    assert kept is not None
    secret = base64.b64decode(kept["data"]["KNS_KEYCLOAK_CLIENT_SECRET"]).decode()
    assert [client["secret"] for client in realm.clients.values()] == [secret]
    told = sim.virtual.objects["Secret", "default", "kns-job"]["stringData"]
    assert told["KNS_KEYCLOAK_CLIENT_SECRET"] == secret


def _spawn(sim: Simulation, job: JobBuilder) -> None:
    """Reconcile until the job waits for Keycloak."""
    sim.submit(job)
    waits = {str(reason) for reason in TRANSIENT.values()}
    sim.live_until(lambda: sim.job.status.reason in waits)


def _deploy(sim: Simulation, job: JobBuilder) -> None:
    """Reconcile until the templates are being applied; they never finish."""
    sim.host.init_exit = None
    sim.submit(job)
    sim.live_until(lambda: sim.job.status.reason == Reason.INIT_RUNNING)
