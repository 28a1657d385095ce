"""
Authenticate a request: by a Bearer token, or by name and API key, as parameters or as headers.

A token wins over a key. A name beside a token must be the token's own. A parameter wins over its header.
"""

from typing import Annotated

from fastapi import Depends

from kns.http.dependencies import APIKEY_HEADER, USERNAME_HEADER, Ports, Sender, Sent
from kns.http.errors import INVALID_PARAMETERS, PARAMETERS_MISSING, USER_REQUIRED, HttpError
from kns.http.parameters import Given
from kns.http.routes import Credentials, Parameter
from kns.model.catalog.catalog import User
from kns.service.catalog import require_admin
from kns.service.errors import TooManyRequestsError, WrongCredentialsError
from kns.service.identity import verify_key, verify_token
from kns.service.ports import ServicePorts

SECURITY_SCHEMES = {
    "username": {"type": "apiKey", "in": "query", "name": "username"},
    "apikey": {"type": "apiKey", "in": "query", "name": "apikey"},
    "usernameHeader": {"type": "apiKey", "in": "header", "name": USERNAME_HEADER},
    "apikeyHeader": {"type": "apiKey", "in": "header", "name": APIKEY_HEADER},
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_KEY: dict[str, list[str]] = {"username": [], "apikey": []}
_HEADERS: dict[str, list[str]] = {"usernameHeader": [], "apikeyHeader": []}  # access logs of proxies do not have them
_TOKEN: dict[str, list[str]] = {"bearer": []}

REQUIRED = Credentials(
    security=(_KEY, _HEADERS, _TOKEN),
    parameters=(
        Parameter("username", "Name of the account."),
        Parameter("apikey", "The account's API key; not the portal's password."),
    ),
    errors=(USER_REQUIRED, PARAMETERS_MISSING, INVALID_PARAMETERS, WrongCredentialsError, TooManyRequestsError),
)
OPTIONAL = Credentials(({}, *REQUIRED.security), REQUIRED.parameters, REQUIRED.errors)
IN_BODY = Credentials(({}, _HEADERS, _TOKEN))  # the body's schema has the key


async def _identify_guest(ports: Ports, sender: Sent, params: Given) -> User | None:
    """The caller; None if the request has no credentials at all."""
    username, apikey = params.text("username") or sender.username, params.text("apikey") or sender.apikey
    if sender.token is None and username is None and apikey is None:
        return None
    return authenticate(ports, sender, username, apikey)


def authenticate(ports: ServicePorts, sender: Sender, username: str | None, apikey: str | None) -> User:
    """
    The user of a request with a token, or with a name and a key.

    Raises:
        HttpError: name or key is missing.
        WrongCredentialsError, TooManyRequestsError: see `verify_key`.
    """
    if sender.token is not None:
        identity = verify_token(ports, sender.token, username, sender.username)
    elif username is None:
        raise HttpError(USER_REQUIRED)
    elif apikey is None:
        raise HttpError(PARAMETERS_MISSING)
    else:
        identity = verify_key(ports, username, apikey, address=sender.address)
    if not identity.may_read:
        raise WrongCredentialsError(f"the account {identity.user.username} is not active")
    return identity.user


Guest = Annotated[User | None, Depends(_identify_guest)]


async def _require_caller(guest: Guest) -> User:
    if guest is None:
        raise HttpError(PARAMETERS_MISSING)
    return guest


Caller = Annotated[User, Depends(_require_caller)]


async def _require_admin(caller: Caller) -> User:
    require_admin(caller)
    return caller


Admin = Annotated[User, Depends(_require_admin)]
