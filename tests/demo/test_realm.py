"""
The demo's realm: one key pair, made once; whoever has the public half takes what the private one signed.
"""

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from demo import realm
from demo.errors import DemoError


def test_the_halves_fit_as_rs256_needs(tmp_path: Path) -> None:
    public = load_der_public_key(base64.b64decode(realm.load_public_key(tmp_path), validate=True))
    private = load_pem_private_key(realm.private_key_file(tmp_path).read_bytes(), password=None)
    assert isinstance(public, RSAPublicKey)
    assert isinstance(private, RSAPrivateKey)
    signature = private.sign(b"token", PKCS1v15(), SHA256())
    public.verify(signature, b"token", PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"another", PKCS1v15(), SHA256())


def test_the_pair_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert realm.load_public_key(state) == realm.load_public_key(state)
    assert realm.private_key_file(state).stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_reported_and_left_alone(tmp_path: Path) -> None:
    realm.private_key_file(tmp_path).write_text("x")
    with pytest.raises(DemoError, match=r"realm-key\.pem is not a private key"):
        realm.load_public_key(tmp_path)
    assert realm.private_key_file(tmp_path).read_text() == "x"
