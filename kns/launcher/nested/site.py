"""kns as the plugin uses it: one job of kns for each nested job, and the way to its cluster."""

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kns.adapters.kube.client import Bounds, KubeClient
from kns.adapters.kube.connect import connect_with_header
from kns.client import ApiKey, Bearer, Client, ClientError, Credentials, NoResponseError, Renewed, ResponseError
from kns.model.errors import ForbiddenError, InvalidInputError, KnsError, UnavailableError, clip

_AGE_S = 10.0  # after which the file of the credentials is read again
_MACHINES_AGE_S = 60.0
_MOST_CREDENTIALS = 64 * 1024  # bytes of the file; a token has a few kilobytes
_INNER = Bounds(max_bytes=1024 * 1024, total_s=5.0)  # of one answer of a job's cluster, which its user controls
_MOST_REMEMBERED = 1000  # machines of jobs
_NO_RIGHT = (401, 403)
_LATER = (408, 429)


@dataclass(frozen=True, slots=True)
class JobOfKns:
    """`text` says what it does or how it ended. `has_started`: its cluster was up."""

    text: str
    has_started: bool = False
    is_ended: bool = False


@dataclass(frozen=True, slots=True)
class UsageOfKns:
    """What all pods of a job of kns use, its control plane included."""

    millicores: int
    memory_kib: int


class KnsSite(Protocol):
    """Every method may raise `KnsError`; `InvalidInputError` is for what kns refuses."""

    def list_machines(self) -> Mapping[str, Mapping[str, Any]]: ...

    def submit(self, label: str, machine: str, *, key: str) -> int:
        """The number of the job. Repeated calls with one `key` give the first one's."""
        ...

    def read(self, number: int) -> JobOfKns | None:
        """None if kns does not know the job any more."""
        ...

    def list_live(self, label: str) -> Mapping[int, str]:
        """The labels of live jobs that contain `label`, by number."""
        ...

    def terminate(self, number: int) -> None:
        """End a job; nothing if it has ended, or is unknown."""
        ...

    def read_usage(self, number: int) -> UsageOfKns | None:
        """None if nothing was measured."""
        ...

    def connect(self, number: int) -> KubeClient:
        """A client of the job's cluster, through kns."""
        ...


def read_credentials(path: Path) -> Credentials:
    """
    The content of the file: `USERNAME:APIKEY`, or a token of the realm.

    Raises:
        KnsError: it is not readable.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_CREDENTIALS).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KnsError(f"nested-credentials-path: {path} cannot be read: {error}") from error
    if not text or len(text.split()) != 1:
        raise KnsError(f"nested-credentials-path: {path} must have one line, USERNAME:APIKEY or a token")
    username, colon, apikey = text.partition(":")
    return ApiKey(username, apikey) if colon else Bearer(text)


def build_header(credentials: Credentials) -> str:
    """The value of `Authorization` for the job's cluster."""
    if isinstance(credentials, ApiKey):
        return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.apikey}".encode()).decode()
    return f"Bearer {credentials.token if isinstance(credentials, Bearer) else credentials.read()}"


