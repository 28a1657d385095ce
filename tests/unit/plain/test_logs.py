"""A log is passed on once and whole, wherever its connections break."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kns.plain.logs import LogReader

TIMES = [b"2026-01-05T14:15:30.1Z", b"2026-01-05T14:15:30.100000001Z", b"2026-01-05T14:15:31Z", b"2026-01-05T14:15:32Z"]
texts = st.sampled_from([b"", b"a", b"a b", b"  x", b"2026-01 y"])
lines = st.lists(st.tuples(st.sampled_from(range(4)), texts), max_size=50)
breaks = st.lists(st.integers(0, 300), max_size=4)
sizes = st.lists(st.integers(1, 7), min_size=1)


def serve(log: list[tuple[bytes, bytes]], since: str) -> bytes:
    """What an API server answers: the lines of that second and later, because it knows seconds only."""
    second = since.encode()[:19]
    return b"".join(time + b" " + text + b"\n" for time, text in log if time[:19] >= second)


def read_in_parts(log: list[tuple[bytes, bytes]], breaks: list[int], sizes: list[int]) -> bytes:
    """What is passed on, if the connections break after so many bytes, and their pieces have these sizes."""
    reader, seen = LogReader(), b""
    for length in (*breaks, None):
        reader.restart()
        answer = serve(log, reader.since)[:length]
        position = turn = 0
        while position < len(answer):
            size = sizes[turn % len(sizes)]
            seen += reader.read(answer[position : position + size])
            position, turn = position + size, turn + 1
    return seen


@given(lines, breaks, sizes)
def test_every_byte_once(given_lines: list[tuple[int, bytes]], breaks: list[int], sizes: list[int]) -> None:
    """The lines come in any order: a node that is busy logs stdout and stderr with times that go back."""
    log = [(TIMES[index], text) for index, text in given_lines]
    assert read_in_parts(log, breaks, sizes) == b"".join(text + b"\n" for _, text in log)


@example(breaks=[6290], sizes=[7], swaps=[136])
@given(st.lists(st.integers(0, 12_000), max_size=4), sizes, st.lists(st.integers(1, 399), max_size=20))
def test_a_long_log_of_two_streams(breaks: list[int], sizes: list[int], swaps: list[int]) -> None:
    """The log is longer than what is remembered, and neighbours are out of order."""
    times = [a_time(n * 5) for n in range(400)]
    for n in swaps:
        times = swapped(times, n)
    log = [(time, b"line %d" % n) for n, time in enumerate(times)]
    assert read_in_parts(log, breaks, [size * 100 for size in sizes]) == b"".join(text + b"\n" for _, text in log)


def a_time(n: int) -> bytes:
    """`n` tenths of a second after the beginning."""
    return f"2026-01-05T14:{15 + n // 600}:{n // 10 % 60:02}.{n % 10}Z".encode()


def swapped(times: list[bytes], n: int) -> list[bytes]:
    return [*times[: n - 1], times[n], times[n - 1], *times[n + 1 :]]


MANY = [a_time(n) for n in range(200)]
WITHIN_A_SECOND = [b"2026-01-05T14:15:30.%03dZ" % n for n in range(200)]


@pytest.mark.parametrize(
    "times",
    [
        *(swapped(WITHIN_A_SECOND, n) for n in (134, 135, 136, 137, 198, 199)),
        [*WITHIN_A_SECOND[:50], *WITHIN_A_SECOND[51:160], WITHIN_A_SECOND[50], *WITHIN_A_SECOND[160:]],
        [*(a_time(n) for n in range(3000, 4000)), *(a_time(n) for n in range(100))],
        [MANY[0]] * 100,
        [time for time in MANY for _ in range(3)],
    ],
    ids=[*(f"neighbours {n}" for n in (134, 135, 136, 137, 198, 199)), "late", "clock set back", "one time", "thrice"],
)
def test_a_quiet_log_is_not_repeated(times: list[bytes]) -> None:
    """A connection that is silent for a minute is replaced, for as long as the job prints nothing."""
    log = [(time, b"line %d" % n) for n, time in enumerate(times)]
    reader = LogReader()
    assert reader.read(serve(log, reader.since)) == b"".join(text + b"\n" for _, text in log)
    for _ in range(3):
        reader.restart()
        assert reader.read(serve(log, reader.since)) == b""
    reader.restart()
    assert reader.read(serve([*log, (a_time(4001), b"new")], reader.since)) == b"new\n"


def test_a_node_begins_a_new_file() -> None:
    """The API answers from the newest file only: what was passed on last is gone."""
    reader = LogReader()
    assert reader.read(serve([(time, b"old") for time in MANY[:100]], "")) == b"old\n" * 100
    reader.restart()
    assert reader.read(serve([(time, b"new") for time in MANY[100:]], reader.since)) == b"new\n" * 100


def test_a_line_that_began_before_the_answer() -> None:
    """A node stores long lines in parts with times of their own, and its answer may begin with such a part."""
    reader = LogReader()
    reader.read(serve([(time, b"a") for time in MANY], ""))
    reader.restart()
    answer = b"rest of a long line\n" + serve([(time, b"a") for time in MANY], reader.since)
    assert reader.read(answer + a_time(4001) + b" b\n") == b"b\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("text", [b"unable to retrieve container logs\n", b"x" * 200 + b" y\n"])
def test_an_error_of_the_node_has_no_time(text: bytes, size: int) -> None:
    reader, answer = LogReader(), text + a_time(1) + b" a\n"
    read = b"".join(reader.read(answer[at : at + size]) for at in range(0, len(answer), size))
    assert read == text + b"a\n"
    assert reader.has_read


def test_cut_after_the_time() -> None:
    reader = LogReader()
    assert reader.read(b"2026-01-05T14:15:31Z ") == b""
    reader.restart()
    assert reader.read(b"2026-01-05T14:15:31Z a\n") == b"a\n"


def test_times_that_go_back_lose_nothing() -> None:
    """A node's clock may be set back while a connection is open."""
    reader = LogReader()
    text = b"2026-01-05T14:15:31Z a\n2026-01-05T14:15:30Z b\n"
    assert reader.read(text) == b"a\nb\n"


def test_zone_of_the_node() -> None:
    reader = LogReader()
    assert reader.read(b"2026-01-05T14:15:31.000000001+02:00 a\n") == b"a\n"
    reader.restart()
    assert reader.read(b"2026-01-05T14:15:31.000000001+02:00 a\n2026-01-05T14:15:31.000000002+02:00 b\n") == b"b\n"
