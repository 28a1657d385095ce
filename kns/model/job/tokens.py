"""The secrets that kns makes for a job: its password, and random tokens for the app."""

import secrets
import string
from dataclasses import dataclass

_ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTHS = (16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Tokens:
    """`password` has 16 alphanumeric characters; `random` maps each length of `TOKEN_LENGTHS` to a token."""

    password: str
    random: dict[int, str]

    def __repr__(self) -> str:
        return "Tokens(...)"  # keeps the secrets out of logs and tracebacks


def make_tokens() -> Tokens:
    """New tokens from the operating system's random source."""
    return Tokens(password=_make(16), random={length: _make(length) for length in TOKEN_LENGTHS})


def _make(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
