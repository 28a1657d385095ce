"""
What could be an orphan, as far as objects tell whose they are; and the verdict on it. Pure: no calls, no clock.

An object is removed only if it says three things itself: that kns made it, for which installation, and for which
record; and if that record is gone, or says that everything of its job was removed. What lacks one of the three is told
of and stays. The uid decides, never a number or a name: those are somebody else's too, a uid is never given twice.
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
    """What kns makes outside of job namespaces, and these."""

    NAMESPACE = Kind.NAMESPACE.value
    VOLUME = Kind.PERSISTENT_VOLUME.value
    SECRET = Kind.SECRET.value
    CLIENT = "KeycloakClient"


class Owner(StrEnum):
    """Whose an object is by its mark."""

    US = "us"
    OTHERS = "others"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    KEEP = "keep"
    ORPHAN = "orphan"
    UNMARKED = "unmarked"  # of no record that is there, but nothing proves that it is ours


@dataclass(frozen=True, slots=True)
class Installation:
    """Which of all kns this is: `namespace` within its cluster, `uid` of that namespace among all clusters."""

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """
    One object that may be an orphan.

    `key` is what deletion is bound to (uid, in Keycloak the id); `created` is None where nobody keeps it; `going` says
    that its deletion was asked for already.
    """

    kind: Swept
    name: str
    key: str
    owner: Owner
    record_uid: str | None
    created: datetime | None = None
    going: bool = False


def judge(find: Find, job: Job | None) -> Verdict:
    """`job` is that of the record which `find` names; None if there is none (any more)."""
    if find.owner is Owner.OTHERS:
        return Verdict.KEEP
    if job is not None:
        # A record of ours names it, so it is ours with or without a mark. Secrets stay as long as the record does.
        removed = job.status.is_true(ConditionType.REMOVED) and find.kind is not Swept.SECRET
        return Verdict.ORPHAN if removed else Verdict.KEEP
    if find.owner is Owner.US and find.record_uid is not None:
        return Verdict.ORPHAN
    return Verdict.UNMARKED


def read_namespace(obj: Object, installation: Installation) -> Find | None:
    """A job's namespace; None for any other."""
    meta = obj["metadata"]
    if not _is_made_by_kns(meta) or names.read_job_number(meta["name"]) is None:
        return None
    return _read(Swept.NAMESPACE, meta, owner=_owner(meta, installation), record_uid=_record_uid(meta))


def read_volume(obj: Object, installation: Installation) -> Find | None:
    """
    The volume of a vault, or one that a provisioner left behind for a job; None for any other.

    A label alone proves nothing here: a provisioner may have copied it from a tenant's claim. So the name counts, too.
    """
    meta, ref = obj["metadata"], obj["spec"].get("claimRef") or {}
    number = names.read_job_number(ref.get("namespace") or "")
    if number is None:
        return None
    if _is_made_by_kns(meta) and meta["name"] == names.vault_volume(number, str(ref.get("uid"))):
        return _read(Swept.VOLUME, meta, owner=_owner(meta, installation), record_uid=_record_uid(meta))
    if (obj.get("status") or {}).get("phase") == "Released":
        return _read(Swept.VOLUME, meta, owner=Owner.UNKNOWN, record_uid=None)
    return None


def read_secret(obj: Object) -> Find | None:
    """A record's tokens or output, in kns's own namespace; None for any other."""
    meta = obj["metadata"]
    owners = [ref["uid"] for ref in meta.get("ownerReferences") or () if _is_record(ref)]
    if not owners and not _is_made_by_kns(meta):
        return None
    return _read(Swept.SECRET, meta, owner=Owner.US, record_uid=owners[0] if owners else None)


def read_client(client: Object, installation: Installation) -> Find | None:
    """A job's client in the realm, which may be shared with other clusters; None for any other."""
    attributes = client.get("attributes") or {}
    record_uid = attributes.get(names.KEYCLOAK_OWNER_ATTRIBUTE)
    if record_uid is None or names.read_job_number(client["clientId"]) is None:
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
        going=meta.get("deletionTimestamp") is not None,
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
