"""
Sessions: who uses the page, in a signed cookie. The server stores nothing.

Every request reads the user from the catalogue again. A session ends early if the user is gone, if the API key with
which it began has changed, or, after a sign-in by token, if the account is no longer active.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from kns.model.catalog.catalog import Catalog, User
from kns.model.submit.token_claims import TokenClaims
from kns.ports import Clock
from kns.service.identity import Identity

_SALT = "kns.web.session"
_TOKEN_BYTES = 16
SKEW_S = 600.0  # between the clocks of two replicas, each of which may be wrong by five minutes
MAX_COOKIE_BYTES = 4096  # what browsers keep of a cookie; the API ignores the cookie, so nothing else limits it


@dataclass(frozen=True, slots=True)
class Session:
    """
    `form_token` is in every form of this session, so that no other site can send one. `username` is None before the
    sign-in. `proof` is a digest of the API key, None after a sign-in by token; `claims` are those of the token.
    `pending` are the values of a sign-in by Keycloak that has begun.
    """

    form_token: str
    username: str | None = None
    proof: str | None = field(repr=False, default=None)
    claims: TokenClaims | None = None
    pending: Mapping[str, str] | None = field(repr=False, default=None)


def start_session(*, pending: Mapping[str, str] | None = None) -> Session:
    """A session before the sign-in."""
    return Session(secrets.token_urlsafe(_TOKEN_BYTES), pending=pending)


class _Signer(TimestampSigner):
    """Signs with the time of kns's clock. The library's is that of the machine, which may be wrong."""

    def __init__(self, *args: Any, clock: Clock, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock.now().timestamp())


class SessionSigner:
    """Converts sessions to cookies and back. The last of `keys` signs, all are accepted."""

    def __init__(self, keys: tuple[str, ...], *, max_age_s: int, clock: Clock) -> None:
        self._keys = [key.encode() for key in keys]
        self._max_age_s = max_age_s
        self._clock = clock
        self._serializer = URLSafeTimedSerializer(
            list(keys),
            salt=_SALT,
            signer=_Signer,
            signer_kwargs={"key_derivation": "hmac", "digest_method": sha256, "clock": clock},
        )

    def write(self, session: Session) -> str:
        claims = session.claims
        data: dict[str, Any] = {
            "form": session.form_token,
            "user": session.username,
            "proof": session.proof,
            "claims": None if claims is None else [claims.email, claims.payer, claims.billing_code],
            "pending": dict(session.pending) if session.pending else None,
        }
        text = self._serializer.dumps({key: value for key, value in data.items() if value is not None})
        return text.decode() if isinstance(text, bytes) else text

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if it is absent, too old, or not signed by this installation."""
        if not cookie or len(cookie) > MAX_COOKIE_BYTES:
            return None
        try:
            data, signed = self._serializer.loads(cookie, return_timestamp=True)
        except BadData:
            return None
        # The library's own check of the age refuses what a replica signed whose clock is a second ahead.
        if not -SKEW_S <= (self._clock.now() - signed).total_seconds() <= self._max_age_s:
            return None
        username, claims = data.get("user"), data.get("claims")
        return Session(
            form_token=data["form"],
            username=username,
            proof=data.get("proof"),
            claims=TokenClaims(username, *claims) if username and claims else None,
            pending=data.get("pending"),
        )

    def sign_in(self, identity: Identity) -> Session:
        """A new session of that user, with a new form token."""
        user, claims = identity.user, identity.claims
        proof = _digest(user, self._keys[-1]) if claims is None else None
        return Session(start_session().form_token, user.username, proof, claims)

    def identify(self, session: Session, catalog: Catalog) -> Identity | None:
        """The user of a session at this moment; None if nobody signed in, or if it is no longer valid."""
        user = catalog.users.get(session.username) if session.username else None
        if user is None:
            return None
        proof = session.proof or ""
        if session.claims is None and not any(hmac.compare_digest(proof, _digest(user, key)) for key in self._keys):
            return None
        identity = Identity(user, session.claims)
        return identity if identity.may_read else None


def _digest(user: User, key: bytes) -> str:
    """Of the stored API key. Without `key` it says nothing about the hash of the API key."""
    return hmac.new(key, f"{user.username}:{user.apikey_sha256}".encode(), sha256).hexdigest()[:32]
