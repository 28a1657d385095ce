"""
The Secret that holds the plugin's own token, which no job may read. Pure.

A token that does not expire is in a Secret, usually in the namespace of the jobs. There, a user could have it as a
variable or as a volume of a job, and then control the jobs of all users. The token itself says which Secret it is from.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from kns.model.errors import InvalidInputError
from kns.plain.job import PlainJob

_NAMESPACE = "kubernetes.io/serviceaccount/namespace"
_SECRET = "kubernetes.io/serviceaccount/secret.name"  # noqa: S105 - the name of a claim


def read_claims(token: str) -> Mapping[str, Any]:
    """
    What a signed token says; {} if it is another kind of token. The signature is not checked.

    >>> read_claims("opaque")
    {}
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def find_own_secret(token: str, *, namespace: str) -> str:
    """The Secret of a token, if jobs of this namespace could read it; "" if there is none."""
    claims = read_claims(token)
    return str(claims.get(_SECRET) or "") if claims.get(_NAMESPACE) == namespace else ""


def check_secrets(job: PlainJob, own_secret: str) -> None:
    """
    Raises:
        InvalidInputError: the job wants to read the Secret `own_secret`.
    """
    if not own_secret:
        return
    said = f"names the Secret {own_secret}, which holds the token of the Launcher's plugin; no job may read it"
    if any(each.secret == own_secret for each in job.secrets):
        raise InvalidInputError("config", said)
    for index, mount in enumerate(job.mounts):
        if own_secret in _list_texts(
            mount.volume
        ):  # volumes refer to Secrets by many fields, of which drivers add more
            raise InvalidInputError(f"mounts[{index}]", said)


def _list_texts(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            left += each.values()
        elif isinstance(each, list | tuple):
            left += each
        elif isinstance(each, str):
            yield each