class RemoteKns:
    """Implements `KnsSite` over HTTP. Safe for use in many threads."""

    def __init__(self, url: str, *, credentials_path: Path, app: str, authority_file: Path | None = None) -> None:
        """
        Raises:
            KnsError: the credentials cannot be read.
        """
        self._url = url.rstrip("/")
        self._path = credentials_path
        self._app = app
        self._authority_file = authority_file
        self._lock = threading.Lock()
        self._credentials = read_credentials(credentials_path)
        self._read_at = time.monotonic()
        self._client = self._make_client(self._credentials)
        self._old: list[Client] = []
        self._machine_of: dict[int, str] = {}
        self._machines: tuple[float, Mapping[str, Mapping[str, Any]]] | None = None

    def list_machines(self) -> Mapping[str, Mapping[str, Any]]:
        known = self._machines
        if known is None or time.monotonic() - known[0] > _MACHINES_AGE_S:
            with _translating("the machines of kns"):
                known = self._machines = (time.monotonic(), self._current().machines())
        return known[1]

    def has_app(self) -> bool:
        """Whether the account may run the app of nested jobs."""
        with _translating("the apps of kns"):
            return self._app in self._current().apps(self._app)

    def submit(self, label: str, machine: str, *, key: str) -> int:
        with _translating("a cluster for the job"):
            client = self._current()
            body = client.build_submission(self._app, machine, job_label=label)
            try:
                return client.submit(body, idempotency_key=key).number
            except NoResponseError:  # it may have been carried out
                return client.submit(body, idempotency_key=key).number

    def read(self, number: int) -> JobOfKns | None:
        with _translating(f"job {number} of kns"):
            try:
                found = self._current().detail(number)
            except ResponseError as error:
                if error.status == 404:
                    return None
                raise
        said = found.get("message") or found.get("substatus") or found.get("status") or ""
        return JobOfKns(
            clip(str(said)), has_started=found.get("started") is not None, is_ended=found.get("ended") is not None
        )

    def list_live(self, label: str) -> Mapping[int, str]:
        # Without `exactmatch`, so that one call finds the jobs of all records.
        with _translating("the jobs of kns"):
            found = self._current().get("jobs", all="false", label=label)
        return {int(number): str(entry.get("job_label") or "") for number, entry in found.items()}

    def terminate(self, number: int) -> None:
        with _translating(f"the end of job {number} of kns"):
            try:
                self._current().terminate(number)
            except ResponseError as error:
                if error.status != 404:
                    raise

    def read_usage(self, number: int) -> UsageOfKns | None:
        with _translating(f"the usage of job {number} of kns"):
            found = self._current().metrics(number)
            if found is None:
                return None
            name = self._machine_of.get(number)
            if name is None:
                if len(self._machine_of) >= _MOST_REMEMBERED:
                    self._machine_of.clear()
                name = self._machine_of[number] = str(self._current().detail(number)["machine"])
        cores = int(self.list_machines().get(name, {}).get("mc_cores", 1))
        return UsageOfKns(round(found["cpu_used"] * 10 * cores), int(found["memory_used"]))

    def connect(self, number: int) -> KubeClient:
        return connect_with_header(
            f"{self._url}/kns/cluster/{number}",
            read_header=self._read_header,
            authority_file=self._authority_file,
            bounds=_INNER,
        )

    def close(self) -> None:
        """Close all connections, except those of `connect`."""
        for client in (self._client, *self._old):
            client.close()

    def _read_header(self) -> str:
        self._current()
        return build_header(self._credentials)

    def _current(self) -> Client:
        """A client with the credentials of now. A file that is not readable for a moment changes nothing."""
        with self._lock:
            if time.monotonic() - self._read_at > _AGE_S:
                self._read_at = time.monotonic()
                try:
                    fresh = read_credentials(self._path)
                except KnsError:
                    fresh = self._credentials
                if fresh != self._credentials:
                    is_token = isinstance(fresh, Bearer) and isinstance(self._credentials, Bearer)
                    self._credentials = fresh
                    if not is_token:
                        for unused in self._old:  # a request that outlasts two keys fails, and is made again
                            unused.close()
                        self._old = [self._client]  # another thread may use it at this moment
                        self._client = self._make_client(fresh)
            return self._client

    def _make_client(self, credentials: Credentials) -> Client:
        """Tokens change often, so a client asks for the one of now."""
        given = Renewed(self._read_token) if isinstance(credentials, Bearer) else credentials
        return Client(self._url, given, use_proxy=False, authority_file=self._authority_file)

    def _read_token(self) -> str:
        credentials = self._credentials
        return credentials.token if isinstance(credentials, Bearer) else ""


@contextmanager
def _translating(what: str) -> Iterator[None]:
    """Errors of the client as those of the model."""
    try:
        yield
    except NoResponseError as error:
        raise UnavailableError(f"{what}: kns does not answer ({error.kind})") from error
    except ResponseError as error:
        said = f"{what}: kns said {error.status}, {clip(error.text)}"
        if error.status in _NO_RIGHT:
            raise ForbiddenError(f"{said}; check nested-credentials-path") from error
        if error.status in _LATER or error.status >= 500:
            raise UnavailableError(said) from error
        raise InvalidInputError("nested", said) from error
    except ClientError as error:
        raise UnavailableError(f"{what}: {error}") from error
