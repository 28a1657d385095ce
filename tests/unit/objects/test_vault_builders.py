"""The objects of a vault: the class inside, and the volume of a claim on the host."""

from typing import Any

import pytest

from kns.model.catalog.vault import AcceptedVault
from kns.objects.vault import build_vault_class, build_vault_volume
from tests.builders import a_location

CLAIM = {
    "metadata": {
        "name": "data-x-lab-x-kns-job-7",
        "namespace": "kns-job-7",
        "uid": "u-1",
        "labels": {"kns.io/job": "8"},
        "annotations": {"nfs": "evil.example.org"},
    },
    "spec": {
        "storageClassName": "user1-data",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
        "selector": {"matchLabels": {"a": "b"}},
    },
}


def a_vault(**changes: Any) -> AcceptedVault:
    return AcceptedVault(**{"server": "10.0.0.1", "share": "/home/ana", "storage_class": "user1-data", **changes})


@pytest.mark.parametrize(("readonly", "options"), [(False, {}), (True, {"mountOptions": ["ro"]})])
def test_the_class_inside(readonly: bool, options: dict[str, Any]) -> None:
    """Contract C.5. Never the default class; the site configures that."""
    assert build_vault_class(a_vault(readonly=readonly)) == {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "user1-data", "labels": {"app.kubernetes.io/managed-by": "kns"}},
        "provisioner": "nfs.csi.k8s.io",
        "parameters": {"server": "10.0.0.1", "share": "/home/ana"},
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
        **options,
    }


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("csi", [False, True], ids=["kubelet", "driver"])
def test_the_volume_of_a_claim(readonly: bool, csi: bool) -> None:
    """It takes only identity, size and access modes from the claim."""
    source: dict[str, Any] = {"nfs": {"server": "10.0.0.1", "path": "/home/ana", "readOnly": readonly}}
    if csi:
        source = {
            "csi": {
                "driver": "nfs.csi.k8s.io",
                "volumeHandle": "kns-job-7-u-1",
                "volumeAttributes": {"server": "10.0.0.1", "share": "/home/ana"},
                "readOnly": readonly,
            }
        }
    assert build_vault_volume(
        a_location(), a_vault(readonly=readonly), CLAIM, csi=csi, installation="kns-system", record_uid="r-1"
    ) == {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "kns-job-7-u-1",
            "labels": {
                "app.kubernetes.io/managed-by": "kns",
                "kns.io/job": "7",
                "kns.io/component": "vault",
                "kns.io/installation": "kns-system",
            },
            "annotations": {"kns.io/record-uid": "r-1"},
        },
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "user1-data",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": "kns-job-7",
                "name": "data-x-lab-x-kns-job-7",
                "uid": "u-1",
            },
            **({"mountOptions": ["ro"]} if readonly else {}),
            **source,
        },
    }
