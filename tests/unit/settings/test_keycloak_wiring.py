"""The Keycloak settings: complete or not at all, and the secret only where it is needed."""

import os
from pathlib import Path

import pytest

from kns.adapters.clock import SystemClock
from kns.adapters.keycloak_admin import KeycloakClients
from kns.model.site import KeycloakSettings
from kns.settings import Settings, build_site, build_terms, load_settings
from kns.wiring import build_identity_provider

VARIABLES = {
    "JARVICE_KNS_KEYCLOAK_URL": "https://kc.example.org/auth/",
    "JARVICE_KNS_KEYCLOAK_REALM": "jarvice",
    "JARVICE_KNS_KEYCLOAK_CLIENT_ID": "kns",
    "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET": "s3cr3t-of-kns",
    "KNS_KEYCLOAK_LIMIT": "90",
}


def _load(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name in os.environ:
        if name.startswith(("JARVICE_", "KNS_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_a_site_with_keycloak(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, VARIABLES)
    site = build_site(settings, service_cidr="10.96.0.0/16", installation_uid="uid-of-kns")
    assert site.keycloak == KeycloakSettings("https://kc.example.org/auth", "jarvice", 90)
    assert "s3cr3t-of-kns" not in repr(site)
    assert build_terms(settings).keycloak
    assert isinstance(build_identity_provider(settings, SystemClock()), KeycloakClients)


@pytest.mark.parametrize("variables", [{}, {"JARVICE_KNS_KEYCLOAK_REALM": "jarvice"}], ids=["nothing", "realm alone"])
def test_a_site_without(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """The chart always sets the realm."""
    settings = _load(monkeypatch, variables)
    assert build_site(settings, service_cidr="10.96.0.0/16", installation_uid="uid-of-kns").keycloak is None
    assert not build_terms(settings).keycloak
    assert build_identity_provider(settings, SystemClock()) is None


def test_the_secret_comes_from_the_secret_that_the_page_names() -> None:
    root = Path(__file__).parents[3]
    assert "secretRef: {name: kns-keycloak, optional: true}" in (root / "manifests" / "deployment.yaml").read_text()
    assert "secret generic kns-keycloak" in (root / "docs" / "keycloak.md").read_text()
