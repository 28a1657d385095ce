"""
A job's NFS vault: a storage class in the virtual cluster, and one PersistentVolume on the host for each claim on it.

A volume names the uid of its claim, so no other claim can bind it. Its reclaim policy is Retain: neither kns nor
Kubernetes ever deletes a file of a vault.
"""

from collections.abc import Mapping
from typing import Any

from kns.model import names
from kns.model.catalog.vault import AcceptedVault
from kns.model.job.location import Location
from kns.objects.labels import build_labels

CSI_DRIVER = "nfs.csi.k8s.io"
COMPONENT = "vault"


def build_vault_class(vault: AcceptedVault) -> dict[str, Any]:
    """
    The class in the virtual cluster. Copied claims keep its name. Server and share are for people; kns never reads them
    back.
    """
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": vault.storage_class, "labels": {names.MANAGED_BY_LABEL: "kns"}},
        "provisioner": CSI_DRIVER,
        "parameters": {"server": vault.server, "share": vault.share},
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
        **_build_mount_options(vault),
    }


def build_vault_volume(
    location: Location, vault: AcceptedVault, claim: Mapping[str, Any], *, csi: bool, installation: str, record_uid: str
) -> dict[str, Any]:
    """
    The volume for one claim, given as the claim's copy on the host.

    Size and access modes come from the claim, because a volume that offers less would not be bound. The rest comes from
    the vault. With `csi` the NFS driver mounts the volume, else the kubelet does.
    """
    meta, spec = claim["metadata"], claim["spec"]
    name = location.vault_volume(meta["uid"])
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "labels": {**build_labels(location, COMPONENT), names.INSTALLATION_LABEL: installation},
            "annotations": {names.RECORD_UID_ANNOTATION: record_uid},
        },
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": list(spec["accessModes"]),
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": vault.storage_class,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            **_build_mount_options(vault),
            **(_build_csi_source(name, vault) if csi else _build_nfs_source(vault)),
        },
    }


def _build_mount_options(vault: AcceptedVault) -> dict[str, Any]:
    return {"mountOptions": ["ro"]} if vault.readonly else {}


def _build_nfs_source(vault: AcceptedVault) -> dict[str, Any]:
    return {"nfs": {"server": vault.server, "path": vault.share, "readOnly": vault.readonly}}


def _build_csi_source(name: str, vault: AcceptedVault) -> dict[str, Any]:
    return {
        "csi": {
            "driver": CSI_DRIVER,
            "volumeHandle": name,
            "volumeAttributes": {"server": vault.server, "share": vault.share},
            "readOnly": vault.readonly,
        }
    }
