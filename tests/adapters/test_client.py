"""The client of the host API: what it sends, and how it reports each bad response."""

import json
import socket
import threading
from typing import Any

import pytest

from kns.adapters.kube import client as client_module
from kns.adapters.kube.client import NESTED_BOUNDS, KubeClient
from kns.adapters.kube.connect import connect, connect_to
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    KnsError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from tests.adapters.api_server import ApiServer, failure
from tests.adapters.conftest import TOKEN, kubeconfig_for
from tests.adapters.faulty_server import Answer, Hang, Lines, Reset
from tests.patience import PATIENCE_S

PATH = "/api/v1/namespaces/kns/secrets/one"


def test_the_token_of_a_kubeconfig_leaves_the_process(server: ApiServer, client: KubeClient) -> None:
    """36.0.0 of the client library lost it on the way."""
    client.request("GET", "/readyz")
    assert server.seen[-1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.proves("settings", "`JARVICE_K8S_ADMIN_CONF` is a kubeconfig of the host")
def test_a_kubeconfig_file_works_the_same(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("home") / "config"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: "{server.url}"}}}}]
users: [{{name: c, user: {{token: "{TOKEN}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: c}}}}]
"""
    )
    client = connect(path)
    client.request("GET", "/readyz")
    client.close()
    assert server.seen[-1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.proves("settings", "Proxies apply to init pods and never to the Kubernetes API")
def test_proxy_variables_do_not_touch_the_kubernetes_api(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies are for other servers. Port 9 of the loopback would refuse a connection."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = connect_to(kubeconfig_for(server.url))
    assert client.request("GET", "/readyz") == {}
    client.close()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_silence_becomes_unavailable_and_is_asked_once(server: ApiServer, client: KubeClient, method: str) -> None:
    """No library may repeat a call, because a limit of 1 s would then take 4 s."""
    server.script(method, "/one", Hang())
    with pytest.raises(UnavailableError, match=f"{method} {PATH}: no answer"):
        client.request(method, PATH, read_timeout_s=0.05)
    server.wait_for(method, "/one")
    assert server.count(method, "/one") == 1


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_a_reset_becomes_unavailable_and_is_asked_once(server: ApiServer, client: KubeClient, method: str) -> None:
    server.script(method, "/one", Reset())
    with pytest.raises(UnavailableError, match="no answer"):
        client.request(method, PATH)
    assert server.count(method, "/one") == 1


def test_an_answer_cut_short_becomes_unavailable(server: ApiServer, client: KubeClient) -> None:
    server.script("GET", "/one", Answer(200, b'{"half', {"Content-Length": "500", "Connection": "close"}))
    with pytest.raises(UnavailableError):
        client.request("GET", PATH, read_timeout_s=0.05)


def test_nobody_there_becomes_unavailable() -> None:
    client = connect_to(kubeconfig_for("http://127.0.0.1:1"))
    with pytest.raises(UnavailableError, match="no answer"):
        client.request("GET", "/readyz")
    client.close()


def test_text_where_json_was_due_becomes_unavailable(server: ApiServer, client: KubeClient) -> None:
    """A gateway in between may send its own page."""
    server.script("GET", "/one", Answer(200, b"<html>starting up</html>"))
    with pytest.raises(UnavailableError, match="not JSON"):
        client.request("GET", PATH)


NO_RIGHT = 'pods is forbidden: User "system:serviceaccount:kns-system:kns-sa" cannot list resource "pods"'
QUOTA = 'pods "a" is forbidden: exceeded quota: kns-quota, requested: pods=1, used: pods=0, limited: pods=0'
LIMIT = 'pods "a" is forbidden: [maximum cpu usage per Pod is 1, but limit is 3, minimum memory usage is 1Gi]'
POLICY = 'pods "a" is forbidden: violates PodSecurity "baseline:latest": privileged'
WEBHOOK = 'admission webhook "x.example.org" denied the request: no'
CEL_POLICY = "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no"
LONG = f'pods "{"a" * 700}" is forbidden: exceeded quota: q'
GOING = 'configmaps "a" is forbidden: unable to create new content in namespace x because it is being terminated'


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (failure(409, "AlreadyExists", "x"), AlreadyExistsError),
        (failure(409, "Conflict", "x"), ConflictError),
        (failure(404, "NotFound", "x"), NotFoundError),
        (failure(410, "Expired", "x"), ExpiredError),
        (failure(401, "Unauthorized", "x"), UnavailableError),
        (failure(403, "Forbidden", NO_RIGHT), ForbiddenError),
        (failure(403, "Forbidden", QUOTA), RefusedError),
        (failure(403, "Forbidden", LIMIT), RefusedError),
        (failure(403, "Forbidden", POLICY), RefusedError),
        (failure(403, "Forbidden", WEBHOOK), RefusedError),
        (failure(403, "Forbidden", CEL_POLICY), RefusedError),
        (failure(403, "Forbidden", LONG), RefusedError),
        (failure(403, "Forbidden", GOING), ForbiddenError),
        (failure(400, "BadRequest", "x"), RefusedError),
        (failure(422, "Invalid", "x"), RefusedError),
        (failure(500, "InternalError", "x"), UnavailableError),
        (failure(503, "ServiceUnavailable", "x"), UnavailableError),
        (Answer(502, b"<html>bad gateway</html>"), UnavailableError),
    ],
    ids=lambda value: str(value.body)[-70:] if isinstance(value, Answer) else value.__name__,
)
def test_each_answer_has_its_error(
    server: ApiServer, client: KubeClient, answer: Answer, error: type[KnsError]
) -> None:
    server.script("POST", "/one", answer)
    with pytest.raises(KnsError, match=f"POST {PATH}: {answer.status}, ") as caught:
        client.request("POST", PATH, body={})
    assert caught.type is error


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_redirect_is_no_success_and_is_not_followed(
    server: ApiServer, client: KubeClient, method: str, status: int
) -> None:
    """The API of a job's cluster chooses the target, and the credentials are not for it."""
    elsewhere = f"{server.url}/elsewhere"
    for discard in (False, True):
        server.script(method, "/one", Answer(status, b"", {"Location": elsewhere}))
        with pytest.raises(UnavailableError, match=f"{method} {PATH}: {status}, the API redirects to {elsewhere}"):
            client.request(method, PATH, body=None if method == "GET" else {}, discard=discard)
    assert [seen.path for seen in server.seen] == [PATH] * 2


def test_a_stream_is_not_redirected(server: ApiServer, client: KubeClient) -> None:
    server.script("GET", "/pods", Answer(307, b"", {"Location": f"{server.url}/elsewhere"}))
    with pytest.raises(UnavailableError, match="the API redirects"):
        list(client.stream_lines("/api/v1/pods", query={}, read_timeout_s=PATIENCE_S))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("\u00b2", None)],
    ids=["seconds", "a date", "no digit of ours"],
)
def test_retry_after_is_handed_on(server: ApiServer, client: KubeClient, header: str, seconds: float | None) -> None:
    server.script("GET", "/one", failure(429, "TooManyRequests", "slow down", Retry_After=header))
    with pytest.raises(UnavailableError) as caught:
        client.request("GET", PATH)
    assert caught.value.retry_after_s == seconds


def test_a_stream_gives_whole_lines_and_ends_with_the_server(server: ApiServer, client: KubeClient) -> None:
    server.script("GET", "/pods", Lines((b'{"a": 1}', b"", b'{"b": 2}')))
    lines = client.stream_lines("/api/v1/pods", query={"watch": "true"}, read_timeout_s=PATIENCE_S)
    assert list(lines) == [b'{"a": 1}', b'{"b": 2}']


def test_a_silent_stream_becomes_unavailable(client: KubeClient) -> None:
    with pytest.raises(UnavailableError):
        list(client.stream_lines("/api/v1/pods", query={"watch": "true"}, read_timeout_s=0.05))


def test_a_refused_stream_is_reported_as_such(server: ApiServer, client: KubeClient) -> None:
    server.script("GET", "/pods", failure(410, "Expired", "too old"))
    with pytest.raises(ExpiredError):
        list(client.stream_lines("/api/v1/pods", query={}, read_timeout_s=PATIENCE_S))


def test_many_threads_share_one_client(client: KubeClient) -> None:
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(client.request("GET", "/readyz"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == [{}] * 8


@pytest.mark.parametrize("text", [None, "{}", "nonsense: ["], ids=["absent", "empty", "not yaml"])
def test_an_unusable_kubeconfig_is_an_error_of_kns(tmp_path_factory: pytest.TempPathFactory, text: str | None) -> None:
    path = tmp_path_factory.mktemp("home") / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(KnsError, match=f"cannot reach the host cluster by kubeconfig {path}"):
        connect(path)


def test_certificates_of_a_virtual_cluster_go_with_their_client(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The client library would keep a file per certificate until the process ends, three for each job."""
    folder = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    config = kubeconfig_for("https://127.0.0.1:1")
    config["clusters"][0]["cluster"]["certificate-authority-data"] = "Y2E="
    config["users"][0]["user"] = {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}
    client = connect_to(config)
    assert sorted(path.read_text() for path in folder.rglob("*") if path.is_file()) == ["ca", "cert", "key"]
    client.close()
    assert list(folder.rglob("*")) == []


@pytest.mark.proves(
    "security",
    "write a kubeconfig for kns that runs a program, sends kns's token, or leads elsewhere",
)
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("user", {"exec": {"command": "/bin/sh"}}),
        ("user", {"auth-provider": {"name": "oidc"}}),
        ("user", {"tokenFile": "/etc/passwd"}),
        ("user", {"client-key": "/etc/passwd"}),
        ("cluster", {"insecure-skip-tls-verify": True}),
        ("cluster", {"proxy-url": "http://203.0.113.9"}),
    ],
)
def test_a_kubeconfig_that_could_run_programs_or_send_files_is_refused(kind: str, keys: dict[str, Any]) -> None:
    config = kubeconfig_for("https://127.0.0.1:1")
    config[f"{kind}s"][0][kind] |= keys
    with pytest.raises(KnsError, match=f"unusable kubeconfig of a virtual cluster: {kind} test has {next(iter(keys))}"):
        connect_to(config)


def test_a_virtual_cluster_is_ready_when_its_default_service_account_is_there(server: ApiServer) -> None:
    text = str(kubeconfig_for(server.url)).replace("'", '"')
    probe = KubeVirtualClusters()
    assert not probe.is_ready("kns-job-7", text)
    server.put("/api/v1", "serviceaccounts", {"metadata": {"name": "default", "namespace": "default"}})
    assert probe.is_ready("kns-job-7", text)
    server.script("GET", "/default", Reset())
    assert not probe.is_ready("kns-job-7", text)


def test_an_object_larger_than_the_bounds_of_an_answer_is_applied(server: ApiServer) -> None:
    """ConfigMap `kns-job` may have almost 1 MiB, and the API server answers with the whole object by default."""
    info = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kns-job", "namespace": "default"},
        "data": {"a": "x" * NESTED_BOUNDS.max_bytes},
    }
    KubeVirtualClusters().apply("kns-job-7", json.dumps(kubeconfig_for(server.url)), [info])
    stored = server.find("/api/v1", "configmaps", "default", "kns-job")
    assert stored is not None
    assert stored["data"] == info["data"]


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
def test_a_virtual_cluster_listens_when_it_accepts_connections(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as taken:
        taken.bind((host.strip("[]"), 0))
        server = f"https://{host}:{taken.getsockname()[1]}"
        assert not KubeVirtualClusters().listens("kns-job-7", server)
        taken.listen()
        assert KubeVirtualClusters().listens("kns-job-7", server)
        with pytest.raises(UnavailableError, match="no longer the leader"):
            KubeVirtualClusters(may_work=lambda: False).listens("kns-job-7", server)


def test_every_call_has_a_timeout() -> None:
    assert 0 < client_module.CONNECT_TIMEOUT_S <= client_module.READ_TIMEOUT_S < client_module.WATCH_TIMEOUT_S
