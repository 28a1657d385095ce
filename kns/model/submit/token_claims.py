"""The claims of a token that kns reads. The signature and the expiry are checked before, by `adapters.bearer`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kns.model.errors import TokenError

AUDIENCE = "jarvice"
_DECIMAL = re.compile(r"-?[0-9]{1,18}")  # a record holds 64-bit integers; 18 digits always fit


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """If `payer` is None, the payer of the catalogue applies. `billing_code` 0 means none."""

    username: str
    email: str = ""
    payer: str | None = None
    billing_code: int = 0


def read_claims(data: Mapping[str, Any]) -> TokenClaims:
    """
    The claims that kns reads, from a decoded token.

    Raises:
        TokenError: the token has another audience, or names no user.
    """
    if "aud" in data and not _is_for_us(data["aud"]):
        raise TokenError(f"aud does not contain {AUDIENCE}")
    username = _text(data.get("preferred_username"))
    if not username:
        raise TokenError("preferred_username is missing")
    return TokenClaims(
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
    """A realm may send the code as a number or as text. Any other value means no code."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if _DECIMAL.fullmatch(text) else 0
