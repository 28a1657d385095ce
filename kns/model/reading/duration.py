"""Durations as `HH:MM:SS`, the form of the contract. Hours may exceed 24."""

import re

from kns.model.errors import InvalidInputError

_FORM = re.compile(r"([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])")


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
