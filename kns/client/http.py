"""Calls of the HTTP API of kns. Every call has a timeout, follows no redirect and is made once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from kns.client import shapes
from kns.client.authorities import choose_authorities
from kns.client.bounds import bound_answers
from kns.client.errors import AnswerError, NoResponseError, ResponseError, UnknownJobError
from kns.client.proxies import checked_proxies
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

    Raises:
        ClientError: `authority_file`, or the file in SSL_CERT_FILE, has no certificates that can be read; or the
            proxies of the environment cannot be used.
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
        with checked_proxies():
            self._http = httpx.Client(
                base_url=self._url,
                timeout=TIMEOUT_S,
                trust_env=not is_loopback(self._url) if use_proxy is None else use_proxy,
                auth=_build_auth(credentials),
                limits=httpx.Limits(max_keepalive_connections=None if keep_connections else 0),
                verify=choose_authorities(self._url, authority_file),
                transport=transport,
                **bound_answers(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        except httpx.LocalProtocolError as error:  # its text has the header, which may be a key or a token
            safe = type(error)("a header has a character that HTTP does not allow; is a line break in the credentials?")
            raise NoResponseError(f"{method} {self._url}{path}", safe) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
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
        route = f"{PREFIX}/submit"
        answer = self._decode("POST", route, self.send("POST", route, json=body, headers=key))
        accepted = shapes.check(shapes.Accepted, f"POST {self._url}{route}", answer)
        return Submitted(number=accepted["number"], name=accepted["name"])

    def jobs(self, *, ended: bool = False, label: str | None = None) -> dict[int, JobEntry]:
        """The user's live jobs by number, with `ended` also the ended ones, with `label` only those with that label."""
        wanted = {"label": label, "exactmatch": "true"} if label is not None else {}
        found = self.get("jobs", all="true" if ended else "false", **wanted)
        return {int(number): entry for number, entry in found.items()}

    def list_jobs(self, params: Mapping[str, str] | None = None, *, team: bool = False) -> dict[int, JobEntry]:
        """Jobs by number, of the user or of the user's team, as `params` of the route choose them."""
        route = "teamjobs" if team else "jobs"
        found = shapes.check_each(shapes.ListedJob, self._name("GET", PREFIX, route), self.get(route, **(params or {})))
        return {entry["job_number"]: entry for entry in found.values()}  # type: ignore[misc]  # the shape is checked

    def find_submission(self, job: JobRef) -> dict[str, Any] | None:
        """What a job of the user was submitted with; None if the user has no such job."""
        call = self._name("GET", PREFIX, "jobs")
        for entry in shapes.check_each(shapes.SubmittedJob, call, self.get("jobs", all="true")).values():
            if job in (entry["job_number"], entry["job_name"]):
                return dict(entry["job_api_submission"])
        return None

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
        found = self.get("apps", **({} if name is None else {"name": name}))
        return shapes.check_each(shapes.App, self._name("GET", PREFIX, "apps"), found)

    def machines(self) -> dict[str, dict[str, Any]]:
        """The site's machines by name."""
        return shapes.check_each(shapes.Shape, self._name("GET", PREFIX, "machines"), self.get("machines"))

    def free(self) -> dict[str, int | None]:
        """How many more jobs of each machine find room now; empty from a kns that is too old to say it (`Free`)."""
        response = self.ask("free", prefix=OWN_PREFIX)
        if response.status_code == httpx.codes.NOT_FOUND:
            return {}
        answer = self._decode("GET", f"{OWN_PREFIX}/free", response)
        return dict(shapes.check(shapes.Free, self._name("GET", OWN_PREFIX, "free"), answer)["machines"])

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
        return self._get_own(shapes.Job, "job", **_name(job))

    def metrics(self, job: JobRef) -> dict[str, int] | None:
        """What a running job uses at this moment: percent of its CPU, KiB of memory; None if nothing is measured."""
        found = self._find("metrics", **_name(job))
        if found is None:
            return None
        return dict(shapes.check(shapes.Measurement, self._name("GET", PREFIX, "metrics"), found)["summary"])

    def explain(self, job: JobRef) -> dict[str, Any]:
        """What a job does or waits for (`Explanation`)."""
        return self._get_own(shapes.Explanation, "explain", **_name(job))

    def limits(self) -> dict[str, Any]:
        """How many live jobs the user has, and may have (`Limits`)."""
        return self._get_own(shapes.Limits, "limits")

    def overview(self, *, page: int = 1) -> dict[str, Any]:
        """The whole installation (`Overview`). ResponseError 403 for others than system admins."""
        return self._get_own(shapes.Overview, "overview", page=page)

    def connection(self, job: JobRef) -> dict[str, Any]:
        """How to reach a running job (`Connection`). ResponseError 409 while it cannot be reached."""
        return self._get_own(shapes.Connection, "connection", **_name(job))

    def extend(self, job: JobRef, walltime: str) -> int:
        """Extend the walltime (HH:MM:SS from the start) of a live job, and return it in seconds. Safe to repeat."""
        answer = self._post("extend", job, walltime=walltime)
        return int(shapes.check(shapes.Extended, self._name("POST", OWN_PREFIX, "extend"), answer)["walltime_seconds"])

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

    def _get_own(self, shape: type[shapes.Shape], route: str, **params: Any) -> dict[str, Any]:
        call = self._name("GET", OWN_PREFIX, route)
        return shapes.check(shape, call, self.get(route, prefix=OWN_PREFIX, **params))

    def _name(self, method: str, prefix: str, route: str) -> str:
        return f"{method} {self._url}{prefix}/{route}"

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
        except (ValueError, RecursionError) as error:
            raise AnswerError(call, f"it is no JSON: {response.text}") from error


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
    """
    The error text of a response: the value of `error` in its JSON body, or else the beginning of the body. For a
    redirect, where it leads: it is not followed, because the credentials are for this server.
    """
    if response.is_redirect:
        return f"it redirects to {clip(response.headers.get('location', 'nowhere'), 200)}"
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    return clip(error if isinstance(error, str) else response.text)
