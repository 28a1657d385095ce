"""
The web shell: only where site and AppDef both allow it, behind the job's login, with an account of the job's cluster
that is nobody's master.
"""

import json

import httpx
import pytest

from tests.e2e.browser import open_terminal
from tests.e2e.jobs import TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.shell import ALLOW, PATH, SHELL_S, require_ready
from tests.e2e.site import Site
from tests.e2e.tenant import a_pod, await_event, await_running, host_copy
from tests.e2e.waiting import PATIENCE, NotYetError

pytestmark = pytest.mark.proves("main", "The web shell, used through a headless browser")


@pytest.fixture(scope="module", autouse=True)
def _allowed(site: Site) -> None:
    """The demo's installation allows shells; one that does not would prove nothing here."""
    config = site.kubectl.get("configmap", "kns-config", "--namespace=kns-system")["data"]
    assert config.get(ALLOW) == "true", f"set {ALLOW} to true in ConfigMap kns-config for this test"


@pytest.fixture(scope="module")
def shell(web_shell: TrialJob) -> TrialJob:
    """A job with both permissions, its shell ready."""
    web_shell.wait_for(lambda: require_ready(web_shell), timeout_s=SHELL_S, what="a shell that is ready")
    return web_shell


def test_help_leads_to_the_shell_and_the_app_is_not_disturbed(site: Site, shell: TrialJob) -> None:
    """The address is the job's own with `/gotty-shell`; below it a terminal's page, elsewhere the app."""
    info = shell.info()
    assert f'href="{info["url"]}{PATH}"' in info["help"]
    answer = _get(site, f"{info['url']}{PATH}/", _login(site, shell))
    assert answer.status_code == 200
    assert 'id="terminal"' in answer.text
    assert "<h1>Web shell</h1>" in shell.page()[1]


def test_a_wrong_password_is_refused_and_counted(site: Site, shell: TrialJob) -> None:
    """Each one: without a login, with another's password, with another's name. The pod's log has the count."""
    user, password = _login(site, shell)
    before, url = _refused(site, shell), f"{shell.info()['url']}{PATH}/"
    for auth in (None, (user, "A" * 16), ("somebody", password)):
        assert _get(site, url, auth).status_code == 401
        assert _get(site, f"{url}auth_token.js", auth).status_code == 401
    shell.wait_for(lambda: _require_refused(site, shell, before + 6), timeout_s=30, what="the count")


def test_a_command_typed_in_a_browser_is_answered_by_the_jobs_cluster(site: Site, shell: TrialJob) -> None:
    """A headless Chromium through the ingress controller, websocket included."""
    user, password = _login(site, shell)
    url = f"{shell.info()['url']}{PATH}/"
    with open_terminal(url, ingress_url=site.ingress_url, user=user, password=password) as terminal:
        assert terminal.page.title() == shell.namespace
        shown = terminal.run("kubectl get deployment web -o name; echo answer-$((6*7))", until="answer-42")
        assert "deployment.apps/web" in shown
        assert "logins-0" in terminal.run("echo logins-$(env | grep -c GOTTY)", until="logins-0")
        shown = terminal.run("helm list --short --all-namespaces && echo helm-$((2*21))", until="helm-42")
        assert "Error" not in shown


