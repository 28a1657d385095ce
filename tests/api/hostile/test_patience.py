"""Clients that make the server wait, that never stop sending, or that are many."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from kns.http import middleware, parameters, server
from kns.http.answers import JsonAnswer
from kns.http.middleware import MAX_BODY_BYTES, BodyReader
from kns.http.server import BoundedHttp
from kns.model.errors import UnavailableError
from kns.model.job.conditions import Reason
from kns.web.wake_page import Visits, WakePages
from tests.api.client import Api, as_json, assert_refused
from tests.api.hostile.served import CREDENTIALS, Served, chunked, get, post, read_answer, read_to_the_end, serve
from tests.builders import a_job

pytestmark = pytest.mark.proves(
    "main",
    "Hostile HTTP requests store nothing, cause no fault, and leave a log that is safe to show",
)

LIMIT_S = 0.5  # in real time, because the server uses the timers of its event loop
LATE = as_json({"error": "Request timeout"})
JOBS = f"/jarvice/jobs?{CREDENTIALS}"
KEEP = b"Connection: keep-alive"


@pytest.fixture
def hasty(observed: StringIO, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    with serve(Api(), request_limit_s=LIMIT_S) as served:
        served.log, served.libraries = observed, caplog
        yield served


@pytest.fixture
def patient(observed: StringIO, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    with serve(Api()) as served:
        served.log, served.libraries = observed, caplog
        yield served


def kept(request: bytes) -> bytes:
    """The same request, but the connection stays open after it."""
    return request.replace(b"Connection: close", KEEP)


UNFINISHED = {
    "nothing at all": b"",
    "half a request line": b"GET /jar",
    "half a head": get("/live")[:-2],
    "half a body": post("submit", b"x" * 100)[:-50],
    "half a chunk": chunked("jobs", b"10\r\nabc"),
    "chunks without the last one": chunked("jobs", b"3\r\nabc\r\n"),
    "a length that is a lie": get("/jarvice/jobs", "Content-Length: 4194304", method="POST") + b"username=user1",
}


def test_a_request_that_never_ends_is_ended(hasty: Served) -> None:
    """All unfinished requests at the same time."""
    with ExitStack() as stack:
        connections = {sentence: stack.enter_context(hasty.connect()) for sentence in UNFINISHED}
        for sentence, connection in connections.items():
            connection.sendall(UNFINISHED[sentence])
        for sentence, connection in connections.items():
            answer = read_answer(connection)
            assert (answer.status, answer.body) == (408, LATE), sentence
            assert (answer.headers["content-type"], answer.headers["connection"]) == ("application/json", "close")
            assert connection.recv(1) == b"", sentence
    hasty.assert_unharmed()


@pytest.mark.proves("security", "send a byte now and then, never finish a request, never read the answer")
@pytest.mark.parametrize(
    "sent",
    [
        b"GET /live HTTP/1.1\r\n",
        post("jobs", b"x" * 4_000_000)[:200],
        get("/kns/cluster/7/api/v1/pods", "Content-Length: 4000000", method="PUT"),
    ],
)
def test_a_byte_now_and_then_extends_nothing(hasty: Served, sent: bytes) -> None:
    """The client sends until it is cut off. If it never were, the loop would end."""
    with hasty.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(LIMIT_S / 20)
        ended = False
        for _ in range(1000):
            try:
                connection.sendall(b"x")
                ended = b"HTTP/1.1 408" in connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                ended = True
            break
        assert ended
    hasty.assert_unharmed()


def test_a_second_request_of_a_connection_must_end_as_well(observed: StringIO) -> None:
    """The limit is longer here, because the first request must arrive within it on a busy machine as well."""
    with serve(Api(), request_limit_s=4) as served, served.connect() as connection:
        connection.sendall(kept(get(JOBS)))
        assert read_answer(connection).status == 200
        connection.sendall(get(JOBS)[:40])
        assert read_answer(connection).status == 408
        assert connection.recv(1) == b""
        served.log = observed
        served.assert_unharmed()


def test_what_follows_a_refused_body_must_end_too(observed: StringIO) -> None:
    """It is read and dropped, so that the client gets the answer, but not forever."""
    with serve(Api(), request_limit_s=4) as served, served.connect() as connection:
        connection.sendall(kept(get("/jarvice/jobs", f"Content-Length: {2 * MAX_BODY_BYTES}", method="POST")))
        connection.sendall(b"x" * (MAX_BODY_BYTES + 1))
        assert read_answer(connection).status == 413
        assert read_to_the_end(connection) in (b"", b"(reset)")
        served.log = observed
        served.assert_unharmed()


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_refused_body_does_not_reset_the_connection_that_its_answer_closes(patient: Served, version: bytes) -> None:
    """A socket that is closed with unread bytes answers with a reset, which destroys the answer on its way."""
    request = post("submit", b"x" * (3 * MAX_BODY_BYTES)).replace(b"HTTP/1.1", version, 1)
    if version == b"HTTP/1.0":
        request = request.replace(b"Connection: close\r\n", b"", 1)
    with patient.connect() as connection:
        connection.sendall(request)
        assert read_answer(connection).status == 413
        assert read_to_the_end(connection) == b""
    patient.assert_unharmed()


@pytest.mark.parametrize(("method", "status"), [("PUT", 405), ("PATCH", 405), ("DELETE", 405), ("GET", 200)])
def test_a_body_that_no_route_reads_does_not_reset_the_connection_either(
    patient: Served, method: str, status: int
) -> None:
    length = 3 * MAX_BODY_BYTES
    with patient.connect() as connection:
        connection.sendall(get(JOBS, f"Content-Length: {length}", method=method) + b"x" * length)
        assert read_answer(connection).status == status
        assert read_to_the_end(connection) == b""
    patient.assert_unharmed()


@pytest.fixture
def asleep(observed: StringIO, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    """Every address is that of a job that is asleep, except the one of the probe `/live`."""
    api = Api()
    job = a_job().resting(Reason.ASLEEP).build()
    visits = Visits(
        find_job=lambda _, path: None if path in ("/live", "/") else job,
        is_jobs_host=lambda _: False,
        wake=lambda job: api.jobs.set_sleep(job, asleep=False),
    )
    with serve(api, app=WakePages(api.app, visits, clock=api.clock)) as served:
        served.log, served.libraries = observed, caplog
        yield served


def test_a_body_for_a_job_that_is_asleep_does_not_reset_the_connection_either(asleep: Served) -> None:
    length = 3 * MAX_BODY_BYTES
    head = get("/run", f"Content-Length: {length}", "User-Agent: kube-probe/1.36", method="POST")
    with asleep.connect() as connection:
        connection.sendall(head + b"x" * length)
        assert read_answer(connection).status == 503
        assert read_to_the_end(connection) == b""
    asleep.assert_unharmed()


def test_what_follows_a_body_for_a_job_that_is_asleep_is_a_request_of_its_own(asleep: Served) -> None:
    sent = get("/run", "Content-Length: 9", "User-Agent: kube-probe/1.36", method="POST") + b"GET /live"
    with asleep.connect() as connection:
        connection.sendall(kept(sent) + get("/live"))
        assert [read_answer(connection).status for _ in range(2)] == [503, 200]
    asleep.assert_unharmed()


@pytest.mark.parametrize("server", ["patient", "asleep"])
def test_behind_a_length_and_chunks_nothing_is_read_as_a_request(server: str, request: pytest.FixtureRequest) -> None:
    """A proxy that believes the length passes on what kns would answer as a second request."""
    served: Served = request.getfixturevalue(server)
    hidden = b"0\r\n\r\n" + get("/live")
    with served.connect() as connection:
        connection.sendall(kept(post("jobs", b"", "Transfer-Encoding: chunked")).replace(b": 0", b": %d" % len(hidden)))
        connection.sendall(hidden)
        answer = read_answer(connection)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert read_to_the_end(connection) in (b"", b"(reset)")
    served.assert_unharmed()


def test_the_rest_of_a_refused_body_is_not_awaited_for_longer_than_a_request(observed: StringIO) -> None:
    """The limit is longer here, because the body must arrive within it on a busy machine as well."""
    with serve(Api(), request_limit_s=4) as served, served.connect() as connection:
        connection.sendall(get("/jarvice/submit", f"Content-Length: {2 * MAX_BODY_BYTES}", method="POST"))
        connection.sendall(b"x" * (MAX_BODY_BYTES + 1))
        assert read_answer(connection).status == 408
        served.log = observed
        served.assert_unharmed()
    lines = [json.loads(line) for line in observed.getvalue().splitlines()]
    assert [line["status"] for line in lines if line.get("path") == "/jarvice/submit"] == [499], "nobody got a 413"


@pytest.mark.proves("security", "send a byte now and then, never finish a request, never read the answer")
@pytest.mark.parametrize("behind", [b"", post("jobs", b"x" * 1_000_000), get("/live")], ids=["", "a body", "a request"])
def test_an_answer_that_nobody_takes_is_dropped(hasty: Served, monkeypatch: pytest.MonkeyPatch, behind: bytes) -> None:
    """
    The answer is larger than the socket buffers of both sides. Otherwise the rest, and what the client sent after that
    request, would stay in memory for as long as the client likes.
    """
    lost, connection_lost = threading.Event(), BoundedHttp.connection_lost

    def note_loss(protocol: BoundedHttp, exc: Exception | None) -> None:
        connection_lost(protocol, exc)
        lost.set()

    monkeypatch.setattr(BoundedHttp, "connection_lost", note_loss)
    job = hasty.api.add(a_job().started(), output="x" * (32 * 1024 * 1024))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", hasty.port))
        request = get(f"/jarvice/tail?{CREDENTIALS}&number={job.number}&lines=0")
        connection.sendall((kept(request) if behind else request) + behind)
        assert lost.wait(30)
        assert len(read_to_the_end(connection)) < 32 * 1024 * 1024
    hasty.api.jobs.writes.clear()
    hasty.assert_unharmed()


def test_no_answer_waits_for_the_client_to_acknowledge_its_head(
    patient: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this option each answer on an open connection would take 40 ms longer."""
    flags, connection_made = [], BoundedHttp.connection_made

    def look(protocol: BoundedHttp, transport: asyncio.BaseTransport) -> None:
        connection_made(protocol, transport)
        flags.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(BoundedHttp, "connection_made", look)
    assert patient.ask(get("/live")).status == 200
    assert flags
    assert all(flags)


