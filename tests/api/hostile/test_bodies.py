"""Bodies that are too large, too deep, badly encoded or ambiguous, and attacks inside AppDefs and submissions."""

import base64
import gzip
import json
from io import StringIO
from typing import Any

import pytest

from kns.model.job.output import JobOutput
from tests.api.client import Api
from tests.api.hostile.served import CREDENTIALS, Row, Served, chunked, get, post, serve
from tests.builders import a_command, a_job, a_submission, an_appdef

pytestmark = pytest.mark.proves(
    "main",
    "Hostile HTTP requests store nothing, cause no fault, and leave a log that is safe to show",
)

MEBI = 1024 * 1024
AS_JSON = "Content-Type: application/json"
LOGIN = {"username": "user1", "apikey": "key-user1"}
MALFORMED = "Missing or Malformed API Syntax"
ATTACK = "\r\n\x1b[2J{{7*7}}<script>alert(1)</script>%NIMBIXPASSWD%"  # several kinds in one text


def unreadable(sentence: str, body: bytes, *headers: str) -> list[Row]:
    """On a route with parameters, on one that takes any JSON, and on `submit`, which has its own error text."""
    return [
        Row(f"{sentence} ({route})", post(route, body, *headers), 400, error)
        for route, error in (("status", "Bad Request"), ("validate", "Bad Request"), ("submit", MALFORMED))
    ]


def appdef(sentence: str, error: str, **item: Any) -> Row:
    """An AppDef with `item` as its only template."""
    command = a_command(nested={"templates": [{"name": "web", "type": "kubectl", **item}]})
    body = json.dumps(an_appdef(commands={"Hello": command})).encode()
    return Row(sentence, post("validate", body), 400, f"commands.Hello.nested_kubernetes.templates[0]{error}")


def refused(sentence: str, status: int, error: str, **changes: Any) -> Row:
    return Row(sentence, post("submit", json.dumps({**a_submission(), **changes}).encode()), status, error)


