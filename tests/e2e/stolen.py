"""The API server with the token of an account: what somebody could do who has stolen the token."""

import base64
import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

_BUSY = (429, 503, 504)
_JUDGED_S = 30.0
_APPLY = {"fieldManager": "kns-e2e", "force": "true"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request. A write is a dry run, which passes all checks of the API server and changes nothing."""

    what: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.what


def read(what: str, path: str, **headers: str) -> Attempt:
    return Attempt(what, "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def create(what: str, path: str, body: Mapping[str, Any]) -> Attempt:
    return Attempt(what, "POST", path, body)


def replace(what: str, path: str, body: Mapping[str, Any]) -> Attempt:
    return Attempt(what, "PUT", path, body)


def apply(what: str, path: str, body: Mapping[str, Any]) -> Attempt:
    return Attempt(what, "PATCH", path, body)


def delete(what: str, path: str) -> Attempt:
    return Attempt(what, "DELETE", path)


def require_refused(answer: httpx.Response) -> None:
    """Refused by RBAC, quota or Pod Security, which answer 403, or by an admission policy. No other 422 counts."""
    by_policy = answer.status_code == 422 and "ValidatingAdmissionPolicy" in answer.json()["message"]
    assert answer.status_code == 403 or by_policy, f"{answer.status_code}: {answer.text}"


class Thief:
    """Somebody who has the token."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def tries(self, attempt: Attempt, *, really: bool = False) -> httpx.Response:
        """
        The API server's answer. What changes nothing is tried again while the API server is too busy to judge it.
        """
        if really:
            return self._send(attempt, really=True)

        def probe() -> httpx.Response:
            answer = self._send(attempt, really=False)
            if answer.status_code in _BUSY:
                raise NotYetError(f"{answer.status_code}: {answer.text}")
            return answer

        return wait_for(probe, timeout_s=_JUDGED_S, what=attempt.what)

    def _send(self, attempt: Attempt, *, really: bool) -> httpx.Response:
        query = dict(_APPLY) if attempt.method == "PATCH" else {}
        if attempt.method != "GET" and not really:
            query["dryRun"] = "All"
        kind = "application/apply-patch+yaml" if attempt.method == "PATCH" else "application/json"
        return self._client.request(
            attempt.method,
            attempt.path,
            params=query,
            content=None if attempt.body is None else json.dumps(attempt.body),
            headers={"Content-Type": kind, **attempt.headers},
        )


@contextlib.contextmanager
def with_token_of(site: Site, account: str, namespace: str) -> Iterator[Thief]:
    """A real token of the account, such as its pods have; no impersonation."""
    token = site.kubectl.run("create", "token", account, f"--namespace={namespace}", "--duration=1h").strip()
    config = json.loads(site.kubectl.run("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    cluster = config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    with httpx.Client(
        base_url=cluster["server"],
        verify=ssl.create_default_context(cadata=authority),
        headers={"Authorization": f"Bearer {token}"},
        timeout=30 * PATIENCE,
        trust_env=not site.target.is_testbed,
    ) as client:
        yield Thief(client)
