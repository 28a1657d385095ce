"""The protocol with the real process: framing, ids, errors, and that nothing ends it but its input or a signal."""

import json
import signal
import struct

import pytest

from kns.launcher.streams import MOST_STREAMS_OF_ONE
from tests.launcher.client import Launcher
from tests.launcher.cluster import Cluster
from tests.launcher.conftest import Start

VERSION = {"major": 3, "minor": 0, "patch": 0}


def error(launcher: Launcher, message_type: int, **fields: object) -> tuple[int, str]:
    answer = launcher.ask(message_type, **fields)
    assert (answer["messageType"], answer["responseId"]) == (-1, 0), answer
    assert answer.keys() == {"messageType", "requestId", "responseId", "errorCode", "errorMessage"}
    return answer["errorCode"], answer["errorMessage"]


def test_bootstrap_to_the_byte(start: Start) -> None:
    """J24. Errors neither have a responseId nor use one up."""
    launcher = start()
    assert error(launcher, 1, version={"major": 2, "minor": 9, "patch": 1})[0] == 10
    assert launcher.bootstrap() == {"messageType": 1, "requestId": 2, "responseId": 0, "version": VERSION}
    assert launcher.bootstrap()["responseId"] == 1
    assert launcher.close_input() == 0


def test_heartbeats_come_before_the_bootstrap(start: Start) -> None:
    """J24: from the start of the process, unsolicited, and those of the Launcher are ignored."""
    launcher = start(heartbeat_interval_s=0.05, api_url="http://127.0.0.1:9")
    launcher.wait_heartbeats(3)
    launcher.send(0, request_id=0)
    launcher.send_body(b"nothing")
    assert launcher.wait(lambda m: m["messageType"] == -1)["errorCode"] == 2
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(20) == 0


def test_frames_in_pieces_and_joined(launcher: Launcher) -> None:
    """J23: a pipe may split and join messages anywhere."""
    body = json.dumps({"messageType": 9, "requestId": 501, "username": "ana"}).encode()
    frame = struct.pack(">I", len(body)) + body
    for byte in frame:
        launcher.send_raw(bytes([byte]))
    launcher.wait(lambda m: m["requestId"] == 501)
    other = frame.replace(b"501", b"502") + frame.replace(b"501", b"503")
    launcher.send_raw(other)
    assert {launcher.answer(number)["messageType"] for number in (502, 503)} == {8}


def test_a_message_of_almost_five_mebibytes(launcher: Launcher) -> None:
    """J23: 5 242 880 bytes are allowed."""
    empty = json.dumps({"messageType": 9, "requestId": 504, "username": "ana", "x": ""}).encode()
    launcher.send_body(empty.replace(b'"x": ""', b'"x": "' + b"y" * (5242880 - len(empty)) + b'"'))
    assert launcher.wait(lambda m: m["requestId"] == 504)["messageType"] == 8


def test_a_larger_message_ends_the_plugin(start: Start) -> None:
    """Its end cannot be found, so nothing after it can be read."""
    launcher = start()
    launcher.send_raw(struct.pack(">I", 5242881))
    assert launcher.wait(lambda m: m["messageType"] == -1)["errorCode"] == 2
    assert launcher.process.wait(20) == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"messageType": "1"}', b"\xff\xfe", b"[" * 100_000]
)
def test_garbage_is_answered_and_survived(launcher: Launcher, body: bytes) -> None:
    before = len(launcher.messages)
    launcher.send_body(body)
    assert launcher.wait(lambda m: m["messageType"] == -1 and m["requestId"] == 0, after=before)["errorCode"] == 2


@pytest.mark.parametrize("message_type", [10, 42, -1, 2**40])
def test_an_unknown_request_is_answered_and_survived(launcher: Launcher, message_type: int) -> None:
    assert error(launcher, message_type, username="ana")[0] == 1


@pytest.mark.parametrize("request_id", [2**64 - 1, 2**63])
def test_ids_of_64_bits(launcher: Launcher, request_id: int) -> None:
    launcher.send(9, request_id=request_id, username="ana")
    assert launcher.wait(lambda m: m["requestId"] == request_id)["messageType"] == 8


