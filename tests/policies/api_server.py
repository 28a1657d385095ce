"""
A real kube-apiserver on etcd, on loopback, without nodes or controllers: it evaluates admission policies and rights.

Whoever needs it names the two programs in KNS_KUBE_APISERVER and KNS_ETCD.
"""

import base64
import itertools
import json
import os
import secrets
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from kns.model.job.location import Location
from kns.objects.certificates import build_certificates
from tests.patience import PATIENCE_S
from tests.ports import find_ports

_SERVICE_CIDR = "10.96.0.0/16"

_READY_S = 300.0  # on an idle machine ten; more than one may start at the same time
_STOP_S = 15.0
_LOOK_S = 0.2
_QUICK_LOOK_S = 0.01
_RBAC = "/apis/rbac.authorization.k8s.io/v1/"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def find_programs() -> tuple[str, str] | None:
    """kube-apiserver and etcd; None if one of them is missing."""
    found = [shutil.which(os.environ.get(name) or "") for name in ("KNS_KUBE_APISERVER", "KNS_ETCD")]
    return (found[0], found[1]) if found[0] and found[1] else None


class RefusedError(Exception):
    """The API server's answer: status code, message and the body as it came."""

    def __init__(self, status: int, message: str, body: bytes) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body = body


def await_refusal(call: Callable[[], object], what: str) -> None:
    """
    Repeat a call until it is refused. The API server's admission works with caches, so it may admit for a moment what a
    new policy or a new quota forbids.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            call()
        except RefusedError:
            return
        time.sleep(_LOOK_S)
    raise AssertionError(f"{what}: still admitted after {PATIENCE_S:.0f} s")


class ApiServer:
    """Calls as the administrator, or as somebody whom the administrator impersonates."""

    def __init__(self, client: httpx.Client, kubeconfig: Path, *, programs: Mapping[str, int], store_url: str) -> None:
        self._client = client
        self.kubeconfig = kubeconfig
        """The administrator's, for programs that read one."""
        self.programs = programs
        """The process ids of the programs, by name."""
        self.store_url = store_url
        """Where etcd answers, without authentication."""
        self._probes = itertools.count(1)

    def call(self, method: str, path: str, body: Any = None, *, user: str = "", content_type: str = "") -> Any:
        """
        The decoded answer. Rights that the administrator has given count when this returns.

        Raises:
            RefusedError: the status is 400 or above.
        """
        answer = self._request(method, path, body, user=user, content_type=content_type)
        if not user and method in ("POST", "PUT", "PATCH") and path.startswith(_RBAC) and "dryRun" not in path:
            self._await_rights()
        return answer

    def _await_rights(self) -> None:
        """
        The authorizer reads each of the four kinds by a watch of its own. It has read what was written before once it
        knows a role and a binding of each scope that are written now.
        """
        name = f"probe-{next(self._probes)}"
        rule = {"apiGroups": ["probe.example.org"], "resources": ["probes"], "verbs": ["get"]}
        made = []
        for folder, role, kind in ((_RBAC + "namespaces/default/", "Role", "one"), (_RBAC, "ClusterRole", "all")):
            subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"{name}-{kind}"}
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name}
            for plural, content in (
                (f"{role.lower()}s", {"rules": [rule]}),
                (f"{role.lower()}bindings", {"roleRef": ref, "subjects": [subject]}),
            ):
                self._request("POST", folder + plural, {"metadata": {"name": name}, **content})
                made.append(f"{folder}{plural}/{name}")
        attributes = {"group": "probe.example.org", "resource": "probes", "verb": "get", "namespace": "default"}
        deadline = time.monotonic() + PATIENCE_S
        try:
            for kind in ("one", "all"):
                review = {"spec": {"user": f"{name}-{kind}", "resourceAttributes": attributes}}
                while not self._request("POST", _REVIEWS, review)["status"]["allowed"]:
                    assert time.monotonic() < deadline, f"the API server does not know the rights of {name}-{kind}"
                    time.sleep(_QUICK_LOOK_S)
        finally:
            for path in made:
                self._request("DELETE", path)

    def _request(self, method: str, path: str, body: Any = None, *, user: str = "", content_type: str = "") -> Any:
        headers = {"Impersonate-User": user} if user else {}
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        answer = self._client.request(method, path, content=None if body is None else json.dumps(body), headers=headers)
        if answer.status_code >= 400:
            message = answer.text
            with suppress(ValueError):
                message = str(answer.json().get("message"))
            raise RefusedError(answer.status_code, message, answer.content)
        return answer.json()

    def apply(self, path: str, body: Any, *, user: str = "") -> Any:
        query = "?fieldManager=test&force=true"
        return self.call("PATCH", path + query, body, user=user, content_type="application/apply-patch+yaml")


