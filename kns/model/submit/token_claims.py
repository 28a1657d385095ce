"""The claims of a token that kns reads. The signature and the expiry are checked before, by `adapters.bearer`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kns.model import names
from kns.model.errors import TokenError

AUDIENCE = "jarvice"
CLIENTS = (AUDIENCE,)
_DECIMAL = re.compile(r"-?[0-9]{1,18}")  # a record holds 64-bit integers; 18 digits always fit


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """If `payer` is None, the payer of the catalogue applies. `billing_code` 0 means none."""

    username: str
    email: str = ""
    payer: str | None = None
    billing_code: int = 0


def read_claims(data: Mapping[str, Any], *, clients: Collection[str] = CLIENTS) -> TokenClaims:
    """
    The claims that kns reads, from a decoded token.

    `clients` are the clients of the realm whose tokens kns accepts (`azp`). Any app of the realm can get a token of its
    user, even the app of a job. So a token must name kns as its audience or come from one of these clients.

    Raises:
        TokenError: the token is for another audience or from another client, or names no user.
    """
    if "aud" in data and not _is_for_us(data["aud"]):
        raise TokenError(f"aud does not contain {AUDIENCE}")
    client = _text(data.get("azp"))
    if names.is_job_object_name(client):
        raise TokenError("the token was issued to the client of a job")
    if "aud" not in data and client not in clients:
        raise TokenError(f"the token names neither {AUDIENCE} as aud nor one of the accepted clients as azp")
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