def test_a_head_without_an_end_is_cut_off_early(patient: Served) -> None:
    endless = b"GET /live HTTP/1.1\r\n" + (b"X-Key: " + b"x" * 65536 + b"\r\n") * 1000
    with patient.connect() as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        connection.sendall(endless)
    patient.assert_unharmed()


@pytest.mark.proves("security", "thousands of connections, or bodies that fill the memory")
def test_whoever_waits_longest_makes_room(observed: StringIO) -> None:
    with serve(Api(), max_waiting=3) as served:
        idle = [served.connect() for _ in range(3)]
        for connection in idle:
            connection.sendall(b"GET /")
        last = served.connect()
        last.sendall(b"GET /")
        assert read_answer(idle[0]).status == 408
        idle[1].sendall(get("/live")[len("GET /") :])
        assert read_answer(idle[1]).status == 200
        served.log = observed
        served.assert_unharmed()
        for connection in (*idle, last):
            connection.close()


@pytest.mark.proves(
    "security",
    "a request that a proxy reads as one and kns as two: both lengths, odd line ends, broken chunks",
)
def test_broken_chunks_behind_an_answer_only_end_the_connection(patient: Served) -> None:
    """A GET is answered before its body arrives. uvicorn's own answer to the broken rest would end in a traceback."""
    with patient.connect() as connection:
        connection.sendall(kept(get("/live", "Transfer-Encoding: chunked")))
        assert read_answer(connection).status == 200
        connection.sendall(b"no chunk\r\n")
        assert read_to_the_end(connection) == b""
    patient.assert_unharmed()


