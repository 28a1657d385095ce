"""The certificates that kns makes for a virtual cluster: complete, named as by kubeadm, and different for each job."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kns.objects.certificates import build_certificates, build_certs_secret
from kns.objects.kubeconfig import build_admin_kubeconfig
from tests.builders import a_location

NOW = datetime(2026, 5, 1, 12, 0, 0, 250, tzinfo=UTC)
CONTENT = build_certificates(a_location(), service_cidr="10.96.0.0/16,fd00:10::/112", now=NOW)
AUTHORITIES = ("ca.crt", "server-ca.crt", "client-ca.crt", "front-proxy-ca.crt", "etcd-ca.crt")
LEAVES = {  # file -> authority, common name, organisation, usages
    "apiserver.crt": ("ca.crt", "kube-apiserver", None, {"server"}),
    "apiserver-kubelet-client.crt": ("ca.crt", "kube-apiserver-kubelet-client", "kubeadm:cluster-admins", {"client"}),
    "apiserver-etcd-client.crt": ("etcd-ca.crt", "kube-apiserver-etcd-client", None, {"client"}),
    "front-proxy-client.crt": ("front-proxy-ca.crt", "front-proxy-client", None, {"client"}),
    "etcd-healthcheck-client.crt": ("etcd-ca.crt", "kube-etcd-healthcheck-client", None, {"client"}),
    "etcd-server.crt": ("etcd-ca.crt", "kns-job-7", None, {"server", "client"}),
    "etcd-peer.crt": ("etcd-ca.crt", "kns-job-7", None, {"server", "client"}),
}
USERS = {
    "admin.conf": ("kubernetes-super-admin", "system:masters"),
    "controller-manager.conf": ("system:kube-controller-manager", None),
    "scheduler.conf": ("system:kube-scheduler", None),
}
_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}


def _load(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(CONTENT[name])


def _load_leaf(name: str) -> x509.Certificate:
    """A certificate of `LEAVES`, or that of a kubeconfig of `USERS`."""
    if name in LEAVES:
        return _load(name)
    encoded = yaml.safe_load(CONTENT[name])["users"][0]["user"]["client-certificate-data"]
    return x509.load_pem_x509_certificate(base64.b64decode(encoded))


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str | None:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None


def test_every_file_that_the_syncer_writes_is_there() -> None:
    """A missing one would make the syncer renew all of them."""
    pairs = [*LEAVES, *AUTHORITIES]
    keys = {name.replace(".crt", ".key") for name in pairs}
    assert CONTENT.keys() == {*pairs, *keys, *USERS, "sa.key", "sa.pub"}
    assert len(CONTENT) == 29
    assert all(CONTENT.values())


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_is_signed_by_its_authority_and_has_kubeadms_names(name: str) -> None:
    authority, common, organisation, usages = LEAVES[name]
    leaf = _load(name)
    leaf.verify_directly_issued_by(_load(authority))
    assert _subject(leaf, NameOID.COMMON_NAME) == common
    assert _subject(leaf, NameOID.ORGANIZATION_NAME) == organisation
    extension = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {_USAGES[usage] for usage in extension} == usages
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("name", [*LEAVES, *USERS])
def test_a_leaf_lives_as_long_as_its_authority(name: str) -> None:
    """The syncer renews leaves 90 days before their end, and replaces the control plane's pod for it."""
    leaf, authority = _load_leaf(name), _load(LEAVES[name][0] if name in LEAVES else "ca.crt")
    assert leaf.not_valid_before_utc == NOW.replace(microsecond=0) - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == authority.not_valid_after_utc


@pytest.mark.parametrize("name", AUTHORITIES)
def test_an_authority_signs_for_ten_years(name: str) -> None:
    """Nobody renews it."""
    authority = _load(name)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert authority.not_valid_after_utc == NOW.replace(microsecond=0) + timedelta(days=3650)


@pytest.mark.parametrize("name", sorted({*LEAVES, *AUTHORITIES}))
def test_a_key_belongs_to_its_certificate(name: str) -> None:
    key = serialization.load_pem_private_key(CONTENT[name.replace(".crt", ".key")], None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == _load(name).public_key()
    assert CONTENT[name.replace(".crt", ".key")].startswith(b"-----BEGIN EC PRIVATE KEY-----")


def test_tokens_are_signed_by_a_key_of_their_own() -> None:
    key = serialization.load_pem_private_key(CONTENT["sa.key"], None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == serialization.load_pem_public_key(CONTENT["sa.pub"])
    assert key.public_key() != _load("ca.crt").public_key()


def test_the_api_server_serves_under_the_addresses_inside_the_pod_and_the_cluster() -> None:
    names = _load("apiserver.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {
        "127.0.0.1",
        "10.96.0.1",
        "fd00:10::1",
    }
    assert "kubernetes.default.svc.cluster.local" in names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("name", USERS)
def test_a_kubeconfig_has_its_user(name: str) -> None:
    config = yaml.safe_load(CONTENT[name])
    (cluster,), (user,), (context,) = config["clusters"], config["users"], config["contexts"]
    assert cluster["cluster"]["server"] == "https://127.0.0.1:6443"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == CONTENT["ca.crt"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["user"]["client-certificate-data"]))
    certificate.verify_directly_issued_by(_load("ca.crt"))
    assert (_subject(certificate, NameOID.COMMON_NAME), _subject(certificate, NameOID.ORGANIZATION_NAME)) == USERS[name]
    assert config["current-context"] == context["name"]
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"]}


def test_two_jobs_share_no_key() -> None:
    other = build_certificates(a_location(8), service_cidr="10.96.0.0/16", now=NOW)
    assert not set(CONTENT.values()) & set(other.values())


def test_the_secret_is_as_the_syncer_would_make_it() -> None:
    secret = build_certs_secret(a_location(), CONTENT, service_uid="uid-1")
    assert secret["metadata"] == {
        "name": "kns-job-7-certs",
        "namespace": "kns-job-7",
        "labels": {"app": "vcluster", "vcluster-name": "kns-job-7"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "kns-job-7", "uid": "uid-1"}],
    }
    assert base64.b64decode(secret["data"]["ca.crt"]) == CONTENT["ca.crt"]


def test_kns_reads_the_kubeconfig_that_it_writes() -> None:
    secret = build_certs_secret(a_location(), CONTENT, service_uid="uid-1")
    text = build_admin_kubeconfig(secret, {"spec": {"clusterIP": "10.96.1.7"}})
    assert text is not None
    assert yaml.safe_load(text)["users"][0]["user"] == yaml.safe_load(CONTENT["admin.conf"])["users"][0]["user"]
