"""Bearer tokens of the Keycloak realm: RS256 and nothing else, checked with the realm's public key."""

import jwt
from jwt.types import Options

from kns.model.errors import TokenError
from kns.model.submit.token_claims import TokenClaims, read_claims

LEEWAY_S = 30  # how far the clocks of the realm and of this host may be apart
_OPTIONS: Options = {
    "require": ["exp"],
    "verify_aud": False,  # it may be absent, which the library would refuse; `read_claims` looks at it
    "verify_iat": False,  # what the library looks at beyond this decides nothing here
    "verify_sub": False,
    "verify_jti": False,
}


class RealmTokens:
    """Implements `ports.Bearer`. `public_key` is RSA, as PEM."""

    def __init__(self, public_key: str) -> None:
        self._public_key = public_key

    def verify(self, token: str) -> TokenClaims:
        try:
            data = jwt.decode(token, self._public_key, algorithms=["RS256"], leeway=LEEWAY_S, options=_OPTIONS)
        except jwt.InvalidTokenError as error:
            raise TokenError(type(error).__name__) from None  # its text may quote the token
        return read_claims(data)
