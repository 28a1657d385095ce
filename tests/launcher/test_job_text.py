"""Answers of jobs are joined from texts that were encoded before."""

import io
import json
import threading
import time
from typing import Any

import pytest

from kns.launcher.frames import FrameReader, Outbox, encode_frame
from kns.launcher.job_text import JobText, Listed, write_jobs
from tests.patience import PATIENCE_S

NOTHING: frozenset[str] = frozenset()


def make_shape(number: int, *, variables: int = 40) -> dict[str, Any]:
    return {
        "id": f"job-{number}",
        "name": "Käse 🎉",
        "args": ["a"],
        "environment": [{"name": f"NAME_{each}", "value": "x" * 50} for each in range(variables)],
        "mounts": [],
        "config": [],
        "status": "Running",
    }


def make_text(number: int, *, is_completed: bool = False) -> JobText:
    return JobText.of(make_shape(number), is_completed=is_completed)


def read(listed: Listed) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads(b"".join(listed.pieces))
    return jobs


@pytest.mark.parametrize("is_completed", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_has_each_job_as_it_is(count: int, is_completed: bool) -> None:
    listed = write_jobs([make_text(n, is_completed=is_completed) for n in range(count)], NOTHING, room=10**6)
    assert read(listed) == [make_shape(number) for number in range(count)]
    assert (listed.left_out, listed.missing) == ((), 0)


def test_a_completed_job_needs_little_memory() -> None:
    assert len(make_text(1, is_completed=True).environment) * 10 < len(make_text(1).environment)


@pytest.mark.parametrize(
    "fields", [{"status"}, {"environment"}, {"args", "id"}, {"none"}, {"status", "mounts", "environment"}]
)
@pytest.mark.parametrize("count", [1, 2])
def test_wanted_fields(fields: set[str], count: int) -> None:
    """The id is always there."""
    texts = [make_text(number, is_completed=bool(number)) for number in range(count)]
    wanted = fields | {"id"}
    assert read(write_jobs(texts, frozenset(fields), room=10**6)) == [
        {key: value for key, value in make_shape(number).items() if key in wanted} for number in range(count)
    ]


def test_the_size_of_a_list_is_known_before_it_is_written() -> None:
    texts = [make_text(number, is_completed=number % 2 == 0) for number in range(5)]
    for tier in range(3):
        room = sum(text.sizes()[tier] for text in texts) + 2
        listed = write_jobs(texts, NOTHING, room=room)
        assert len(listed.left_out) == (0, 1, 5)[tier]
        assert len(read(listed)) == 5
        assert len(b"".join(listed.pieces)) <= room
        assert write_jobs(texts, NOTHING, room=room - 1).left_out != listed.left_out or tier == 2


def test_a_list_that_is_too_long_loses_its_oldest_completed_jobs() -> None:
    """The jobs that run are those that somebody waits for."""
    texts = [make_text(number, is_completed=number != 0) for number in range(100)]
    small = texts[0].sizes()[2]
    listed = write_jobs(texts, NOTHING, room=30 * small)
    jobs = read(listed)
    assert jobs[0]["id"] == "job-0"
    assert [job["id"] for job in jobs[1:]] == [f"job-{number}" for number in range(100 - len(jobs) + 1, 100)]
    assert listed.missing == 100 - len(jobs)
    assert 25 < len(jobs) <= 30


def test_a_single_job_is_complete_whatever_its_size() -> None:
    assert read(write_jobs([make_text(1)], NOTHING, room=10)) == [make_shape(1)]


def test_pieces_make_the_same_frame_as_the_whole() -> None:
    """Byte for byte, so that nothing changed for the Launcher but the order of a job's keys."""
    sink = io.BytesIO()
    outbox = Outbox(sink, max_bytes=10**6)
    body = {"requestId": 7, "jobs": [{"id": "Käse"}]}
    outbox.send(2, body)
    outbox.send_pieces(2, [b'"requestId":7,"jobs":', b'[{"id":"K\\u00e4se"}', b"]"])
    frames = list(FrameReader(max_bytes=10**6).feed(sink.getvalue()))
    assert encode_frame({"messageType": 2, **body, "responseId": 0})[4:] == frames[0]
    assert json.loads(frames[1]) == {**json.loads(frames[0]), "responseId": 1}


class Slow(io.BytesIO):
    """A Launcher that reads the first frame only after `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go = threading.Event(), threading.Event()

    def write(self, data: Any) -> int:
        self.began.set()
        self.go.wait(PATIENCE_S)
        return super().write(data)


def test_a_small_frame_overtakes_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a state, and the heartbeats, do not wait for many large lists."""
    monkeypatch.setattr("kns.launcher.frames._PATIENCE_S", 10 * PATIENCE_S)
    sink = Slow()
    outbox = Outbox(sink, max_bytes=10**6)
    sends = [
        lambda: outbox.send(2, {"requestId": 1, "jobs": "x" * 10_000}),
        lambda: outbox.send(2, {"requestId": 2, "jobs": "x" * 10_000}),
        lambda: outbox.send(3, {"requestId": 3}),
    ]
    threads = [threading.Thread(target=send, daemon=True) for send in sends]
    threads[0].start()
    assert sink.began.wait(PATIENCE_S)
    threads[1].start()
    threads[2].start()
    deadline = time.monotonic() + PATIENCE_S
    while not outbox._turns._small:  # the third thread waits now, and the second behind it
        assert time.monotonic() < deadline
        threads[2].join(0.01)
    sink.go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    frames = [json.loads(frame) for frame in FrameReader(max_bytes=10**6).feed(sink.getvalue())]
    assert [(frame["requestId"], frame["responseId"]) for frame in frames] == [(1, 0), (3, 1), (2, 2)]


def test_a_large_frame_waits_a_while_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.frames._PATIENCE_S", 0.0)
    sink = io.BytesIO()
    outbox = Outbox(sink, max_bytes=10**6)
    outbox._turns._small = 1  # there is always another one
    outbox.send(2, {"requestId": 1, "jobs": "x" * 10_000})
    assert len(sink.getvalue()) > 10_000
