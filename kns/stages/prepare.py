"""
The objects that the virtual cluster has before the app's templates run: ConfigMap and Secret `kns-job`, the pull
secret, the default storage class, the vault's storage class, and runtime classes.

The app's templates make the namespaces of its targets and of its Keycloak client. As soon as one of them exists, it
gets the same ConfigMap and Secrets as namespace `default`.
"""

from kns.logs import get_logger
from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.catalog.pull_secret import merge_pull_config
from kns.model.errors import KnsError, TransientError
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.inside import build_default_storage_class, build_job_info, build_pull_secret, build_runtime_class
from kns.objects.labels import build_labels
from kns.objects.vault import build_vault_class
from kns.ports import Context, Kind, Object
from kns.stages.access import read_kubeconfig
from kns.stages.delivery import read_default_class, read_job_info
from kns.stages.outcome import Done, Outcome
from kns.stages.patience import stuck_for_s, wait_at_most

log = get_logger(__name__)

_REQUEUE_AFTER_S = 1.0
_MAX_REQUEUE_AFTER_S = 60.0
_FOLLOW_AFTER_S = 10.0
_FIRST = "default"


def ensure(ctx: Context) -> Outcome:
    status = ctx.job.status
    # An earlier release may have deployed the job without this stage.
    prepared = status.is_true(ConditionType.PREPARED) or status.is_true(ConditionType.DEPLOYED)
    later = _name_namespaces(ctx.accepted.nested) - {_FIRST}
    if prepared and not later:
        return Done()
    kubeconfig = read_kubeconfig(ctx)
    if prepared:
        if kubeconfig is None or not status.is_true(ConditionType.VIRTUAL_CLUSTER_READY):
            return Done()  # the next change of the control plane starts another reconcile
        return _follow(ctx, kubeconfig, later)
    if kubeconfig is None:
        return _wait(ctx, "waiting for the virtual cluster's certificates and Service")
    info = read_job_info(ctx)
    for obj in build_job_info(ctx.namespace, public=info.public, secret=info.secret, labels=build_labels(ctx.location)):
        ctx.world.cluster.apply(obj)
    objects = [*_read_classes(ctx), *_build_for(ctx, _FIRST)]
    try:
        ctx.world.virtual_clusters.apply(kubeconfig, objects)
    except TransientError as error:
        return _wait(ctx, f"the virtual cluster's API does not answer: {error}")
    return Done()


def _wait(ctx: Context, message: str) -> Outcome:
    """Try again ever less often, because each try may occupy a worker for seconds."""
    end = Reason.CONTROL_PLANE_UNAVAILABLE
    after_s = max(_REQUEUE_AFTER_S, min(stuck_for_s(ctx, end) / 2, _MAX_REQUEUE_AFTER_S))
    limit_s = ctx.site.control_plane_limit_s
    return wait_at_most(ctx, limit_s, end=end, reason=Reason.PREPARING, message=message, requeue_after_s=after_s)


def remove(ctx: Context) -> Outcome:
    """All of its objects are in the virtual cluster or the job's namespace and are deleted with them."""
    del ctx
    return Done()


def _name_namespaces(nested: NestedKubernetes) -> frozenset[str]:
    client = nested.keycloak.namespace if nested.keycloak else None
    return frozenset(target.service_namespace for target in nested.targets) | ({client} if client else set())


def _follow(ctx: Context, kubeconfig: str, namespaces: frozenset[str]) -> Outcome:
    """
    Add the missing objects to namespaces that exist by now.

    The app may have webhooks by now that refuse or delay requests, so an error does not stop the job.
    """
    try:
        found = ctx.world.virtual_clusters.find_namespaces(kubeconfig, Kind.SECRET, names.JOB_INFO, namespaces)
        missing = namespaces - found
        objects = [obj for namespace in sorted(missing) for obj in _build_for(ctx, namespace)]
        if objects:
            ctx.world.virtual_clusters.apply(kubeconfig, objects)
    except KnsError as error:
        log.warning("job_info_not_placed", namespaces=sorted(namespaces), error=str(error))
        return Done(requeue_after_s=_FOLLOW_AFTER_S)
    return Done()


def _build_for(ctx: Context, namespace: str) -> list[Object]:
    info = read_job_info(ctx)
    objects = build_job_info(namespace, public=info.public, secret=info.secret)
    app = ctx.world.catalog.current().apps.get(ctx.job.spec.app)
    config = merge_pull_config(app.pullsecret, None, images=()) if app else None
    return [*objects, build_pull_secret(namespace, config)] if config else objects


def _read_classes(ctx: Context) -> list[Object]:
    """Classes that the host does not have are left out; kns logs a warning about them at its start."""
    storage = read_default_class(ctx)
    runtime = [ctx.world.cluster.read(Kind.RUNTIME_CLASS, "", name) for name in ctx.site.classes.runtime_classes]
    return [
        *([build_default_storage_class(storage)] if storage else []),
        *([build_vault_class(ctx.accepted.vault)] if ctx.accepted.vault else []),
        *(build_runtime_class(found) for found in runtime if found),
    ]
