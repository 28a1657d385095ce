"""The HTTP API as the portal uses it. Every answer is held against the wire rules, whatever the test is about."""

import json
from typing import Any

import httpx

from tests.e2e.site import Account
from tests.e2e.waiting import NotYetError

TIMEOUT_S = 20.0  # no route may take longer
_TYPES = ("application/json", "text/plain")


class Portal:
    """
    Calls one kns (the Service, or one replica) as one user.

    No connection is kept: a replica that is killed takes no later call with it, and at the end nobody talks to the
    cluster any more.
    """

    def __init__(self, url: str, account: Account) -> None:
        self._http = httpx.Client(
            base_url=url, timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._account = account

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request exactly as given, without credentials; `options` are httpx's."""
        answer = self._http.request(method, path, **options)
        check_wire(answer)
        return answer

    def ask(self, route: str, **params: Any) -> httpx.Response:
        """A GET below /jarvice/ with the user's credentials, whatever comes of it."""
        credentials = {"username": self._account.username, "apikey": self._account.apikey}
        return self.send("GET", f"/jarvice/{route}", params={**credentials, **params})

    def get(self, route: str, **params: Any) -> Any:
        """
        The decoded answer of a GET that must succeed: JSON, or the text.

        Raises:
            NotYetError: kns says that it is not ready; worth another try while something is restarted.
        """
        answer = self.ask(route, **params)
        if answer.status_code == 503:
            raise NotYetError(f"{route}: {answer.text}")
        assert answer.status_code == 200, f"{route} {params}: {answer.status_code} {answer.text}"
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.text

    def build_submission(self, app: str, *, machine: str = "kns-small", **changes: Any) -> dict[str, Any]:
        """A good submission; `changes` are more of its top-level keys."""
        user = {"username": self._account.username, "apikey": self._account.apikey}
        return {"app": app, "machine": {"type": machine, "nodes": 1}, "user": user, **changes}

    def submit(self, app: str, *, machine: str = "kns-small", **changes: Any) -> tuple[int, str]:
        """Submit a job that must be taken. Returns its number and name."""
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
