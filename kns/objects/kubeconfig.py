"""The administrator's kubeconfig of a virtual cluster, for kns and the init pod only: it passes every check inside."""

import base64
from collections.abc import Mapping
from typing import Any

_LOOPBACK = "https://127.0.0.1:6443"  # the server in `admin.conf`, as the syncer writes it
API_PORT = 443


def build_admin_kubeconfig(certs: Mapping[str, Any], service: Mapping[str, Any]) -> str | None:
    """
    A kubeconfig from Secret `NAME-certs` and Service `NAME`, or None while either has not got its data.

    The server is the Service's ClusterIP: it needs no DNS, and the serving certificate names it.
    """
    encoded = (certs.get("data") or {}).get("admin.conf")
    address = (service.get("spec") or {}).get("clusterIP")
    if not encoded or not address or address == "None":
        return None
    host = f"[{address}]" if ":" in address else address
    return base64.b64decode(encoded).decode().replace(_LOOPBACK, f"https://{host}:{API_PORT}")
