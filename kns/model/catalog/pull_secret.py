"""
Credentials for image registries: dockerconfigjson documents, checked, and cut down to what a job may have.

A message never repeats a part of them.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

_WANTED = "must be the base64 of a Docker config.json"
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def check_pull_secret(text: str) -> str:
    """
    `text` without line breaks if it is base64 of a dockerconfigjson object, which is what a Secret of that type must
    hold.

    Raises:
        ValueError: what it is instead.
    """
    auths = read_pull_config(text).get("auths")
    if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
        raise ValueError(f"{_WANTED}; there is no object `auths` of objects in it")
    return "".join(text.split())


def read_pull_config(text: str) -> dict[str, Any]:
    """
    The document in `text`, whatever it says; it may have no `auths` and only name programs that have them.

    Raises:
        ValueError: it is none.
    """
    try:
        config: Any = json.loads(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, RecursionError):
        raise ValueError(f"{_WANTED}; it is not base64 of JSON") from None  # the cause would show the secret
    if not isinstance(config, dict):
        raise ValueError(f"{_WANTED}; there is no object `auths` of objects in it")  # noqa: TRY004 - its readers catch ValueError
    return config


def registry_of(image: str) -> str:
    """
    The registry of an image reference, as Docker reads it.

    >>> registry_of("registry.example.org:5000/a/b:1"), registry_of("a/b"), registry_of("localhost/a")
    ('registry.example.org:5000', 'docker.io', 'localhost')
    """
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _HUB[0]


def merge_pull_config(app: str | None, system: Mapping[str, Any] | None, *, images: Iterable[str]) -> str | None:
    """
    One dockerconfigjson for a job, or None if there is nothing to log in to.

    `app`: base64 of the app's own document; it counts first. `system`: the site's document, of which a job gets only
    the entries for the registries of `images`.
    """
    wanted = {registry_of(image) for image in images}
    auths = {key: value for key, value in _auths(system).items() if _host(key) in wanted}
    auths |= _auths(json.loads(base64.b64decode(app))) if app else {}
    return json.dumps({"auths": auths}) if auths else None


def _auths(config: Mapping[str, Any] | None) -> dict[str, Any]:
    auths = (config or {}).get("auths")
    return dict(auths) if isinstance(auths, Mapping) else {}


def _host(key: str) -> str:
    """An entry's registry: keys may be URLs, and Docker Hub has several names."""
    host = key.rpartition("://")[2].partition("/")[0]
    return _HUB[0] if host in _HUB else host
