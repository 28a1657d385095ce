"""
The certificates of a virtual cluster, made before its control plane.

The syncer of vcluster 0.36 makes them with kubeadm when the Secret is absent, which takes two seconds of RSA. If the
Secret exists, it uses what is inside. Names, subjects and usages are those of kubeadm. All keys are ECDSA P-256, which
takes milliseconds.

The private keys of the authorities are in the Secret, as in the syncer's own: the controller manager signs with them.
So a leaf lives as long as its authority: whoever can read a leaf's key there can sign another one. A shorter life would
only have the syncer renew all leaves 90 days before their end and replace the control plane's pod, which a job without
a volume does not survive.
"""

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kns.model.job.location import Location

LIFETIME = timedelta(days=3650)  # of kubeadm's authorities, which nobody renews
# Clocks of two nodes may differ; kubeadm allows as much.
_BACKDATED = timedelta(minutes=5)

_CLUSTER_DOMAIN = "cluster.local"
_SERVER = "https://127.0.0.1:6443"  # every component of the control plane is in the same pod
_USERS = {  # kubeconfig -> common name and organisation, which Kubernetes reads as user and group
    "admin": ("kubernetes-super-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
}
_CLIENT, _SERVING = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH

Key = ec.EllipticCurvePrivateKey


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return _encode_key(self.key)

    def files(self, name: str) -> dict[str, bytes]:
        return {f"{name}.crt": self.certificate_pem, f"{name}.key": self.key_pem}


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the certificates of one virtual cluster, all valid from the same moment."""

    now: datetime

    def authority(self, name: str) -> _Pair:
        key = _new_key()
        builder = self._begin(_name(name), _name(name), key).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return _Pair(_sign(builder, key, key.public_key(), is_authority=True), key)

    def leaf(
        self,
        authority: _Pair,
        name: str,
        *usages: x509.ObjectIdentifier,
        organisation: str = "",
        hosts: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> _Pair:
        key = _new_key()
        builder = self._begin(_name(name, organisation), authority.certificate.subject, key)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if hosts or addresses:
            names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
            names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _Pair(_sign(builder, authority.key, authority.key.public_key(), is_authority=False), key)

    def _begin(self, subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - _BACKDATED)
            .not_valid_after(self.now + LIFETIME)
        )


def build_certificates(location: Location, *, service_cidr: str, now: datetime) -> dict[str, bytes]:
    """
    The content of Secret `Location.certs_secret`: its 29 files, as the syncer reads them.

    `service_cidr` is the range of the Services, of which the API server has the first address.
    """
    maker = _Maker(now.replace(microsecond=0))
    root, front, etcd = (maker.authority(name) for name in ("kubernetes", "front-proxy-ca", "etcd-ca"))
    accounts = _new_key()
    etcd_hosts, etcd_addresses = _etcd_hosts(location), ("127.0.0.1", "::1")
    leaves = {
        "apiserver": maker.leaf(
            root, "kube-apiserver", _SERVING, hosts=_api_hosts(location), addresses=_api_addresses(service_cidr)
        ),
        "apiserver-kubelet-client": maker.leaf(
            root, "kube-apiserver-kubelet-client", _CLIENT, organisation="kubeadm:cluster-admins"
        ),
        "apiserver-etcd-client": maker.leaf(etcd, "kube-apiserver-etcd-client", _CLIENT),
        "front-proxy-client": maker.leaf(front, "front-proxy-client", _CLIENT),
        "etcd-healthcheck-client": maker.leaf(etcd, "kube-etcd-healthcheck-client", _CLIENT),
        **{
            name: maker.leaf(etcd, location.vcluster, _SERVING, _CLIENT, hosts=etcd_hosts, addresses=etcd_addresses)
            for name in ("etcd-server", "etcd-peer")
        },
    }
    content = {"sa.key": _encode_key(accounts), "sa.pub": _encode_public(accounts)}
    # One authority signs servers and clients; the syncer also reads it under these two names.
    for name in ("ca", "server-ca", "client-ca"):
        content |= root.files(name)
    content |= front.files("front-proxy-ca") | etcd.files("etcd-ca")
    for name, pair in leaves.items():
        content |= pair.files(name)
    for name, (user, organisation) in _USERS.items():
        pair = maker.leaf(root, user, _CLIENT, organisation=organisation)
        content[f"{name}.conf"] = _kubeconfig(root, user, pair)
    return content


def build_certs_secret(location: Location, content: Mapping[str, bytes], *, service_uid: str) -> dict[str, Any]:
    """
    Secret `Location.certs_secret`, with the labels and the owner that the syncer would give it.

    `service_uid` is the uid of Service `Location.vcluster`.
    """
    owner = {"apiVersion": "v1", "kind": "Service", "name": location.vcluster, "uid": service_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": location.certs_secret,
            "namespace": location.namespace,
            "labels": {"app": "vcluster", "vcluster-name": location.vcluster},
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in content.items()},
    }


def _api_hosts(location: Location) -> list[str]:
    """Only the syncer and the other components connect to the API server, so no name of the host cluster is here."""
    inside = "kubernetes.default.svc"
    return [location.vcluster, "kubernetes", "kubernetes.default", inside, f"{inside}.{_CLUSTER_DOMAIN}", "localhost"]


def _api_addresses(service_cidr: str) -> list[str]:
    """
    >>> _api_addresses("10.96.0.0/16")
    ['10.96.0.1', '127.0.0.1']
    """
    ranges = [ipaddress.ip_network(each.strip()) for each in service_cidr.split(",")]
    return [*(str(each[1]) for each in ranges), "127.0.0.1"]


def _etcd_hosts(location: Location) -> list[str]:
    """The certificates of an etcd are required, but a virtual cluster of kns has none. These are the main names."""
    service = f"{location.vcluster}-etcd"
    return ["localhost", location.vcluster, service, f"{service}.{location.namespace}"]


def _name(common: str, organisation: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _sign(
    builder: x509.CertificateBuilder, signer: Key, authority: ec.EllipticCurvePublicKey, *, is_authority: bool
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=is_authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _encode_key(key: Key) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL  # "EC PRIVATE KEY", which every Kubernetes component reads
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _encode_public(key: Key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def _kubeconfig(authority: _Pair, name: str, user: _Pair) -> bytes:
    """A kubeconfig as kubeadm writes it. kns reads `admin.conf` line by line (`kns.objects.kubeconfig`)."""
    encoded = {
        key: base64.b64encode(value).decode()
        for key, value in (
            ("authority", authority.certificate_pem),
            ("certificate", user.certificate_pem),
            ("key", user.key_pem),
        )
    }
    return f"""apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: {encoded["authority"]}
    server: {_SERVER}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: {name}
  name: {name}@kubernetes
current-context: {name}@kubernetes
preferences: {{}}
users:
- name: {name}
  user:
    client-certificate-data: {encoded["certificate"]}
    client-key-data: {encoded["key"]}
""".encode()
