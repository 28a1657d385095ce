"""The proxies of the environment. httpx reads their variables when a client is made, and fails with its own errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from kns.client.errors import ClientError

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextmanager
def checked_proxies() -> Iterator[None]:
    """
    The block makes a client of httpx.

    Raises:
        ClientError: httpx cannot use a variable: it has no address, or one of a proxy that needs another package.
    """
    try:
        yield
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        given = [name for name in os.environ if name.lower() in _VARIABLES]
        if not given:
            raise
        raise ClientError(
            f"the proxies in the environment cannot be used: {error}; correct or unset {' or '.join(sorted(given))}"
        ) from error
