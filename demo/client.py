"""The HTTP API as a user's script calls it. Every call has a deadline."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from demo.errors import DemoError

TIMEOUT_S = 20.0


class Client:
    """
    Calls kns as one user. The API is on this machine or behind a port-forward, so no proxy is asked.
    """

    def __init__(
        self, url: str, *, username: str = "", apikey: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(base_url=f"{url}/jarvice", timeout=TIMEOUT_S, trust_env=False, transport=transport)
        self._user = {"username": username, "apikey": apikey}
        self._url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def missing(self) -> str | None:
        """
        Why kns is not ready, or None if it is.
        """
        try:
            answer = self._http.get("/ready")
        except httpx.HTTPError as error:
            return f"no answer yet: {error}"
        return None if answer.status_code == 200 else f"not ready: {answer.text.strip()[:200]}"

    def submit(self, app: str, machine: str, label: str, parameters: Mapping[str, Any]) -> int:
        """
        Submit an app with one command. Returns the job's number.
        """
        body = {
            "app": app,
            "application": {"parameters": dict(parameters)},
            "machine": {"type": machine},
            "job_label": label,
            "user": self._user,
        }
        answer = self._call("POST", "/submit", json=body)
        return int(answer.json()["number"])

    def job(self, number: int) -> dict[str, Any]:
        """
        The job as `jobs` shows it, live or ended.
        """
        jobs = self._call("GET", "/jobs", params={**self._user, "all": "true"}).json()
        if str(number) not in jobs:
            raise DemoError(f"kns does not list job {number} any more; `kubectl get nj -n kns-system` shows its record")
        return dict(jobs[str(number)])

    def live_jobs(self, label: str) -> list[int]:
        """
        Numbers of the user's live jobs with exactly this label.
        """
        wanted = {**self._user, "label": label, "exactmatch": "true"}
        return [int(number) for number in self._call("GET", "/jobs", params=wanted).json()]

    def info(self, number: int) -> dict[str, Any] | None:
        """
        Where to connect, or None while it is too early.
        """
        answer = self._request("GET", "/info", params={**self._user, "number": number})
        return dict(answer.json()) if answer.status_code == 200 else None

    def tail(self, number: int) -> list[str]:
        """
        The app's log so far; empty before the start and after the end.
        """
        answer = self._request("GET", "/tail", params={**self._user, "number": number, "lines": 0})
        return answer.text.splitlines() if answer.status_code == 200 else []

    def output(self, number: int, lines: int = 0) -> list[str]:
        """
        The kept output of an ended job; its last `lines`, 0 for all.
        """
        answer = self._call("GET", "/output", params={**self._user, "number": number, "lines": lines})
        return answer.text.splitlines()

    def stop(self, number: int, how: str) -> None:
        """
        `shutdown` or `terminate` a job.
        """
        self._call("GET", f"/{how}", params={**self._user, "number": number})

    def _call(self, method: str, route: str, **options: Any) -> httpx.Response:
        answer = self._request(method, route, **options)
        if answer.status_code != 200:
            raise DemoError(f"{method} {self._url}/jarvice{route}: {answer.status_code} {answer.text.strip()[:500]}")
        return answer

    def _request(self, method: str, route: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, route, **options)
        except httpx.HTTPError as error:
            raise DemoError(f"{method} {self._url}/jarvice{route}: {error}; is kns up? (`make status`)") from error


def fetch_page(url: str, ingress_url: str) -> tuple[int, str]:
    """
    What a browser would get: status and text. With `ingress_url` the job's host name need not resolve.

    Raises:
        DemoError: nobody answered.
    """
    wanted = httpx.URL(url)
    place = wanted.copy_with(**_origin(ingress_url)) if ingress_url else wanted
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=not ingress_url, verify=not ingress_url) as client:
            answer = client.get(place, headers={"Host": wanted.netloc.decode()})
    except httpx.HTTPError as error:
        raise DemoError(f"GET {place} (Host: {wanted.host}): {error}") from error
    return answer.status_code, answer.text


def _origin(url: str) -> dict[str, Any]:
    parsed = httpx.URL(url)
    return {"scheme": parsed.scheme, "host": parsed.host, "port": parsed.port}