def test_two_requests_in_one_piece_get_two_answers(patient: Served) -> None:
    """Bytes after a body's length are the next request; if they are not HTTP, the answer is 400."""
    with patient.connect() as connection:
        connection.sendall(kept(post("jobs", CREDENTIALS.encode())) + kept(get("/live")) + b"smuggled\r\n\r\n")
        assert re.findall(rb"HTTP/1.1 ([0-9]+)", read_to_the_end(connection)) == [b"200", b"200", b"400"]
    patient.assert_unharmed()


def test_a_client_that_leaves_early_disturbs_nobody(patient: Served) -> None:
    for sent in UNFINISHED.values():
        with patient.connect() as connection:
            connection.sendall(sent)
    patient.assert_unharmed()


def test_a_host_that_is_none_does_not_spoil_the_answer_of_a_store_that_is_not_ready(patient: Served) -> None:
    patient.api.jobs.faults["walk_jobs"] = UnavailableError("the record cache is not filled yet")
    answer = patient.ask(get(JOBS).replace(b"kns.example.org", b"["))
    assert (answer.status, answer.body) == (503, as_json({"error": "not ready"}))
    patient.assert_unharmed()


_A_POST: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/jarvice/submit",
    "headers": [],
    "app": SimpleNamespace(state=SimpleNamespace(error_renderers={})),
}


