"""
Which objects can be orphans, who owns them, and whether they are orphans. Pure: no calls, no clock.

An object is removed only if its own metadata says that kns made it, for which installation and for which record, and if
that record does not exist or says that everything of its job was removed. An object without one of the three is
reported and stays. The record is identified by its uid, because numbers and names can be used twice and uids cannot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from kns.model import names
from kns.model.job.conditions import ConditionType
from kns.model.job.job import Job
from kns.ports import Kind, Object


class Swept(StrEnum):
    """The kinds that the sweeper lists: job namespaces, and the objects that kns makes outside of them."""

    NAMESPACE = Kind.NAMESPACE.value
    VOLUME = Kind.PERSISTENT_VOLUME.value
    SECRET = Kind.SECRET.value
    CLIENT = "KeycloakClient"


class Owner(StrEnum):
    """The installation that owns an object, according to its metadata."""

    US = "us"
    OTHERS = "others"
    UNKNOWN = "unknown"


class Judgement(StrEnum):
    KEEP = "keep"
    ORPHAN = "orphan"
    UNMARKED = "unmarked"  # its record does not exist, but nothing proves that this installation made it


@dataclass(frozen=True, slots=True)
class Installation:
    """Identifies this installation: within its cluster by `namespace`, among all clusters by that namespace's `uid`."""

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """
    One object that may be an orphan.

    Deletion is bound to `key` (the uid; in Keycloak the id). `created` is None if the kind has no creation time.
    `terminating`: its deletion was requested already.
    """

    kind: Swept
    name: str
    key: str
    owner: Owner
    record_uid: str | None
    created: datetime | None = None
    terminating: bool = False


def judge(find: Find, job: Job | None) -> Judgement:
    """`job` is the job of `find.record_uid`; None if there is no such record."""
    if find.owner is Owner.OTHERS:
        return Judgement.KEEP
    if job is not None:
        # The record is one of this installation, so the object is, too. Secrets stay as long as the record.
        removed = job.status.is_true(ConditionType.REMOVED) and find.kind is not Swept.SECRET
        return Judgement.ORPHAN if removed else Judgement.KEEP
    if find.owner is Owner.US and find.record_uid is not None:
        return Judgement.ORPHAN
    return Judgement.UNMARKED


def read_namespace(obj: Object, installation: Installation) -> Find | None:
    """A job's namespace; None for any other namespace."""
    meta = obj["metadata"]
    if not _is_made_by_kns(meta) or not names.is_job_object_name(meta["name"]):
        return None
    return _read(Swept.NAMESPACE, meta, owner=_owner(meta, installation), record_uid=_record_uid(meta))


def read_volume(obj: Object, installation: Installation) -> Find | None:
    """
    A volume of a vault, or one that a provisioner left behind for a job; None for any other volume.

    Labels alone prove nothing: provisioners copy them from tenants' claims. So the name must match, too.
    """
    meta, ref = obj["metadata"], obj["spec"].get("claimRef") or {}
    namespace = ref.get("namespace") or ""
    if not names.is_job_object_name(namespace):
        return None
    if _is_made_by_kns(meta) and meta["name"] == names.vault_volume(namespace, str(ref.get("uid"))):
        return _read(Swept.VOLUME, meta, owner=_owner(meta, installation), record_uid=_record_uid(meta))
    if (obj.get("status") or {}).get("phase") == "Released":
        return _read(Swept.VOLUME, meta, owner=Owner.UNKNOWN, record_uid=None)
    return None


def read_secret(obj: Object) -> Find | None:
    """The Secret with a record's tokens or output, in kns's own namespace; None for any other Secret."""
    meta = obj["metadata"]
    owners = [ref["uid"] for ref in meta.get("ownerReferences") or () if _is_record(ref)]
    if not owners and not _is_made_by_kns(meta):
        return None
    return _read(Swept.SECRET, meta, owner=Owner.US, record_uid=owners[0] if owners else None)


def read_client(client: Object, installation: Installation) -> Find | None:
    """A job's client in the realm, which other clusters may share; None for any other client."""
    attributes = client.get("attributes") or {}
    record_uid = attributes.get(names.KEYCLOAK_OWNER_ATTRIBUTE)
    if record_uid is None or not names.is_job_object_name(client["clientId"]):
        return None
    mark = attributes.get(names.KEYCLOAK_INSTALLATION_ATTRIBUTE)
    owner = _compare(mark, installation.uid)
    return Find(kind=Swept.CLIENT, name=client["clientId"], key=client["id"], owner=owner, record_uid=record_uid)


def _read(kind: Swept, meta: Mapping[str, Any], *, owner: Owner, record_uid: str | None) -> Find:
    return Find(
        kind=kind,
        name=meta["name"],
        key=meta["uid"],
        owner=owner,
        record_uid=record_uid,
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        terminating=meta.get("deletionTimestamp") is not None,
    )


def _is_made_by_kns(meta: Mapping[str, Any]) -> bool:
    labels = meta.get("labels") or {}
    return labels.get(names.MANAGED_BY_LABEL) == "kns" and names.JOB_LABEL in labels


def _is_record(ref: Mapping[str, Any]) -> bool:
    return (ref["kind"], str(ref["apiVersion"]).partition("/")[0]) == (names.RECORD_KIND, names.GROUP)


def _owner(meta: Mapping[str, Any], installation: Installation) -> Owner:
    return _compare((meta.get("labels") or {}).get(names.INSTALLATION_LABEL), installation.namespace)


def _compare(mark: str | None, ours: str) -> Owner:
    if mark is None:
        return Owner.UNKNOWN
    return Owner.US if mark == ours else Owner.OTHERS


def _record_uid(meta: Mapping[str, Any]) -> str | None:
    uid = (meta.get("annotations") or {}).get(names.RECORD_UID_ANNOTATION)
    return None if uid is None else str(uid)
