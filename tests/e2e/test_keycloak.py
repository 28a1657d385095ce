"""
Jobs with a Keycloak client of their own, against a real Keycloak. An administrator's script sets it up, a person logs
in, and the client goes with the job. The same realm lets people in to the page, and a second one to the command line.

The server is the testbed's: this file starts and stops it. All tests with a Keycloak are in this file, because the
start of the server, and of kns with its settings, takes most of their time.
"""

import base64
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from demo.overlay import NAMESPACE
from demo.target import ROOT
from kns.adapters.bearer import RealmTokens
from kns.cli.exits import Exit
from kns.model import names
from kns.model.errors import TokenError
from testbed import layout, paths
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.oidc import (
    AUDIENCE_MAPPER,
    Login,
    RealmAdmin,
    ask_login_page,
    log_in,
    obtain_token,
    obtain_token_by_password,
    redeem_nothing,
)
from tests.e2e.once import check_ran_once, look
from tests.e2e.people import Person, open_browser, somebody
from tests.e2e.program import Asked, Program
from tests.e2e.relay import open_relay
from tests.e2e.scheduler import Settings, await_leader, await_whole, kill_leading_pod, read_log, scheduler_pods
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

pytestmark = pytest.mark.proves("main", "A Keycloak client per job, with a real Keycloak")

APP = "keycloak-login"
REALM, KNS_CLIENT = "jarvice", "kns"
USER, PASSWORD = "ana", "ana-of-test"
REALM_ADMIN, PORTAL_CLIENT = "rita", "portal-of-test"

# The sign-in to the page and to the command line. The realms sign with the key of the demo, whose public key is in the
# usual settings, so that nothing changes for tests that use tokens of the demo's realm.
PAGE_CLIENT, CLI_CLIENT, CLI_REALM = "kns-page-of-test", "kns-cli-of-test", "jarvice-cli"

SETTINGS = "kns-keycloak"  # the Secret that manifests/deployment.yaml reads
_LIMIT_S = 180  # how long a job waits for Keycloak; long enough to give kns its right back on a busy machine
_SETUP_S = 540 * PATIENCE  # the first time, Maven fetches the distribution; measured: two minutes


def _testbed(action: str) -> None:
    subprocess.run([sys.executable, "-m", "testbed", "keycloak", action], cwd=ROOT, check=True, timeout=_SETUP_S)


_LASTING_S = 60  # as Keycloak has it by default
_TOKEN_S = 5  # so that a revoked right has effect soon


@pytest.fixture(scope="module")
def _server(site: Site) -> Iterator[str]:
    """The server's address. It exists only beside the testbed: on other clusters no test may start servers."""
    if not site.target.is_testbed:
        pytest.skip("needs the testbed, which brings the Keycloak server")
    _testbed("up")
    yield layout.KEYCLOAK_URL
    _testbed("down")


