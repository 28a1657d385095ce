"""Credentials for image registries: dockerconfigjson documents, cut down to what a job may have."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


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
