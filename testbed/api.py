"""
HTTP calls to the testbed's own servers, with the standard library only.
"""

import json
import pathlib
import ssl
import urllib.error
import urllib.request
from typing import Any

from testbed import layout, paths
from testbed.errors import TestbedError

TIMEOUT_S = 5.0

# The machine's proxy variables are for package registries. Our own servers are local.
_LOCAL = urllib.request.ProxyHandler({})


def require_bridge() -> None:
    """
    Refuse to connect without our bridge, because packets to its address would then leave the machine.

    Raises:
        TestbedError: the bridge does not exist.
    """
    if not (pathlib.Path("/sys/class/net") / layout.NODE_BRIDGE).exists():
        raise TestbedError(f"bridge {layout.NODE_BRIDGE} does not exist; run `python3 -m testbed up` first")


def probe(url: str, *, wanted: str | None = None) -> str | None:
    """
    Query a health endpoint without verifying its certificate. Returns None if it is healthy, else the answer.

    Args:
        wanted: the exact body, because a failing answer of kube-apiserver also contains "ok". None accepts any body
            with status 200.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if url.startswith(layout.API_URL):
        require_bridge()
        context = _admin_context()
    opener = urllib.request.build_opener(_LOCAL, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            body = answer.read().decode("utf-8", "replace").strip()
    except (OSError, ValueError) as err:
        return f"{url}: {err}"
    return None if wanted is None or body == wanted else f"{url}: {body[:200]}"


def get(path: str) -> dict[str, Any]:
    """
    Read an object or a list from the API server as administrator.

    Raises:
        TestbedError: the server did not answer, or answered with an error.
    """
    require_bridge()
    opener = urllib.request.build_opener(_LOCAL, urllib.request.HTTPSHandler(context=_admin_context()))
    try:
        with opener.open(layout.API_URL + path, timeout=TIMEOUT_S) as answer:
            content: dict[str, Any] = json.load(answer)
    except (OSError, ValueError) as err:
        raise TestbedError(f"GET {path} on {layout.API_URL}: {err}") from err
    return content


def _admin_context() -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(paths.PKI / "ca.crt"))
        context.load_cert_chain(paths.PKI / "admin.crt", paths.PKI / "admin.key")
    except OSError as err:
        raise TestbedError(f"no certificates in {paths.PKI}; is the testbed up?") from err
    return context
