"""A job's OIDC client (contract E.7): its representation in the realm, and the Secret that keeps it on the host."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from kns.model import names
from kns.model.site import JobAddress, KeycloakSettings
from kns.objects.labels import build_meta


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
    The client as a Keycloak `ClientRepresentation`.

    A job without an address can be led back to nowhere: its client has no redirect URIs, so no login ends in it.
    """
    client = {
        "clientId": names.job_object_name(number),
        "description": f"Made by kns for job {number}, which takes it along at its end.",
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "clientAuthenticatorType": "client-secret",
        "secret": secret,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
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
    Whether a client with the job's `clientId` is this job's: not if it carries the mark of another record.

    One without a mark was made for us by other means, and is taken over.
    """
    owner = (client.get("attributes") or {}).get(names.KEYCLOAK_OWNER_ATTRIBUTE)
    return owner in (None, record_uid)


def has_all_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a client is as wanted; what the server adds of its own does not count, nor does the order of lists."""
    return all(_is_same(found.get(key), value) for key, value in wanted.items())


def build_client_secret(number: int, info: Mapping[str, str]) -> dict[str, Any]:
    """The Secret in the job's namespace on the host, from which the app's own copies are made."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_meta(names.KEYCLOAK_INFO, number),
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in info.items()},
    }


def build_client_info(number: int, settings: KeycloakSettings, secret: str) -> dict[str, str]:
    """What the app is told (contract C.6)."""
    return {
        "KNS_KEYCLOAK_URL": settings.url,
        "KNS_KEYCLOAK_REALM": settings.realm,
        "KNS_KEYCLOAK_CLIENT_ID": names.job_object_name(number),
        "KNS_KEYCLOAK_CLIENT_SECRET": secret,
    }


def _is_same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and wanted.items() <= found.items()
    if isinstance(wanted, list):
        return isinstance(found, list) and sorted(found) == sorted(wanted)
    return bool(found == wanted)
