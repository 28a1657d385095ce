"""
The registry credentials of a job: those of the site (Secret `jarvice-docker`) and those of the app in the catalogue.

Registry tokens may live for hours only, so a running job follows both sources. The message of a condition holds a mark
of the credentials that were delivered last; a reconcile compares it with the sources, which costs no request per job.
What a source no longer has stays in the job, because its pods may need it.
"""

import json

from kns.logs import get_logger
from kns.model import names
from kns.model.catalog.pull_secret import NO_PULL_CONFIG, keep_entries, mark_config, merge_pull_config, read_pull_config
from kns.model.errors import KnsError
from kns.model.job.conditions import ConditionType
from kns.objects.inside import build_pull_secret
from kns.objects.labels import build_labels
from kns.ports import Context, Kind, Object
from kns.stages.outcome import Done

log = get_logger(__name__)

AND = "; "  # between the parts of a condition's message

_FOLLOW_AFTER_S = 60.0  # no watch covers the Secrets in kns's own namespace, nor the catalogue
_PULL_KEY = ".dockerconfigjson"


class UnfitError(ValueError):
    """The site's Secret contains no Docker configuration. The message names it, and no part of it."""


def deliver(ctx: Context) -> Done:
    """
    Give the credentials to a new job, in its namespace.

    Raises:
        UnfitError: with the site's Secret pods could not pull images.
    """
    secret = ctx.world.cluster.read(Kind.SECRET, ctx.site.system_namespace, names.SYSTEM_PULL_SECRET)
    config = _merge(ctx, secret)
    if config is None and not ctx.site.has_pool:
        return Done()
    # A virtual cluster that was made ahead names the Secret before its job is known, so with a pool every job has it.
    whole = config or NO_PULL_CONFIG
    ctx.world.cluster.apply(build_pull_secret(ctx.namespace, whole, labels=build_labels(ctx.location)))
    return Done(mark(ctx, config))


def follow(ctx: Context) -> Done:
    """Replace the credentials in the namespace of a running job if a source changed. The job goes on in any case."""
    try:
        secret = ctx.world.cluster.read_shared(Kind.SECRET, ctx.site.system_namespace, names.SYSTEM_PULL_SECRET)
        config = _merge(ctx, secret)
        if config is None or is_delivered(ctx, ConditionType.NAMESPACE_READY, config):
            return Done(requeue_after_s=_FOLLOW_AFTER_S)
        stored = ctx.world.cluster.read(Kind.SECRET, ctx.namespace, names.PULL_SECRET)
        kept = _read_kept(stored)
        whole = keep_entries(kept, config)
        if kept != json.loads(whole):  # a job that is asleep or waking does not note what was delivered
            ctx.world.cluster.apply(build_pull_secret(ctx.namespace, whole, labels=build_labels(ctx.location)))
    except UnfitError as error:
        return Done(f"{error}; the job keeps its credentials", requeue_after_s=_FOLLOW_AFTER_S)
    except KnsError as error:
        log.warning("pull_secret_not_renewed", namespace=ctx.namespace, error=str(error))
        return Done(requeue_after_s=_FOLLOW_AFTER_S)
    return Done(mark(ctx, config), requeue_after_s=_FOLLOW_AFTER_S)


def read_app_config(ctx: Context) -> str | None:
    """The app's own credentials, which pods inside the virtual cluster can name; None if it has none."""
    app = ctx.world.catalog.current().apps.get(ctx.job.spec.app)
    return merge_pull_config(app.pullsecret, None, images=()) if app else None


def mark(ctx: Context, config: str | None) -> str | None:
    """What the message of a condition says when `config` is delivered; None if there was nothing to deliver."""
    if config is None:
        return None
    return f"registry credentials {mark_config(config, salt=ctx.site.installation_uid)}"


def is_delivered(ctx: Context, kind: ConditionType, config: str | None) -> bool:
    """Whether the stage with this condition has delivered `config`. Sources that are gone need no delivery."""
    condition = ctx.job.status.condition(kind)
    return config is None or (condition is not None and mark(ctx, config) in condition.message.split(AND))


def _merge(ctx: Context, secret: Object | None) -> str | None:
    """
    The app's credentials, and those of the site for the registries of this job's images.

    Raises:
        UnfitError: as in `deliver`.
    """
    try:
        site_config = _decode(secret)
    except ValueError as error:
        where = f"Secret {ctx.site.system_namespace}/{names.SYSTEM_PULL_SECRET}"
        raise UnfitError(f"{where}: {_PULL_KEY} {error}") from None  # the cause may contain the secret
    app = ctx.world.catalog.current().apps.get(ctx.job.spec.app)
    return merge_pull_config(
        app.pullsecret if app else None,
        site_config,
        images=(ctx.accepted.image, *ctx.site.own_images, *ctx.site.virtual.images),
    )


def _read_kept(stored: Object | None) -> Object | None:
    try:
        return _decode(stored)
    except ValueError:  # somebody changed it by hand, and no pod can use it
        return None


def _decode(secret: Object | None) -> Object | None:
    text = ((secret or {}).get("data") or {}).get(_PULL_KEY)
    return read_pull_config(text) if text else None
