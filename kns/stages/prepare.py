"""
The objects that the virtual cluster has before the app's templates run: ConfigMap and Secret `kns-job`, the pull
secret, the default storage class, the vault's storage class, and runtime classes.

The init pod starts ahead, beside the spawn, and waits inside for the mark that the last of these objects has.

The app's templates make the namespaces of its targets and of its Keycloak client. As soon as one of them exists, it
gets the same ConfigMap and Secrets as namespace `default`.

Once all of them have these, the condition says so, and a reconcile of a deployed job asks nothing. It also has a digest
of the targets' Services: a namespace that was deleted and made again has other ones, and the watch reports them.
A namespace without a target's Service is looked at every few minutes.
"""

import hashlib

from kns.logs import get_logger
from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.errors import KnsError, TransientError
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.inside import build_default_storage_class, build_job_info, build_pull_secret, build_runtime_class
from kns.objects.vault import build_vault_class
from kns.ports import Context, Kind, Object
from kns.stages.access import read_kubeconfig
from kns.stages.credentials import AND, is_delivered, mark, read_app_config
from kns.stages.delivery import read_default_class, read_job_info
from kns.stages.made_ahead import is_init_job_made
from kns.stages.outcome import Done, Outcome
from kns.stages.patience import growing_delay_s, stuck_for_s, wait_at_most

log = get_logger(__name__)

_REQUEUE_AFTER_S = 0.2  # the first time
_FOLLOW_AFTER_S = 10.0
# Without a memory: a job looks during one minute of each ten. It has a reconcile in every minute anyway.
_LOOK_EVERY_S, _LOOK_FOR_S = 600.0, 60.0
_FIRST = "default"


def ensure(ctx: Context) -> Outcome:
    status = ctx.job.status
    # An earlier release may have deployed the job without this stage, or prepared it without the mark that the init pod
    # waits for.
    prepared = status.is_true(ConditionType.DEPLOYED) or (
        status.is_true(ConditionType.PREPARED) and is_init_job_made(ctx)
    )
    later = _name_namespaces(ctx.accepted.nested) - {_FIRST}
    config = read_app_config(ctx)
    is_new = not is_delivered(ctx, ConditionType.PREPARED, config)
    if prepared and not is_new and (not later or _is_settled(ctx, later)):
        return Done()
    kubeconfig = read_kubeconfig(ctx)
    if prepared:
        if kubeconfig is None or not status.is_true(ConditionType.VIRTUAL_CLUSTER_READY):
            return Done()  # the next change of the control plane starts another reconcile
        return _follow(ctx, kubeconfig, later, config, is_new=is_new)
    if kubeconfig is None:
        return _wait(ctx, "waiting for the virtual cluster's certificates and Service")
    objects = [*_read_classes(ctx), *_build_for(ctx, _FIRST, config, init_mark=ctx.job.uid)]
    try:
        ctx.world.virtual_clusters.apply(ctx.namespace, kubeconfig, objects)
    except TransientError as error:
        return _wait(ctx, f"the virtual cluster's API does not answer: {error}")
    return Done(mark(ctx, config))


def _wait(ctx: Context, message: str) -> Outcome:
    """Try again ever less often, because each try may occupy a worker for seconds."""
    end = Reason.CONTROL_PLANE_UNAVAILABLE
    after_s = growing_delay_s(stuck_for_s(ctx, end), first_s=_REQUEUE_AFTER_S)
    limit_s = ctx.site.control_plane_limit_s
    return wait_at_most(ctx, limit_s, end=end, reason=Reason.PREPARING, message=message, requeue_after_s=after_s)


def _name_namespaces(nested: NestedKubernetes) -> frozenset[str]:
    client = nested.keycloak.namespace if nested.keycloak else None
    return frozenset(target.service_namespace for target in nested.targets) | ({client} if client else set())


def _follow(ctx: Context, kubeconfig: str, namespaces: frozenset[str], config: str | None, *, is_new: bool) -> Outcome:
    """
    Add the missing objects to namespaces that exist by now. If the app's credentials `config` are new, replace them.

    The app may have webhooks by now that refuse or delay requests, so an error does not stop the job.
    """
    clusters, everywhere = ctx.world.virtual_clusters, sorted({_FIRST} | namespaces)
    note = _note_placed(ctx, namespaces)  # before the request, so that it never knows more than that
    try:
        found = (
            clusters.find_namespaces(ctx.namespace, kubeconfig, Kind.SECRET, names.JOB_INFO, namespaces)
            if namespaces
            else set()
        )
        objects = [obj for each in sorted(namespaces - found) for obj in _build_for(ctx, each, config)]
        if config and is_new:
            objects += [build_pull_secret(each, config) for each in everywhere]
        if objects:
            clusters.apply(ctx.namespace, kubeconfig, objects)
    except KnsError as error:
        log.warning("job_info_not_placed", namespaces=everywhere, error=str(error))
        return Done(requeue_after_s=_FOLLOW_AFTER_S if namespaces else None)
    return Done(AND.join(filter(None, (mark(ctx, config), note if namespaces and namespaces <= found else None))))


def _is_settled(ctx: Context, namespaces: frozenset[str]) -> bool:
    """Whether all namespaces have the objects, and nothing says that this changed since it was noted."""
    prepared = ctx.job.status.condition(ConditionType.PREPARED)
    if prepared is None or not ctx.job.status.is_true(ConditionType.DEPLOYED):
        return False
    if _note_placed(ctx, namespaces) not in prepared.message.split(AND):
        return False
    is_due = (ctx.now - prepared.last_transition_time).total_seconds() % _LOOK_EVERY_S < _LOOK_FOR_S
    return not is_due or {namespace for namespace, _ in _observe_targets(ctx)} >= namespaces


def _note_placed(ctx: Context, namespaces: frozenset[str]) -> str:
    """What the condition says when all namespaces have the objects. It changes with the targets' Services."""
    uids = sorted(uid for namespace, uid in _observe_targets(ctx) if namespace in namespaces)
    services = hashlib.sha256(",".join(uids).encode()).hexdigest()[:16]
    return f"all namespaces have {names.JOB_INFO}, for Services {services}"


def _observe_targets(ctx: Context) -> list[tuple[str, str]]:
    """Namespace and uid of each target's Service that exists. The uid is that of its copy on the host."""
    observe, location = ctx.world.cluster.observe_copy, ctx.location
    return [
        (target.service_namespace, copy["metadata"]["uid"])
        for target in ctx.accepted.nested.targets
        if (copy := observe(Kind.SERVICE, location, location.copy_name(target.service_name, target.service_namespace)))
    ]


def _build_for(ctx: Context, namespace: str, config: str | None, *, init_mark: str = "") -> list[Object]:
    """The objects for one namespace. `init_mark`, in the last one, tells the init pod that all of them are there."""
    info = read_job_info(ctx)
    objects = build_job_info(namespace, public=info.public, secret=info.secret, mark=init_mark)
    return [build_pull_secret(namespace, config), *objects] if config else objects


def _read_classes(ctx: Context) -> list[Object]:
    """Classes that the host does not have are left out; kns logs a warning about them at its start."""
    storage = read_default_class(ctx)
    runtime = [ctx.world.cluster.read(Kind.RUNTIME_CLASS, "", name) for name in ctx.site.classes.runtime_classes]
    return [
        *([build_default_storage_class(storage)] if storage else []),
        *([build_vault_class(ctx.accepted.vault)] if ctx.accepted.vault else []),
        *(build_runtime_class(found) for found in runtime if found),
    ]
