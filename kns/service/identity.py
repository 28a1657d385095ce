"""
Authentication: from credentials to a user of the catalogue.

A user proves who they are with a Bearer token of the realm or with an API key. After too many failures, logins of that
user from that address are refused for a while even with the right key: otherwise the answer would tell a guesser that
the key was right.
"""

import hmac
from dataclasses import dataclass

from kns.logs import get_logger
from kns.model.catalog.catalog import User
from kns.model.errors import TokenError, clip
from kns.model.submit.token_claims import TokenClaims
from kns.service.errors import TooManyRequestsError, WrongCredentialsError
from kns.service.ports import ServicePorts

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated user, active or not. `claims` is set if a token was the proof."""

    user: User
    claims: TokenClaims | None = None

    @property
    def may_read(self) -> bool:
        """Whether read access is allowed. The realm still issues tokens to closed accounts, so those are refused."""
        return self.claims is None or self.user.active


def verify_token(ports: ServicePorts, token: str, *usernames: str | None) -> Identity:
    """
    The user that a token names. `usernames` are other names in the request: each must be that user or None.

    Raises:
        WrongCredentialsError: the token is invalid, its user is unknown, or a name differs.
    """
    if ports.bearer is None:
        raise WrongCredentialsError("tokens are not accepted here: no realm key is configured")
    try:
        claims = ports.bearer.verify(token)
    except TokenError as error:
        log.info("token_refused", reason=clip(str(error)))
        raise WrongCredentialsError("the token is invalid") from error
    user = ports.catalog.current().users.get(claims.username)
    if user is None or not {user.username, None}.issuperset(usernames):
        raise WrongCredentialsError("the token's user is unknown, or the request names another user")
    return Identity(user, claims)


def verify_key(ports: ServicePorts, username: str, apikey: str, *, address: str) -> Identity:
    """
    The user with that API key. `address` is where the request came from.

    Raises:
        WrongCredentialsError: no user has this name and key.
        TooManyRequestsError: too many failures of this user from this address in the last minute.
    """
    _check_failures(ports, username, address)
    user = ports.catalog.current().find_user(username, apikey)
    if user is None:
        failures = ports.limits.failed_logins
        failures.take(username, address)
        if failures.wait_s(username, address) > 0:
            log.warning("logins_blocked", user=clip(username, 100), address=clip(address, 100))
        raise WrongCredentialsError("no user has this name and key")
    return Identity(user)


def verify_server_key(ports: ServicePorts, given: bytes, *, server_key: str, address: str) -> None:
    """
    Check the `user:password` of a trusted system that has authenticated its users itself.

    Raises:
        WrongCredentialsError: `given` is not the key.
        TooManyRequestsError: too many failures of this user from this address in the last minute.
    """
    user = given.partition(b":")[0].decode("latin-1")
    guesser = ("upstream", user, address)  # three parts, so it never equals a key of `verify_key`
    _check_failures(ports, *guesser)
    if not hmac.compare_digest(given, server_key.encode()):
        ports.limits.failed_logins.take(*guesser)
        raise WrongCredentialsError("this is not the server key")


def _check_failures(ports: ServicePorts, *guesser: str) -> None:
    wait_s = ports.limits.failed_logins.wait_s(*guesser)
    if wait_s > 0:
        raise TooManyRequestsError(wait_s)
