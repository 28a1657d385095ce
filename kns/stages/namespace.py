"""
The job's namespace with its NetworkPolicies, LimitRange, ResourceQuota and kns's own rights in it.

Almost all objects of a job are in its namespace, so deleting the namespace removes them. A namespace of another record
is never touched.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from kns.logs import get_logger
from kns.model.errors import ForbiddenError, KnsError, RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.namespace import (
    build_limit_range,
    build_resource_quota,
    build_role_binding,
    list_claimable,
    share_ephemeral,
)
from kns.objects.network import build_network_policies
from kns.objects.vcluster import build_disruption_budget
from kns.ports import Context, Kind, Object
from kns.stages import credentials
from kns.stages.member import build_own_namespace, share_host_storage
from kns.stages.outcome import Done, Failed, Outcome, Wait
from kns.stages.ownership import find_namespace, is_own, is_terminating
from kns.stages.patience import growing_delay_s, wait_at_most
from kns.stages.tenant import end_all_pods, end_tenants_pods
from kns.stages.web_shell import has_web_shell

log = get_logger(__name__)

_REMOVAL_AFTER_S = 2.0  # at first; the watch reports the end of the namespace
_PODS_SHOWN = 3
_SECRET_AFTER_S = 30.0  # no watch covers the Secrets in kns's own namespace


def ensure(ctx: Context) -> Outcome:
    cluster, found = ctx.world.cluster, find_namespace(ctx)
    if ctx.job.status.is_true(ConditionType.NAMESPACE_READY):
        if found is None or is_terminating(found):
            return Failed(Reason.NAMESPACE_GONE, f"namespace {ctx.namespace} was removed by somebody else")
        return credentials.follow(ctx) if ctx.member is None else Done()
    if found is not None and is_terminating(found) and is_own(found, ctx):
        # It was made ahead and discarded before the record was stored. The job gets a new one of the same name.
        return Wait(_REMOVAL_AFTER_S, Reason.REMOVING, f"namespace {ctx.namespace} is terminating{_describe(found)}")
    if found is not None and not is_own(found, ctx):
        return Failed(
            Reason.NAMESPACE_FOREIGN,
            f"namespace {ctx.namespace} exists and is not this job's; remove it, or set KNS_FIRST_JOB_NUMBER above the "
            "numbers of the other installation",
        )
    vault = ctx.accepted.vault
    classes = [obj["metadata"]["name"] for obj in cluster.list_objects(Kind.STORAGE_CLASS, "")]
    if vault is not None and vault.storage_class in classes:
        return Failed(
            Reason.VAULT_CLASS_TAKEN,
            f"the vault's storage class would be called {vault.storage_class}, as is a class of the host cluster; "
            "rename the vault or the class",
        )
    storage = share_host_storage(ctx, classes)
    _apply_namespace(ctx, list_claimable(storage, vault))
    _apply_limits(ctx, storage)
    return _deliver_credentials(ctx)


def _apply_namespace(ctx: Context, storage_classes: Collection[str]) -> None:
    """The namespace first, then kns's own rights in it, which every further object needs."""
    cluster, site = ctx.world.cluster, ctx.site
    cluster.apply(build_own_namespace(ctx, storage_classes))
    cluster.apply(
        build_role_binding(ctx.location, service_account=site.service_account, system_namespace=site.system_namespace)
    )


def _apply_limits(ctx: Context, storage: Mapping[str, str]) -> None:
    """NetworkPolicies, limits and the disruption budget. `storage`: what the job may claim of each storage class."""
    cluster, site = ctx.world.cluster, ctx.site
    if site.network is not None:
        for policy in build_network_policies(ctx.location, site.network, system_namespace=site.system_namespace):
            cluster.apply(policy)
    nodes, shell = ctx.job.spec.machine.nodes, has_web_shell(ctx)
    ephemeral = share_ephemeral(ctx.accepted.machine, nodes=nodes, per_node=site.ephemeral_storage)
    items = ctx.accepted.nested.limit_range or site.limit_range
    cluster.apply(build_limit_range(ctx.location, items, ephemeral=ephemeral, nodes=nodes))
    cluster.apply(build_resource_quota(ctx.accepted, nodes=nodes, ephemeral=ephemeral, storage=storage, shell=shell))
    # A member of the pool has no data yet, so a drain may evict it; the pool then makes another one elsewhere.
    if site.virtual.protect_control_planes and site.virtual.storage_class is None and ctx.member is None:
        cluster.apply(build_disruption_budget(ctx.location))


def _deliver_credentials(ctx: Context) -> Outcome:
    try:
        return credentials.deliver(ctx)
    except credentials.UnfitError as error:
        return wait_at_most(
            ctx,
            ctx.site.init_stuck_limit_s,
            end=Reason.PULL_SECRET_UNFIT,
            reason=Reason.PULL_SECRET_UNFIT,
            message=str(error),
            requeue_after_s=_SECRET_AFTER_S,
        )


def remove(ctx: Context) -> Outcome:
    """
    The tenant's pods first: the first request to end a pod decides how long its node waits for it, and in a terminating
    namespace that may be the namespace controller's. Then the namespace: from then on nobody can create a pod in it.
    Then all other pods, in the same reconcile. Kubernetes removes kns's rights in it only when no pod is left.
    """
    found = find_namespace(ctx)
    if found is None or not is_own(found, ctx):
        return Done()
    if not is_terminating(found):
        try:
            end_tenants_pods(ctx, spare_dns=False, insist=True)
        except (ForbiddenError, RefusedError) as error:  # for example, kns ended before it gave itself rights in it
            log.warning("pods_not_ended", error=str(error))
        ctx.world.cluster.delete(Kind.NAMESPACE, "", ctx.namespace, uid=found["metadata"]["uid"])
    left: Sequence[str] = ()
    try:
        left = end_all_pods(ctx)
    except KnsError as error:  # the next reconcile tries again
        log.warning("pods_not_ended", error=str(error))
    message = f"namespace {ctx.namespace} is terminating{_describe(found, left)}"
    return Wait(_until_next_look(found, ctx.now), Reason.REMOVING, message)


def _until_next_look(namespace: Object, now: datetime) -> float:
    began = namespace["metadata"].get("deletionTimestamp")
    waited_s = (now - datetime.fromisoformat(began)).total_seconds() if began else 0.0
    return growing_delay_s(waited_s, first_s=_REMOVAL_AFTER_S)


def _describe(namespace: Object, pods: Sequence[str] = ()) -> str:
    """
    What delays the namespace's removal: the API server's words, the pods, and the finalizers of the namespace itself.
    The API server's words do not mention those two. kns never strips a finalizer of others.
    """
    conditions = (namespace.get("status") or {}).get("conditions") or ()
    messages = [c["message"] for c in conditions if c.get("status") == "True" and c.get("message")]
    if pods:
        # A number would make a new text, and a write, of each pod that goes.
        others = " and others" if len(pods) > _PODS_SHOWN else ""
        messages.append(f"pods still ending: {', '.join(sorted(pods)[:_PODS_SHOWN])}{others}")
    if finalizers := namespace["metadata"].get("finalizers"):
        messages.append(f"it has finalizers of other controllers: {', '.join(sorted(finalizers))}")
    return f": {'; '.join(messages)}" if messages else ""
