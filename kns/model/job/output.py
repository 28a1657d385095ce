"""
A job's output: the lines of the init job, with kns's own lines before and after them.

The first two parts are stored separately, so that reading the init job's log again replaces exactly that part. The last
line, which says how the job ended, is the message in the record's status, and is not stored again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MAX_LINES = 10_000
MAX_BYTES = 2 * 1024 * 1024  # of the log; every reader holds it in memory
CUT = "[earlier lines were cut]"
GAP = "[lines may be missing here]"


def split_lines(text: str) -> list[str]:
    """
    The lines of a text. Only a newline ends a line; the carriage returns of a progress bar are part of its line.

    >>> split_lines("10%\\r20%\\n\\nend\\n"), split_lines("")
    (['10%\\r20%', '', 'end'], [])
    """
    return text.removesuffix("\n").split("\n") if text else []


def keep_last(lines: Sequence[str], most: int) -> list[str]:
    """
    The last lines, at most `most`. If lines were cut, the first line says so.

    >>> keep_last(["a", "b", "c"], 2), keep_last(["a", "b"], 2)
    (['[earlier lines were cut]', 'c'], ['a', 'b'])
    """
    return list(lines) if len(lines) <= most else [CUT, *lines[len(lines) - most + 1 :]]


def keep_recent(lines: Sequence[str]) -> list[str]:
    """
    The last lines within `MAX_LINES` and `MAX_BYTES`. If lines were cut, the first line says so.

    >>> [len(line) for line in keep_recent(["x" * 1_500_000, "y" * 700_000])]
    [24, 700000]
    """
    kept = keep_last(lines, MAX_LINES)
    left = MAX_BYTES - _size(CUT)
    for index in range(len(kept) - 1, -1, -1):
        left -= _size(kept[index])
        if left < 0:
            return [CUT, *kept[index + 1 :]]
    return kept


def _size(line: str) -> int:
    return len(line.encode("utf-8", "replace")) + 1


def merge_log(stored: str, read: str) -> str:
    """
    The stored log, continued by what was read of it now.

    The kubelet rotates a container's log and then serves only the new file, and the log of a lost pod is gone. So lines
    that were stored are kept, and what was read is appended from where the two agree. If they agree nowhere, a line
    between them says that lines may be missing. The last stored line may have been read before it was complete.

    >>> merge_log("a\\nb\\n", "a\\nb\\nc\\n")
    'a\\nb\\nc\\n'
    >>> merge_log("a\\nb\\n", "y\\nz\\n")
    'a\\nb\\n[lines may be missing here]\\ny\\nz\\n'
    """
    if not read:
        return stored
    old, new = split_lines(stored), split_lines(read)
    was_cut, is_cut = old[:1] == [CUT], new[:1] == [CUT]
    old, new = old[was_cut:], new[is_cut:]
    if not old:
        return read
    start = _find_overlap(old, new)
    merged = [*old[:start], *new] if start is not None else [*old, GAP, *new]
    # If a read that was cut replaces all that was stored, equal lines may be the reason for it.
    whole = keep_recent([CUT, *merged] if was_cut or (is_cut and start == 0) else merged)
    return "\n".join(whole) + ("\n" if read.endswith("\n") else "")


def _find_overlap(old: Sequence[str], new: Sequence[str]) -> int | None:
    """
    The first index in `old` from which on all of its lines are the first lines of `new`; None if there is none.

    The last line of `old` may be the beginning of a line of `new`, if a line before it agrees or it is the only one.
    """
    *complete, last = old
    matched = _match_ends(complete, new)  # the longest first
    for length in matched:
        following = new[length : length + 1]
        is_partial = (length > 0 or not complete) and bool(following) and following[0].startswith(last)
        if following == [last] or is_partial:
            return len(complete) - length
    return None


def _match_ends(old: Sequence[str], new: Sequence[str]) -> list[int]:
    """All lengths of a beginning of `new` that is an end of `old`, the longest first (Knuth, Morris, Pratt)."""
    border = [0] * len(new)  # for each beginning of `new`, its longest proper end that is a beginning, too
    length = 0
    for index in range(1, len(new)):
        while length and new[index] != new[length]:
            length = border[length - 1]
        length += new[index] == new[length]
        border[index] = length
    length = 0
    for line in old:
        while length and (length == len(new) or line != new[length]):
            length = border[length - 1]
        length += bool(new) and line == new[length]
    found = []
    while length:
        found.append(length)
        length = border[length - 1]
    return [*found, 0]


@dataclass(frozen=True, slots=True)
class JobOutput:
    """
    `head` has kns's warnings, `log` the text of the init job.

    `help` is the app's help page (HTML). It is not output, but is stored with it because it is kept as long. `log_time`
    is when `log` last changed.
    """

    head: str = ""
    log: str = ""
    help: str = ""
    log_time: datetime | None = None

    def lines(self, *, end: str = "") -> list[str]:
        """
        All lines and after them `end`, at most the last `MAX_LINES`. If any were cut, now or when the log was stored,
        the first says so.
        """
        log = split_lines(self.log)
        noted = log[:1] == [CUT]
        rest = [*split_lines(self.head), *log[noted:], *split_lines(end)]
        return keep_last([CUT, *rest] if noted else rest, MAX_LINES)

    def render(self, last: int = 0, *, end: str = "") -> str:
        """
        The last `last` lines (0: all), each with a newline. `end` says how the job ended.

        >>> JobOutput(head="a", log="b\\nc").render(2, end="d")
        'c\\nd\\n'
        """
        lines = self.lines(end=end)
        return "".join(f"{line}\n" for line in (lines[-last:] if last else lines))
