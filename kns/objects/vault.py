"""
A job's NFS vault: the storage class inside, and on the host one PersistentVolume for each claim of it.

A volume is pinned to its claim by uid, so nobody else's claim can ever bind it, and it is retained: neither kns nor
Kubernetes removes a file of a vault.
"""

from collections.abc import Mapping
from typing import Any

from kns.model import names
from kns.model.catalog.vault import AcceptedVault
from kns.objects.labels import build_labels

CSI_DRIVER = "nfs.csi.k8s.io"
COMPONENT = "vault"


def build_vault_class(vault: AcceptedVault) -> dict[str, Any]:
    """
    The class inside. Its claims reach the host with its name; what it says of server and share is for people, and kns
    never reads it back.
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
    number: int, vault: AcceptedVault, claim: Mapping[str, Any], *, csi: bool, installation: str, record_uid: str
) -> dict[str, Any]:
    """
    The volume of one claim on the host: size and access modes are the claim's (NFS knows no sizes, and a volume that
    offers less does not match), all else is the vault's. With `csi` the NFS driver mounts it, else the kubelet.
    """
    meta, spec = claim["metadata"], claim["spec"]
    name = names.vault_volume(number, meta["uid"])
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "labels": {**build_labels(number, COMPONENT), names.INSTALLATION_LABEL: installation},
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