@contextmanager
def running(
    folder: Path,
    programs: tuple[str, str],
    *,
    flags: Sequence[str] = (),
    store_flags: Sequence[str] = (),
    accounts: Sequence[str] = (),
) -> Iterator[ApiServer]:
    """
    An API server that runs until the context ends. Its state is in `folder`.

    `flags` are added to those of the API server, `store_flags` to those of etcd; `accounts` are further lines of the
    API server's token file (`token,user,uid,"group,group"`).
    """
    apiserver, etcd = programs
    client_port, peer_port, port = find_ports(3)
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text("\n".join([f'{token},admin,admin,"system:masters"', *accounts, ""]))
    certificates = build_certificates(Location(1, "kns-job-1"), service_cidr=_SERVICE_CIDR, now=datetime.now(UTC))
    authority, admin = folder / "client-ca.crt", yaml.safe_load(certificates["admin.conf"])["users"][0]["user"]
    authority.write_bytes(certificates["client-ca.crt"])
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    with (
        run_beside(
            folder / "etcd.log",
            etcd,
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client_port}",
            f"--advertise-client-urls=http://127.0.0.1:{client_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
            *store_flags,
        ) as store,
        run_beside(
            folder / "kube-apiserver.log",
            apiserver,
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--etcd-servers=http://127.0.0.1:{client_port}",
            f"--cert-dir={folder}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            f"--client-ca-file={authority}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--service-cluster-ip-range={_SERVICE_CIDR}",
            # Without controllers no namespace gets its default account, and no pod would be admitted.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            *flags,
        ) as server,
    ):
        _await_ready(port, token, folder / "kube-apiserver.log", server)
        context = ssl.create_default_context(cafile=str(folder / "apiserver.crt"))
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}"},
            verify=context,
            trust_env=False,
            timeout=PATIENCE_S,
        ) as client:
            kubeconfig = folder / "kubeconfig"
            kubeconfig.write_text(json.dumps(_build_kubeconfig(port, admin, folder / "apiserver.crt")))
            pids = {"etcd": store.pid, "kube-apiserver": server.pid}
            yield ApiServer(client, kubeconfig, programs=pids, store_url=f"http://127.0.0.1:{client_port}")


def _build_kubeconfig(port: int, user: Mapping[str, str], certificate: Path) -> dict[str, Any]:
    authority = base64.b64encode(certificate.read_bytes()).decode()
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": dict(user)}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }


@contextmanager
def run_beside(
    log: Path, *argv: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the context does; `environment` adds to that of the tests."""
    # A test run that is killed takes the program with it: the kernel sends the signal when the starting thread ends. An
    # API server that is asked to end goes on for as long as its etcd, which ended with it, does not answer.
    with_parent = ["setpriv", "--pdeathsig", "KILL", *argv]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            with_parent, stdout=sink, stderr=sink, start_new_session=True, env={**os.environ, **(environment or {})}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(port: int, token: str, log: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    seen = "nothing"
    while time.monotonic() < deadline and server.poll() is None:
        try:
            answer = httpx.get(
                f"https://127.0.0.1:{port}/readyz",
                headers={"Authorization": f"Bearer {token}"},
                verify=False,
                trust_env=False,
            )
            seen = answer.text
            if answer.status_code == 200 and seen == "ok":
                return
        except httpx.TransportError as error:
            seen = str(error)
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.2)
    tail = log.read_text(errors="replace")[-2000:]
    raise AssertionError(f"kube-apiserver is not ready, last seen: {seen}\n{tail}")


def make_namespace_with_all_rights(api: ApiServer, namespace: str) -> None:
    """A namespace in which an account with the name of kns's may do everything, so that only a policy refuses."""
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "all", "namespace": namespace},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "kns-sa", "namespace": namespace}],
    }
    api.call("POST", f"/apis/{group}/v1/namespaces/{namespace}/rolebindings", binding)
