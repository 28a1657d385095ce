"""
What kns does with the realm in Keycloak: clients for jobs, the sign-in to the page, and the check of users' tokens.

Each is None if it is not configured. Keycloak's library takes long to import, so it is imported only for a site that
has it.
"""

from collections.abc import Callable
from pathlib import Path

from kns.adapters.bearer import RealmTokens
from kns.ports import Clock, IdentityProvider, SignInProvider
from kns.settings import Settings, build_proxies

SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # charts mount their own bundle here


def build_identity_provider(
    settings: Settings, clock: Clock, *, may_work: Callable[[], bool] = lambda: True
) -> IdentityProvider | None:
    """The Keycloak client of the site, which makes the OIDC clients of jobs; None if Keycloak is not configured."""
    url, secret = settings.keycloak_url, settings.keycloak_client_secret
    realm, client_id = settings.keycloak_realm, settings.keycloak_client_id
    if url is None or realm is None or client_id is None or secret is None:
        return None
    from kns.adapters.keycloak_access import KeycloakAccess
    from kns.adapters.keycloak_admin import KeycloakClients

    access = KeycloakAccess(
        url=url,
        realm=realm,
        client_id=client_id,
        client_secret=secret.get_secret_value(),
        ca_bundle=_find_ca_bundle(settings),
        proxies=build_proxies(settings),
    )
    return KeycloakClients(access, clock=clock, may_work=may_work)


def build_sign_in(settings: Settings) -> SignInProvider | None:
    """The sign-in to the page in the realm; None if it is not configured."""
    url, realm, client_id = settings.keycloak_url, settings.keycloak_realm, settings.web_keycloak_client_id
    if url is None or realm is None or client_id is None or settings.web_url is None:
        return None
    from kns.adapters.keycloak_access import KeycloakAccess
    from kns.adapters.keycloak_sign_in import KeycloakSignIn

    secret = settings.web_keycloak_client_secret
    return KeycloakSignIn(
        KeycloakAccess(
            url=url,
            realm=realm,
            client_id=client_id,
            client_secret=secret.get_secret_value() if secret else None,
            ca_bundle=_find_ca_bundle(settings),
            proxies=build_proxies(settings),
        )
    )


def build_bearer(settings: Settings) -> RealmTokens | None:
    """The check of users' tokens; None if the realm's key is not configured."""
    key = settings.realm_public_key
    return RealmTokens(key, clients=settings.token_clients) if key else None


def _find_ca_bundle(settings: Settings) -> Path | None:
    return settings.ca_bundle or (SYSTEM_CA_BUNDLE if SYSTEM_CA_BUNDLE.exists() else None)