@pytest.mark.parametrize("request_id", [-1, 2**64, "7", None, True, 1.5])
def test_a_wrong_id_does_not_stop_anything(launcher: Launcher, request_id: object) -> None:
    before = len(launcher.messages)
    launcher.send_body(json.dumps({"messageType": 42, "requestId": request_id}).encode())
    assert launcher.wait(lambda m: m["messageType"] == -1, after=before)["requestId"] == 0


def test_unknown_job(launcher: Launcher) -> None:
    code, said = error(launcher, 3, username="ana", jobId="none-1")
    assert (code, said) == (3, "Job none-1 could not be found for user ana")
    for message_type in (4, 5, 6, 7, 8):
        assert error(launcher, message_type, username="ana", jobId="none-1", operation=2)[0] == 3


@pytest.mark.parametrize("job_id", ["", "..", "a/../b", "A", "a?x=1", "a" * 300, "é", 7, None])
def test_a_wrong_job_id_is_an_error(launcher: Launcher, cluster: Cluster, job_id: object) -> None:
    """An id becomes a part of a URL."""
    code, _ = error(launcher, 3, username="ana", jobId=job_id)
    assert code in (2, 3)
    assert not any(".." in seen.path or "?" in seen.path for seen in cluster.seen)


@pytest.mark.parametrize("message_type", [5, 6, 7, 8])
def test_these_need_one_job(launcher: Launcher, message_type: int) -> None:
    assert error(launcher, message_type, username="ana", jobId="*", operation=3)[0] == 2


def test_requests_need_a_user(launcher: Launcher) -> None:
    assert error(launcher, 3, jobId="*")[0] == 2
    code, said = error(launcher, 2, job={"name": "x", "container": {"image": "i"}})
    assert (code, said) == (2, "User must not be empty.")


def test_a_response_has_its_own_number(launcher: Launcher) -> None:
    """J23: one counter for all kinds of responses."""
    before = len(launcher.messages)
    for _ in range(5):
        launcher.ask(9, username="ana")
    numbers = [m["responseId"] for m in launcher.messages[before:]]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_both_ends_at_once(start: Start) -> None:
    launcher = start()
    launcher.bootstrap()
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.close_input() == 0


def test_thousands_of_streams_of_one_user(start: Start) -> None:
    """Each beyond the user's share is an error of its own; the others, and everybody else, go on."""
    launcher = start()
    launcher.bootstrap()
    job = launcher.submit(command="true")["id"]
    for request_id in range(1000, 3000):
        launcher.send(4, request_id=request_id, username="ana", jobId=job)
        if request_id % 100 == 0:  # fewer than the requests of one user that may wait
            launcher.ask(9, username="ana")

    def errors() -> list[int]:
        return [message["errorCode"] for message in launcher.messages if message["messageType"] == -1]

    launcher.until(lambda: len(errors()) == 2000 - MOST_STREAMS_OF_ONE)
    assert set(errors()) == {0}
    assert launcher.ask(3, username="berta", jobId="*")["jobs"] == []
    launcher.send(4, request_id=1000, username="ana", jobId=job, cancel=True)
    launcher.send(4, request_id=4000, username="ana", jobId=job)
    launcher.wait(lambda m: any(each["requestId"] == 4000 for each in m.get("sequences", ())))


def test_streams_that_are_cancelled_at_once_send_nothing_later(start: Start, cluster: Cluster) -> None:
    launcher = start()
    launcher.bootstrap()
    job = launcher.submit(command="true")["id"]
    launcher.send(4, request_id=900, username="*", jobId="*")
    for request_id in range(1000, 1300):
        for kind in (4, 6):
            launcher.send(kind, request_id=request_id, username="ana", jobId=job)
            launcher.send(kind, request_id=request_id, username="ana", jobId=job, cancel=True)
    launcher.ask(3, username="ana", jobId=job)
    cluster.run_pod(job)
    cluster.write_log(job, "hello")
    launcher.wait_status(job, "Running")
    cluster.end_pod(job)
    launcher.wait_status(job, "Finished")
    running = [m for m in launcher.messages if m["messageType"] == 3 and m["status"] != "Pending"]
    assert {each["requestId"] for message in running for each in message["sequences"]} == {900}
    assert [message for message in launcher.messages if message["messageType"] == 5] == []
