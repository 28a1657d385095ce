"""Answers without end, byte by byte, or packed: none fills or holds the client."""

import gzip
from collections.abc import Iterator

import httpx
import pytest

from kns.client import Client, NoResponseError
from kns.client import bounds as bounds_module


class Endless(httpx.SyncByteStream):
    """Sends until the client has had enough."""

    def __init__(self) -> None:
        self.sent, self.is_closed = 0, False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.sent += 1
            yield b"x" * 1024

    def close(self) -> None:
        self.is_closed = True


def client(response: httpx.Response) -> Client:
    return Client("http://kns", transport=httpx.MockTransport(lambda request: response))


@pytest.mark.proves("security", "fill or hold the command line with answers that never end")
def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds_module, "MAX_BYTES", 10 * 1024)
    stream = Endless()
    with pytest.raises(NoResponseError, match="the answer has more than 10240 bytes"):
        client(httpx.Response(200, stream=stream)).jobs()
    assert (stream.sent, stream.is_closed) == (11, True)


@pytest.mark.proves("security", "fill or hold the command line with answers that never end")
def test_an_answer_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds_module, "MAX_S", -1.0)
    stream = Endless()
    with pytest.raises(NoResponseError, match="took more than"):
        client(httpx.Response(200, stream=stream)).jobs()
    assert stream.is_closed


@pytest.mark.proves("security", "fill or hold the command line with answers that never end")
def test_a_packed_answer_is_not_unpacked() -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = httpx.Response(200, stream=httpx.ByteStream(gzip.compress(b" " * 10_000_000)), headers=headers)
    with pytest.raises(NoResponseError, match="the answer is compressed"):
        client(response).jobs()


def test_the_client_asks_for_plain_answers() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    Client("http://kns", transport=httpx.MockTransport(answer)).jobs()
    assert seen[0].headers["accept-encoding"] == "identity"