async def _tell(reader: BodyReader, receive: Receive, *headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """Status and body of the answer to a POST with this body."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await reader({**_A_POST, "headers": headers}, receive, send)
    return sent[0]["status"], sent[1]["body"]


def test_of_a_body_without_an_end_no_more_is_held_than_the_limit() -> None:
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("a body without an end reached the application")

    assert asyncio.run(_tell(BodyReader(never), receive)) == (413, as_json({"error": "Request too large"}))
    assert asked == MAX_BODY_BYTES // 65536 + 1


@pytest.mark.proves("security", "thousands of connections, or bodies that fill the memory")
def test_what_is_dropped_of_a_refused_body_has_a_limit_and_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "MAX_BODY_BYTES", 100)
    monkeypatch.setattr(middleware, "MAX_HELD_BYTES", 100)
    monkeypatch.setattr(middleware, "SMALL_BODY_BYTES", 0)
    monkeypatch.setattr(middleware, "MOST_DROPPED_BYTES", 600)
    others: list[int] = []
    asked = 0

    async def receive_one() -> Message:
        return {"type": "http.request", "body": b"x" * 100}

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        if asked > 1:
            others.append((await _tell(reader, receive_one))[0])
        return {"type": "http.request", "body": b"x" * 200, "more_body": True}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await JsonAnswer({})(scope, receive, send)

    reader = BodyReader(answer)
    assert asyncio.run(_tell(reader, receive, (b"connection", b"close")))[0] == 413
    assert (asked, others) == (4, [200] * 3)


@pytest.mark.proves("security", "thousands of connections, or bodies that fill the memory")
def test_all_bodies_together_have_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that arrives while others use all of it is refused for now. The memory is released afterwards."""
    monkeypatch.setattr(middleware, "MAX_HELD_BYTES", 100)
    monkeypatch.setattr(middleware, "SMALL_BODY_BYTES", 0)
    told: list[tuple[int, bytes]] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 60}

    async def working(_scope: Scope, _receive: Receive, send: Send) -> None:
        """Its own body is held while it works; a second one arrives meanwhile."""
        if not told:
            told.append(await _tell(reader, receive))
        await JsonAnswer({})(_scope, _receive, send)

    reader = BodyReader(working)
    assert asyncio.run(_tell(reader, receive)) == (200, as_json({}))
    assert told == [(503, as_json({"error": "not ready"}))]
    assert asyncio.run(_tell(reader, receive))[0] == 200


@pytest.mark.proves("security", "block others' submits with bodies that never end")
def test_small_bodies_are_read_while_large_ones_hold_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that never ends needs no login and may use almost all of it. Others must still submit and end jobs."""
    monkeypatch.setattr(middleware, "MAX_HELD_BYTES", 100)
    monkeypatch.setattr(middleware, "SMALL_BODY_BYTES", 20)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await JsonAnswer({})(scope, receive, send)

    def giving(size: int) -> Receive:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * size}

        return receive

    async def run() -> list[int]:
        held, ended = asyncio.Event(), asyncio.Event()
        parts: list[Message] = [{"type": "http.request", "body": b"x" * 90, "more_body": True}]

        async def never_end() -> Message:
            if parts:
                return parts.pop()
            held.set()
            await ended.wait()
            return {"type": "http.disconnect"}

        async with asyncio.TaskGroup() as group:
            group.create_task(_tell(reader, never_end))
            await held.wait()
            told = [(await _tell(reader, giving(size)))[0] for size in (21, 20)]
            ended.set()
        return told

    reader = BodyReader(answer)
    assert asyncio.run(run()) == [503, 200]


@pytest.mark.proves("security", "request long logs and never read them")
def test_answers_that_nobody_takes_have_a_limit_together(patient: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is below the limit of one socket. The client that has read nothing for longest loses its connection."""
    size, most = 8 * 1024 * 1024, 3
    monkeypatch.setattr(server, "MAX_UNREAD_BYTES", most * size)
    job = patient.api.add(a_job().started(), output="x" * size)
    with ExitStack() as stack:
        connections = []
        for _ in range(most + 3):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect(("127.0.0.1", patient.port))
            connection.sendall(get(f"/jarvice/tail?{CREDENTIALS}&number={job.number}&lines=0"))
            connection.recv(1)
            connections.append(connection)
        whole = [len(read_to_the_end(connection)) > size for connection in connections]
    assert not whole[0]
    assert whole[-most:] == [True] * most


def test_a_form_at_the_limit_of_fields_is_read(api: Api) -> None:
    fields = "&".join([*(f"x{number}=1" for number in range(998)), CREDENTIALS])
    assert api.call("POST", "/jarvice/jobs", content=fields.encode()).json() == {}
    assert_refused(api.call("POST", "/jarvice/jobs", content=f"{fields}&y=1".encode()), 400, "Bad Request")


def test_a_long_form_is_read_beside_the_event_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four MiB of `%` take a second, without a login. Every other client would wait, the liveness probe too."""
    readers, merge = [], parameters._merge_params

    def note(request: Request, body: bytes) -> parameters.Params:
        readers.append(threading.current_thread() is threading.main_thread())
        return merge(request, body)

    monkeypatch.setattr(parameters, "_merge_params", note)
    for length in (0, 100_000):
        answer = api.call("POST", "/jarvice/jobs", content=f"{CREDENTIALS}&x={'%' * length}")
        assert answer.status_code == 200
    assert readers == [True, False]
