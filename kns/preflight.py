"""
Wire the checks of `kns preflight`: settings and catalogue as the scheduler reads them, the host cluster, Keycloak.

It starts and writes nothing, so it can run next to a scheduler or before the first start.
"""

import logging
import os
import shutil
from collections.abc import Iterator

from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.helm import TRIED_CHARTS, HelmRenderer, read_chart_version
from kns.adapters.kube.connect import connect, find_administrators_kubeconfig
from kns.adapters.kube.host_checks import Wanted, check_host
from kns.logs import configure_logging
from kns.model.catalog.catalog import CatalogError
from kns.model.catalog.machine import Machine
from kns.model.errors import KnsError
from kns.model.findings import Finding, Severity
from kns.settings import Settings, SettingsError, build_site, list_unknown, load_settings
from kns.start_checks import render_sample
from kns.wiring import build_identity_provider

_NO_SUCH_CLIENT = "kns-preflight"
_SAMPLE_CIDR = "10.96.0.0/16"  # kns asks the host for its own


def check_site() -> Iterator[Finding]:
    """All findings, in the order in which a job depends on them. If the settings are invalid, only their problems."""
    configure_logging(logging.CRITICAL)  # the findings report every error
    try:
        settings = load_settings()
    except SettingsError as error:
        yield from (Finding(name, Severity.FAULT, said, "see docs/configuration.md") for name, said in error.problems)
        return
    yield Finding("settings", Severity.OK, "all are valid")
    for name in list_unknown(os.environ):
        yield Finding(name, Severity.WARNING, "is not a variable of kns", "see docs/configuration.md for the spelling")
    yield from _check_ingress_settings(settings)
    yield from _check_name_servers(settings)
    yield from _check_files(settings)
    machines: tuple[Machine, ...] = ()
    catalog = CatalogDirectory(settings.catalog_dir)
    try:
        catalog.load()
    except CatalogError as error:
        yield Finding(
            "catalogue", Severity.FAULT, str(error), "see docs/catalogue.md; `kns catalog check` lists every problem"
        )
    else:
        current = catalog.current()
        machines = tuple(machine for machine in current.machines.values() if machine.runs_nested_jobs)
        yield Finding("catalogue", Severity.OK, f"{len(current.apps)} apps, {len(machines)} machines for nested jobs")
    yield from _check_cluster(settings, machines)
    yield from _check_keycloak(settings)


def _check_ingress_settings(settings: Settings) -> Iterator[Finding]:
    """What has no effect beside a Gateway: its owner decides on certificates and addresses."""
    ignored = {
        "JARVICE_JOBS_INGRESS_CLASS": settings.ingress_class,
        "JARVICE_JOBS_INGRESS_ANNOTATIONS": settings.ingress_annotations,
        "JARVICE_JOBS_INGRESS_CERT_SECRET_NAME": settings.ingress_cert_secret,
        "JARVICE_JOBS_INGRESS_CERT_ISSUER": settings.ingress_cert_issuer,
        "JARVICE_JOBS_INGRESS_CERT_CLUSTER_ISSUER": settings.ingress_cert_cluster_issuer,
    }
    for name, value in ignored.items():
        if settings.gateway is not None and value:
            said = "has no effect, because JARVICE_JOBS_GATEWAY is set"
            yield Finding(name, Severity.WARNING, said, "unset one of the two")


def _check_name_servers(settings: Settings) -> Iterator[Finding]:
    if settings.network_policies and not settings.network_name_servers:
        said = "is not set, so jobs reach port 53 of every address, also if they may not reach the internet"
        todo = "set it to the addresses in the nodes' /etc/resolv.conf (docs/operations.md#network)"
        yield Finding("KNS_NAME_SERVERS", Severity.WARNING, said, todo)


def _check_files(settings: Settings) -> Iterator[Finding]:
    """The files of the scheduler's image, and the images that jobs need."""
    todo = "the scheduler's image contains it; outside that image, set the variable to your own file"
    for name, said, there in (
        ("KNS_HELM", settings.helm, shutil.which(settings.helm) is not None),
        ("KNS_VCLUSTER_CHART", str(settings.chart), settings.chart.is_file()),
    ):
        missing = Finding(name, Severity.FAULT, f"{said} does not exist", todo)
        yield Finding(name, Severity.OK, said) if there else missing
    helm = shutil.which(settings.helm)
    if helm is not None and settings.chart.is_file():
        yield _check_chart(settings, helm)
    images = {"JARVICE_KNS_INIT_IMAGE": settings.full_init_image}
    if settings.allow_gotty_shell:
        images["JARVICE_KNS_GOTTY_IMAGE"] = settings.full_gotty_image
    for name, image in images.items():
        if image.startswith("localhost/"):
            said = f"{image} is not in a registry, so it runs only on nodes that already have it"
            yield Finding(name, Severity.WARNING, said, "push it to a registry and use its name there")
        else:
            yield Finding(name, Severity.OK, image)


def _check_chart(settings: Settings, helm: str) -> Finding:
    """The chart's version, and whether its schema accepts the values of a job."""
    check, tried = "vcluster chart", ", ".join(TRIED_CHARTS)
    virtual = build_site(settings, service_cidr=settings.service_cidr or _SAMPLE_CIDR, installation_uid="").virtual
    try:
        version = read_chart_version(settings.chart)
        render_sample(HelmRenderer(helm=helm, chart=settings.chart), virtual)
    except KnsError as error:
        return Finding(check, Severity.FAULT, str(error), f"use the packaged chart of version {tried}")
    said = f"version {version} accepts the values of kns"
    if version not in TRIED_CHARTS:
        todo = f"run a job with it before your users do; this release was tried with {tried}"
        return Finding(check, Severity.WARNING, f"{said}, but this release was not tried with it", todo)
    return Finding(check, Severity.OK, said)


def _check_cluster(settings: Settings, machines: tuple[Machine, ...]) -> Iterator[Finding]:
    administrators = find_administrators_kubeconfig()
    wanted = Wanted(
        namespace=settings.system_namespace,
        account=settings.service_account,
        uses_own_account=administrators is None,
        pod_security=settings.pod_security,
        ingress_class=settings.ingress_class,
        gateway=settings.gateway,
        storage_classes=_list_given(settings.classes_default_storage_class, settings.virtual_storage_class),
        runtime_classes=_list_given(*settings.classes_runtime_classes, settings.virtual_runtime_class),
        priority_classes=_list_given(settings.virtual_priority_class),
        machines=machines,
        image_volumes=settings.image_volumes,
        lists_nodes=settings.free_machines,
    )
    try:
        client = connect(administrators or settings.kubeconfig)
    except KnsError as error:
        yield Finding("host API", Severity.FAULT, str(error), "set KUBECONFIG")
        return
    try:
        yield from check_host(client, wanted)
    finally:
        client.close()


def _list_given(*names: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, names)))


def _check_keycloak(settings: Settings) -> Iterator[Finding]:
    identity = build_identity_provider(settings, SystemClock())
    if identity is None:
        yield Finding("Keycloak", Severity.OK, "is not configured; apps that ask for a Keycloak client are refused")
        return
    try:
        identity.find_client(_NO_SUCH_CLIENT)
    except KnsError as error:
        yield Finding("Keycloak", Severity.FAULT, str(error), "see docs/keycloak.md")
    else:
        yield Finding("Keycloak", Severity.OK, "responds, and the client of kns may read the realm's clients")
