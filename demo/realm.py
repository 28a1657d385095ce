"""
The signing key of the demo's realm, in place of a Keycloak. Its owner can create Bearer tokens that kns accepts.

The key is created once and stored with mode 0600 in the demo's folder outside the checkout. The cluster gets the public
key.
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

_BITS = 2048  # as in Keycloak


def private_key_file(state: Path) -> Path:
    """
    The file of the private key (PEM), which may not exist yet.
    """
    return state / "realm-key.pem"


def load_public_key(state: Path) -> str:
    """
    The public key as Keycloak shows it: DER in base64, without the lines of PEM. The key pair is created at the first
    call.

    Raises:
        DemoError: the file is not a private key.
    """
    file = private_key_file(state)
    if not file.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        write_private(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DemoError(
            f"{file} is not a private key; remove it and repeat `make up`, which creates a new key"
        ) from error
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
