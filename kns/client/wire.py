"""Pure parts of the client: credentials, the body of a submission, and what a listed job says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypedDict
from urllib.parse import urlsplit

from kns.model.job.job import JobState

PREFIX = "/jarvice"
OWN_PREFIX = "/kns"  # the API of kns's own clients
ENDED = frozenset(str(state) for state in JobState if state.is_ended)


class JobEntry(TypedDict, total=False):
    """An entry of the route `jobs`, with the keys that clients of this package use; docs/http-api.md has all keys."""

    job_name: str
    job_number: int
    job_status: str
    job_substatus: int
    job_substatus_text: str | None
    job_label: str | None
    job_application: str
    job_exitcode: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A user name and its API key."""

    username: str
    apikey: str = field(repr=False)

    @property
    def params(self) -> dict[str, str]:
        """The credentials as `user` in the body of a submission."""
        return {"username": self.username, "apikey": self.apikey}

    @property
    def headers(self) -> dict[str, bytes]:
        """The credentials as headers in UTF-8. Access logs of proxies have queries, but not these headers."""
        return {"X-API-Username": self.username.encode(), "X-API-Key": self.apikey.encode()}


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token of the Keycloak realm that kns trusts."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Renewed:
    """A token that is renewed: `read` returns one that is valid now."""

    read: Callable[[], str] = field(repr=False)


Credentials = ApiKey | Bearer | Renewed
JobRef = int | str  # the number or the name of a job


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job."""

    number: int
    name: str


def build_submission(
    app: str, machine: str, *, nodes: int = 1, credentials: Credentials | None = None, **changes: Any
) -> dict[str, Any]:
    """
    The body of a submission. `changes` are more top-level keys.

    >>> build_submission("hello", "kns-small", job_label="mine")
    {'app': 'hello', 'machine': {'type': 'kns-small', 'nodes': 1}, 'job_label': 'mine'}
    """
    user = {"user": credentials.params} if isinstance(credentials, ApiKey) else {}
    return {"app": app, "machine": {"type": machine, "nodes": nodes}, **user, **changes}


def is_gone(job: Mapping[str, Any]) -> bool:
    """Whether a listed job has ended and kns has removed everything except its record and output."""
    return job["job_status"] in ENDED and job["job_substatus"] == 0


def is_address(url: str) -> bool:
    """
    Whether it is the address of a web server, without credentials in it: those would be in every error.

    >>> [is_address(url) for url in ("https://a:8443/b", "http://[::1]", "https://", "https://a:x", "https://a b")]
    [True, True, False, False, False]
    >>> [is_address(url) for url in ("https://ana:key@a", "https://a?b", "https://a..b", "https://[::1")]
    [False, False, False, False]
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        return False
    is_plain = (
        url.isprintable() and " " not in url and "@" not in parts.netloc and not parts.query and not parts.fragment
    )
    return parts.scheme in ("http", "https") and bool(host) and is_plain


def is_loopback(url: str) -> bool:
    """
    >>> [is_loopback(url) for url in ("http://127.0.0.1:80", "http://[::1]/", "http://a.localhost", "http://localhost.a")]
    [True, True, True, False]
    """
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
