"""
What the plugin asks, from the audit log of a real API server with the testbed's audit policy.

The end-to-end tests (`tests/e2e/test_posit.py`) make the same comparison with real jobs. Here no node runs, so logs,
commands and metrics are asked for without an answer, which makes no difference to the audit log.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kns.launcher.tools.roles import RoleKind, build_rbac
from kns.plain import names
from testbed import audit, layout
from tests.launcher.client import Launcher
from tests.launcher.rights import IN_PAGES, NEVER_LOGGED, read_asked
from tests.policies.api_server import ApiServer
from tests.policies.conftest import AUDIT_LOG
from tests.policies.test_plain_jobs import make_pod, pods_of, set_status
from tests.policies.test_posit import ACCOUNT, PATHS

NAMESPACE = layout.AUDITED_NAMESPACES[0]


@pytest.fixture(scope="module")
def conf(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a plugin with the minimal Role."""
    return configure(api, tmp_path_factory.mktemp("posit"), NAMESPACE)


def configure(api: ApiServer, folder: Path, namespace: str) -> Path:
    for obj in build_rbac(RoleKind.MINIMAL, namespace=namespace, account=ACCOUNT, with_nodes=True):
        api.apply(f"{PATHS[obj['kind']].format(namespace=namespace)}/{obj['metadata']['name']}", obj)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"{PATHS['ServiceAccount'].format(namespace=namespace)}/{ACCOUNT}/token"
    token = folder / "token"
    token.write_text(api.call("POST", path, request)["status"]["token"])
    token.chmod(0o600)
    cluster = json.loads(api.kubeconfig.read_text())["clusters"][0]["cluster"]
    conf = folder / "launcher.kubernetes.conf"
    conf.write_text(
        f"api-url={cluster['server']}\nauth-token-path={token}\n"
        f"certificate-authority={cluster['certificate-authority-data']}\nkubernetes-namespace={namespace}\n"
        f"scratch-path={folder / 'scratch'}\nlogging-dir={folder / 'logs'}\n"
    )
    return conf


@pytest.fixture(scope="module")
def launcher(conf: Path) -> Iterator[Launcher]:
    argv = [sys.executable, "-m", "kns.launcher.program", "--unprivileged=1", f"--config-file={conf}"]
    launcher = Launcher([*argv, f"--launcher-config-file={conf.parent / 'launcher.conf'}"], conf.parent / "stderr")
    try:
        assert launcher.bootstrap()["messageType"] == 1
        launcher.send(4, username="*", jobId="*", request_id=900)
        yield launcher
    finally:
        launcher.end()


def test_each_right_is_needed_and_no_other(api: ApiServer, conf: Path, launcher: Launcher) -> None:
    """A life of a job that needs every call of the plugin. Somebody dates its end back, so it expires at once."""
    job = launcher.submit(command="cat", stdin="x", exposedPorts=[{"targetPort": 80}])["id"]
    pod = make_pod(api, job, namespace=NAMESPACE)
    bound = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": "n"}}
    api.call("POST", f"{pods_of(NAMESPACE)}/{pod}/binding", bound)
    set_status(api, pod, {"running": {"startedAt": "2026-01-05T14:15:31Z"}}, "Running", namespace=NAMESPACE)
    launcher.wait_status(job, "Running")
    launcher.ask(8, username="ana", jobId=job)
    launcher.send(6, username="ana", jobId=job, outputType=2, cancel=False)
    assert launcher.ask(7, username="ana", jobId=job)["messageType"] == -1  # there are no metrics
    assert launcher.ask(5, username="ana", jobId=job, operation=2)["operationComplete"] is False
    assert launcher.get("no-such-job")["errorCode"] == 3
    log = api.kubeconfig.with_name(AUDIT_LOG)
    launcher.until(lambda: f"/{pod}/attach" in log.read_text())  # the plugin gives a pod its input when it sees it run
    ended = {"exitCode": 143, "reason": "Error", "finishedAt": "2026-01-05T14:16:31Z"}
    set_status(api, pod, {"terminated": ended}, "Failed", namespace=NAMESPACE)
    launcher.wait_status(job, "Killed")
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job}"
    launcher.until(lambda: names.END in api.call("GET", path)["metadata"]["annotations"])
    stored = json.loads(api.call("GET", path)["metadata"]["annotations"][names.END])
    past = {names.END: json.dumps({**stored, "ended": "2026-01-05T14:16:31Z"})}
    api.call("PATCH", path, {"metadata": {"annotations": past}}, content_type="application/merge-patch+json")
    launcher.until(lambda: launcher.get(job)["messageType"] == -1)

    asked = read_asked(conf, log, namespace=NAMESPACE)

    assert (asked.beyond, asked.refused) == (frozenset(), frozenset())
    assert asked.unused - IN_PAGES == NEVER_LOGGED


def test_accounts_of_other_namespaces_are_not_logged(
    api: ApiServer, conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The testbed's log has no room for everybody. Whoever reads it for an account without entries learns it."""
    other = configure(api, tmp_path, "posit-not-audited")
    monkeypatch.setattr("tests.launcher.rights.PATIENCE_S", 1.0)
    with pytest.raises(AssertionError, match="has no entry of a request that was just made"):
        read_asked(other, api.kubeconfig.with_name(AUDIT_LOG), namespace="posit-not-audited")
    users = {each.user for each in audit.AuditLog(api.kubeconfig.with_name(AUDIT_LOG)).read_new()}
    assert users == {f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"}
