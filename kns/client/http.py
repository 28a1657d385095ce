"""Calls of the HTTP API of kns. Every call has a timeout, follows no redirect and is made once."""

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from kns.client.bounds import bound_answers
from kns.client.errors import NoResponseError, ResponseError, UnknownJobError
from kns.client.wire import (
    OWN_PREFIX,
    PREFIX,
    ApiKey,
    Bearer,
    Credentials,
    JobEntry,
    JobRef,
    Renewed,
    Submitted,
    build_submission,
    is_loopback,
)
from kns.model.errors import clip
from kns.model.job.output import split_lines

TIMEOUT_S = 20.0  # kns responds to every request within this time

Check = Callable[[httpx.Response], None]


class Client:
    """
    A client of one kns as one user. Use it in a `with` statement, or call `close`.

    `url` is the address without `/jarvice`. Proxies of the environment are used unless the host is a loopback address;
    `use_proxy` overrides that. Without `keep_connections`, every call opens a connection of its own, so that no call
    fails because a replica of kns ended between two calls. `check` is called with every response. `authority_file` has
    certificate authorities (PEM) in place of the usual ones. `transport` is for tests.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        use_proxy: bool | None = None,
        keep_connections: bool = True,
        check: Check | None = None,
        authority_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._credentials = credentials
        self._check = check
        self._http = httpx.Client(
            base_url=self._url,
            timeout=TIMEOUT_S,
            trust_env=not is_loopback(self._url) if use_proxy is None else use_proxy,
            auth=_build_auth(credentials),
            limits=httpx.Limits(max_keepalive_connections=None if keep_connections else 0),
            verify=_trust(self._url, authority_file),
            transport=transport,
            **bound_answers(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """
        Send one request as given, without an API key, and return any response. `options` are those of httpx.

        Raises:
            NoResponseError: the server did not respond.
        """
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise NoResponseError(f"{method} {self._url}{path}", error) from error
        if self._check is not None:
            self._check(response)
        return response

    def ask(self, route: str, *, prefix: str = PREFIX, **params: Any) -> httpx.Response:
        """
        Send a GET request to a route below `/jarvice/` with the credentials, and return any response.

        Raises:
            NoResponseError: the server did not respond.
        """
        key = self._credentials.headers if isinstance(self._credentials, ApiKey) else {}
        return self.send("GET", f"{prefix}/{route}", params=params, headers=key)

    def get(self, route: str, *, prefix: str = PREFIX, **params: Any) -> Any:
        """
        Send a GET request like `ask`, and return the body of a success: decoded JSON, or text.

        Raises:
            ResponseError: the server responded with an error.
            NoResponseError: the server did not respond.
        """
        return self._decode("GET", f"{prefix}/{route}", self.ask(route, prefix=prefix, **params))

    def check_ready(self) -> None:
        """
        Raises:
            ResponseError: kns is not ready, status 503.
            NoResponseError: the server did not respond.
        """
        self.get("ready")

    def build_submission(self, app: str, machine: str, **changes: Any) -> dict[str, Any]:
        """The body of a submission with the credentials of this client. `changes` are more top-level keys."""
        return build_submission(app, machine, credentials=self._credentials, **changes)

    def build_user(self) -> dict[str, Any]:
        """The credentials as a part of a submission's body; empty for a token, which is a header."""
        return {"user": self._credentials.params} if isinstance(self._credentials, ApiKey) else {}

    def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> Submitted:
        """
        Submit a job. Repeated calls with the same key within a day give the first one's job.

        Raises:
            ResponseError: kns refused the submission.
            NoResponseError: the server did not respond. The job may exist; its label finds it.
        """
        key = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        answer = self._decode("POST", f"{PREFIX}/submit", self.send("POST", f"{PREFIX}/submit", json=body, headers=key))
        return Submitted(number=int(answer["number"]), name=str(answer["name"]))

    def jobs(self, *, ended: bool = False, label: str | None = None) -> dict[int, JobEntry]:
        """The user's live jobs by number, with `ended` also the ended ones, with `label` only those with that label."""
        wanted = {"label": label, "exactmatch": "true"} if label is not None else {}
        found = self.get("jobs", all="true" if ended else "false", **wanted)
        return {int(number): entry for number, entry in found.items()}

    def job(self, number: int) -> JobEntry:
        """
        The entry of one job, live or ended.

        Raises:
            UnknownJobError: the job is not in the list.
        """
        jobs = self.jobs(ended=True)
        if number not in jobs:
            raise UnknownJobError(f"GET {self._url}{PREFIX}/jobs: job {number} is not in the list")
        return jobs[number]

    def apps(self, name: str | None = None) -> dict[str, dict[str, Any]]:
        """The apps that the user may run, by id; with `name` that one or none."""
        return dict(self.get("apps", **({} if name is None else {"name": name})))

    def machines(self) -> dict[str, dict[str, Any]]:
        """The site's machines by name."""
        return dict(self.get("machines"))

    def free(self) -> dict[str, int | None]:
        """How many more jobs of each machine find room now; empty from a kns that is too old to say it (`Free`)."""
        response = self.ask("free", prefix=OWN_PREFIX)
        if response.status_code == httpx.codes.NOT_FOUND:
            return {}
        return dict(self._decode("GET", f"{OWN_PREFIX}/free", response)["machines"])

    def info(self, job: JobRef) -> dict[str, Any] | None:
        """How to connect to a job; None while it is not reachable, and after its end."""
        found = self._find("info", **_name(job))
        return None if found is None else dict(found)

    def tail(self, job: JobRef, *, lines: int = 0) -> list[str]:
        """
        The log of the deployment of a running job: the last `lines`, or all lines for 0. Empty before its start and
        after its end.
        """
        return split_lines(str(self._find("tail", lines=lines, **_name(job)) or ""))

    def output(self, job: JobRef, *, lines: int = 0) -> list[str]:
        """The stored output of an ended job: the last `lines`, or all lines for 0."""
        return split_lines(str(self.get("output", lines=lines, **_name(job))))

    def events(self, job: JobRef) -> list[str]:
        """The events of a live job's namespace, oldest first. ResponseError 401 for others than system admins."""
        return split_lines(str(self.get("events", **_name(job))))

    def detail(self, job: JobRef) -> dict[str, Any]:
        """A job with its timeline (`Job` of the API of kns's own clients)."""
        return dict(self.get("job", prefix=OWN_PREFIX, **_name(job)))

    def metrics(self, job: JobRef) -> dict[str, int] | None:
        """What a running job uses at this moment: percent of its CPU, KiB of memory; None if nothing is measured."""
        found = self._find("metrics", **_name(job))
        return None if found is None else dict(found["summary"])

    def explain(self, job: JobRef) -> dict[str, Any]:
        """What a job does or waits for (`Explanation`)."""
        return dict(self.get("explain", prefix=OWN_PREFIX, **_name(job)))

    def limits(self) -> dict[str, Any]:
        """How many live jobs the user has, and may have (`Limits`)."""
        return dict(self.get("limits", prefix=OWN_PREFIX))

    def overview(self, *, page: int = 1) -> dict[str, Any]:
        """The whole installation (`Overview`). ResponseError 403 for others than system admins."""
        return dict(self.get("overview", prefix=OWN_PREFIX, page=page))

    def connection(self, job: JobRef) -> dict[str, Any]:
        """How to reach a running job (`Connection`). ResponseError 409 while it cannot be reached."""
        return dict(self.get("connection", prefix=OWN_PREFIX, **_name(job)))

    def extend(self, job: JobRef, walltime: str) -> int:
        """Extend the walltime (HH:MM:SS from the start) of a live job, and return it in seconds. Safe to repeat."""
        return int(self._post("extend", job, walltime=walltime)["walltime_seconds"])

    def keep(self, job: JobRef, *, keep: bool) -> None:
        """Keep everything of a live job after its end, or no longer. ResponseError 403: the user is no system admin."""
        self._post("keep", job, keep="true" if keep else "false")

    def delete(self, job: JobRef) -> None:
        """Delete the record of an ended job. ResponseError 403 for others than system admins."""
        self._post("delete", job)

    def sleep(self, job: JobRef) -> None:
        """Put a job that serves to sleep. ResponseError 409: it cannot sleep."""
        self._post("sleep", job)

    def wake(self, job: JobRef) -> None:
        """Wake a job. It has no effect on one that is awake."""
        self._post("wake", job)

    def shutdown(self, job: JobRef) -> None:
        """Request the end of a running job, with the grace period for its pods."""
        self.get("shutdown", **_name(job))

    def terminate(self, job: JobRef) -> None:
        """Request the end of any live job."""
        self.get("terminate", **_name(job))

    def _post(self, route: str, job: JobRef, **values: str) -> Any:
        path = f"{OWN_PREFIX}/{route}"
        key = self._credentials.headers if isinstance(self._credentials, ApiKey) else {}
        return self._decode("POST", path, self.send("POST", path, data={**_name(job), **values}, headers=key))

    def _find(self, route: str, **params: Any) -> Any:
        """Like `get`, but None for status 404."""
        response = self.ask(route, **params)
        missing = response.status_code == httpx.codes.NOT_FOUND
        return None if missing else self._decode("GET", f"{PREFIX}/{route}", response)

    def _decode(self, method: str, path: str, response: httpx.Response) -> Any:
        call = f"{method} {self._url}{path}"
        if response.status_code != httpx.codes.OK:
            raise ResponseError(call, response.status_code, read_error(response))
        if not response.headers.get("content-type", "").startswith("application/json"):
            return response.text
        try:
            return response.json()
        except ValueError as error:
            raise ResponseError(call, response.status_code, f"the body is not JSON: {clip(response.text)}") from error


def _trust(url: str, authority_file: Path | None) -> ssl.SSLContext | bool:
    """Without proxies, which a loopback address never has, httpx would ignore SSL_CERT_FILE as well."""
    file = authority_file or os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=file) if file and url.startswith("https:") else True


def _build_auth(credentials: Credentials | None) -> Callable[[httpx.Request], httpx.Request] | None:
    """A token as a header of each request. An API key is not sent with every one, see `send`."""
    if not isinstance(credentials, Bearer | Renewed):
        return None

    def add(request: httpx.Request) -> httpx.Request:
        token = credentials.token if isinstance(credentials, Bearer) else credentials.read()
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add


def _name(job: JobRef) -> dict[str, Any]:
    return {"number": job} if isinstance(job, int) else {"name": job}


def read_error(response: httpx.Response) -> str:
    """The error text of a response: the value of `error` in its JSON body, or else the beginning of the body."""
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    return clip(error if isinstance(error, str) else response.text)
