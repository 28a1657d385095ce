"""
Credentials for image registries: checked dockerconfigjson documents, reduced to what a job may have.

A message never contains a part of them.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

NO_PULL_CONFIG = json.dumps({"auths": {}})  # of a job that needs no credentials

_WANTED = "must be a Docker config.json in base64"
# A mark is in a record, which more people may read than the credentials. The many rounds make it slow to guess a weak
# password from it; 20 000 take about 5 ms.
_MARK_ROUNDS = 20_000
_MARKS_KEPT = 1024  # more documents than the apps of a catalogue have
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def check_pull_secret(text: str) -> str:
    """
    `text` without line breaks, if it is a dockerconfigjson object in base64, as a Secret of that type requires.

    Raises:
        ValueError: it is something else.
    """
    auths = read_pull_config(text).get("auths")
    if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
        raise ValueError(f"{_WANTED}; it has no object `auths` that contains objects")
    return "".join(text.split())


def read_pull_config(text: str) -> dict[str, Any]:
    """
    The document in `text`. It may have no `auths` and only name credential helpers.

    Raises:
        ValueError: `text` is not a JSON object in base64.
    """
    try:
        config: Any = json.loads(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, RecursionError):
        raise ValueError(f"{_WANTED}; it is not JSON in base64") from None  # the cause contains the secret
    if not isinstance(config, dict):
        raise ValueError(f"{_WANTED}; it is not a JSON object")  # noqa: TRY004 - callers catch ValueError
    return config


def registry_of(image: str) -> str:
    """
    The registry of an image reference, by Docker's rules.

    >>> registry_of("registry.example.org:5000/a/b:1"), registry_of("a/b"), registry_of("localhost/a")
    ('registry.example.org:5000', 'docker.io', 'localhost')
    """
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _HUB[0]


def merge_pull_config(app: str | None, system: Mapping[str, Any] | None, *, images: Iterable[str]) -> str | None:
    """
    The dockerconfigjson of a job, or None if it needs no credentials.

    `app` is the app's document in base64; its entries win. `system` is the site's document; the job gets only its
    entries for the registries of `images`.
    """
    wanted = {registry_of(image) for image in images}
    auths = {key: value for key, value in _auths(system).items() if _host(key) in wanted}
    auths |= _auths(json.loads(base64.b64decode(app))) if app else {}
    return json.dumps({"auths": auths}) if auths else None


def keep_entries(before: Mapping[str, Any] | None, config: str) -> str:
    """`config`, and the entries of the document `before` for further registries: pods may still need them."""
    return json.dumps({"auths": {**_auths(before), **_auths(json.loads(config))}})


@lru_cache(maxsize=_MARKS_KEPT)
def mark_config(config: str, *, salt: str) -> str:
    """A word that changes with the document and does not reveal it. `salt` is the installation's uid."""
    return hashlib.pbkdf2_hmac("sha256", config.encode(), salt.encode(), _MARK_ROUNDS, dklen=8).hex()


def _auths(config: Mapping[str, Any] | None) -> dict[str, Any]:
    auths = (config or {}).get("auths")
    return dict(auths) if isinstance(auths, Mapping) else {}


def _host(key: str) -> str:
    """The registry of an entry. Keys may be URLs, and Docker Hub has several names."""
    host = key.rpartition("://")[2].partition("/")[0]
    return _HUB[0] if host in _HUB else host
