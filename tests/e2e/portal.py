"""The HTTP API as the portal uses it. Every answer is checked against the wire rules, whatever the test is about."""

import json
import time
from typing import Any

import httpx

from kns.client import TIMEOUT_S, ApiKey, Client, NoResponseError
from tests.e2e.waiting import PATIENCE, POLL_S, NotYetError, wait_for

_CONNECTS = 3
_TYPES = ("application/json", "text/plain")
_READY_S = 60.0  # kns is not ready while the host's API server does not answer it
_ANSWER = httpx.Timeout(TIMEOUT_S * PATIENCE, connect=TIMEOUT_S)
_NOT_STORED = "Unable to create Job Submission"


class _PatientTransport(httpx.HTTPTransport):
    """Waits longer for an answer than a user's client does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "timeout": _ANSWER.as_dict()}
        return super().handle_request(request)


class Portal:
    """
    Calls one kns (the Service, or one replica) as one user.

    No connection is kept: a replica that is killed breaks no later call, and at the end no connection to the cluster is
    left. A connection that is refused is tried again, because a rolling restart may run: until kube-proxy knows of it,
    the Service leads to a replica that has ended.
    """

    def __init__(self, url: str, account: ApiKey) -> None:
        # `retries` concerns connecting only; a request that was sent is never repeated.
        transport = _PatientTransport(retries=_CONNECTS, limits=httpx.Limits(max_keepalive_connections=0))
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
        The decoded answer of a GET that must succeed: JSON, or the text. It is asked again while kns is not ready.

        Raises:
            NotYetError: kns is not ready (503) for long, but another try may succeed.
            NoResponseError: likewise, there is no answer.
        """
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                return self.get_once(route, **params)
            except (NotYetError, NoResponseError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_S)

    def get_once(self, route: str, **params: Any) -> Any:
        """Like `get`, without another try."""
        answer = self.ask(route, **params)
        if answer.status_code == 503:
            raise NotYetError(f"{route}: {answer.text}")
        assert answer.status_code == 200, f"{route} {params}: {answer.status_code} {answer.text}"
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.text

    def build_submission(self, app: str, *, machine: str = "kns-small", **changes: Any) -> dict[str, Any]:
        """A valid submission; `changes` are more of its top-level keys."""
        return self._client.build_submission(app, machine, **changes)

    def submit(self, app: str, *, machine: str = "kns-small", **changes: Any) -> tuple[int, str]:
        """
        Submit a job that must be accepted. Returns its number and name.

        It is submitted again if kns could not store it or did not answer. The first try may have made a job
        nevertheless; nobody looks at it, and it ends with the cluster.
        """
        body = self.build_submission(app, machine=machine, **changes)

        def probe() -> httpx.Response:
            answer = self.send("POST", "/jarvice/submit", json=body)
            if answer.status_code == 503 or (answer.status_code == 500 and _NOT_STORED in answer.text):
                raise NotYetError(f"{answer.status_code} {answer.text}")
            return answer

        answer = wait_for(probe, timeout_s=_READY_S, what=f"submit {app}")
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
