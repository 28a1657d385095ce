"""How a stream of bytes becomes output lines, and a result a termination message."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st
from runner.output import MAX_LINE_BYTES, Output, split_lines
from runner.result import MAX_MESSAGE_BYTES, Failure, ItemOutOfRetries, failed, printable, succeeded

NOTE_BYTES = 80


@given(st.lists(st.binary(max_size=40)))
def test_lines_do_not_depend_on_chunks(chunks: list[bytes]) -> None:
    """However the stream is divided, the lines are the same."""
    whole = b"".join(chunks)
    expected = [line.decode("utf-8", "replace").removesuffix("\r") for line in whole.split(b"\n")]
    if not whole or whole.endswith(b"\n"):
        expected.pop()
    assert expected == list(split_lines(chunks))


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=30))
def test_no_line_is_longer_than_the_limit(chunks: list[bytes], limit: int) -> None:
    """The kept part and the count in the note add up to the whole line."""
    lines = b"".join(chunks).split(b"\n")
    for line, shown in zip(lines, split_lines(chunks, limit_bytes=limit), strict=False):
        cut = len(line) - limit
        if cut > 0:
            assert shown.endswith(f" [line cut, {cut} bytes left out]")
        kept = line[:limit].decode("utf-8", "replace").removesuffix("\r")
        assert shown.startswith(kept)


def test_a_line_appears_before_the_next_chunk_is_read() -> None:
    """Streaming: a complete line is not held back."""
    chunks = iter([b"first\nsec", b"ond\n"])
    lines = split_lines(chunks)
    assert next(lines) == "first"
    assert next(chunks) == b"ond\n"


def test_a_very_long_line_is_cut_at_16_kib() -> None:
    """The default limit, over many chunks, and the line after it is whole."""
    lines = list(split_lines([b"x" * 10_000] * 3 + [b"\nshort\n"]))
    assert lines == ["x" * MAX_LINE_BYTES + " [line cut, 13616 bytes left out]", "short"]


def test_output_writes_on_after_a_short_write() -> None:
    """A sink may write only a part. Nothing is lost."""

    class Narrow(io.BytesIO):
        def write(self, data: object, /) -> int:
            return super().write(bytes(data)[:3])  # type: ignore[call-overload]  # BytesIO takes any buffer

    sink = Narrow()
    Output(sink).line("wörld \ud800")
    assert sink.getvalue().decode() == "wörld ?\n"


def test_success_says_how_many_steps() -> None:
    """The message of a successful run."""
    assert json.loads(succeeded(3).message()) == {"result": "ok", "steps": 3}


@given(st.text(max_size=3000))
def test_every_termination_message_fits(text: str) -> None:
    """For any item name and error, kubelet keeps the whole message, and it is JSON."""
    name = printable(text, limit_bytes=300)
    failure = ItemOutOfRetries(text, details={"item": name, "index": 10**9, "attempt": 10**9, "exitCode": 255})
    message = failed(failure).message()
    assert len(message.encode()) < MAX_MESSAGE_BYTES
    assert name == json.loads(message)["item"]


def test_the_worst_text_fits_too() -> None:
    """Quotes double in JSON."""
    worst = '"\\' * 5000
    name = printable(worst, limit_bytes=300)
    message = failed(Failure(worst, details={"item": name})).message()
    assert len(message.encode()) < MAX_MESSAGE_BYTES
