"""The Ingress of a job. It routes to Service `kns-target` in the job's namespace on the host."""

import copy
from collections.abc import Mapping
from typing import Any

from kns.model import names
from kns.model.job.location import Location
from kns.model.site import IngressSettings, JobAddress
from kns.objects.labels import build_meta
from kns.objects.target import PORT

SHELL_PORT = 80
OWN_SERVICES = frozenset({names.TARGET, names.SHELL, names.WAKE})
_OWN_META = ("name", "namespace", "labels", "annotations")


def build_ingress(
    location: Location,
    *,
    address: JobAddress,
    service: str,
    settings: IngressSettings,
    shell: JobAddress | None = None,
    shell_service: str = names.SHELL,
) -> dict[str, Any]:
    """
    Route `address` to `service`, and `shell`, the web shell's address, to the shell's Service.

    The path is not stripped. Without a class the host's default class applies. The administrator's annotations override
    all others. The shell is a second path of the same Ingress, because some controllers allow only one Ingress per host
    name, and because both then share one certificate.
    """
    paths = [_build_path(address.path, service, PORT)]
    services = [service]
    if shell is not None:
        paths.append(_build_path(shell.path, shell_service, SHELL_PORT))
        services = list(dict.fromkeys((service, shell_service)))
    annotations, tls = _build_tls(address.host, settings)
    if "nginx" in (settings.ingress_class or ""):
        annotations["nginx.org/websocket-services"] = ",".join(services)
    annotations |= settings.annotations
    spec: dict[str, Any] = {"rules": [{"host": address.host, "http": {"paths": paths}}]}
    if settings.ingress_class:
        spec["ingressClassName"] = settings.ingress_class
    if tls:
        spec["tls"] = [{"hosts": [address.host], "secretName": tls}]
    meta = build_meta(location.ingress, location)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {**meta, "annotations": annotations} if annotations else meta,
        "spec": spec,
    }


def lead_ingress(
    found: Mapping[str, Any], *, shell_path: str, service: str, shell_service: str
) -> dict[str, Any] | None:
    """
    `found`, an Ingress of a job as the host has it, with other Services of kns behind its paths. All else stays, such
    as a path that somebody added; applied, it belongs to kns from then on. None if it leads to these Services already.
    """
    spec = copy.deepcopy(found["spec"])
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            behind = path["backend"].get("service") or {}
            if behind.get("name") in OWN_SERVICES:
                behind["name"] = shell_service if path.get("path") == shell_path else service
    return change_spec(found, spec, api_version="networking.k8s.io/v1", kind="Ingress")


def change_spec(
    found: Mapping[str, Any], spec: Mapping[str, Any], *, api_version: str, kind: str
) -> dict[str, Any] | None:
    """
    `found`, an object as the host has it, with this spec, as it is applied; None if the spec is the same. Objects from
    the API server's lists have neither kind nor apiVersion.
    """
    if spec == found["spec"]:
        return None
    meta = {key: found["metadata"][key] for key in _OWN_META if key in found["metadata"]}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec}


def _build_path(path: str, service: str, port: int) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": port}}}
    return {"path": path, "pathType": "Prefix", "backend": backend}


def _build_tls(host: str, settings: IngressSettings) -> tuple[dict[str, str], str | None]:
    """Annotations and TLS Secret. With neither, the controller uses its default certificate."""
    if settings.cert_secret:
        return {}, settings.cert_secret
    for kind, issuer in (("issuer", settings.cert_issuer), ("cluster-issuer", settings.cert_cluster_issuer)):
        if issuer:
            return {f"cert-manager.io/{kind}": issuer}, f"tls-{host}"
    return {}, None
