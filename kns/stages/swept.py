"""
What the sweeper looks for: job namespaces, and everything that kns makes outside of them.

Every stage that makes such an object removes it, too; the sweeper finds what a lost deletion left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kns.logs import get_logger
from kns.model import names
from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.member import is_member
from kns.ports import Kind, Object, World
from kns.stages.orphans import Find, Installation, Owner, SweptKind
from kns.stages.tenant import OWN_GRACE_S

log = get_logger(__name__)

_BY_KNS = f"{names.MANAGED_BY_LABEL}=kns"
_JOBS_BY_KNS = f"{names.JOB_LABEL},{_BY_KNS}"


def read_namespace(obj: Object, installation: Installation) -> Find | None:
    """A job's namespace; None for any other namespace. The pool removes its own members (`kns.engine.pool`)."""
    meta = obj["metadata"]
    if not _is_made_by_kns(meta) or not names.is_job_object_name(meta["name"]) or is_member(obj):
        return None
    return _read(NAMESPACE, meta, owner=_owner(meta, installation), record_uid=_record_uid(meta))


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
        return _read(VOLUME, meta, owner=_owner(meta, installation), record_uid=_record_uid(meta))
    if (obj.get("status") or {}).get("phase") == "Released":
        return _read(VOLUME, meta, owner=Owner.UNKNOWN, record_uid=None)
    return None


def read_secret(obj: Object) -> Find | None:
    """
    The Secret with a record's tokens, output or inputs, in kns's own namespace; None for any other Secret.

    The inputs are stored before the record, so they may have no owner, and nobody reads them after the job's end.
    """
    meta = obj["metadata"]
    owners = [ref["uid"] for ref in meta.get("ownerReferences") or () if _is_record(ref)]
    if not owners and not _is_made_by_kns(meta):
        return None
    find = _read(SECRET, meta, owner=Owner.US, record_uid=owners[0] if owners else None)
    label = str((meta.get("labels") or {}).get(names.JOB_LABEL))
    if label.isdecimal() and meta["name"] == names.job_inputs(int(label)):
        return find if owners else replace(find, number=int(label))
    return replace(find, stays_with_record=True)


def read_client(client: Object, installation: Installation) -> Find | None:
    """A job's client in the realm, which other clusters may share; None for any other client."""
    attributes = client.get("attributes") or {}
    record_uid = attributes.get(names.KEYCLOAK_OWNER_ATTRIBUTE)
    if record_uid is None or not names.is_job_object_name(client["clientId"]):
        return None
    mark = attributes.get(names.KEYCLOAK_INSTALLATION_ATTRIBUTE)
    owner = _compare(mark, installation.uid)
    return Find(kind=CLIENT, name=client["clientId"], key=client["id"], owner=owner, record_uid=record_uid)


def _read(kind: SweptKind, meta: Mapping[str, Any], *, owner: Owner, record_uid: str | None) -> Find:
    return Find(
        kind=kind,
        name=meta["name"],
        key=meta["uid"],
        owner=owner,
        record_uid=record_uid,
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


def _list_namespaces(world: World, installation: Installation) -> Iterable[Find]:
    found = world.cluster.list_metadata(Kind.NAMESPACE, "", _JOBS_BY_KNS)
    return filter(None, (read_namespace(obj, installation) for obj in found))


def _list_volumes(world: World, installation: Installation) -> Iterable[Find]:
    """Volumes without kns's metadata are only reported, and only if their job's namespace is gone."""
    for obj in world.cluster.walk_objects(Kind.PERSISTENT_VOLUME):
        find = read_volume(obj, installation)
        if find is None:
            continue
        namespace = obj["spec"]["claimRef"]["namespace"]
        if find.record_uid is not None or world.cluster.observe(Kind.NAMESPACE, "", namespace) is None:
            yield find


def _list_secrets(world: World, installation: Installation) -> Iterable[Find]:
    return filter(None, map(read_secret, world.cluster.list_metadata(Kind.SECRET, installation.namespace, _BY_KNS)))


def _list_clients(world: World, installation: Installation) -> Iterable[Find]:
    found = world.identity.list_clients(names.JOB_PREFIX) if world.identity else ()
    return filter(None, (read_client(client, installation) for client in found))


def _delete_namespace(world: World, _installation: Installation, find: Find) -> None:
    """The tenant's pods first, as in `kns.stages.namespace.remove`; nobody knows the job's grace period any more."""
    found = world.cluster.read(Kind.NAMESPACE, "", find.name)
    if found is not None and found["metadata"]["uid"] == find.key:
        try:
            world.cluster.delete_pods(find.name, names.SYNCED_LABEL, grace_s=OWN_GRACE_S)
        except (ForbiddenError, RefusedError) as error:  # after another error the next sweep tries again
            log.warning("pods_not_ended", namespace=find.name, error=str(error))
    world.cluster.delete(Kind.NAMESPACE, "", find.name, uid=find.key)


def _delete_volume(world: World, _installation: Installation, find: Find) -> None:
    world.cluster.delete(Kind.PERSISTENT_VOLUME, "", find.name, uid=find.key)


def _delete_secret(world: World, installation: Installation, find: Find) -> None:
    world.cluster.delete(Kind.SECRET, installation.namespace, find.name, uid=find.key)


def _delete_client(world: World, _installation: Installation, find: Find) -> None:
    if world.identity is not None:
        world.identity.delete_client(find.key)


NAMESPACE = SweptKind(name="Namespace", list_all=_list_namespaces, delete=_delete_namespace, one_per_job=True)
VOLUME = SweptKind(name="PersistentVolume", list_all=_list_volumes, delete=_delete_volume)
SECRET = SweptKind(name="Secret", list_all=_list_secrets, delete=_delete_secret)
CLIENT = SweptKind(name="KeycloakClient", list_all=_list_clients, delete=_delete_client)

SWEPT = (NAMESPACE, VOLUME, SECRET, CLIENT)
