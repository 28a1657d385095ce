"""Objects that kns makes inside a virtual cluster: the app's information about its job, and the host's classes."""

import base64
from collections.abc import Mapping
from typing import Any

from kns.model import names

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_STORAGE_KEYS = (
    "provisioner",
    "parameters",
    "reclaimPolicy",
    "mountOptions",
    "volumeBindingMode",
    "allowVolumeExpansion",
    "allowedTopologies",
)
_RUNTIME_KEYS = ("handler", "overhead", "scheduling")
_LABELS = {names.MANAGED_BY_LABEL: "kns"}


def build_job_info(
    namespace: str,
    *,
    public: Mapping[str, str],
    secret: Mapping[str, str],
    mark: str = "",
) -> list[dict[str, Any]]:
    """
    ConfigMap and Secret `kns-job` (contract C.6) for one namespace.

    `mark` becomes the annotation of the Secret that the init pod waits for (`objects/plan.py`).
    """
    meta = {"name": names.JOB_INFO, "namespace": namespace, "labels": _LABELS}
    marked = {**meta, "annotations": {names.RECORD_UID_ANNOTATION: mark}} if mark else meta
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": dict(public)},
        {"apiVersion": "v1", "kind": "Secret", "metadata": marked, "stringData": dict(secret)},
    ]


def build_pull_secret(namespace: str, config: str, *, labels: Mapping[str, str] = _LABELS) -> dict[str, Any]:
    """`config`: a dockerconfigjson document."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": names.PULL_SECRET, "namespace": namespace, "labels": dict(labels)},
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }


def build_default_storage_class(host: Mapping[str, Any]) -> dict[str, Any]:
    """The host's class as the default class. It keeps its name, because the host binds the copied claims by it."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": host["metadata"]["name"], "labels": _LABELS, "annotations": {_DEFAULT_CLASS: "true"}},
        **{key: host[key] for key in _STORAGE_KEYS if key in host},
    }


def build_runtime_class(host: Mapping[str, Any]) -> dict[str, Any]:
    """The host's class. It keeps its name, because copied pods refer to the host's class by it."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": host["metadata"]["name"], "labels": _LABELS},
        **{key: host[key] for key in _RUNTIME_KEYS if key in host},
    }
