"""
Creates the certificates and kubeconfigs of one cluster with openssl.

Kubernetes needs two certificate authorities: one for the cluster, and one for the front proxy that calls aggregated
APIs. Keys stay in the state folder, except for the key in the administrator's kubeconfig.
"""

import base64
import json
import pathlib
from dataclasses import dataclass

from testbed import layout, paths
from testbed.commands import run

DAYS = "3650"


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    One certificate: file name, subject, issuer and, for a server, its names.
    """

    name: str
    subject: str
    issuer: str = "ca"
    names: tuple[str, ...] = ()


API_NAMES = (
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    f"DNS:kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
    "DNS:localhost",
    f"IP:{layout.NODE_IP}",
    f"IP:{layout.API_SERVICE_IP}",
    "IP:127.0.0.1",
)

CERTIFICATES: tuple[Certificate, ...] = (
    Certificate("apiserver", "/CN=kube-apiserver", names=API_NAMES),
    Certificate("kubelet-server", f"/CN={layout.NODE_NAME}", names=(f"DNS:{layout.NODE_NAME}", f"IP:{layout.NODE_IP}")),
    Certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Certificate("front-proxy-client", "/CN=front-proxy-client", issuer="front-proxy-ca"),
    Certificate("admin", "/O=system:masters/CN=kns-testbed-admin"),
    Certificate("kube-controller-manager", "/CN=system:kube-controller-manager"),
    Certificate("kube-scheduler", "/CN=system:kube-scheduler"),
    Certificate("kube-proxy", "/CN=system:kube-proxy"),
    Certificate("kubelet", f"/O=system:nodes/CN=system:node:{layout.NODE_NAME}"),
)
CLIENTS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def ensure_pki() -> None:
    """
    Create all keys, certificates and kubeconfigs, unless they exist.

    The administrator's kubeconfig is written last, so its presence means that the set is complete.
    """
    if paths.KUBECONFIG.exists() and (paths.PKI / "admin.crt").exists():
        return
    paths.PKI.mkdir(parents=True, exist_ok=True)
    paths.PKI.chmod(0o700)
    for name in ("ca", "front-proxy-ca"):
        _make_authority(name)
    run(["openssl", "genrsa", "-out", _key("sa"), "2048"])
    run(["openssl", "rsa", "-in", _key("sa"), "-pubout", "-out", paths.PKI / "sa.pub"])
    for certificate in CERTIFICATES:
        _make(certificate)
    for client in CLIENTS:
        write_private(paths.PKI / f"{client}.kubeconfig", render_kubeconfig(client))
    write_private(paths.KUBECONFIG, render_kubeconfig("admin"))


def render_kubeconfig(client: str) -> str:
    """
    A self-contained kubeconfig, as JSON, which is also YAML.
    """
    cluster = {"server": layout.API_URL, "certificate-authority-data": _encoded(paths.PKI / "ca.crt")}
    user = {"client-certificate-data": _encoded(_crt(client)), "client-key-data": _encoded(_key(client))}
    context = {"cluster": layout.NODE_NAME, "user": client}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.NODE_NAME, "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": layout.NODE_NAME, "context": context}],
        "current-context": layout.NODE_NAME,
    }
    return json.dumps(document, indent=1) + "\n"


def write_private(path: pathlib.Path, text: str) -> None:
    """
    Write a file that only root can read, atomically.
    """
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _make_authority(name: str) -> None:
    argv = [
        "openssl",
        "req",
        "-x509",
        *_new_key(name),
        "-days",
        DAYS,
        "-subj",
        f"/CN={layout.NODE_NAME}-{name}",
    ]
    run([*argv, "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature", "-out", _crt(name)])


def _make(certificate: Certificate) -> None:
    name = certificate.name
    request = paths.PKI / f"{name}.csr"
    run(["openssl", "req", "-new", *_new_key(name), "-subj", certificate.subject, "-out", request])
    usage = "serverAuth" if certificate.names else "clientAuth"
    extensions = [f"extendedKeyUsage={usage}", "keyUsage=critical,digitalSignature"]
    if certificate.names:
        extensions.append(f"subjectAltName={','.join(certificate.names)}")
    config = paths.PKI / f"{name}.ext"
    config.write_text("\n".join(extensions) + "\n", encoding="ascii")
    issuer = certificate.issuer
    argv: list[str | pathlib.Path] = [
        "openssl",
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        _crt(issuer),
        "-CAkey",
        _key(issuer),
        "-CAcreateserial",
    ]
    run([*argv, "-days", DAYS, "-extfile", config, "-out", _crt(name)])


def _new_key(name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(_key(name))]


def _key(name: str) -> pathlib.Path:
    return paths.PKI / f"{name}.key"


def _crt(name: str) -> pathlib.Path:
    return paths.PKI / f"{name}.crt"


def _encoded(path: pathlib.Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
