"""The Ingress that leads to a job's target Service, in the job's own namespace on the host."""

from typing import Any

from kns.model import names
from kns.objects.labels import build_meta


def build_ingress(number: int, *, host: str, service: str, port: int, ingress_class: str | None) -> dict[str, Any]:
    """`service` is the host-side name of the target; without a class the host's default class serves."""
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": port}}}}
    spec: dict[str, Any] = {"rules": [{"host": host, "http": {"paths": [path]}}]}
    if ingress_class:
        spec["ingressClassName"] = ingress_class
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": build_meta(names.job_object_name(number), number),
        "spec": spec,
    }
