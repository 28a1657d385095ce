"""How a stream of bytes becomes output lines, and an ending a termination message."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from runner.outcome import MAX_MESSAGE_BYTES, Failure, ItemOutOfRetries, failed, printable, succeeded
from runner.output import (
    BURST_BYTES,
    HELD_BYTES,
    LAST_BYTES,
    LINE_OVERHEAD_BYTES,
    MAX_LINE_BYTES,
    RATE_BYTES_PER_S,
    TOTAL_BYTES,
    AttemptOutput,
    Output,
    split_lines,
)

NOTE_BYTES = 80


@given(st.lists(st.binary(max_size=40)))
def test_lines_do_not_depend_on_chunks(chunks: list[bytes]) -> None:
    """However the stream is cut up, the same lines come out."""
    whole = b"".join(chunks)
    expected = [line.decode("utf-8", "replace").removesuffix("\r") for line in whole.split(b"\n")]
    if not whole or whole.endswith(b"\n"):
        expected.pop()
    assert expected == list(split_lines(chunks))


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=30))
def test_no_line_is_longer_than_the_limit(chunks: list[bytes], limit: int) -> None:
    """What is kept and what the note counts make up the whole line."""
    lines = b"".join(chunks).split(b"\n")
    if not lines[-1]:
        lines.pop()
    for line, shown in zip(lines, split_lines(chunks, limit_bytes=limit), strict=True):
        cut = len(line) - limit
        note = f" [line cut, {cut} bytes left out]" if cut > 0 else ""
        assert shown == line[:limit].decode("utf-8", "replace").removesuffix("\r") + note


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
    """A sink may take a part only; nothing is lost."""

    class Narrow(io.BytesIO):
        def write(self, data: object, /) -> int:
            return super().write(bytes(data)[:3])  # type: ignore[call-overload]  # BytesIO takes any buffer

    sink = Narrow()
    Output(sink).line("wörld \ud800")
    assert sink.getvalue().decode() == "wörld ?\n"


def test_success_says_how_many_steps() -> None:
    """The message of a good end."""
    assert json.loads(succeeded(3).message()) == {"result": "ok", "steps": 3}


@given(st.text(max_size=3000))
def test_every_termination_message_fits(text: str) -> None:
    """Whatever an item is called and whatever went wrong, kubelet keeps the whole message and it is JSON."""
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


@dataclass
class Log:
    """An output whose clock only the test moves."""

    now: float = 0.0
    sink: io.BytesIO = field(default_factory=io.BytesIO)
    output: Output = field(init=False)

    def __post_init__(self) -> None:
        self.output = Output(self.sink, clock=lambda: self.now)

    def lines(self) -> list[str]:
        """What was written."""
        return self.sink.getvalue().decode().splitlines()

    def cost(self) -> int:
        """The size of the log file."""
        return len(self.sink.getvalue()) + LINE_OVERHEAD_BYTES * len(self.lines())


LINE = "x" * 935  # 1000 with its overhead


def test_what_fits_the_burst_is_never_cut() -> None:
    """At any speed, and from several attempts together."""
    log = Log()
    for number in range(2):
        attempt = AttemptOutput(log.output)
        for index in range(1000):
            attempt.line(f"{number} {index} {LINE[:900]}")
        assert not attempt.holding
        assert attempt.close() == []
    assert len(log.lines()) == 2000


def test_a_flood_shows_its_beginning_and_its_end() -> None:
    """The end says why a script failed; what is between is counted."""
    log = Log()
    attempt = AttemptOutput(log.output)
    for index in range(12_000):
        attempt.line(f"line {index} " + LINE)
    attempt.line("the reason")
    assert attempt.holding
    assert attempt.close() == []
    lines = log.lines()
    assert (lines[0].split()[1], lines[-1]) == ("0", "the reason")
    marks = [line for line in lines if line.startswith("[")]
    assert len(marks) == 1
    left_out = re.fullmatch(r"\[(\d+) lines left out: too much output\]", marks[0])
    assert left_out
    assert len(lines) - 1 + int(left_out[1]) == 12_001
    assert log.cost() <= BURST_BYTES + HELD_BYTES + 2 * len(LINE)


def test_ticks_after_a_flood_appear_in_time() -> None:
    """Time alone lets held lines out, so a script that waits after a flood is still seen."""
    log = Log()
    attempt = AttemptOutput(log.output)
    for _ in range(BURST_BYTES // 1000 + 100):
        attempt.line(LINE)
    attempt.line("waiting for the server")
    attempt.tick()
    assert log.lines()[-1] == LINE
    log.now += 100_000 / RATE_BYTES_PER_S + 1
    attempt.tick()
    assert (log.lines()[-1], attempt.holding) == ("waiting for the server", False)


def test_the_rate_bounds_a_steady_stream() -> None:
    """A line each millisecond for a minute: the burst, a minute's worth, and what is held at most."""
    log = Log()
    attempt = AttemptOutput(log.output)
    for _ in range(60_000):
        log.now += 0.001
        attempt.line(LINE)
    assert log.cost() <= BURST_BYTES + 60 * RATE_BYTES_PER_S + 2 * len(LINE)
    attempt.close()
    assert log.cost() <= BURST_BYTES + 60 * RATE_BYTES_PER_S + HELD_BYTES + 2 * len(LINE)


def test_a_run_has_a_total_and_still_says_how_it_ended() -> None:
    """However many attempts print however much: below the size at which kubelet starts a new file."""
    log = Log()
    unwritten: list[str] = []
    for number in range(50):
        log.now += 3600
        log.output.line(f"attempt {number}")
        attempt = AttemptOutput(log.output)
        for _ in range(3000):
            attempt.line(LINE)
        attempt.line(f"reason {number}")
        unwritten = attempt.close()
    assert log.lines()[-1].startswith("[output limit of 8 MiB reached: ")
    assert unwritten[-1] == "reason 49"
    assert sum(len(line) for line in unwritten) <= LAST_BYTES
    for line in (*unwritten, "no retries left"):
        log.output.last(line)
    assert log.lines()[-2:] == ["reason 49", "no retries left"]
    assert sum(line.startswith("[output limit") for line in log.lines()) == 1
    assert log.cost() < TOTAL_BYTES + 2 * LAST_BYTES < 10 * 1024**2


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, MAX_LINE_BYTES), st.floats(0, 60)), max_size=12))
def test_no_line_is_lost_without_a_count(printed: list[tuple[int, int, float]]) -> None:
    """Written lines and counted ones are all that were printed, and the written ones keep their order."""
    log = Log()
    attempt = AttemptOutput(log.output)
    total = 0
    for count, size, pause in printed:
        log.now += pause
        for _ in range(count):
            attempt.line(f"{total} " + "y" * size)
            total += 1
    unwritten = attempt.close()
    lines = [*log.lines(), *unwritten]
    limited = any(line.startswith("[output limit") for line in lines)
    numbers = [int(line.split()[0]) for line in lines if not line.startswith("[")]
    counted = sum(int(line[1:].split()[0]) for line in lines if line.endswith("too much output]"))
    assert numbers == sorted(set(numbers))
    assert limited or len(numbers) + counted == total
