"""Bearer tokens of the Keycloak realm, verified with its public key. Only RS256 is accepted."""

from collections.abc import Collection

import jwt
from jwt.types import Options

from kns.model.errors import TokenError
from kns.model.submit.token_claims import CLIENTS, TokenClaims, read_claims

LEEWAY_S = 30  # allowed difference between the clocks of the realm and of this host
_OPTIONS: Options = {
    "require": ["exp"],
    "verify_aud": False,  # the claim may be absent, which the library would refuse; `read_claims` checks it
    "verify_iat": False,  # kns does not use the claims below
    "verify_sub": False,
    "verify_jti": False,
}


class RealmTokens:
    """Implements `ports.Bearer`. `public_key` is RSA, as PEM; `clients` are the accepted clients of the realm."""

    def __init__(self, public_key: str, *, clients: Collection[str] = CLIENTS) -> None:
        self._public_key = public_key
        self._clients = clients

    def verify(self, token: str) -> TokenClaims:
        try:
            data = jwt.decode(token, self._public_key, algorithms=["RS256"], leeway=LEEWAY_S, options=_OPTIONS)
        except jwt.InvalidTokenError as error:
            raise TokenError(type(error).__name__) from None  # its text may contain the token
        return read_claims(data, clients=self._clients)
