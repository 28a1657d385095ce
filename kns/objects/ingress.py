"""The Ingress that leads to a job's target Service, in the job's own namespace on the host."""

from typing import Any

from kns.model import names
from kns.model.site import IngressSettings, JobAddress
from kns.objects.labels import build_meta

SHELL_PORT = 80


def build_ingress(
    number: int,
    *,
    address: JobAddress,
    service: str,
    port: int,
    settings: IngressSettings,
    shell: JobAddress | None = None,
) -> dict[str, Any]:
    """
    `service` is the host-side name of the target; without a class the host's default class serves.

    The path is not stripped on the way. The administrator's annotations come last and win. `shell` is the address of
    the job's web shell: a second path here and not an Ingress of its own, because some controllers give a host to one
    Ingress only, and so that one certificate serves both.
    """
    paths = [_build_path(address.path, service, port)]
    services = [service]
    if shell is not None:
        paths.append(_build_path(shell.path, names.SHELL, SHELL_PORT))
        services.append(names.SHELL)
    annotations, tls = _build_tls(address.host, settings)
    if "nginx" in (settings.ingress_class or ""):
        annotations["nginx.org/websocket-services"] = ",".join(services)
    annotations |= settings.annotations
    spec: dict[str, Any] = {"rules": [{"host": address.host, "http": {"paths": paths}}]}
    if settings.ingress_class:
        spec["ingressClassName"] = settings.ingress_class
    if tls:
        spec["tls"] = [{"hosts": [address.host], "secretName": tls}]
    meta = build_meta(names.job_object_name(number), number)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {**meta, "annotations": annotations} if annotations else meta,
        "spec": spec,
    }


def _build_path(path: str, service: str, port: int) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": port}}}
    return {"path": path, "pathType": "Prefix", "backend": backend}


def _build_tls(host: str, settings: IngressSettings) -> tuple[dict[str, str], str | None]:
    """Annotations and TLS Secret; with neither the controller's own default certificate serves."""
    if settings.cert_secret:
        return {}, settings.cert_secret
    for kind, issuer in (("issuer", settings.cert_issuer), ("cluster-issuer", settings.cert_cluster_issuer)):
        if issuer:
            return {f"cert-manager.io/{kind}": issuer}, f"tls-{host}"
    return {}, None
