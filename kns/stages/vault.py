"""
The claims on a job's vault: each look gives every new claim its volume, and takes the volumes of claims that are gone.

A claim of the vault's class reaches the host as a copy with the class's name, where no such class exists, so nothing
but kns serves it. Where a volume leads comes from the record alone; of the claim only its identity, size and access
modes count. The watch on claims wakes the job, so an app may claim at any time. It never holds a job up: what the host
refuses is told in the record.
"""

from collections.abc import Sequence

from kns.model import names
from kns.model.catalog.vault import AcceptedVault
from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.conditions import Reason
from kns.objects.vault import CSI_DRIVER, build_vault_volume
from kns.ports import Context, Kind, Object
from kns.stages.outcome import Done, Outcome, Wait, Without
from kns.stages.ownership import is_own

_RETRY_S = 60.0
_REMOVAL_POLL_S = 2.0


def ensure(ctx: Context) -> Outcome:
    vault = ctx.accepted.vault
    if vault is None:
        return Without()
    claims = {claim["metadata"]["uid"]: claim for claim in _observe_claims(ctx, vault)}
    volumes = _select_own(ctx, ctx.world.cluster.observe_job(Kind.PERSISTENT_VOLUME, ctx.accepted.number))
    served = {_claim_uid(volume) for volume in volumes}
    try:
        _delete(ctx, [volume for volume in volumes if _claim_uid(volume) not in claims])
        _serve(ctx, vault, [claim for uid, claim in claims.items() if uid not in served and _waits(ctx, claim)])
    except (RefusedError, ForbiddenError) as error:
        return Without(Reason.VAULT_REFUSED, f"the host cluster refused a volume of the vault: {error}", _RETRY_S)
    return Done()


def remove(ctx: Context) -> Outcome:
    """
    Every volume of the job, also of one whose record no longer says that it had a vault.

    Kubernetes keeps a volume until its claim is gone, and the claims go with the namespace; so what stands below is
    not kept waiting until that is done.
    """
    cluster = ctx.world.cluster
    # Not from the cache: a volume whose creation was never answered may not be in it.
    found = cluster.list_objects(Kind.PERSISTENT_VOLUME, "", f"{names.JOB_LABEL}={ctx.accepted.number}")
    volumes = _select_own(ctx, found)
    _delete(ctx, volumes)
    if volumes and cluster.read(Kind.NAMESPACE, "", ctx.name) is None:
        left = ", ".join(str(volume["metadata"]["name"]) for volume in volumes)
        return Wait(_REMOVAL_POLL_S, Reason.REMOVING, f"volumes of the vault are going: {left}")
    return Done()


def _observe_claims(ctx: Context, vault: AcceptedVault) -> list[Object]:
    claims = ctx.world.cluster.observe_copies(Kind.PERSISTENT_VOLUME_CLAIM, ctx.accepted.number)
    return [claim for claim in claims if claim["spec"].get("storageClassName") == vault.storage_class]


def _select_own(ctx: Context, volumes: Sequence[Object]) -> list[Object]:
    """Those that kns made for this record: a label may have been copied from a tenant's claim by some provisioner."""
    return [
        volume
        for volume in volumes
        if is_own(volume, ctx)
        and (volume["spec"].get("claimRef") or {}).get("namespace") == ctx.name
        and volume["metadata"]["name"] == names.vault_volume(ctx.accepted.number, _claim_uid(volume))
    ]


def _claim_uid(volume: Object) -> str:
    return str(volume["spec"]["claimRef"].get("uid"))


def _waits(ctx: Context, claim: Object) -> bool:
    """Not one that is on its way out, nor one that asks for a volume by name: it will not have ours."""
    own = names.vault_volume(ctx.accepted.number, claim["metadata"]["uid"])
    wanted = claim["spec"].get("volumeName") or own
    return claim["metadata"].get("deletionTimestamp") is None and wanted == own


def _serve(ctx: Context, vault: AcceptedVault, claims: Sequence[Object]) -> None:
    if not claims:
        return
    csi = ctx.world.cluster.read(Kind.CSI_DRIVER, "", CSI_DRIVER) is not None
    for claim in claims:
        ctx.world.cluster.apply(
            build_vault_volume(
                ctx.accepted.number,
                vault,
                claim,
                csi=csi,
                installation=ctx.site.system_namespace,
                record_uid=ctx.job.uid,
            )
        )


def _delete(ctx: Context, volumes: Sequence[Object]) -> None:
    for volume in volumes:
        meta = volume["metadata"]
        if meta.get("deletionTimestamp") is None:
            ctx.world.cluster.delete(Kind.PERSISTENT_VOLUME, "", meta["name"], uid=meta["uid"])
