"""The HTTP API as the portal uses it. Every answer is checked against the wire rules, whatever the test is about."""

import json
from typing import Any

import httpx

from kns.client import ApiKey, Client
from tests.e2e.waiting import NotYetError

_CONNECTS = 3
_TYPES = ("application/json", "text/plain")


class Portal:
    """
    Calls one kns (the Service, or one replica) as one user.

    No connection is kept: a replica that is killed breaks no later call, and at the end no connection to the cluster is
    left. A connection that is refused is tried again, because a rolling restart may run: until kube-proxy knows of it,
    the Service leads to a replica that has ended.
    """

    def __init__(self, url: str, account: ApiKey) -> None:
        # `retries` concerns connecting only; a request that was sent is never repeated.
        transport = httpx.HTTPTransport(retries=_CONNECTS, limits=httpx.Limits(max_keepalive_connections=0))
        self._client = Client(url, account, use_proxy=False, check=check_wire, transport=transport)

    def close(self) -> None:
        self._client.close()

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request exactly as given, without credentials; `options` are httpx's."""
        return self._client.send(method, path, **options)

    def ask(self, route: str, **params: Any) -> httpx.Response:
        """A GET below /jarvice/ with the user's credentials. Returns any answer, also an error."""
        return self._client.ask(route, **params)

    def get(self, route: str, **params: Any) -> Any:
        """
        The decoded answer of a GET that must succeed: JSON, or the text.

        Raises:
            NotYetError: kns is not ready (503), so another try may succeed.
        """
        answer = self.ask(route, **params)
        if answer.status_code == 503:
            raise NotYetError(f"{route}: {answer.text}")
        assert answer.status_code == 200, f"{route} {params}: {answer.status_code} {answer.text}"
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.text

    def build_submission(self, app: str, *, machine: str = "kns-small", **changes: Any) -> dict[str, Any]:
        """A valid submission; `changes` are more of its top-level keys."""
        return self._client.build_submission(app, machine, **changes)

    def submit(self, app: str, *, machine: str = "kns-small", **changes: Any) -> tuple[int, str]:
        """Submit a job that must be accepted. Returns its number and name."""
        answer = self.send("POST", "/jarvice/submit", json=self.build_submission(app, machine=machine, **changes))
        assert answer.status_code == 200, f"submit {app}: {answer.status_code} {answer.text}"
        data = answer.json()
        assert set(data) == {"name", "number"}
        return data["number"], data["name"]


def check_wire(answer: httpx.Response) -> None:
    """The rules that hold for every answer: bare content type, JSON indented by four, errors of one key."""
    assert answer.headers["content-type"] in _TYPES
    if answer.headers["content-type"] == "text/plain":
        assert answer.status_code == 200
        return
    data = answer.json()
    assert answer.text == json.dumps(data, indent=4, ensure_ascii=False) + "\n"
    if answer.status_code != 200:
        assert answer.status_code >= 400
        assert list(data) == ["error"]
        assert isinstance(data["error"], str)
