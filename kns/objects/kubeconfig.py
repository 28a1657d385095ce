"""
Kubeconfigs of a virtual cluster: the administrator's, for kns and the init pod only, since it passes every check
inside; and the web shell's, with a ServiceAccount's token.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from kns.model import names

_LOOPBACK = "https://127.0.0.1:6443"  # the server in `admin.conf`, as the syncer writes it
API_PORT = 443


def build_admin_kubeconfig(certs: Mapping[str, Any], service: Mapping[str, Any]) -> str | None:
    """
    A kubeconfig from Secret `NAME-certs` and Service `NAME`, or None while either has not got its data.

    The server is the Service's ClusterIP: it needs no DNS, and the serving certificate names it.
    """
    encoded = (certs.get("data") or {}).get("admin.conf")
    server = _server(service)
    if not encoded or not server:
        return None
    return base64.b64decode(encoded).decode().replace(_LOOPBACK, server)


def build_shell_kubeconfig(number: int, access: Mapping[str, Any], service: Mapping[str, Any]) -> str | None:
    """
    A kubeconfig (JSON, which is YAML) of ServiceAccount `kns-shell` inside, or None while its token is not there.

    `access` is the Secret that the syncer writes for it. Only authority and token are taken from there.
    """
    data = access.get("data") or {}
    authority, token = data.get("certificate-authority"), data.get("token")
    server = _server(service)
    if not authority or not token or not server:
        return None
    name = names.job_object_name(number)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": names.SHELL, "user": {"token": base64.b64decode(token).decode()}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": names.SHELL, "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1)


def _server(service: Mapping[str, Any]) -> str | None:
    address = (service.get("spec") or {}).get("clusterIP")
    if not address or address == "None":
        return None
    return f"https://[{address}]:{API_PORT}" if ":" in address else f"https://{address}:{API_PORT}"