def test_the_shells_account_is_an_administrator_by_role_and_not_by_group(site: Site, shell: TrialJob) -> None:
    """cluster-admin inside, by a binding that can be seen and taken away; no certificate of system:masters."""
    who = json.loads(_in_shell(site, shell, "kubectl", "auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert who["username"] == "system:serviceaccount:kube-system:kns-shell"
    assert "system:masters" not in who["groups"]
    assert _in_shell(site, shell, "kubectl", "auth", "can-i", "*", "*", "--all-namespaces").strip() == "yes"
    config = _in_shell(site, shell, "cat", "/etc/kns/shell/kubeconfig")
    assert "client-certificate" not in config
    assert "client-key" not in config


@pytest.mark.proves("security", "find host data in the shell's pod")
def test_the_shells_pod_has_nothing_of_the_host(site: Site, shell: TrialJob) -> None:
    """Not root, nothing to write but its own folders, no token of the host; its processes do not show the login."""
    _, password = _login(site, shell)
    assert _in_shell(site, shell, "id", "--user").strip() == "65532"
    mounts = [line.split() for line in _in_shell(site, shell, "cat", "/proc/mounts").splitlines()]
    assert [options.split(",")[0] for _, place, _, options, *_ in mounts if place == "/"] == ["ro"]
    assert not [place for _, place, *_ in mounts if place.startswith(("/var/run/secrets", "/run/secrets"))]
    assert _in_shell(site, shell, "sh", "-c", "touch /work/x /tmp/x && echo written").strip() == "written"
    arguments = _in_shell(site, shell, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "gotty" in arguments
    assert password not in arguments


@pytest.mark.proves("security", "outlive the job: a pod with a grace period of years that ignores every signal")
def test_all_of_it_ends_with_its_job_also_a_pod_that_will_not_end(site: Site, shell: TrialJob) -> None:
    """
    Last of the tests with this job. A pod asks for an hour of grace, the most that the host admits, and ignores the
    signal to end; the job is terminated, everything is removed nevertheless, and the shell's address leads nowhere.
    """
    container = {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}
    with nested_kubectl(site.target, shell.number) as inside:
        for name, grace_s in (("years", 10**9), ("stubborn", 3600)):
            pod = a_pod(name, container=container, nodeSelector={}, terminationGracePeriodSeconds=grace_s)
            inside.run("apply", "--filename=-", stdin=json.dumps(pod))
        await_event(shell, inside, "years", "at most 3600 seconds to end")
        await_running(shell, inside, "stubborn")
    assert host_copy(site, shell, "stubborn")["spec"]["terminationGracePeriodSeconds"] == 3600
    login, url = _login(site, shell), shell.info()["url"]
    shell.stop("terminate")
    assert shell.wait_until_ended() == "TERMINATED"
    shell.wait_until_removed()
    shell.wait_for(lambda: _require_nowhere(site, f"{url}{PATH}/", login), timeout_s=30, what="its address is nobody's")


def _require_nowhere(site: Site, url: str, login: tuple[str, str]) -> None:
    """The ingress controller learns of it a moment later."""
    if (found := _get(site, url, login).status_code) not in (404, 503):
        raise NotYetError(f"{found}")


def _login(site: Site, job: TrialJob) -> tuple[str, str]:
    return site.user.username, str(job.info()["password"])


def _get(site: Site, url: str, auth: tuple[str, str] | None) -> httpx.Response:
    """Through the ingress controller."""
    wanted = place = httpx.URL(url)
    if site.ingress_url:
        origin = httpx.URL(site.ingress_url)
        place = wanted.copy_with(scheme=origin.scheme, host=origin.host, port=origin.port)
    with httpx.Client(timeout=20 * PATIENCE, trust_env=not site.ingress_url, verify=not site.ingress_url) as client:
        return client.get(place, headers={"Host": wanted.netloc.decode()}, auth=auth)


def _in_shell(site: Site, job: TrialJob, *command: str) -> str:
    return site.kubectl.run("exec", f"--namespace={job.namespace}", "deployment/kns-shell", "--", *command)


def _refused(site: Site, job: TrialJob) -> int:
    """How many logins the shell says it has refused."""
    log = site.kubectl.run("logs", f"--namespace={job.namespace}", "deployment/kns-shell")
    counts = [line for line in log.splitlines() if line.startswith("kns-shell: refused logins: ")]
    return int(counts[-1].rpartition(" ")[2]) if counts else 0


def _require_refused(site: Site, job: TrialJob, count: int) -> None:
    if (found := _refused(site, job)) != count:
        raise NotYetError(f"{found} refused, not {count}")
