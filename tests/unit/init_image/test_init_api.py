"""The runner's connection to the API, with TLS and the certificate of a kubeconfig as kns writes it."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from runner.api import ApiError, NestedApi

from kns.objects.kubeconfig import build_admin_kubeconfig
from tests.unit.init_image.conftest import FakeApi, serve

MARKED = "/api/v1/namespaces/default/secrets/kns-job"


class Authority:
    """A certificate authority of a virtual cluster."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._sign("authority", self._key, is_authority=True)

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign(name, key), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False) -> bytes:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _add_tls(server: ThreadingHTTPServer, authority: Authority, folder: Path) -> None:
    """Only clients with a certificate of the authority are served."""
    file = folder / "server.pem"
    file.write_bytes(b"".join(authority.issue("server")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)


def _write_kubeconfig(file: Path, port: int, *, trusted: Authority, issuer: Authority) -> None:
    """Made by kns from what the syncer writes; only the port is another."""
    certificate, key = issuer.issue("admin")
    fields = {
        "certificate-authority-data": trusted.pem,
        "client-certificate-data": certificate,
        "client-key-data": key,
    }
    conf = "".join(f"    {name}: {base64.b64encode(value).decode()}\n" for name, value in fields.items())
    certs = {"data": {"admin.conf": base64.b64encode(conf.encode()).decode()}}
    text = build_admin_kubeconfig(certs, {"spec": {"clusterIP": "127.0.0.1"}})
    assert text is not None
    file.write_text(text.replace(":443", f":{port}"))


@pytest.fixture
def fake() -> FakeApi:
    return FakeApi()


@pytest.fixture
def authority(fake: FakeApi, tmp_path: Path) -> Iterator[Authority]:
    """The authority of the API, which serves `fake`."""
    authority = Authority()
    server = serve(fake, lambda server: _add_tls(server, authority, tmp_path))
    yield authority
    server.shutdown()
    server.server_close()


def test_both_sides_prove_who_they_are(fake: FakeApi, authority: Authority, tmp_path: Path) -> None:
    """A whole exchange over one connection, as the runner has it with the syncer."""
    file = tmp_path / "kubeconfig"
    _write_kubeconfig(file, fake.port, trusted=authority, issuer=authority)
    with closing(NestedApi(file)) as api:
        assert api.read_metadata(MARKED) == {"annotations": {"kns.io/record-uid": "uid-1"}}
        path = "/api/v1/namespaces/kube-system/configmaps/kns-init-progress"
        with pytest.raises(ApiError) as missing:
            api.read(path)
        assert missing.value.status == 404
        api.apply(path, {"data": {"0": "abc"}}, manager="kns-init")
        assert api.read(path) == {"data": {"0": "abc"}}


@pytest.mark.parametrize("stranger", ["server", "client"])
def test_a_stranger_is_not_talked_to(fake: FakeApi, authority: Authority, tmp_path: Path, stranger: str) -> None:
    other, file = Authority(), tmp_path / "kubeconfig"
    trusted, issuer = (other, authority) if stranger == "server" else (authority, other)
    _write_kubeconfig(file, fake.port, trusted=trusted, issuer=issuer)
    with closing(NestedApi(file)) as api, pytest.raises(ApiError) as refused:
        api.read_metadata(MARKED)
    assert (refused.value.status, fake.asked) == (0, [])


@pytest.mark.parametrize(
    "text", ["no json", "{}", json.dumps({"clusters": [{"cluster": {}}], "users": [{"user": {}}]})]
)
def test_a_kubeconfig_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(ApiError):
        NestedApi(file).read(MARKED)
