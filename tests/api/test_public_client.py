"""
The published Python client, unchanged, against the app behind a real HTTP server on a loopback port.

It covers what only a server shows: headers on the wire, a HEAD, a body without a length, many clients at once.
"""

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn
from jarviceclient.JarviceAPI import AuthenticatedClient

from kns.model.job.job import JobState
from tests.api.client import Api
from tests.builders import a_job, a_submission

START_LIMIT_S = 60


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()


@pytest.fixture
def address(api: Api) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(uvicorn.Config(api.app, access_log=False, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert server.up.wait(START_LIMIT_S)
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(START_LIMIT_S)


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch) -> AuthenticatedClient:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return AuthenticatedClient("user1", "key-user1", f"http://{address}")


def test_the_published_client_submits_lists_tails_shows_and_ends_a_job(api: Api, client: Any) -> None:
    answer, errors = client.submit({key: value for key, value in a_submission().items() if key != "user"})
    assert errors is None
    assert answer == {"name": api.jobs.list_jobs()[0].spec.accepted.name, "number": 1}  # type: ignore[union-attr]  # submitted: accepted

    listed, errors = client.jobs()
    assert (errors, listed["1"]["job_status"]) == (None, "SUBMITTED")

    early, errors = client.connect(number=1)
    assert (errors, early) == ({"error": {"code": 404}}, {"error": "Running job is not found"})

    accepted = api.jobs.list_jobs()[0].spec.accepted
    assert accepted is not None
    running = a_job().numbered(1).with_accepted(name=accepted.name).exposed(url="https://kns-job-1.example.org")
    api.add(running, output="[1/1] web, attempt 1\n")

    assert client.status(name=accepted.name)[0]["1"]["job_status"] == "PROCESSING STARTING"
    assert client.tail(number=1, lines=5) == ("[1/1] web, attempt 1\n", None)
    assert client.info(number=1)[0]["url"] == "https://kns-job-1.example.org"
    assert client.connect(number=1) == ({"address": "kns-job-1.example.org", "password": "P" * 16}, None)
    assert client.shutdown(number=1) == ({"status": "shutdown requested"}, None)

    api.add(running.ended(JobState.COMPLETED))
    assert client.output(number=1) == ("[1/1] web, attempt 1\n", None)
    assert client.jobs() == ({}, None)
    assert client.terminate(number=1) == ({"status": "terminated"}, None)


def test_the_published_client_reads_the_catalogue(client: Any) -> None:
    assert "kns-small" in client.machines()[0]
    assert list(client.apps(name="hello")[0]) == ["hello"]


def _exchange(address: str, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection(address, timeout=START_LIMIT_S)
    try:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_on_the_wire_the_content_type_is_bare_and_head_is_refused(address: str) -> None:
    status, headers, body = _exchange(address, "GET", "/jarvice/live")
    assert (status, headers["content-type"], body) == (200, "application/json", b'{\n    "status": "OK"\n}\n')
    status, _, body = _exchange(address, "HEAD", "/jarvice/live")
    assert (status, body) == (405, b"")


def test_a_body_in_chunks_is_read(address: str) -> None:
    chunks = iter([bytes([byte]) for byte in json.dumps(a_submission()).encode()])
    status, _, body = _exchange(address, "POST", "/jarvice/submit", body=chunks, encode_chunked=True,
                                headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert (status, json.loads(body)["number"]) == (200, 1)


@pytest.mark.parametrize("size", [4 * 1024 * 1024 + 1, 12 * 1024 * 1024])
def test_a_client_that_sends_too_much_still_reads_why(address: str, size: int) -> None:
    status, _, body = _exchange(address, "POST", "/jarvice/submit", body=b"x" * size)
    assert (status, json.loads(body)) == (413, {"error": "Request too large"})


def test_sixteen_clients_at_once_get_sixteen_numbers(api: Api, address: str) -> None:
    numbers: list[int] = []

    def submit() -> None:
        body = json.dumps(a_submission())
        numbers.append(json.loads(_exchange(address, "POST", "/jarvice/submit", body=body)[2])["number"])

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(START_LIMIT_S)
    assert sorted(numbers) == list(range(1, 17))
    assert len(api.jobs.list_jobs()) == 16
