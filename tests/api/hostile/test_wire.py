"""Bytes that are not HTTP, HTTP that two readers may read differently, and unknown targets."""

import pytest

from tests.api.hostile.served import CREDENTIALS, Row, Served, chunked, get, post

pytestmark = pytest.mark.proves(
    "main",
    "Hostile HTTP requests store nothing, cause no fault, and leave a log that is safe to show",
)

GOOD_FORM = CREDENTIALS.encode()
STATUS = f"/jarvice/status?{CREDENTIALS}&number=99"


def bad(sentence: str, sent: bytes) -> Row:
    return Row(sentence, sent, 400, "Bad Request")


def unknown(sentence: str, sent: bytes) -> Row:
    return Row(sentence, sent, 404, "Not found")


def wrong_method(sentence: str, sent: bytes) -> Row:
    return Row(sentence, sent, 405, "Method not allowed")


def unknown_job(sentence: str, sent: bytes) -> Row:
    """Harmless oddities: the request is handled like any other."""
    return Row(sentence, sent, 404, "Not Found")


NO_HTTP = [
    bad("HTTP/0.9 has no version", b"GET /jarvice/live\r\n\r\n"),
    bad("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + b"\r\n\r\n"),
    bad("an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    bad("a NUL in the request line", b"GET /jarvice/\0live HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("bytes beyond ASCII in the target", b"GET /jarvice/\xc3\xbc HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a blank in the target", b"GET /jarvice/live x HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a version that is none", b"GET /jarvice/live HTTP/11\r\nHost: x\r\n\r\n"),
    bad("a NUL in a header's value", get(STATUS, b"X-Key: a\0b")),
    bad("a carriage return in a header's value", get(STATUS, b"X-Key: a\rb")),
    bad("a header without a colon", get(STATUS, "X-Key")),
    bad("a header without a name", get(STATUS, ": x")),
    bad("a blank before the colon", get(STATUS, "X-Key : x")),
    bad("no Host", b"GET /jarvice/live HTTP/1.1\r\n\r\n"),
    bad("two Hosts", get(STATUS, "Host: other.example.org")),
    bad("a head without an end", get(STATUS, "X-Key: " + "x" * 20_000)[:-2]),
    bad("a target without an end", b"GET /" + b"a" * 20_000),
    bad("two lengths", post("jobs", GOOD_FORM, "Content-Length: 3")),
    bad("two lengths in one header", get("/jarvice/jobs", "Content-Length: 3, 4", method="POST") + b"abc"),
    bad("a negative length", get("/jarvice/jobs", "Content-Length: -1", method="POST")),
    bad("a length with a sign", get("/jarvice/jobs", "Content-Length: +3", method="POST") + b"abc"),
    bad("a hexadecimal length", get("/jarvice/jobs", "Content-Length: 0x3", method="POST") + b"abc"),
    bad("a length of thirty digits", get("/jarvice/jobs", f"Content-Length: {'9' * 30}", method="POST")),
    bad("a length and chunks", post("jobs", b"0\r\n\r\n", "Transfer-Encoding: chunked")),
    bad("a length and chunks on a GET", get(STATUS, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    bad("an unknown transfer coding", get("/jarvice/jobs", "Transfer-Encoding: gzip, chunked", method="POST")),
    bad("chunks twice", chunked("jobs", b"0\r\n\r\n", "Transfer-Encoding: chunked")),
    bad("a transfer coding in disguise", get("/jarvice/jobs", "Transfer-Encoding: xchunked", method="POST")),
    bad("a chunk whose length is no number", chunked("jobs", b"zz\r\nabc\r\n0\r\n\r\n")),
    bad("a chunk with a negative length", chunked("jobs", b"-3\r\nabc\r\n0\r\n\r\n")),
    bad("a chunk longer than it says", chunked("jobs", b"3\r\nabcdef\r\n0\r\n\r\n")),
    bad("a chunk of more bytes than there are", chunked("jobs", b"f" * 40 + b"\r\nabc")),
]  # fmt: skip
TARGETS = [
    unknown("dots that are escaped", get("/jarvice/%2e%2e/live")),
    unknown("dots as they are", get("/jarvice/../live")),
    unknown("dots with a parameter", get("/jarvice/..;/live")),
    unknown("dots in overlong UTF-8", get("/jarvice/%c0%ae%c0%ae/live")),
    unknown("a way to a file", get("/jarvice/%2e%2e/%2e%2e/%2e%2e/etc/passwd")),
    unknown("a way with backslashes", get("/jarvice/..%5c..%5clive")),
    unknown("a doubly escaped way", get("/jarvice/%252e%252e/live")),
    unknown("two slashes at the front", get("//etc/passwd")),
    unknown("a NUL at the end of a route", get("/jarvice/live%00")),
    unknown("line breaks and a false log line in the path",
            get("/jarvice/%0d%0a%7b%22event%22:%22job_submitted%22%7d%0d%0a")),
    unknown("terminal commands in the path", get("/jarvice/%1b%5b2J%1b%5d0;owned%07%c2%9b31m%e2%80%ae")),
    unknown("a template in the path", get("/jarvice/%7b%7b7*7%7d%7d$%7bjndi:ldap://x%7d%25PUBLICADDR%25")),
    unknown("a whole URL of another host", get("http://169.254.169.254/jarvice/live")),
    unknown("a star", get("*", method="OPTIONS")),
    unknown("a tunnel", get("kns.example.org:443", method="CONNECT")),
    unknown("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    unknown("a fragment", get("/jarvice/live#x")),
]  # fmt: skip
METHODS = [
    wrong_method("a method of our own", get("/jarvice/status", method="KILL")),
    wrong_method("a method in lower case", get("/jarvice/status", method="get")),
    wrong_method("TRACE, which would give headers back", get("/jarvice/status", "X-Key: key-user1", method="TRACE")),
    wrong_method("a method of ten thousand letters", get("/jarvice/status", method="A" * 10_000)),
    wrong_method("a method that tunnels another", get("/jarvice/submit", "X-HTTP-Method-Override: POST")),
]
HARMLESS = [
    unknown_job("HTTP/1.0 without a Host", f"GET {STATUS} HTTP/1.0\r\n\r\n".encode()),
    unknown_job("a Host that is not ours", get(STATUS).replace(b"kns.example.org", b"evil.example.org")),
    unknown_job("a Host that is no host", get(STATUS).replace(b"kns.example.org", b"[")),
    unknown_job("a wish for a WebSocket", get(STATUS, "Upgrade: websocket").replace(b": close", b": Upgrade, close")),
    unknown_job("a wish for HTTP/2", get(STATUS, "Upgrade: h2c").replace(b": close", b": Upgrade, close")),
    unknown_job("bytes beyond ASCII in a header's value", get(STATUS, b"X-Key: \xff\xfe")),
    unknown_job("a header over two lines", get(STATUS, "X-Key: a", " b")),
    unknown_job("an unreadable body of a GET", get(STATUS, "Content-Length: 3") + b"\xff[{"),
    unknown_job("a name given twice: the last value wins", get(STATUS.replace("99", "7") + "&number=99")),
    Row("bytes that are not UTF-8 in the query", get("/jarvice/jobs?username=%ff%fe&apikey=%00"), 401, "Unauthorized"),
    Row("a lone surrogate in the query", get("/jarvice/jobs?username=%ed%a0%80&apikey=x"), 401, "Unauthorized"),
]  # fmt: skip


@pytest.mark.proves(
    "security",
    "a request that a proxy reads as one and kns as two: both lengths, odd line ends, broken chunks",
)
@pytest.mark.parametrize("row", [*NO_HTTP, *TARGETS, *METHODS, *HARMLESS], ids=str)
def test_a_request_that_means_no_good(served: Served, row: Row) -> None:
    served.assert_refused(row)
