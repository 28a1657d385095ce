"""
Build the model's values from the settings.

`_take` matches fields by name, so a new setting for the stages is one row in the table and one field in the model.
"""

from dataclasses import fields, replace
from typing import Any, TypeVar

from kns.model.site import (
    ClassSettings,
    IngressSettings,
    KeycloakSettings,
    NetworkSettings,
    Proxies,
    Site,
    VirtualKubernetes,
)
from kns.model.submit.submission import Terms
from kns.settings.table import Settings

T = TypeVar("T")

_DAY_S = 86_400


def build_site(settings: Settings, *, service_cidr: str, installation_uid: str, mounts_images: bool = False) -> Site:
    """
    The settings that stages may see. They contain no secret.

    `mounts_images`: whether the host can mount images as volumes, if the settings do not say it. `service_cidr` is ""
    if nothing tells it. Then there is no fast start, because its certificates and processes need the range.
    """
    virtual = _take(VirtualKubernetes, settings, prefix="virtual_", service_cidr=service_cidr)
    keycloak = settings.keycloak_url is not None and settings.keycloak_realm is not None
    return _take(
        Site,
        settings,
        installation_uid=installation_uid,
        has_pool=bool(settings.pools),
        init_image=settings.full_init_image,
        mounts_images=mounts_images if settings.image_volumes is None else settings.image_volumes,
        shell_image=settings.full_gotty_image if settings.allow_gotty_shell else None,
        retention_s=settings.retention_days * _DAY_S,
        virtual=virtual if service_cidr else replace(virtual, fast_start=False),
        ingress=_take(IngressSettings, settings, prefix="ingress_", ingress_class=settings.ingress_class),
        classes=_take(ClassSettings, settings, prefix="classes_"),
        keycloak=_take(KeycloakSettings, settings, prefix="keycloak_") if keycloak else None,
        network=_take(NetworkSettings, settings, prefix="network_") if settings.network_policies else None,
        proxies=build_proxies(settings),
    )


def build_proxies(settings: Settings) -> Proxies:
    """The proxies of the init pods and of the Keycloak client."""
    return _take(Proxies, settings, prefix="proxies_")


def build_terms(settings: Settings) -> Terms:
    """What submissions are checked against."""
    local = f"{settings.local_registry}/{settings.local_repo_base}" if settings.local_registry else ""
    return Terms(
        supported_versions=tuple(reversed(settings.virtual_versions)),
        api_url=settings.api_url or "",
        local_repository=local,
        keycloak=settings.keycloak_url is not None,
    )


def _take(kind: type[T], settings: Settings, *, prefix: str = "", **given: Any) -> T:
    """An instance of the dataclass `kind`: each field is in `given`, or is the setting called `prefix` + its name."""
    names = (field.name for field in fields(kind) if field.name not in given)  # type: ignore[arg-type]  # always a dataclass
    return kind(**given, **{name: getattr(settings, prefix + name) for name in names})
