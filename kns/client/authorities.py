"""The certificate authorities that a connection trusts."""

import os
import ssl
from pathlib import Path

from kns.client.errors import ClientError

VARIABLE = "SSL_CERT_FILE"


def choose_authorities(url: str, file: Path | None = None) -> ssl.SSLContext | bool:
    """
    The option `verify` of httpx: the authorities in `file`, else in the file of SSL_CERT_FILE, else the usual ones.
    Without proxies, which a loopback address never has, httpx would ignore the variable.

    Raises:
        ClientError: the file has no certificates that can be read.
    """
    given = file or os.environ.get(VARIABLE)
    if not given or not url.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=given)
    except OSError as error:  # ssl.SSLError is one
        source = "" if file else f" ({VARIABLE})"
        raise ClientError(f"no certificate authorities can be read from {given}{source}: {error}") from error
