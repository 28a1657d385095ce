"""A log is passed on once and whole, wherever its connections break."""

from hypothesis import given
from hypothesis import strategies as st

from kns.plain.logs import LogReader

TIMES = [b"2026-01-05T14:15:30.1Z", b"2026-01-05T14:15:30.100000001Z", b"2026-01-05T14:15:31Z", b"2026-01-05T14:15:32Z"]
lines = st.lists(st.tuples(st.sampled_from(range(4)), st.sampled_from([b"", b"a", b"a b", b"  x", b"2026-01 y"])))


def serve(log: list[tuple[bytes, bytes]], since: str) -> bytes:
    """What an API server answers: the lines of that second and later, because it knows seconds only."""
    second = since.encode()[:19]
    return b"".join(time + b" " + text + b"\n" for time, text in log if time[:19] >= second)


@given(lines, st.lists(st.integers(0, 300), max_size=4), st.lists(st.integers(1, 7), min_size=1))
def test_every_byte_once(given_lines: list[tuple[int, bytes]], breaks: list[int], sizes: list[int]) -> None:
    log = [(TIMES[index], text) for index, text in sorted(given_lines, key=lambda line: line[0])]
    reader, seen = LogReader(), b""
    for length in (*breaks, None):
        reader.restart()
        answer = serve(log, reader.since)[:length]
        position = turn = 0
        while position < len(answer):
            size = sizes[turn % len(sizes)]
            seen += reader.read(answer[position : position + size])
            position, turn = position + size, turn + 1
    assert seen == b"".join(text + b"\n" for _, text in log)


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
    assert reader.since == "2026-01-05T14:15:31.000000001+02:00"
