"""The mounts of a job: the Launcher's words to volumes of Kubernetes."""

from collections.abc import Mapping
from typing import Any

from kns.launcher.fields import Json, check_reported, describe_type, read_objects, read_text, read_texts
from kns.model.errors import InvalidInputError
from kns.plain.job import Mount


def read_mounts(data: Json) -> tuple[Mount, ...]:
    """
    The mounts, as Kubernetes volumes.

    Raises:
        InvalidInputError: a mount without path or of an unknown type.
    """
    mounts = []
    check_reported(read_objects(data, "mounts"), "mounts")
    for index, item in enumerate(read_objects(data, "mounts")):
        where = f"mounts[{index}]"
        path = read_text(item, "mountPath", path=f"{where}.mountPath")
        if not path.startswith("/"):
            raise InvalidInputError(f"{where}.mountPath", f"{path!r} is not an absolute path in the container")
        read_only = item.get("readOnly", False)
        if not isinstance(read_only, bool):
            raise InvalidInputError(f"{where}.readOnly", f"is {describe_type(read_only)}; write true or false")
        volume = _read_volume(item, where, read_only=read_only)
        sub_path = ""
        if isinstance(item.get("source"), dict):
            sub_path = read_text(item["source"], "subPath", path=f"{where}.source.subPath")
        mounts.append(Mount(path=path, volume=volume, read_only=read_only, sub_path=sub_path, given=dict(item)))
    return tuple(mounts)


# What the documents call the fields of a source, and what Kubernetes calls them: (Launcher, Kubernetes, required).
_SOURCES: Mapping[str, tuple[str, tuple[tuple[str, str, bool], ...]]] = {
    "host": ("hostPath", (("path", "path", True),)),
    "nfs": ("nfs", (("host", "server", True), ("path", "path", True))),
    "azureFile": ("azureFile", (("secretName", "secretName", True), ("shareName", "shareName", True))),
    "glusterFs": ("glusterfs", (("endpoints", "endpoints", True), ("path", "path", True))),
    "cephFs": ("cephfs", (("path", "path", False), ("user", "user", False), ("secretFile", "secretFile", False))),
}
_CLAIM_TYPES = ("passthrough", "pvc", "persistentVolumeClaim")
_PASSED = frozenset(
    {"persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "downwardAPI", "csi", "ephemeral",
     "hostPath", "nfs", "iscsi", "image"}
)  # fmt: skip


def _read_volume(item: Json, where: str, *, read_only: bool) -> dict[str, Any]:
    kind = read_text(item, "type", path=f"{where}.type")
    source = item.get("source")
    if not isinstance(source, dict):
        raise InvalidInputError(f"{where}.source", f"is {describe_type(source)}; write an object")
    if kind in _SOURCES:
        return _build_source(kind, source, where, read_only=read_only)
    if kind in _CLAIM_TYPES:
        return _read_passed(kind, source, where, read_only=read_only)
    known = ", ".join(sorted((*_SOURCES, *_CLAIM_TYPES)))
    raise InvalidInputError(f"{where}.type", f"{kind!r} is not supported; use one of {known}")


def _build_source(kind: str, source: Json, where: str, *, read_only: bool) -> dict[str, Any]:
    name, fields = _SOURCES[kind]
    volume: dict[str, Any] = {}
    for given, kubernetes, required in fields:
        value = read_text(source, given, path=f"{where}.source.{given}")
        if required and not value:
            raise InvalidInputError(f"{where}.source.{given}", f"is required for a mount of the type {kind}")
        if value:
            volume[kubernetes] = value
    if kind == "cephFs":
        volume["monitors"] = list(read_texts(source, "monitors"))
        if not volume["monitors"]:
            raise InvalidInputError(f"{where}.source.monitors", "is required for a mount of the type cephFs")
        # A name, or Kubernetes' own object with one.
        reference = source.get("secretRef")
        holder, key = (reference, "name") if isinstance(reference, dict) else (source, "secretRef")
        if secret := read_text(holder, key, path=f"{where}.source.secretRef"):
            volume["secretRef"] = {"name": secret}
    if read_only and kind != "host":  # a hostPath has no such field; the mount has it
        volume["readOnly"] = True
    return {name: volume}


def _read_passed(kind: str, source: Json, where: str, *, read_only: bool) -> dict[str, Any]:
    """A claim by name, or a volume in Kubernetes' own words."""
    claim = source.get("claimName")
    if isinstance(claim, str) and claim:
        return {"persistentVolumeClaim": {"claimName": claim, **({"readOnly": True} if read_only else {})}}
    words = {key: value for key, value in source.items() if key not in ("subPath", "name")}
    if kind != "passthrough" or len(words) != 1 or not words.keys() <= _PASSED:
        allowed = ", ".join(sorted(_PASSED))
        raise InvalidInputError(
            f"{where}.source",
            f"has neither claimName nor, for passthrough, exactly one volume of Kubernetes: {allowed}",
        )
    ((name, value),) = words.items()
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where}.source.{name}", f"is {describe_type(value)}; write an object")
    return {name: value}
