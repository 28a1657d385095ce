"""
A token for the plugin's service account. Since Kubernetes 1.24 an account has no Secret with a token by itself.

Either the API server issues a token that expires, which has to be replaced in time, or a Secret gets one that does not
expire.
"""

import base64
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from kns.launcher.own_secret import read_claims
from kns.model.errors import AlreadyExistsError, KnsError, NotFoundError

MIN_DURATION_S = 600  # Kubernetes issues no shorter ones
MAX_DURATION_S = 10 * 365 * 24 * 3600  # a longer one should be a Secret
SECRET_TRIES = 50  # until the token controller has filled a Secret
SECRET_DELAY_S = 0.2

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Client(Protocol):
    """The part of `KubeClient` that the tools use."""

    def request(self, method: str, path: str, *, body: Any = None, query: Any = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it expires; None for one that does not."""

    text: str
    expires: datetime | None


def parse_duration(text: str) -> int:
    """
    Seconds of a duration such as `9h` or `1h30m`.

    >>> parse_duration("9h"), parse_duration("1d12h")
    (32400, 129600)

    Raises:
        ValueError: another form, or shorter than 10 minutes, or longer than 10 years.
    """
    if not re.fullmatch(r"(?:\d{1,9}[smhd])+", text, re.ASCII):
        raise ValueError(f"{text!r} is not a duration such as 9h, 90m or 30d")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
    if not MIN_DURATION_S <= seconds <= MAX_DURATION_S:
        raise ValueError(f"{text} is not between 10 minutes and 10 years")
    return seconds


def request_token(client: Client, *, namespace: str, account: str, duration_s: int) -> Token:
    """
    A token that expires. The API server may shorten its life.

    Raises:
        KnsError: the account does not exist, or the right to create serviceaccounts/token is missing.
    """
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": duration_s},
    }
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    status = client.request("POST", path, body=body)["status"]
    return Token(status["token"], datetime.fromisoformat(status["expirationTimestamp"]))


def ensure_secret_token(
    client: Client, *, namespace: str, account: str, sleep: Callable[[float], None] = time.sleep
) -> Token:
    """
    The token of the Secret `ACCOUNT-token`, which is created if it does not exist. It does not expire.

    Raises:
        KnsError: the account does not exist, rights are missing, or no token appears.
    """
    name = f"{account}-token"
    path = f"/api/v1/namespaces/{namespace}/secrets"
    client.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}")  # else the Secret vanishes again
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
    }
    try:
        client.request("POST", path, body=body)
    except AlreadyExistsError:
        found = client.request("GET", f"{path}/{name}")
        owner = (found["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name")
        if found.get("type") != body["type"] or owner != account:
            raise KnsError(f"the Secret {namespace}/{name} exists and is not a token of {account}") from None
    for _ in range(SECRET_TRIES):
        try:
            data = client.request("GET", f"{path}/{name}").get("data") or {}
        except NotFoundError:
            data = {}
        if data.get("token"):
            return Token(base64.b64decode(data["token"]).decode("ascii"), None)
        sleep(SECRET_DELAY_S)
    raise KnsError(f"the Secret {namespace}/{name} has no token; is the token controller of the cluster running?")


def write_token(path: Path, token: str, *, owner: tuple[int, int] | None) -> None:
    """
    Write a token file of mode 0600 in one step, so that the running plugin reads the old or the new token.

    Raises:
        KnsError: the file cannot be written, or given to its owner.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # of mode 0600
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
        Path(temporary).replace(path)
        temporary = ""
    except OSError as error:
        raise KnsError(f"the token cannot be written to {path}: {error.strerror or error}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def read_expiry(token: str) -> datetime | None:
    """
    When a token says that it expires; None if it does not say so. The signature is not checked.

    >>> read_expiry("opaque") is None
    True
    """
    expires = read_claims(token).get("exp")
    try:
        return datetime.fromtimestamp(expires, UTC) if isinstance(expires, (int, float)) else None
    except (ValueError, OverflowError, OSError):
        return None
