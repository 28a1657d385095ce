"""
The Kustomize overlay that installs kns: manifests/ unchanged, plus image, settings and catalogue. Pure.

An overlay for your own site has the same parts.
"""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from demo.images import OurImages
from demo.target import MANIFESTS, Target
from testbed import layout

NAMESPACE = "kns-system"
DEPLOYMENT = "jarvice-kns-scheduler"
IMAGE_IN_MANIFESTS = "localhost/kns-scheduler"
REALM_PUBLIC_KEY = "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY"


def build_config(target: Target, images: OurImages, *, realm_public_key: str) -> dict[str, str]:
    """
    The scheduler's settings for this cluster. Settings of the user have priority. `realm_public_key` is the key of the
    demo's realm.
    """
    config = {
        "JARVICE_JOBS_DOMAIN": target.jobs_domain,
        "JARVICE_JOBS_INGRESS_CLASS": target.ingress_class,
        "JARVICE_KNS_INIT_IMAGE": images.init,
        "JARVICE_KNS_ALLOW_GOTTY_SHELL": "true",
        "JARVICE_KNS_GOTTY_IMAGE": images.shell,
        "KNS_CLUSTER_GATEWAY": "all",
        REALM_PUBLIC_KEY: realm_public_key,
    }
    if target.is_testbed:
        # The testbed has one version. An image that is missing in its registry does not appear later.
        config |= {
            "KNS_KUBERNETES_VERSIONS": layout.KUBERNETES_VERSION,
            "KNS_INIT_STUCK_LIMIT": "30",
            "KNS_LIVE_JOBS_PER_USER": "0",  # tests and measurements run many jobs of one account
            "JARVICE_KNS_DEFAULT_STORAGE_CLASS": layout.STORAGE_CLASS,
        }
    return {**config, **target.overrides}


def build_overlay(
    folder: Path, *, config: Mapping[str, str], images: OurImages, catalog: Mapping[str, Any]
) -> dict[str, str]:
    """
    The files of the overlay by name, for `kubectl apply -k folder`. `catalog` is the Secret.
    """
    documents: dict[str, Any] = {
        "kustomization.yaml": {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            # Kustomize does not accept absolute paths.
            "resources": [os.path.relpath(MANIFESTS.resolve(), folder.resolve()), "catalog.yaml"],
            "images": [split_image(images.scheduler)],
            "patches": [{"path": "config.yaml"}, {"path": "restart.yaml"}],
        },
        "catalog.yaml": dict(catalog),
        "config.yaml": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kns-config", "namespace": NAMESPACE},
            "data": dict(config),
        },
        "restart.yaml": _build_restart(config, catalog),
    }
    return {name: yaml.safe_dump(document, sort_keys=False, width=120) for name, document in documents.items()}


def _build_restart(config: Mapping[str, str], catalog: Mapping[str, Any]) -> dict[str, Any]:
    """
    A patch that restarts the Deployment when its settings or its catalogue changed. Without a restart, a mounted Secret
    is updated only after a minute.
    """
    content = json.dumps([dict(config), dict(catalog)], sort_keys=True)
    annotations = {"demo.kns.io/inputs": sha256(content.encode()).hexdigest()[:16]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    }


def split_image(reference: str) -> dict[str, str]:
    """
    The entry of Kustomize's `images` for the scheduler.

    >>> split_image("registry.example.org:5000/team/kns-scheduler:0.2.0")["newTag"]
    '0.2.0'
    >>> split_image("localhost/kns-scheduler@sha256:ab")["digest"]
    'sha256:ab'
    """
    name, at, digest = reference.partition("@")
    if at:
        return {"name": IMAGE_IN_MANIFESTS, "newName": name, "digest": digest}
    name, _, tag = reference.rpartition(":")
    return {"name": IMAGE_IN_MANIFESTS, "newName": name, "newTag": tag}
