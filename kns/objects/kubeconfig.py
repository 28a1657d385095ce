"""
Kubeconfigs of a virtual cluster. kns and the init pod use the administrator's, which bypasses all authorisation inside;
the web shell uses one with the token of a ServiceAccount.
"""

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kns.model import names
from kns.model.job.location import Location

API_PORT = 443
_AUTHORITY = "certificate-authority-data"
_LINES = {
    key: re.compile(rf'^ *(?:- +)?{key}: "?([A-Za-z0-9+/]+={{0,2}})"?$', re.MULTILINE)
    for key in (_AUTHORITY, "client-certificate-data", "client-key-data")
}
_MAX_BYTES = 64 * 1024  # the syncer writes 6 KiB
_REMEMBERED = 64  # jobs that spawn at the same time; each needs 16 KiB, a hostile one 170


def build_admin_kubeconfig(certs: Mapping[str, Any], service: Mapping[str, Any]) -> str | None:
    """
    The administrator's kubeconfig (JSON, which is YAML); None while the Secret or the Service is incomplete.

    `certs` is Secret `Location.certs_secret`, `service` is Service `Location.vcluster`. Only the certificates are taken
    from `admin.conf`, because the syncer's token may write it, and a kubeconfig can name programs to run and files to
    read. The server is the Service's ClusterIP: the serving certificate includes it, and it needs no DNS.
    """
    encoded = (certs.get("data") or {}).get("admin.conf")
    server = find_server(service)
    return _build_admin(encoded, server) if encoded and server else None


@lru_cache(_REMEMBERED)  # the stages of a spawn ask seven times, and parsing was a fifth of a job's processor time
def _build_admin(encoded: str, server: str) -> str | None:
    found = _read_certificates(encoded)
    if found is None:
        return None
    authority, user = found
    return _build("kubernetes", server, authority, user_name="kubernetes-admin", user=user)


def build_shell_kubeconfig(location: Location, access: Mapping[str, Any], service: Mapping[str, Any]) -> str | None:
    """
    A kubeconfig (JSON, which is YAML) for ServiceAccount `kns-shell` inside; None while there is no token for it, or
    one that is no text.

    `access` is the Secret that the syncer writes for that account. Only authority and token are taken from it.
    """
    data = access.get("data") or {}
    authority, token = data.get("certificate-authority"), data.get("token")
    server = find_server(service)
    if not authority or not token or not server:
        return None
    try:
        user = {"token": base64.b64decode(token).decode()}
    except ValueError:
        return None
    return _build(location.vcluster, server, authority, user_name=names.SHELL, user=user)


def find_server(service: Mapping[str, Any]) -> str | None:
    """The URL of the virtual cluster's API: the ClusterIP of its Service `Location.vcluster`; None if it has none."""
    address = (service.get("spec") or {}).get("clusterIP")
    if not address or address == "None":
        return None
    return f"https://[{address}]:{API_PORT}" if ":" in address else f"https://{address}:{API_PORT}"


def _read_certificates(encoded: str) -> tuple[str, dict[str, str]] | None:
    """
    Authority, and the user's certificate and key, all in base64; None if any is missing or invalid.

    The text may be hostile. Three regular expressions are faster than a YAML parser and cannot recurse.
    """
    try:
        raw = base64.b64decode(encoded)
        text = raw.decode() if len(raw) <= _MAX_BYTES else ""
        found = {key: match[1] for key, line in _LINES.items() if (match := line.search(text))}
        for value in found.values():
            base64.b64decode(value, validate=True)
        authority = found.pop(_AUTHORITY)
    except (ValueError, KeyError):
        return None
    return (authority, found) if len(found) == len(_LINES) - 1 else None


def _build(name: str, server: str, authority: str, *, user_name: str, user: Mapping[str, str]) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": user_name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user_name, "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1)
