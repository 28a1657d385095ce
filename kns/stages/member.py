"""
Virtual clusters that are made before their job exists: what a pool member is made from, and which jobs it fits.

Whatever depends on the job is applied again by the stages when a job has claimed the member. So a member is made for a
machine without resources, whose quota has room for the pods of kns alone.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.catalog.machine import Machine
from kns.model.job.job import Accepted, JobSpec, MachineChoice
from kns.model.job.location import Location
from kns.model.job.pool import PoolSize
from kns.objects.namespace import build_namespace, list_claimable, share_storage
from kns.ports import Context, Kind, Object
from kns.stages.layout import build_chart_values, choose_layout

_NOWHERE = Location(1, "kns-job-1")  # stands for every location
_UNUSED = "pool"  # where a draft must have a value that no member depends on


def draft(pool: PoolSize, machine: Machine | None, number: int, created: datetime) -> tuple[JobSpec, Accepted]:
    """A job that every member of `pool` fits, as its request and its accepted part."""
    nodes = machine.mc_properties if machine else ""
    nested = {
        "kubernetes_version": pool.version,
        "enable_gotty_shell": pool.shell,
        "targets": [{"service_name": _UNUSED, "service_namespace": "default", "service_port": 1}],
        "templates": [{"name": _UNUSED, "type": "kubectl", "path": _UNUSED}],
    }
    spec = JobSpec(user=_UNUSED, app="", machine=MachineChoice(type=_UNUSED))
    accepted = Accepted(
        number=number,
        name=names.job_object_name(number),
        payer="",
        submit_time=created,
        image="",
        command="",
        machine=Machine(mc_name=_UNUSED, mc_cores=0, mc_ram=0, mc_properties=nodes),
        nested=NestedKubernetes.model_validate(nested),
    )
    return spec, accepted


def describe(ctx: Context) -> Mapping[str, Any]:
    """The values of the chart, for any location: the virtual cluster is never started again with others."""
    return build_chart_values(ctx, _NOWHERE, choose_layout(ctx), pull_secret=True)


def build_member_namespace(ctx: Context) -> Object:
    """The namespace of a pool member. It reads the host's storage classes."""
    classes = [obj["metadata"]["name"] for obj in ctx.world.cluster.list_objects(Kind.STORAGE_CLASS, "")]
    return build_own_namespace(ctx, list_claimable(share_host_storage(ctx, classes), None))


def share_host_storage(ctx: Context, classes: Iterable[str]) -> dict[str, str]:
    """What the job may claim of each of the host's storage classes."""
    return share_storage(
        classes,
        default=ctx.site.classes.default_storage_class,
        size=ctx.site.classes.storage_size,
        control_plane=ctx.site.virtual.storage_class or None,
    )


def build_own_namespace(ctx: Context, storage_classes: Iterable[str]) -> Object:
    """The namespace of a job, or of a pool member. `storage_classes` are those that claims of the job may name."""
    return build_namespace(
        ctx.job.spec,
        ctx.accepted,
        record_uid=ctx.job.uid,
        installation=ctx.site.system_namespace,
        storage_classes=storage_classes,
        pod_security=ctx.site.pod_security,
        runtime_class=ctx.site.virtual.runtime_class,
        member=ctx.member,
    )
