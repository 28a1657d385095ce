"""A job's secrets that kns itself makes: the password, and the random tokens an app may use."""

import secrets
import string
from dataclasses import dataclass

_ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTHS = (16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Tokens:
    """`password` has 16 alphanumerics; `random` maps each length of `TOKEN_LENGTHS` to a token of that length."""

    password: str
    random: dict[int, str]

    def __repr__(self) -> str:
        return "Tokens(...)"  # never in a log line or a traceback


def make_tokens() -> Tokens:
    """Fresh ones from the operating system's randomness."""
    return Tokens(password=_make(16), random={length: _make(length) for length in TOKEN_LENGTHS})


def _make(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
