"""
Submissions that are refused, each with its status and its exact message. No job comes of any of them, so the file needs
the cluster alone: nobody else may submit meanwhile.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper
from tests.e2e.portal import Portal
from tests.e2e.site import Site

_MALFORMED = "Missing or Malformed API Syntax"
_KIB = 1024

pytestmark = pytest.mark.alone


@dataclass(frozen=True, slots=True)
class Row:
    """What is wrong, the answer, and the request: `changes` to a good submission, or the `raw` body."""

    what: str
    status: int
    error: str
    changes: Mapping[str, Any] | None = None
    raw: bytes | None = None
    method: str = "POST"
    route: str = "submit"


def _shape(what: str, **changes: Any) -> Row:
    """A body of the wrong shape: keys with values that cannot be used; None leaves the key out."""
    return Row(what, 400, _MALFORMED, changes)


def _bytes(what: str, raw: bytes) -> Row:
    return Row(what, 400, _MALFORMED, raw=raw)


def _unacceptable(what: str, problem: str, **changes: Any) -> Row:
    """A well-formed request that cannot be fulfilled; the answer names the reason."""
    return Row(what, 400, f"{_MALFORMED}: {problem}", changes)


_MACHINE = {"type": "kns-small"}
_ROWS = [
    _bytes("no body", b""),
    _bytes("not JSON", b"app=hello"),
    _bytes("half of an object", b'{"app": "hello"'),
    _bytes("a list", b"[]"),
    _bytes("a string", b'"hello"'),
    _bytes("not UTF-8", b'{"app": "\xff"}'),
    _bytes("a number that is none", b'{"app": "hello", "machine": {"type": "kns-small", "nodes": NaN}}'),
    _bytes("a lone surrogate", b'{"app": "\\ud800"}'),
    _bytes("nested beyond sense", b'{"application": ' * 100 + b"{}" + b"}" * 100),
    _shape("no app", app=None),
    _shape("an empty app", app=""),
    _shape("an app that is a number", app=7),
    _shape("no machine", machine=None),
    _shape("a machine that is a string", machine="kns-small"),
    _shape("a machine without type", machine={"nodes": 1}),
    _shape("no nodes at all", machine={**_MACHINE, "nodes": 0}),
    _shape("a word for a number of nodes", machine={**_MACHINE, "nodes": "two"}),
    _shape("one and a half nodes", machine={**_MACHINE, "nodes": 1.5}),
    _shape("true nodes", machine={**_MACHINE, "nodes": True}),
    _shape("an application that is a list", application=["Hello"]),
    _shape("a command that is a number", application={"command": 1}),
    _shape("parameters that are a list", application={"parameters": []}),
    _shape("a walltime in seconds", application={"walltime": 3600}),
    _shape("no user", user=None),
    _shape("a user without key", user={"username": "user1"}),
    _shape("a user without name", user={"username": "", "apikey": "x"}),
    _shape("a label beyond its length", job_label="x" * 256),
    _shape("an unknown priority", job_priority="urgent"),
    _shape("a vault without name", vault={"readonly": True}),
    _shape("a vault that is a string", vault="data"),
    Row("a wrong key", 401, "Not Authorized", {"user": {"username": "user1", "apikey": "wrong"}}),
    Row("an unknown user", 401, "Not Authorized", {"user": {"username": "nobody", "apikey": "wrong"}}),
    Row("an unknown app", 404, "Application Not Found", {"app": "no-such-app"}),
    Row("an app id in other letters", 404, "Application Not Found", {"app": "Hello"}),
    Row("an unknown command", 404, "Application Not Found", {"application": {"command": "Goodbye"}}),
    _unacceptable(
        "an unknown machine", "machine.type: no machine 'kns-unheard-of'", machine={"type": "kns-unheard-of"}
    ),
    _unacceptable(
        "a machine that is not for nested jobs",
        "machine.type: 'plain' lacks appkind=kns, so it runs no nested jobs",
        machine={"type": "plain"},
    ),
    _unacceptable(
        "more nodes than there are", "machine.nodes: 'kns-small' has at most 4", machine={**_MACHINE, "nodes": 5}
    ),
    _unacceptable("a walltime in words", "application.walltime: '1h' is not HH:MM:SS", application={"walltime": "1h"}),
    _unacceptable(
        "no walltime to speak of",
        "application.walltime: must be longer than 00:00:00",
        application={"walltime": "00:00:00"},
    ),
    _unacceptable("an unknown vault", "vault.name: user1 has no vault 'gold'", vault={"name": "gold"}),
    _unacceptable("a project of others", "job_project: user1 is not a member of 'apollo'", job_project="apollo"),
    _unacceptable(
        "an app that needs Keycloak, on a site without it",
        "nested_kubernetes.keycloak: this site has no Keycloak for apps; choose another app or ask its administrator",
        app="keycloak-login",
    ),
    Row("five megabytes", 413, "Request too large", raw=b" " * (5 * _KIB * _KIB)),
    Row("the wrong method", 405, "Method not allowed", {}, method="GET"),
    Row("another wrong method", 405, "Method not allowed", {}, method="PUT"),
    Row("a route that is not there", 404, "Not found", {}, route="submit/now"),
]
_TOO_MUCH = 600 * _KIB


@dataclass(frozen=True, slots=True)
class Attempts:
    """All answers by row, and what the cluster's administrator sees before and after them."""

    answers: dict[str, httpx.Response]
    before: tuple[str, frozenset[str]]
    after: tuple[str, frozenset[str]]


def _look(site: Site) -> tuple[str, frozenset[str]]:
    """The last job number that kns assigned, and the records."""
    counter = site.kubectl.find("configmap", "kns-job-numbers", f"--namespace={NAMESPACE}")
    names = site.kubectl.run("get", "nj", f"--namespace={NAMESPACE}", "--output=name").split()
    return (counter or {"data": {"last": ""}})["data"]["last"], frozenset(names)


def _encode(row: Row, portal: Portal) -> bytes:
    if row.raw is not None:
        return row.raw
    body = {**portal.build_submission("hello"), **(row.changes or {})}
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


@pytest.fixture(scope="module")
def attempts(site: Site, portal: Portal, module_jobs: JobKeeper) -> Attempts:
    """All rows in one go, so that what they cause together can be counted."""
    module_jobs.await_all_gone()  # those of earlier tests
    before = _look(site)
    answers = {
        row.what: portal.send(row.method, f"/jarvice/{row.route}", content=_encode(row, portal)) for row in _ROWS
    }
    return Attempts(answers=answers, before=before, after=_look(site))


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.what)
def test_it_is_refused_with_its_status_and_message(attempts: Attempts, row: Row) -> None:
    answer = attempts.answers[row.what]
    assert (answer.status_code, answer.json()) == (row.status, {"error": row.error})


def test_a_submission_that_no_record_can_hold_is_refused_with_its_size(site: Site, portal: Portal) -> None:
    """It is below the limit of a request and above that of a record; the message has both numbers."""
    body = portal.build_submission("hello", application={"parameters": {"text": "x" * _TOO_MUCH}})
    raw = json.dumps(body).encode()
    answer = portal.send("POST", "/jarvice/submit", content=raw)
    problem = f"the submission has {len(raw)} bytes, a job holds at most {512 * _KIB}"
    assert (answer.status_code, answer.json()) == (400, {"error": f"{_MALFORMED}: {problem}"})


def test_nothing_came_of_any_of_them(attempts: Attempts) -> None:
    """kns assigned no number and made no record."""
    assert attempts.after == attempts.before
