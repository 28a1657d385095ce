"""A job's OIDC client (contract E.7): its representation in the realm, and the Secret on the host with its secret."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from kns.model import names
from kns.model.job.location import Location
from kns.model.site import JobAddress, KeycloakSettings
from kns.objects.labels import build_meta

CLIENT_SECRET = "KNS_KEYCLOAK_CLIENT_SECRET"  # noqa: S105 - a key of the client's data


def build_client(
    number: int,
    *,
    record_uid: str,
    installation_uid: str,
    secret: str,
    address: JobAddress | None,
    redirect_paths: Iterable[str],
) -> dict[str, Any]:
    """
    The client as a Keycloak `ClientRepresentation`. Its `clientId` is the job's public name.

    The client of a job without an address has no redirect URIs, so no login can end at it.
    """
    client = {
        "clientId": names.job_object_name(number),
        "description": f"Made by kns for job {number}; kns deletes it at the end of the job.",
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "clientAuthenticatorType": "client-secret",
        "secret": secret,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        # With the full scope a token would carry every role of its user, those of the Admin API included.
        "fullScopeAllowed": False,
        "redirectUris": [f"{address.url}{path}" for path in redirect_paths] if address else [],
        "webOrigins": ["+"],
        "attributes": {
            "post.logout.redirect.uris": "+",
            names.KEYCLOAK_OWNER_ATTRIBUTE: record_uid,
            names.KEYCLOAK_INSTALLATION_ATTRIBUTE: installation_uid,
        },
    }
    return {**client, "rootUrl": address.url, "baseUrl": address.url} if address else client


def is_made_for(client: Mapping[str, Any], record_uid: str) -> bool:
    """
    Whether a client with the job's `clientId` belongs to this record. One with another record's uid does not.

    A client without a uid was made by hand for the job, and kns takes it over.
    """
    owner = (client.get("attributes") or {}).get(names.KEYCLOAK_OWNER_ATTRIBUTE)
    return owner in (None, record_uid)


def has_all_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a client has all wanted values. The order of lists and additional keys do not matter."""
    return all(_is_same(found.get(key), value) for key, value in wanted.items())


def build_client_secret(location: Location, info: Mapping[str, str]) -> dict[str, Any]:
    """The Secret in the job's namespace on the host with the client's data; the app gets copies of it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_meta(names.KEYCLOAK_INFO, location),
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in info.items()},
    }


def build_client_info(number: int, settings: KeycloakSettings, secret: str) -> dict[str, str]:
    """The client's data for the app (contract C.6)."""
    return {
        "KNS_KEYCLOAK_URL": settings.url,
        "KNS_KEYCLOAK_REALM": settings.realm,
        "KNS_KEYCLOAK_CLIENT_ID": names.job_object_name(number),
        CLIENT_SECRET: secret,
    }


def read_realm(info: Mapping[str, str]) -> str:
    """The address of the realm in the data of `build_client_info`."""
    return f"{info.get('KNS_KEYCLOAK_URL')}/realms/{info.get('KNS_KEYCLOAK_REALM')}"


def _is_same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and wanted.items() <= found.items()
    if isinstance(wanted, list):
        return isinstance(found, list) and sorted(found) == sorted(wanted)
    return bool(found == wanted)
