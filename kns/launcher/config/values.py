"""
Readers of single values. Each takes the text of a value and returns it typed.

A reader raises `ValueError` whose text completes "KEY: ...": what is allowed, never the value of a secret.
"""

import base64
import binascii
import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
Reader = Callable[[str], T]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_TOKEN = re.compile(r"[!-~]+")
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_NAME})?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def read_text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def read_optional_text(text: str) -> str:
    return text


def read_flag(text: str) -> bool:
    """1, true, yes, on; or 0, false, no, off."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"must be 0 or 1, not {text!r}")


def read_count(low: int, high: int) -> Reader[int]:
    """A reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    return read


def read_amount(high: int) -> Reader[Decimal]:
    """A reader of numbers from 0, which means no limit, to `high`. The documents write 0.0 as well as 0."""

    def read(text: str) -> Decimal:
        amount = _read_decimal(text)
        if amount is None or amount > high:
            raise ValueError(f"must be a number from 0 (no limit) to {high}, not {text!r}")
        return amount

    return read


def read_ratio(text: str) -> Decimal:
    """A number above 0 and at most 1."""
    ratio = _read_decimal(text)
    if ratio is None or not 0 < ratio <= 1:
        raise ValueError(f"must be a number above 0.0 and at most 1.0, not {text!r}")
    return ratio


def _read_decimal(text: str) -> Decimal | None:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?|\.\d{1,6}", text, re.ASCII):
        return None
    return Decimal(text)


def read_list(text: str) -> tuple[str, ...]:
    """Texts separated by commas, without empty ones and repetitions."""
    return tuple(dict.fromkeys(part for part in (part.strip() for part in text.split(",")) if part))


def read_choice(*choices: str) -> Reader[str]:
    def read(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ValueError(f"must be one of {', '.join(choices)}, not {text!r}")

    return read


def read_path(text: str) -> str:
    """An absolute path: the Launcher starts the plugin in a working directory of its own."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"must be an absolute path, not {text!r}")
    return text


def read_api_url(text: str) -> str:
    """Scheme, host, port and an optional prefix, without `/api` and without a slash at the end."""
    try:
        url = urlsplit(text)
        port_is_valid = url.port is None or url.port > 0
    except ValueError:
        port_is_valid = False
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_valid:
        raise ValueError(f"must be a URL such as https://192.168.99.100:8443, not {_without_password(text)!r}")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("must be scheme, host and port only; the token belongs in auth-token-path")
    address = text.rstrip("/")
    if url.path.rstrip("/").endswith("/api"):
        raise ValueError(f"must end before /api: {address.removesuffix('/api')}")
    return address


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", text)[:120]


def read_namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise ValueError(f"must be a name of a namespace: small letters, digits and -, at most 63, not {text[:80]!r}")
    return text


def read_token(text: str) -> str:
    """
    A bearer token, raw or base64-encoded.

    One document has the token itself, the other its base64 form as `kubectl get secret` shows it. A text is decoded
    only if the result is a JSON web token, so an opaque token that happens to be base64 stays as it is.
    """
    if not text:
        raise ValueError("must not be empty")
    if not _JWT.fullmatch(text):
        try:
            decoded = base64.b64decode(text, validate=True).decode("ascii").strip()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            decoded = ""
        if _JWT.fullmatch(decoded):
            return decoded
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be a token in one line, raw or base64-encoded; it has spaces or control characters")
    return text


def read_certificate_authority(text: str) -> str:
    """PEM text from its base64 form; "" selects the certificate authorities of the system."""
    if not text:
        return ""
    try:
        pem = base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        pem = ""
    if "-----BEGIN CERTIFICATE-----" not in pem or "-----END CERTIFICATE-----" not in pem:
        raise ValueError("must be a PEM certificate encoded in base64, in one line; blank selects the system's store")
    return pem


def read_label_key(text: str) -> str:
    if not _LABEL_KEY.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the key of a node label")
    return text


def read_label_value(text: str) -> str:
    if not _LABEL_VALUE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the value of a node label")
    return text