def levels(count: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return b'{"number": ' + opening * count + b"1" + closing * count + b"}"


JSON = [
    *unreadable("one hundred levels", levels(100)),
    *unreadable("a million levels", b"[" * MEBI),
    *unreadable("a million levels of objects", b'{"a":' * 200_000),
    *unreadable("a million empty lists", b'{"number": [' + b"[]," * MEBI + b"[]]}"),
    *unreadable("two million escaped quotes in a string without an end", b'{"a":"' + b'\\"' * 2_000_000),
    *unreadable("a hundred thousand keys", json.dumps({str(key): 0 for key in range(100_000)}).encode()),
    *unreadable("a number of five thousand digits", b'{"number": [' + b"9" * 5000 + b"]}"),
    *unreadable("a number beyond 64 bits", b'{"number": [18446744073709551616]}'),
    *unreadable("a number beyond all bounds", b'{"number": 1e400}'),
    *unreadable("NaN", b'{"number": NaN}'),
    *unreadable("Infinity", b'{"number": -Infinity}'),
    *unreadable("a lone surrogate", b'{"name": "\\ud83d"}'),
    *unreadable("a lone surrogate in a key", b'{"\\udc00": 1}'),
    *unreadable("two values", b'{"number": 7}{"number": 8}'),
    *unreadable("UTF-16", '{"number": 7}'.encode("utf-16"), AS_JSON),
    *unreadable("UTF-16 that says so", '{"number": 7}'.encode("utf-16-le"), f"{AS_JSON}; charset=utf-16"),
    *unreadable("Latin-1", '{"name": "Größe"}'.encode("latin-1"), AS_JSON),
    *unreadable("compressed", gzip.compress(b'{"number": 7}', mtime=0), AS_JSON, "Content-Encoding: gzip"),
    *unreadable("two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf" + b'{"number": 7}', AS_JSON),
]  # fmt: skip
FORMS = [
    Row("a form of a million fields", post("jobs", b"a=1&" * MEBI), 400, "Bad Request"),
    Row("a query of a thousand and one fields", get("/jarvice/jobs?" + "&".join(["a=1"] * 1001)), 400, "Bad Request"),
    Row("a form that is not UTF-8", post("jobs", b"username=\xff"), 400, "Bad Request"),
    Row("a multipart form, which is no form of ours",
        post("jobs", b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nuser1\r\n--x--\r\n',
             "Content-Type: multipart/form-data; boundary=x"), 400, "Required parameter(s) missing"),
    Row("a name in an array, as PHP reads it", post("jobs", b"username[]=user1&apikey[]=key-user1"), 400,
        "Required parameter(s) missing"),
    Row("a name that is an object", post("jobs", json.dumps({**LOGIN, "username": {"$ne": None}}).encode()), 400,
        "Invalid parameter(s)"),
    Row("a key that is true", post("jobs", json.dumps({**LOGIN, "apikey": True}).encode()), 400,
        "Invalid parameter(s)"),
    Row("a form behind a query without its own end", post("jobs?username=user1", b"&apikey=wrong-key&"), 401,
        "Unauthorized"),
    Row("a key of four mebibytes", post("jobs", b"username=user1&apikey=" + b"k" * (4 * MEBI - 100)), 401,
        "Unauthorized"),
    Row("a name of ten thousand letters", get("/jarvice/jobs?apikey=x&username=" + "n" * 10_000), 401, "Unauthorized"),
    Row("a name with a false log line",
        get("/jarvice/jobs?apikey=wrong-key&username=x%0d%0a%1b%5b31m%7b%22event%22:%22pass%22%7d"), 401,
        "Unauthorized"),
    Row("a number of a hundred digits", get(f"/jarvice/status?{CREDENTIALS}&number={'9' * 100}"), 400,
        "Invalid parameter(s)"),
    Row("a number of more digits", get(f"/jarvice/status?{CREDENTIALS}&number={'9' * 101}"), 400,
        "Invalid parameter(s)"),
    Row("a number in digits of another script", get(f"/jarvice/status?{CREDENTIALS}&number=%d9%a7"), 400,
        "Invalid parameter(s)"),
    Row("a number with a part behind it", get(f"/jarvice/status?{CREDENTIALS}&number=7;8"), 400,
        "Invalid parameter(s)"),
    Row("a job's name that is a path", get(f"/jarvice/status?{CREDENTIALS}&name=../../kns-job-7"), 404, "Not Found"),
    Row("a selector for a name", get(f"/jarvice/tail?{CREDENTIALS}&name=%25"), 404, "Job not found"),
    Row("an app's name that is a path", get(f"/jarvice/appdef?{CREDENTIALS}&name=../users"), 404,
        "Application Not Found"),
    Row("another's vault", get("/jarvice/vault?username=user2&apikey=key-user2&vault=data&path=/"), 400,
        "Invalid parameter(s)"),
]  # fmt: skip
TOO_LARGE = [
    Row("four mebibytes and one byte", post("status", b" " * (4 * MEBI + 1)), 413, "Request too large"),
    Row("chunks that never said how much they are",
        chunked("validate", (b"100000\r\n" + b" " * MEBI + b"\r\n") * 4 + b"2\r\n  \r\n0\r\n\r\n"), 413,
        "Request too large"),
    Row("a submission above what a record holds",
        post("submit", json.dumps(a_submission()).encode().ljust(600_000)), 400,
        f"{MALFORMED}: the submission has 600000 bytes, a job holds at most 524288"),
]  # fmt: skip
APPDEFS = [
    appdef("a template above its folder", ": path must be relative to /templates, without '..'", path="../etc/passwd"),
    appdef("a template by the root", ": path must be relative to /templates, without '..'", path="/etc/passwd"),
    appdef("a template that goes in and out", ": path must be relative to /templates, without '..'", path="a/../../b"),
    appdef("a template that is an option", ": path must not start with '-'", path="--server=https://evil.example.org"),
    appdef("a template with a NUL", ": path must not start with '-'", path="web.yml\0.png"),
    appdef("a template by another scheme", ": path must be an http or https URL when format is url",
           path="file:///etc/passwd", format="url"),
    appdef("a template by a URL with a blank", ": path must be an http or https URL when format is url",
           path="http://x/ --server=y", format="url"),
    appdef("a script that is no base64", ": cmd is not base64", type="custom", cmd="$(reboot)"),
]  # fmt: skip
LIMITS = base64.b64encode(b"[" + b"{}," * 100_000 + b"{}]").decode()
APPDEFS.append(
    Row("a limit range of a hundred thousand items in base64, which no count of values sees",
        post("validate", json.dumps(an_appdef(commands={"Hello": a_command(nested={"limit_range": LIMITS})})).encode()),
        400, "commands.Hello.nested_kubernetes.limit_range: must have at most 16384 characters in base64")
)  # fmt: skip
SUBMISSIONS = [
    refused("an app that is a path", 404, "Application Not Found", app="../users"),
    refused("a machine that is a script", 400, f"{MALFORMED}: machine.type: no machine '$(reboot)'",
            machine={"type": "$(reboot)", "nodes": 1}),
    refused("a machine with line breaks and terminal commands", 400,
            f"{MALFORMED}: machine.type: no machine 'x\\r\\n\\x1b[2J'", machine={"type": "x\r\n\x1b[2J", "nodes": 1}),
    refused("ten thousand nodes and one", 400, MALFORMED, machine={"type": "kns-small", "nodes": 10_001}),
    refused("half a node", 400, MALFORMED, machine={"type": "kns-small", "nodes": 0.5}),
    refused("a vault that is a path", 400, f"{MALFORMED}: vault.name: user1 has no vault '../user2/data'",
            vault={"name": "../user2/data"}),
    refused("a project with a template", 400, f"{MALFORMED}: job_project: user1 is not a member of '{{{{7*7}}}}'",
            job_project="{{7*7}}"),
    refused("a label without measure", 400, MALFORMED, job_label="x" * 256),
    refused("a user who is a list", 400, MALFORMED, user=["user1", "key-user1"]),
    refused("a user with line breaks", 401, "Not Authorized", user={"username": "user1\r\nx", "apikey": "key-user1"}),
    Row("an Idempotency-Key with terminal commands",
        post("submit", json.dumps(a_submission()).encode(), b"Idempotency-Key: \x1b[2J"), 400,
        f"{MALFORMED}: Idempotency-Key: must be 1 to 255 printable ASCII characters"),
    Row("an Idempotency-Key in another charset",
        post("submit", json.dumps(a_submission()).encode(), b"Idempotency-Key: k\xc3\xbc"), 400,
        f"{MALFORMED}: Idempotency-Key: must be 1 to 255 printable ASCII characters"),
    Row("an Idempotency-Key of eight thousand bytes",
        post("submit", json.dumps(a_submission()).encode(), f"Idempotency-Key: {'k' * 8000}"), 400,
        f"{MALFORMED}: Idempotency-Key: must be 1 to 255 printable ASCII characters"),
]  # fmt: skip


@pytest.mark.proves(
    "security",
    "a body that is deep, compressed, in another charset or several formats, with duplicate keys or countless values",
)
@pytest.mark.proves("security", "an enormous one")
@pytest.mark.parametrize("row", [*JSON, *FORMS, *TOO_LARGE, *APPDEFS, *SUBMISSIONS], ids=str)
def test_a_body_that_means_no_good(served: Served, row: Row) -> None:
    served.assert_refused(row)


@pytest.mark.proves(
    "security",
    "a body that is deep, compressed, in another charset or several formats, with duplicate keys or countless values",
)
def test_of_a_key_given_twice_the_last_counts(served: Served) -> None:
    """In a JSON body of any route, and inside a submission."""
    twice = b'{"username": "admin1", "username": "user1", "apikey": "wrong-key", "apikey": "key-user1", "number": 7}'
    assert served.ask(post("status", twice)).status == 200
    swapped = twice.replace(b'"username": "admin1", "username": "user1"', b'"username": "user1", "username": "admin1"')
    served.assert_refused(Row("the other way round", post("status", swapped), 401, "Unauthorized"))
    body = json.dumps(a_submission()).replace('"app": "hello"', '"app": "hello", "app": "none"')
    served.assert_refused(Row("in a submission", post("submit", body.encode()), 404, "Application Not Found"))


@pytest.mark.proves("security", "line breaks or control bytes in a label, name or address, to forge log lines")
def test_what_is_hidden_in_a_label_comes_back_as_it_was_and_reaches_no_log(observed: StringIO) -> None:
    """JSON escapes it. Nothing in between interprets it as log line, HTML, template or header."""
    with serve(Api()) as served:
        submitted = served.ask(post("submit", json.dumps(a_submission(job_label=ATTACK)).encode()))
        assert (submitted.status, json.loads(submitted.body)["number"]) == (200, 1)
        listed = served.ask(get(f"/jarvice/jobs?{CREDENTIALS}"))
        assert json.loads(listed.body)["1"]["job_label"] == ATTACK
        assert b"\x1b" not in listed.body
        assert b"\r" not in listed.body
        served.log = observed
        served.api.jobs.writes.clear()
        served.assert_unharmed()
    assert "alert(1)" not in observed.getvalue()


@pytest.mark.proves("security", "markup, script or placeholders in the help page")
def test_what_is_filled_into_the_apps_page_is_escaped_and_read_once() -> None:
    """A quote needs no escape between tags. An author's URL becomes a link only if it is http(s)."""
    api = Api()
    page = "%NIMBIXUSER% {{7*7}} ${7*7} %{7*7} %CONNECTURL% %NO%"
    url = 'javascript:alert(1)//%NIMBIXUSER%"><script>'
    job = a_job().exposed(url='https://h.example.org/"><script>%NIMBIXPASSWD%').with_accepted(url=url)
    stored = api.add(job)
    api.outputs.write(stored, JobOutput(log="", help=page))
    told = api.get("info", number=7).json()["help"]
    assert "<script>" not in told
    assert "href" not in told
    assert 'user1 {{7*7}} ${7*7} %{7*7} https://h.example.org/"&gt;&lt;script&gt;%NIMBIXPASSWD% %NO%' in told
