"""The page of a job, fetched as a browser would."""

from typing import Any

import httpx

from demo.errors import DemoError

TIMEOUT_S = 20.0


def fetch_page(url: str, ingress_url: str) -> tuple[int, str]:
    """
    The status and the text of a page. With `ingress_url`, the request goes there, so the host name need not resolve.

    Raises:
        DemoError: the server did not respond.
    """
    wanted = httpx.URL(url)
    place = wanted.copy_with(**_origin(ingress_url)) if ingress_url else wanted
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=not ingress_url, verify=not ingress_url) as client:
            answer = client.get(place, headers={"Host": wanted.netloc.decode()})
    except httpx.HTTPError as error:
        raise DemoError(f"GET {place} (Host: {wanted.host}): {error}") from error
    return answer.status_code, answer.text


def find_page_problem(url: str, ingress_url: str) -> str | None:
    """What keeps a page from being served, or None if it is."""
    status, _ = fetch_page(url, ingress_url)
    return None if status == httpx.codes.OK else f"the ingress controller responds with {status}"


def _origin(url: str) -> dict[str, Any]:
    parsed = httpx.URL(url)
    return {"scheme": parsed.scheme, "host": parsed.host, "port": parsed.port}
