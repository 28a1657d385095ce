"""To which job the objects of the watch caches belong, and the values by which they are found for it."""

from kns.adapters.kube.kinds import KINDS
from kns.model import names
from kns.model.job.member import read_member
from kns.ports import Kind, Object


def namespace_of(kind: Kind, obj: Object) -> str:
    """The job's namespace that an object belongs to. It is not taken from labels, because tenants control them."""
    meta = obj["metadata"]
    if KINDS[kind].namespaced:
        return str(meta.get("namespace", ""))
    if kind is Kind.NAMESPACE:
        return str(meta["name"])
    return str(((obj.get("spec") or {}).get("claimRef") or {}).get("namespace", ""))


def is_of_job(kind: Kind, obj: Object) -> bool:
    """
    Whether the object is in a job's namespace. kns's labels do not say so: whoever has a namespace of their own can
    give them to objects there, and a vcluster that is none of kns marks its copies as a job's does.
    """
    return names.is_job_object_name(namespace_of(kind, obj))


def index_namespace(kind: Kind, obj: Object) -> tuple[str]:
    return (namespace_of(kind, obj),)


def index_member(namespace: Object) -> list[tuple[str, ...]]:
    """By installation, and by installation and shape if the member is free."""
    member = read_member(namespace)
    if member is None:
        return []
    installation = str(namespace["metadata"]["labels"].get(names.INSTALLATION_LABEL))
    return [(installation,), *([(installation, member.marks.shape)] if member.is_free else [])]
