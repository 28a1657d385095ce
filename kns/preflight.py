"""
The wiring of `kns preflight`: settings and catalogue as the scheduler reads them, then the host cluster and Keycloak.

It starts nothing and writes nothing, so it can run beside a scheduler, or before there is one.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import connect
from kns.adapters.kube.preflight import Wanted, check_host
from kns.logs import configure_logging
from kns.model.catalog.catalog import CatalogError
from kns.model.catalog.machine import Machine
from kns.model.errors import KnsError
from kns.model.findings import Finding, Judgement
from kns.settings import Settings, SettingsError, list_unknown, load_settings
from kns.wiring import build_identity_provider

_NO_SUCH_CLIENT = "kns-preflight"


def check_site() -> Iterator[Finding]:
    """Everything, in the order in which a job would meet it; with faulty settings there is nothing else to ask."""
    configure_logging(logging.CRITICAL)  # findings say it all
    try:
        settings = load_settings()
    except SettingsError as error:
        yield from (Finding(name, Judgement.FAULT, said, "see docs/configuration.md") for name, said in error.problems)
        return
    yield Finding("settings", Judgement.OK, "all can be read")
    for name in list_unknown(os.environ):
        yield Finding(name, Judgement.WARNING, "is no variable of kns", "see docs/configuration.md for its spelling")
    yield from _check_files(settings)
    machines: tuple[Machine, ...] = ()
    catalog = CatalogDirectory(settings.catalog_dir)
    try:
        catalog.load()
    except CatalogError as error:
        yield Finding("catalogue", Judgement.FAULT, str(error), "see docs/catalogue.md; `kns catalog check` tells more")
    else:
        current = catalog.current()
        machines = tuple(machine for machine in current.machines.values() if machine.runs_nested_jobs)
        yield Finding("catalogue", Judgement.OK, f"{len(current.apps)} apps, {len(machines)} machines for nested jobs")
    yield from _check_cluster(settings, machines)
    yield from _check_keycloak(settings)


def _check_files(settings: Settings) -> Iterator[Finding]:
    """What the scheduler's image brings along, and the images that jobs need."""
    todo = "it is in the scheduler's image; outside of it, name yours"
    for name, said, there in (
        ("KNS_HELM", settings.helm, shutil.which(settings.helm) is not None),
        ("KNS_VCLUSTER_CHART", str(settings.chart), settings.chart.is_file()),
    ):
        yield Finding(name, Judgement.OK, said) if there else Finding(name, Judgement.FAULT, f"{said}: not there", todo)
    images = {"JARVICE_KNS_INIT_IMAGE": settings.full_init_image}
    if settings.allow_gotty_shell:
        images["JARVICE_KNS_GOTTY_IMAGE"] = settings.full_gotty_image
    for name, image in images.items():
        if image.startswith("localhost/"):
            said = f"{image} is in no registry, so only nodes that have it can run it"
            yield Finding(name, Judgement.WARNING, said, "name the image in your registry")
        else:
            yield Finding(name, Judgement.OK, image)


def _check_cluster(settings: Settings, machines: tuple[Machine, ...]) -> Iterator[Finding]:
    administrators = _find_kubeconfig()
    wanted = Wanted(
        namespace=settings.system_namespace,
        account=settings.service_account,
        asks_itself=administrators is None,
        pod_security=settings.pod_security,
        ingress_class=settings.ingress_class,
        storage_classes=tuple(
            name for name in (settings.default_storage_class, settings.vcluster_storage_class) if name
        ),
        runtime_classes=settings.runtime_classes,
        machines=machines,
    )
    try:
        client = connect(administrators or settings.kubeconfig)
    except KnsError as error:
        yield Finding("host API", Judgement.FAULT, str(error), "set KUBECONFIG")
        return
    try:
        yield from check_host(client, wanted)
    finally:
        client.close()


def _find_kubeconfig() -> Path | None:
    """The first file of KUBECONFIG, an administrator's: kns itself never reads that variable."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else None


def _check_keycloak(settings: Settings) -> Iterator[Finding]:
    identity = build_identity_provider(settings, SystemClock())
    if identity is None:
        yield Finding("Keycloak", Judgement.OK, "is not configured: apps that ask for a client are refused")
        return
    try:
        identity.find_client(_NO_SUCH_CLIENT)
    except KnsError as error:
        yield Finding("Keycloak", Judgement.FAULT, str(error), "see docs/keycloak.md")
    else:
        yield Finding("Keycloak", Judgement.OK, "answers, and kns's client may see the realm's clients")
