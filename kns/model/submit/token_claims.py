"""What a verified token says of its bearer. Pure: who signed it and until when it counts is checked before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kns.model.errors import TokenError

AUDIENCE = "jarvice"
_DECIMAL = re.compile(r"-?[0-9]{1,18}")  # 18 digits fit 64 bits, which is what a record can hold


@dataclass(frozen=True, slots=True)
class Claims:
    """`payer` None: the token names none, so the catalogue's counts. `billing_code` 0: none."""

    username: str
    email: str = ""
    payer: str | None = None
    billing_code: int = 0


def read_claims(data: Mapping[str, Any]) -> Claims:
    """
    The claims that kns reads, from a decoded token.

    Raises:
        TokenError: it is for somebody else, or names no user.
    """
    if "aud" in data and not _is_for_us(data["aud"]):
        raise TokenError(f"aud does not contain {AUDIENCE}")
    username = _text(data.get("preferred_username"))
    if not username:
        raise TokenError("preferred_username is missing")
    return Claims(
        username=username,
        email=_text(data.get("email")),
        payer=_text(data.get("jarvice_payer")) or None,
        billing_code=_whole(data.get("jarvice_billing_code")),
    )


def _is_for_us(audience: Any) -> bool:
    return AUDIENCE in audience if isinstance(audience, list) else audience == AUDIENCE


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int:
    """A realm may map the code as a number or as its text; anything else is no code."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if _DECIMAL.fullmatch(text) else 0
