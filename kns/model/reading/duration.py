"""Durations as `HH:MM:SS`, the form of the contract (hours may exceed 24), and in words."""

import re

from kns.model.errors import InvalidInputError

_FORM = re.compile(r"([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])")
MAX_WALLTIME_S = 99_999 * 3600 + 59 * 60 + 59  # the longest that the form can write
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def parse_walltime(text: str, *, path: str = "") -> int:
    """
    Seconds in `HH:MM:SS`.

    Raises:
        InvalidInputError: `text` has another form, or is zero, which would end a job at its start.

    >>> parse_walltime("30:00:01")
    108001
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InvalidInputError(path, f"{text!r} is not HH:MM:SS")
    hours, minutes, seconds = (int(part) for part in match.groups())
    total_s = hours * 3600 + minutes * 60 + seconds
    if total_s == 0:
        raise InvalidInputError(path, "must be longer than 00:00:00")
    return total_s


def format_walltime(seconds: float) -> str:
    """
    >>> format_walltime(108001.9)
    '30:00:01'
    """
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def describe_duration(seconds: float) -> str:
    """
    A duration for people, in its two largest units.

    >>> describe_duration(42.4), describe_duration(200), describe_duration(7500), describe_duration(180000)
    ('42 s', '3 min 20 s', '2 h 5 min', '2 d 2 h')
    >>> describe_duration(3600), describe_duration(-1)
    ('1 h', '0 s')
    """
    left = max(0, int(seconds))
    parts: list[tuple[int, str]] = []
    for unit, size in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append((left // size, unit))
        elif parts:
            parts.append((0, unit))
        left %= size
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count or len(parts) == 1)
