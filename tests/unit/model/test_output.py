"""The log of a job's output: what was stored is continued by what is read, also after the kubelet rotated the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.job.output import CUT, GAP, MAX_BYTES, MAX_LINES, JobOutput, keep_recent, merge_log, split_lines

NUMBERED = [f"line {number}" for number in range(1, 10)]


def text(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("stored", "read", "merged"),
    [
        ("", text("a"), text("a")),
        (text("a", "b"), "", text("a", "b")),
        (text("a", "b"), text("a", "b"), text("a", "b")),
        (text("a", "b"), text("a", "b", "c"), text("a", "b", "c")),
        ("a\nb", text("a", "b", "c"), text("a", "b", "c")),
        ("a\nbe", text("a", "begin", "c"), text("a", "begin", "c")),
        ("be", text("begin", "c"), text("begin", "c")),
        (text("a", "b", "c"), text(CUT, "b", "c", "d"), text("a", "b", "c", "d")),
        (text("a", "b", "c"), text(CUT, "y", "z"), text("a", "b", "c", GAP, "y", "z")),
        (text("a", "b"), text("y", "z"), text("a", "b", GAP, "y", "z")),
        (text("a", "b", GAP, "y"), text("y", "z"), text("a", "b", GAP, "y", "z")),
        (text("a", "b", GAP, "y"), text("m", "n"), text("a", "b", GAP, "y", GAP, "m", "n")),
        (text(CUT, "b", "c"), text(CUT, "c", "d"), text(CUT, "b", "c", "d")),
        (text(CUT, "b", "c"), text(CUT, "b", "c", "d"), text(CUT, "b", "c", "d")),
        (text("a", "x"), text("xylophone", "z"), text("a", "x", GAP, "xylophone", "z")),
        (text("x", "x", "y"), text("x", "y", "z"), text("x", "x", "y", "z")),
        (text("x", "y", "x", "y"), text("x", "y", "x", "z"), text("x", "y", "x", "y", "x", "z")),
        (text("a", ""), text("a", "", "b"), text("a", "", "b")),
    ],
)
def test_what_was_stored_is_continued(stored: str, read: str, merged: str) -> None:
    assert merge_log(stored, read) == merged


@given(
    lines=st.lists(st.sampled_from(NUMBERED), unique=True, min_size=1),
    reads=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1),
)
def test_no_stored_line_is_ever_lost_without_the_mark(lines: list[str], reads: list[tuple[int, int]]) -> None:
    """Whatever part of a log each read shows: begun later because of a rotation, and ended wherever it was then."""
    stored = ""
    for first, length in reads:
        before = split_lines(stored)
        stored = merge_log(stored, text(*lines[first : first + length]))
        after = iter(split_lines(stored))
        assert all(line in after for line in before), "a stored line is gone, or they changed their order"


@given(cuts=st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_a_log_that_only_grows_is_stored_as_it_is(cuts: list[int]) -> None:
    """However often it is read, also in the middle of a line."""
    whole, stored = text(*NUMBERED), ""
    for cut in sorted(cuts):
        stored = merge_log(stored, whole[:cut])
    assert merge_log(stored, whole) == whole


def test_the_stored_log_loses_its_last_newline() -> None:
    """The store keeps lines, so the next read must not take the last one for an incomplete line."""
    output = JobOutput(log=merge_log("a\nb", text("a", "b", "bc")))
    assert output.lines() == ["a", "b", "bc"]


def test_a_long_log_keeps_two_mebibytes_and_not_the_half() -> None:
    """Long lines, read a thousand at a time. Each read has less than what is kept."""
    lines = [f"{number:06d} " + "x" * 993 for number in range(4000)]
    stored = ""
    for end in range(1000, 4001, 500):
        stored = merge_log(stored, text(CUT, *lines[max(0, end - 1000) : end]))
    kept = split_lines(stored)
    assert (kept[0], kept[-1]) == (CUT, lines[-1])
    assert kept[1:] == lines[-len(kept) + 1 :]
    assert MAX_BYTES - 2000 < len(stored) <= MAX_BYTES


def test_at_most_ten_thousand_lines_are_kept() -> None:
    lines = [str(number) for number in range(MAX_LINES + 5)]
    kept = split_lines(merge_log(text(*lines[:MAX_LINES]), text(*lines[5:])))
    assert (len(kept), kept[0], kept[1], kept[-1]) == (MAX_LINES, CUT, lines[6], lines[-1])


def test_the_mark_is_counted_too() -> None:
    kept = keep_recent(["x" * (MAX_BYTES // 2)] * 3)
    assert len("\n".join(kept)) < MAX_BYTES
    assert kept == [CUT, "x" * (MAX_BYTES // 2)]
