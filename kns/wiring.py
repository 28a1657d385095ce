"""From the settings to the values that parts take: each part gets what it needs, none sees the settings whole."""

from collections.abc import Callable
from pathlib import Path

from kns.adapters.clock import SystemClock
from kns.adapters.sliding_window import SlidingWindow
from kns.engine.sweeper import SweepRules
from kns.logs import get_logger
from kns.model.errors import KnsError
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
from kns.ports import Cluster, IdentityProvider, Kind
from kns.service.ports import Limits
from kns.settings import Settings
from kns.stages.orphans import Installation

log = get_logger(__name__)

SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # where charts mount a bundle of their own


def build_site(settings: Settings, *, service_cidr: str, installation_uid: str) -> Site:
    """What stages may know of the settings."""
    return Site(
        system_namespace=settings.system_namespace,
        installation_uid=installation_uid,
        service_account=settings.service_account,
        init_image=settings.full_init_image,
        limit_range=tuple(settings.limit_range),
        virtual=VirtualKubernetes(
            syncer_image_tag=settings.syncer_tag,
            versions=settings.versions,
            default=next(reversed(settings.versions)),
            service_cidr=service_cidr,
            registry=settings.image_registry,
            storage_class=settings.vcluster_storage_class or "",
        ),
        spawn_delay_s=settings.spawn_delay_s,
        keep_vclusters=settings.keep_vclusters,
        jobs_domain=settings.jobs_domain,
        ingress=IngressSettings(
            ingress_class=settings.ingress_class,
            annotations=settings.ingress_annotations,
            cert_secret=settings.ingress_cert_secret,
            cert_issuer=settings.ingress_cert_issuer,
            cert_cluster_issuer=settings.ingress_cert_cluster_issuer,
        ),
        classes=ClassSettings(
            default_storage_class=settings.default_storage_class,
            storage_size=settings.dynamic_storage_size,
            runtime_classes=settings.runtime_classes,
        ),
        keycloak=_build_keycloak(settings),
        proxies=_build_proxies(settings),
        app_pull_policy=settings.app_pull_policy,
        init_pull_policy=settings.init_pull_policy,
        grace_s=settings.grace_s,
        target_limit_s=settings.target_limit_s,
        init_stuck_limit_s=settings.init_stuck_limit_s,
        retention_s=settings.retention_days * 86400,
        probe_interval_s=settings.probe_interval_s,
        report_interval_s=settings.report_interval_s,
        shell_image=settings.full_gotty_image if settings.allow_gotty_shell else None,
        network=_build_network(settings),
        pod_security=settings.pod_security,
    )


def build_sweep_rules(settings: Settings, *, installation_uid: str) -> SweepRules:
    return SweepRules(
        installation=Installation(settings.system_namespace, installation_uid),
        interval_s=settings.sweep_interval_s,
        grace_s=settings.sweep_grace_s,
        dry_run=settings.sweep_dry_run,
    )


def build_limits(settings: Settings, clock: SystemClock) -> Limits:
    return Limits(
        failed_logins=SlidingWindow(settings.failed_logins_per_minute, clock=clock),
        submits=SlidingWindow(settings.submits_per_minute, clock=clock),
        live_jobs=settings.live_jobs_per_user,
    )


def build_terms(settings: Settings) -> Terms:
    """What submissions are checked against."""
    local = f"{settings.local_registry}/{settings.local_repo_base}" if settings.local_registry else ""
    return Terms(
        supported_versions=tuple(reversed(settings.versions)),
        api_url=settings.api_url or "",
        local_repository=local,
        keycloak=settings.keycloak_url is not None,
    )


def _build_network(settings: Settings) -> NetworkSettings | None:
    if not settings.network_policies:
        return None
    return NetworkSettings(
        internet=settings.internet_egress,
        ingress_namespace=settings.ingress_namespace,
        open_ranges=settings.open_ranges,
    )


def _build_keycloak(settings: Settings) -> KeycloakSettings | None:
    if settings.keycloak_url is None or settings.keycloak_realm is None:
        return None
    return KeycloakSettings(
        url=settings.keycloak_url.rstrip("/"), realm=settings.keycloak_realm, limit_s=settings.keycloak_limit_s
    )


def build_identity_provider(
    settings: Settings, clock: SystemClock, *, may_work: Callable[[], bool] = lambda: True
) -> IdentityProvider | None:
    """The site's Keycloak, if it has one; its library is read only then."""
    url, secret = settings.keycloak_url, settings.keycloak_client_secret
    realm, client_id = settings.keycloak_realm, settings.keycloak_client_id
    if url is None or realm is None or client_id is None or secret is None:
        return None
    from kns.adapters.keycloak_admin import KeycloakAccess, KeycloakClients

    access = KeycloakAccess(
        url=url,
        realm=realm,
        client_id=client_id,
        client_secret=secret.get_secret_value(),
        ca_bundle=settings.ca_bundle or (SYSTEM_CA_BUNDLE if SYSTEM_CA_BUNDLE.exists() else None),
        proxies=_build_proxies(settings),
    )
    return KeycloakClients(access, clock=clock, may_work=may_work)


def _build_proxies(settings: Settings) -> Proxies:
    return Proxies(http=settings.http_proxy, https=settings.https_proxy, no_proxy=settings.no_proxy)


def warn_of_missing_classes(cluster: Cluster, classes: ClassSettings) -> None:
    wanted = [(Kind.RUNTIME_CLASS, name) for name in classes.runtime_classes]
    if classes.default_storage_class:
        wanted.append((Kind.STORAGE_CLASS, classes.default_storage_class))
    for kind, name in wanted:
        try:
            missing = cluster.read(kind, "", name) is None
        except KnsError as error:
            log.warning("class_not_checked", kind=str(kind), name=name, error=str(error))
            continue
        if missing:
            log.warning("class_missing", kind=str(kind), name=name, effect="jobs do not see it until the host has it")