@pytest.fixture(scope="module")
def realm(site: Site, settings: Settings, _server: str) -> Iterator[RealmAdmin]:
    """A realm made by the documented script, a kns that uses it, and a user who can log in."""
    password = paths.KEYCLOAK_PASSWORD.read_text("ascii")
    made = subprocess.run(
        ["sh", str(ROOT / "docs" / "keycloak-realm.sh"), _server, REALM, KNS_CLIENT],
        env={
            "PATH": os.environ["PATH"],
            "KCADM": str(paths.KEYCLOAK_HOME / "bin" / "kcadm.sh"),
            "KC_CLI_PASSWORD": password,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300 * PATIENCE,
    )
    admin = RealmAdmin(_server, REALM, password=password)
    admin.sign_with(Path(site.realm_key).read_text("ascii"))
    admin.ensure_user(USER, PASSWORD)
    admin.ensure_user(site.user.username, PASSWORD)
    _prepare_page(admin, site)
    admin.limit_tokens(_TOKEN_S)
    try:
        with _kns_with_keycloak(site, settings, made.stdout):
            yield admin
    finally:
        admin.close()


@contextlib.contextmanager
def _kns_with_keycloak(site: Site, settings: Settings, variables: str) -> Iterator[None]:
    """The scheduler with the script's own output as its Secret, as docs/keycloak.md says."""
    within = f"--namespace={NAMESPACE}"
    with contextlib.ExitStack() as stack:
        stack.callback(site.kubectl.run, "delete", "secret", SETTINGS, within, "--ignore-not-found")
        site.kubectl.run("create", "secret", "generic", SETTINGS, within, "--from-env-file=/dev/stdin", stdin=variables)
        settings.use(
            KNS_KEYCLOAK_LIMIT=str(_LIMIT_S),
            KNS_SWEEP_INTERVAL="2",
            KNS_SWEEP_GRACE="1",
            KNS_WEB_URL=site.url,
            KNS_WEB_KEYCLOAK_CLIENT_ID=PAGE_CLIENT,
            KNS_TOKEN_CLIENTS=f"jarvice,{CLI_CLIENT}",
        )
        yield


def _prepare_page(admin: RealmAdmin, site: Site) -> None:
    """As docs/web-page.md says, and the realm asks each user whether the page may know them."""
    admin.ensure_client(
        PAGE_CLIENT,
        publicClient=True,
        consentRequired=True,
        redirectUris=[f"{site.url}/ui/sign-in/keycloak/back"],
        attributes={"pkce.code.challenge.method": "S256"},
        protocolMappers=[AUDIENCE_MAPPER],
    )
    for username in (USER, site.user.username):
        admin.revoke_consents(username)


@pytest.fixture(scope="module")
def browser(realm: RealmAdmin) -> Iterator[Browser]:
    del realm
    with open_browser() as browser:
        yield browser


@pytest.fixture
def person(browser: Browser) -> Iterator[Person]:
    with somebody(browser) as person:
        yield person


@pytest.fixture(scope="module")
def job(site: Site, realm: RealmAdmin, module_jobs: JobKeeper) -> Iterator[TrialJob]:
    """A job that is submitted while kns has lost its right in the realm."""
    realm.set_right(KNS_CLIENT, may_manage=False)
    # A token that kns has keeps the right, and a job may need its client sooner than the token expires.
    wait_for(lambda: _require_refused(site), timeout_s=60, what="Keycloak refuses the sweeper")
    yield module_jobs.submit(APP)
    realm.set_right(KNS_CLIENT, may_manage=True)


def _require_refused(site: Site) -> None:
    logs = [read_log(site.kubectl, pod["metadata"]["name"]) for pod in scheduler_pods(site.kubectl)]
    if not any(line.get("event") == "sweep_list_failed" for log in logs for line in log):
        raise NotYetError("the sweeper lists the clients")


@pytest.fixture(scope="module")
def serving(realm: RealmAdmin, job: TrialJob) -> TrialJob:
    """The same job, which goes on as soon as the right is back."""
    realm.set_right(KNS_CLIENT, may_manage=True)
    job.wait_until_serving()
    return job


@contextlib.contextmanager
def _lasting_tokens(realm: RealmAdmin) -> Iterator[None]:
    """Tokens that a login gives while the block runs are valid until they have been used."""
    realm.limit_tokens(_LASTING_S)
    try:
        yield
    finally:
        realm.limit_tokens(_TOKEN_S)


def _read_login(site: Site, job: TrialJob) -> Login:
    """What the app itself reads: Secret `kns-job` inside its cluster."""
    with nested_kubectl(site.target, job.number) as inside:
        data = inside.get("secret", "kns-job", "--namespace=default")["data"]
    told = {key: base64.b64decode(value).decode() for key, value in data.items()}
    return Login(
        url=told["KNS_KEYCLOAK_URL"],
        realm=told["KNS_KEYCLOAK_REALM"],
        client_id=told["KNS_KEYCLOAK_CLIENT_ID"],
        client_secret=told["KNS_KEYCLOAK_CLIENT_SECRET"],
        redirect_uri=f"{job.info()['url']}/callback.html",
    )


def test_a_lost_right_is_waited_for_and_named(job: TrialJob) -> None:
    """First of this file."""
    _wait_for_reason(job, "KeycloakForbidden")
    assert "manage-clients" in job.record()["status"]["message"]


def test_somebody_logs_in_by_the_jobs_own_client(site: Site, realm: RealmAdmin, serving: TrialJob) -> None:
    """The authorization-code flow with what the app was given, and nothing else."""
    login = _read_login(site, serving)
    assert login.client_id == serving.namespace
    with _lasting_tokens(realm):
        assert log_in(login, USER, PASSWORD)["preferred_username"] == USER
    assert redeem_nothing(replace(login, client_secret="wrong"))["error"] == "unauthorized_client"
    away = ask_login_page(replace(login, redirect_uri="https://elsewhere.example.org/callback.html"))
    assert away.status_code == 400


@pytest.mark.proves(
    "security",
    "use the token of whoever logs in to the app, perhaps a realm's administrator, at Keycloak's Admin API or at kns",
)
def test_an_administrator_s_token_of_the_app_opens_neither_the_realm_nor_kns(
    site: Site, realm: RealmAdmin, serving: TrialJob
) -> None:
    """The app gets the token of whoever logs in, of a realm's administrator as well."""
    realm.ensure_user(REALM_ADMIN, PASSWORD)
    realm.make_realm_admin(REALM_ADMIN)
    realm.ensure_portal_client(PORTAL_CLIENT)
    kns = RealmTokens(realm.read_public_key(), clients={PORTAL_CLIENT})

    with _lasting_tokens(realm):
        portal = obtain_token_by_password(layout.KEYCLOAK_URL, REALM, PORTAL_CLIENT, REALM_ADMIN, PASSWORD)
        assert realm.list_users_as(portal) == 200
        assert kns.verify(portal).username == REALM_ADMIN

        app = obtain_token(_read_login(site, serving), REALM_ADMIN, PASSWORD)
        assert realm.list_users_as(app) == 403
        with pytest.raises(TokenError):
            kns.verify(app)


_BY_KEYCLOAK = "Sign in with Keycloak"


@pytest.mark.proves("page", "With a real Keycloak: refuse, sign in, see one's jobs, an ended session, sign out at both")
def test_a_person_uses_the_page_with_an_account_of_the_realm(
    site: Site, realm: RealmAdmin, serving: TrialJob, person: Person
) -> None:
    job = f"{site.url}/ui/jobs/{serving.number}"
    with _lasting_tokens(realm):
        person.go(job)
        person.follow(_BY_KEYCLOAK)
        person.log_in(site.user.username, PASSWORD)
        person.decide(grant=False)
        person.expect_text("Keycloak says that the sign-in was refused.")

        person.follow(_BY_KEYCLOAK)
        person.log_in(site.user.username, PASSWORD)
        person.decide(grant=True)
        person.expect_text(f"job {serving.number}")
        assert person.page.url == job, "the page that was asked for first"
        person.follow("Jobs")
        person.expect_text(f"job {serving.number} · {APP}")

        person.page.context.add_cookies([{"name": "kns_session", "value": "of-another-key", "url": site.url}])
        person.go(job)
        person.expect_text("Your session has ended. Sign in again to go on.")
        person.follow(_BY_KEYCLOAK)
        person.expect_text(f"job {serving.number}")
        assert person.page.url == job, "the realm's session goes on, so it asks nothing"

        person.press("Sign out")
        person.expect_title("Signed out")
        person.follow("sign out of Keycloak")
        person.confirm_logout()
        person.expect_title("Sign in")
        assert person.page.url == f"{site.url}/ui/sign-in"
        person.follow(_BY_KEYCLOAK)
        person.expect_login_form()


@pytest.mark.proves(
    "page", "With a real Keycloak: somebody whom kns does not know learns why, and can change the account"
)
def test_a_user_of_the_realm_without_an_account_here_stays_out(site: Site, realm: RealmAdmin, person: Person) -> None:
    with _lasting_tokens(realm):
        person.go(f"{site.url}/ui/")
        person.follow(_BY_KEYCLOAK)
        person.log_in(USER, PASSWORD)
        person.decide(grant=True)
        person.expect_text("your account here is missing or not active")
        person.follow("sign out of Keycloak")
        person.confirm_logout()
        person.follow(_BY_KEYCLOAK)
        person.expect_login_form()


@pytest.fixture(scope="module")
def issuer(site: Site, realm: RealmAdmin) -> Iterator[str]:
    """
    That of a realm whose address is at loopback, because the command line sends tokens nowhere else without TLS.
    """
    del realm
    password = paths.KEYCLOAK_PASSWORD.read_text("ascii")
    with (
        open_relay(layout.KEYCLOAK_URL) as address,
        contextlib.closing(RealmAdmin(layout.KEYCLOAK_URL, CLI_REALM, password=password)) as admin,
    ):
        admin.ensure_realm(address=address)
        admin.sign_with(Path(site.realm_key).read_text("ascii"))
        admin.ensure_user(site.user.username, PASSWORD)
        admin.limit_tokens(_TOKEN_S)
        admin.ensure_client(
            CLI_CLIENT,
            publicClient=True,
            standardFlowEnabled=False,
            directAccessGrantsEnabled=False,
            fullScopeAllowed=False,
            attributes={"oauth2.device.authorization.grant.enabled": "true"},
        )
        yield f"{address}/realms/{CLI_REALM}"


def test_a_person_signs_in_to_the_command_line_in_a_browser(
    site: Site, issuer: str, browser: Browser, serving: TrialJob, tmp_path: Path
) -> None:
    kns = Program(site, tmp_path / "kns")
    kns.environ = {key: value for key, value in kns.environ.items() if key not in ("KNS_USERNAME", "KNS_APIKEY")}
    login = ("login", "--issuer", issuer, "--client", CLI_CLIENT)

    with kns.ask(*login) as asked, somebody(browser) as person:
        _enter_code(person, asked)
        person.log_in(site.user.username, PASSWORD)
        person.decide(grant=False)
        assert asked.wait() == Exit.SIGNED_OUT
    with kns.ask(*login) as asked, somebody(browser) as person:
        _enter_code(person, asked)
        person.log_in(site.user.username, PASSWORD)
        person.decide(grant=True)
        assert asked.wait() == Exit.OK

    stored = tmp_path / "kns" / "credentials.json"
    first = stored.read_text()
    assert serving.number in [job["number"] for job in kns.read("list")]
    assert stored.read_text() != first, "the token was renewed, because it ends in seconds"
    copied = {file: file.read_bytes() for file in stored.parent.iterdir() if file.is_file()}
    kns.run("logout")
    for file, content in copied.items():
        file.touch(mode=0o600)
        file.write_bytes(content)
    kns.run("list", status=Exit.SIGNED_OUT)


def _enter_code(person: Person, asked: Asked) -> None:
    found = re.search(r"open (\S+) and enter the code (\S+)", asked.read_until("enter the code"))
    assert found is not None
    person.go(found[1])
    person.page.locator("input[name=device_user_code]").fill(found[2])
    person.page.locator("input[type=submit]").click()


def test_the_app_could_use_its_client_while_it_was_deployed(serving: TrialJob) -> None:
    assert f"Keycloak knows client {serving.namespace}" in serving.tail()
    assert "Log in</a>" in serving.page()[1]


def test_the_secret_is_in_secrets_only(site: Site, serving: TrialJob) -> None:
    secret = _read_login(site, serving).client_secret
    assert secret not in str(serving.record())
    assert secret not in "\n".join(serving.tail())
    with nested_kubectl(site.target, serving.number) as inside:
        assert "KEYCLOAK" not in str(inside.get("configmap", "kns-job", "--namespace=default")["data"])


def test_kns_has_one_right_and_no_more(realm: RealmAdmin) -> None:
    assert realm.list_roles(KNS_CLIENT) == {"realm-management": ["manage-clients"]}


def test_a_client_without_a_record_is_swept_and_no_other(site: Site, realm: RealmAdmin, serving: TrialJob) -> None:
    """A client with another installation's mark stays, as in a realm that clusters share; so does a live job's."""
    ours = site.kubectl.get("namespace", NAMESPACE)["metadata"]["uid"]
    orphan, theirs = "kns-job-900000000000000000", "kns-job-900000000000000001"
    for client_id, installation in ((orphan, ours), (theirs, "another-uid")):
        marks = {names.KEYCLOAK_OWNER_ATTRIBUTE: "of-no-record", names.KEYCLOAK_INSTALLATION_ATTRIBUTE: installation}
        realm.add_client(client_id, **marks)

    def swept() -> None:
        if realm.find_client(orphan) is not None:
            raise NotYetError(f"client {orphan} is there")

    serving.wait_for(swept, timeout_s=60, what="an orphan beside it swept")
    left = realm.find_client(theirs)
    assert left is not None
    assert realm.find_client(serving.namespace) is not None
    realm.delete_client(left["id"])


def test_the_client_goes_with_its_job(realm: RealmAdmin, site: Site, serving: TrialJob) -> None:
    """Last of the tests with this job."""
    login = _read_login(site, serving)
    assert realm.find_client(serving.namespace) is not None
    serving.stop("shutdown")
    assert serving.wait_until_ended() == "COMPLETED"
    serving.wait_until_removed()
    assert realm.find_client(serving.namespace) is None
    assert ask_login_page(login).status_code == 400


@pytest.mark.deep
def test_a_client_deleted_by_hand_comes_back_while_the_app_is_deployed(
    site: Site, realm: RealmAdmin, jobs: JobKeeper
) -> None:
    """The test deletes it at once, before the first template runs; the app starts nevertheless, with a new client."""
    job = jobs.submit(APP)

    key = _await_client(realm, job)
    realm.delete_client(key)
    job.wait_until_serving()
    assert _await_client(realm, job) != key
    assert log_in(_read_login(site, job), USER, PASSWORD)["preferred_username"] == USER


@pytest.mark.proves("faults", "leader killed (SIGKILL, pod and all) at the stage boundaries of one job")
@pytest.mark.alone
@pytest.mark.deep
def test_a_leader_killed_when_the_client_is_there_and_when_it_is_gone_makes_it_once(
    site: Site, realm: RealmAdmin, jobs: JobKeeper
) -> None:
    """The two boundaries of this stage, the second during the removal. The others are in test_faults_scheduler.py."""
    await_whole(site.kubectl)
    job = jobs.submit(APP)
    key = _await_client(realm, job)
    killed = kill_leading_pod(site.kubectl)
    made = look(site, job)
    await_leader(site.kubectl, after=killed, not_in=killed.pod)
    job.wait_until_serving()
    assert made.is_kept_by(look(site, job))
    check_ran_once(site, job, APP)
    assert _await_client(realm, job) == key
    assert log_in(_read_login(site, job), USER, PASSWORD)["preferred_username"] == USER

    await_whole(site.kubectl)
    job.stop("shutdown")
    job.wait_for(lambda: _expect_no_client(realm, job), timeout_s=60, what="its client gone")
    kill_leading_pod(site.kubectl)
    assert not job.is_gone(), "the removal was over before the kill: nothing was shown"
    job.wait_until_removed()
    assert job.entry()["job_status"] == "COMPLETED"
    assert realm.find_client(job.namespace) is None
    await_whole(site.kubectl)


@pytest.mark.deep
def test_a_server_that_is_down_is_waited_for_at_the_start_and_at_the_end(realm: RealmAdmin, jobs: JobKeeper) -> None:
    """The job that starts meanwhile waits with 1003; of the one that ends only record and client are left."""
    leaving = jobs.submit(APP)
    leaving.wait_until_serving()
    _testbed("down")
    try:
        coming = jobs.submit(APP)
        leaving.stop("terminate")
        _wait_for_reason(coming, "KeycloakUnreachable")
        assert coming.status()["job_substatus"] == 1003
        assert leaving.wait_until_ended() == "TERMINATED"
        leaving.wait_for(lambda: _is_gone(leaving), timeout_s=120, what="its namespace gone")
        removed = leaving.condition("Removed")
        assert removed is not None
        assert removed["status"] == "False"
    finally:
        _testbed("up")
    coming.wait_until_serving()
    leaving.wait_until_removed()
    assert realm.find_client(leaving.namespace) is None


@pytest.mark.deep
def test_a_server_that_stays_down_ends_the_job_with_that_reason(realm: RealmAdmin, jobs: JobKeeper) -> None:
    _testbed("down")
    try:
        job = jobs.submit(APP)
        assert job.wait_until_ended(timeout_s=150 + _LIMIT_S) == "COMPLETED WITH ERROR"
        assert job.record()["status"]["reason"] == "KeycloakUnreachable"
        assert job.output()[-1].startswith(f"after {_LIMIT_S} s: ")
    finally:
        _testbed("up")
    job.wait_until_removed()


def _await_client(realm: RealmAdmin, job: TrialJob) -> str:
    """Its `id`, as soon as it is there."""

    def probe() -> str:
        found = realm.find_client(job.namespace)
        if found is None:
            raise NotYetError("no client")
        return str(found["id"])

    return str(job.wait_for(probe, timeout_s=150, what="its Keycloak client"))


def _expect_no_client(realm: RealmAdmin, job: TrialJob) -> None:
    if realm.find_client(job.namespace) is not None:
        raise NotYetError(f"client {job.namespace} is there")


def _wait_for_reason(job: TrialJob, reason: str) -> None:
    def probe() -> None:
        status = job.record().get("status", {})
        if status.get("reason") != reason:
            raise NotYetError(f"{status.get('reason')}: {status.get('message')}")

    job.wait_for(probe, timeout_s=150, what=reason)


def _is_gone(job: TrialJob) -> None:
    if not job.is_gone():
        raise NotYetError(f"namespace {job.namespace}")
