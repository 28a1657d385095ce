"""Who has a web shell open, by the log of gotty."""

import pytest

from kns.stages.sessions import read_connections

OPENED = "2026/11/28 10:00:00 New client connected: 10.0.0.9:41234, connections: {}/10"
CLOSED = "2026/11/28 10:05:00 Connection closed by client: 10.0.0.9:41234, connections: {}/10"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], 0),
        (["2026/11/28 09:59:58 GoTTY is starting with command: env", "2026/11/28 09:59:59 10.0.0.9 200 GET /"], 0),
        ([OPENED.format(1)], 1),
        ([OPENED.format(1), OPENED.format(2), CLOSED.format(1), "2026/11/28 10:06:00 10.0.0.9:1 401 GET /"], 1),
        ([OPENED.format(1), CLOSED.format(0), "kns-shell: refused logins: 3"], 0),
        ([OPENED.format(1), CLOSED.format(0), OPENED.format(1)], 1),
        ([OPENED.format(1), CLOSED.format("0" * 5000)], 1),
        ([OPENED.format(1), CLOSED.format("\N{ARABIC-INDIC DIGIT ZERO}")], 1),
        (["a log that speaks of connections: 3/10"], 0),
    ],
)
def test_the_last_line_about_a_connection_counts(lines: list[str], expected: int) -> None:
    assert read_connections("\n".join(lines)) == expected
