"""Tokens of a realm whose key is made here: right ones, and each kind of wrong one."""

import base64
import hmac
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@cache
def a_key(number: int = 0) -> RSAPrivateKey:
    """One key for each number; making one takes a while."""
    return generate_private_key(public_exponent=65537, key_size=2048 + 8 * number)


def public_pem(number: int = 0) -> str:
    public = a_key(number).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def public_der(number: int = 0) -> str:
    """As Keycloak shows it: base64 without lines."""
    public = a_key(number).public_key()
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted now, with keys replaced; None removes one."""
    data = {"exp": int(time.time()) + 300, "preferred_username": "user1", "azp": "jarvice", **changes}
    return {key: value for key, value in data.items() if value is not None}


def a_token(*, key: int = 0, **changes: Any) -> str:
    return jwt.encode(claims(**changes), a_key(key), algorithm="RS256")


def since_now(seconds: float) -> int:
    return int(time.time() + seconds)


def forged(algorithm: str, *, secret: bytes | None = None, **changes: Any) -> str:
    """A token put together by hand, as no library would: any `alg`, signed by HMAC with `secret` or not at all."""
    head, body = (_encode(json.dumps(part).encode()) for part in ({"alg": algorithm, "typ": "JWT"}, claims(**changes)))
    signed = f"{head}.{body}"
    signature = hmac.digest(secret, signed.encode(), "sha256") if secret is not None else b""
    return f"{signed}.{_encode(signature)}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
