"""
A Keycloak realm that is nothing but its signing key: whoever holds the file can make Bearer tokens that kns takes.

Made once, and kept of mode 0600 in the demo's folder outside the checkout; the cluster gets the public half.
"""

import base64
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from demo.errors import DemoError
from demo.files import write_private

_BITS = 2048  # what Keycloak makes, too


def private_key_file(state: Path) -> Path:
    """
    The file of the private key (PEM), whether it is there yet or not.
    """
    return state / "realm-key.pem"


def load_public_key(state: Path) -> str:
    """
    The public key as Keycloak shows it: base64 of DER, without PEM's lines. The pair is made at the first call.

    Raises:
        DemoError: the file is damaged.
    """
    file = private_key_file(state)
    if not file.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        write_private(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DemoError(f"{file} is damaged; remove it and repeat `make up`, a new key is made then") from error
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
