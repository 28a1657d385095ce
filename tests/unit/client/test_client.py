"""The client against scripted responses: credentials, routes, and every way in which a call can fail."""

import json
import socket
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kns.client import (
    AnswerError,
    ApiKey,
    Bearer,
    Client,
    ClientError,
    NoResponseError,
    ResponseError,
    UnknownJobError,
    is_gone,
    read_error,
)

KEY = ApiKey("user1", "s3cr3t-key")
JOB = {"job_status": "PROCESSING STARTING", "job_substatus": 0, "job_substatus_text": None}


class Server:
    """Gives one response to every request, and remembers the requests."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._response

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    @property
    def params(self) -> dict[str, str]:
        return dict(self.last.url.params)


def serve(status: int = 200, body: Any = None, *, text: str | None = None) -> Server:
    return Server(httpx.Response(status, text=text) if text is not None else httpx.Response(status, json=body))


def a_client(answer: Callable[[httpx.Request], httpx.Response], credentials: Any = KEY, **options: Any) -> Client:
    return Client("http://kns/", credentials, transport=httpx.MockTransport(answer), **options)


def test_an_api_key_is_in_headers_and_never_in_the_query() -> None:
    """Access logs of proxies contain queries."""
    server = serve(body={})
    with a_client(server) as client:
        client.get("jobs", all="true")
    assert server.last.url.path == "/jarvice/jobs"
    assert server.params == {"all": "true"}
    assert (server.last.headers["x-api-username"], server.last.headers["x-api-key"]) == ("user1", "s3cr3t-key")
    assert "authorization" not in server.last.headers


def test_a_name_that_is_not_ascii_is_sent_as_utf_8() -> None:
    server = serve(body={})
    with a_client(server, ApiKey("zoë", "kéy")) as client:
        client.ask("jobs")
    assert dict(server.last.headers.raw)[b"X-API-Username"] == "zoë".encode()


@pytest.mark.parametrize(("job", "params"), [(7, {"number": "7"}), ("a-name", {"name": "a-name"})])
def test_the_api_of_own_clients_takes_a_number_or_a_name(job: int | str, params: dict[str, str]) -> None:
    server = serve(body={"url": None, "shell_url": None, "user": "user1", "password": "p", "newer": 1})
    with a_client(server) as client:
        assert client.connection(job)["newer"] == 1, "further keys stay"
        assert (server.last.url.path, server.params) == ("/kns/connection", params)
        for call, path in ((client.detail, "job"), (client.explain, "explain")):
            with pytest.raises(AnswerError, match=f"/kns/{path}: the answer is not one of kns: [a-z]+: Field required"):
                call(job)
            assert (server.last.url.path, server.params) == (f"/kns/{path}", params)


def test_an_api_key_is_in_the_body_of_a_submission() -> None:
    server = serve(body={"name": "n", "number": 7})
    with a_client(server) as client:
        submitted = client.submit(client.build_submission("hello", "kns-small", nodes=2, job_label="mine"))
    assert (submitted.number, submitted.name) == (7, "n")
    assert (server.last.method, server.last.url.path, server.last.url.query) == ("POST", "/jarvice/submit", b"")
    assert json.loads(server.last.content) == {
        "app": "hello",
        "machine": {"type": "kns-small", "nodes": 2},
        "user": {"username": "user1", "apikey": "s3cr3t-key"},
        "job_label": "mine",
    }


def test_a_token_is_a_header_of_every_request_and_nothing_else() -> None:
    server = serve(body={"name": "n", "number": 7})
    with a_client(server, Bearer("t0ken")) as client:
        client.ask("jobs")
        client.submit(client.build_submission("hello", "kns-small"))
    get, post = server.requests
    assert [request.headers["authorization"] for request in (get, post)] == ["Bearer t0ken"] * 2
    assert get.url.query == b""
    assert "user" not in json.loads(post.content)


def test_a_raw_request_has_no_api_key() -> None:
    server = serve(body={"status": "live"})
    with a_client(server) as client:
        client.send("GET", "/live")
    assert str(server.last.url) == "http://kns/live"


@pytest.mark.parametrize(
    ("call", "path", "params"),
    [
        (lambda c: c.jobs(), "jobs", {"all": "false"}),
        (lambda c: c.jobs(ended=True), "jobs", {"all": "true"}),
        (lambda c: c.jobs(label="a b"), "jobs", {"all": "false", "label": "a b", "exactmatch": "true"}),
        (lambda c: c.tail(7), "tail", {"number": "7", "lines": "0"}),
        (lambda c: c.output(7, lines=5), "output", {"number": "7", "lines": "5"}),
        (lambda c: c.info(7), "info", {"number": "7"}),
        (lambda c: c.shutdown(7), "shutdown", {"number": "7"}),
        (lambda c: c.terminate(7), "terminate", {"number": "7"}),
        (lambda c: c.check_ready(), "ready", {}),
    ],
    ids=["live jobs", "all jobs", "by label", "tail", "output", "info", "shutdown", "terminate", "ready"],
)
def test_each_call_has_its_route_and_parameters(
    call: Callable[[Client], Any], path: str, params: dict[str, str]
) -> None:
    server = serve(body={})
    with a_client(server) as client:
        call(client)
    assert server.last.url.path == f"/jarvice/{path}"
    assert server.params == params


def test_jobs_are_by_number() -> None:
    with a_client(serve(body={"7": JOB, "12": JOB})) as client:
        assert client.jobs() == {7: JOB, 12: JOB}
        assert client.job(12) == JOB


def test_a_job_that_is_not_listed_is_an_error() -> None:
    with a_client(serve(body={"7": JOB})) as client, pytest.raises(UnknownJobError, match="job 8 is not in the list"):
        client.job(8)


def test_info_and_tail_have_nothing_to_say_of_a_job_that_does_not_run() -> None:
    with a_client(serve(404, {"error": "Running job is not found"})) as client:
        assert client.info(7) is None
        assert client.tail(7) == []


@pytest.mark.parametrize("route", ["info", "tail"])
def test_they_hide_no_other_error(route: str) -> None:
    with a_client(serve(503, {"error": "not ready"})) as client, pytest.raises(ResponseError) as caught:
        getattr(client, route)(7)
    assert (caught.value.status, caught.value.text) == (503, "not ready")


def test_a_text_is_split_into_lines() -> None:
    with a_client(serve(text="a\nb\n")) as client:
        assert client.output(7) == client.tail(7) == ["a", "b"]


def test_an_error_has_status_and_text_and_no_key() -> None:
    with a_client(serve(401, {"error": "Not Authorized"})) as client, pytest.raises(ResponseError) as caught:
        client.jobs()
    error = caught.value
    assert (error.status, error.text) == (401, "Not Authorized")
    assert str(error) == "GET http://kns/jarvice/jobs: 401 Not Authorized"


def test_a_redirect_is_an_error_and_not_followed() -> None:
    """A redirected request would give the API key to another server."""
    server = Server(httpx.Response(302, headers={"location": "http://elsewhere/"}))
    with a_client(server) as client, pytest.raises(ResponseError, match=r"jobs: 302"):
        client.jobs()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (httpx.Response(500, json={"error": "Internal error"}), "Internal error"),
        (httpx.Response(502, text="<html>\n bad gateway </html>"), "<html> bad gateway </html>"),
        (httpx.Response(500, json=["odd"]), '["odd"]'),
        (httpx.Response(500, json={"error": {"odd": 1}}), '{"error":{"odd":1}}'),
        (httpx.Response(500, text="x" * 5000), "x" * 599 + "…"),
    ],
    ids=["of kns", "of a proxy", "a list", "no text", "long"],
)
def test_the_error_text_of_a_response(response: httpx.Response, text: str) -> None:
    assert read_error(response) == text


def test_a_success_that_is_no_json_although_it_says_so_is_an_error() -> None:
    broken = Server(httpx.Response(200, text="{", headers={"content-type": "application/json"}))
    with a_client(broken) as client, pytest.raises(AnswerError, match="the answer is not one of kns: it is no JSON"):
        client.jobs()


@pytest.mark.parametrize("cause", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
def test_a_server_that_does_not_respond_is_an_error_with_its_kind_and_no_key(cause: httpx.HTTPError) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise cause

    with a_client(fail) as client, pytest.raises(NoResponseError) as caught:
        client.jobs()
    assert caught.value.kind == type(cause).__name__
    assert str(caught.value) == f"GET http://kns/jarvice/jobs: no response: {cause}"
    assert caught.value.__cause__ is cause
    assert isinstance(caught.value, ClientError)


@pytest.mark.parametrize("credentials", [ApiKey("user1", "s3cr3t\r"), Bearer("s3cr3t\n")], ids=["key", "token"])
def test_a_key_that_no_header_can_have_is_not_in_the_error(credentials: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Client(url, credentials) as client, pytest.raises(NoResponseError, match="is a line break") as found:
            client.get("jobs")
    assert "s3cr3t" not in "".join(traceback.format_exception(found.value))


@pytest.mark.parametrize("body", [[], {}, {"machines": 7}, {"machines": {"kns-small": "many"}}], ids=str)
def test_what_is_free_is_checked_like_every_answer(body: Any) -> None:
    with a_client(serve(body=body)) as client, pytest.raises(AnswerError, match="GET http://kns/kns/free: the answer"):
        client.free()


def test_every_response_is_given_to_the_check() -> None:
    seen: list[int] = []
    server = serve(404, {"error": "Not found"})
    with a_client(server, check=lambda response: seen.append(response.status_code)) as client:
        client.info(7)
        client.send("GET", "/live")
    assert seen == [404, 404]


@pytest.mark.parametrize(
    ("url", "options", "asks_proxy"),
    [
        ("http://kns.example.org", {}, True),
        ("http://127.0.0.1:8080", {}, False),
        ("http://[::1]:8080", {}, False),
        ("http://localhost:8080", {}, False),
        ("http://kns.localhost", {}, False),
        ("http://127.0.0.1:8080", {"use_proxy": True}, True),
        ("http://kns.example.org", {"use_proxy": False}, False),
    ],
)
def test_a_proxy_is_asked_for_all_but_loopback(
    monkeypatch: pytest.MonkeyPatch, url: str, options: dict[str, Any], asks_proxy: bool
) -> None:
    seen: list[bool] = []
    real = httpx.Client

    def record(**given: Any) -> httpx.Client:
        seen.append(given["trust_env"])
        return real(**given)

    monkeypatch.setattr(httpx, "Client", record)
    Client(url, KEY, **options).close()
    assert seen == [asks_proxy]


@pytest.mark.parametrize(
    ("status", "substatus", "gone"),
    [("COMPLETED", 0, True), ("CANCELED", 0, True), ("TERMINATED", 1004, False), ("SUBMITTED", 0, False)],
)
def test_a_job_is_gone_when_it_ended_and_nothing_is_being_removed(status: str, substatus: int, gone: bool) -> None:
    assert is_gone({"job_status": status, "job_substatus": substatus}) is gone


def test_neither_key_nor_token_is_in_a_representation() -> None:
    assert "s3cr3t" not in repr(KEY)
    assert "t0ken" not in repr(Bearer("t0ken"))
