"""
The volumes of a job's vault: each claim on the vault gets a PersistentVolume, which is deleted after the claim.

vcluster copies a claim of the vault's class to the host. The host has no class of that name, so only kns serves the
claim. Server and share come from the record only; kns takes identity, size and access modes from the claim. A watch on
claims wakes the job, so an app may make claims at any time. If the host refuses a volume, the record says so and the
job goes on.
"""

from collections.abc import Sequence

from kns.model import names
from kns.model.catalog.vault import AcceptedVault
from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.conditions import Reason
from kns.objects.vault import CSI_DRIVER, build_vault_volume
from kns.ports import Context, Kind, Object
from kns.stages.outcome import Done, Outcome, Skipped, Wait
from kns.stages.ownership import is_own, is_terminating

_RETRY_AFTER_S = 60.0
_REMOVAL_AFTER_S = 2.0


def ensure(ctx: Context) -> Outcome:
    vault = ctx.accepted.vault
    if vault is None:
        return Skipped()
    claims = {claim["metadata"]["uid"]: claim for claim in _observe_claims(ctx, vault)}
    volumes = _select_own(ctx, ctx.world.cluster.observe_job(Kind.PERSISTENT_VOLUME, ctx.location))
    served = {_claim_uid(volume) for volume in volumes}
    try:
        _delete(ctx, [volume for volume in volumes if _claim_uid(volume) not in claims])
        _serve(ctx, vault, [claim for uid, claim in claims.items() if uid not in served and _waits(ctx, claim)])
    except (RefusedError, ForbiddenError) as error:
        return Skipped(Reason.VAULT_REFUSED, f"the host cluster refused a volume of the vault: {error}", _RETRY_AFTER_S)
    return Done()


def remove(ctx: Context) -> Outcome:
    """
    Delete every volume of the job, even if its record no longer names a vault.

    Kubernetes keeps a volume while its claim exists, and the claims are deleted with the namespace. So this waits only
    after the namespace is gone, and does not delay the removal of the stages before it.
    """
    cluster = ctx.world.cluster
    if ctx.accepted.vault is None and not cluster.observe_job(Kind.PERSISTENT_VOLUME, ctx.location):
        return Done()
    # Not from the cache, which may lack a volume if the response to its creation was lost.
    found = cluster.list_objects(Kind.PERSISTENT_VOLUME, "", f"{names.JOB_LABEL}={ctx.location.number}")
    volumes = _select_own(ctx, found)
    _delete(ctx, volumes)
    if volumes and cluster.read(Kind.NAMESPACE, "", ctx.namespace) is None:
        left = ", ".join(str(volume["metadata"]["name"]) for volume in volumes)
        return Wait(_REMOVAL_AFTER_S, Reason.REMOVING, f"volumes of the vault are being deleted: {left}")
    return Done()


def _observe_claims(ctx: Context, vault: AcceptedVault) -> list[Object]:
    claims = ctx.world.cluster.observe_copies(Kind.PERSISTENT_VOLUME_CLAIM, ctx.location)
    return [claim for claim in claims if claim["spec"].get("storageClassName") == vault.storage_class]


def _select_own(ctx: Context, volumes: Sequence[Object]) -> list[Object]:
    """The volumes that kns made for this record. Labels prove nothing: provisioners copy them from tenants' claims."""
    return [
        volume
        for volume in volumes
        if is_own(volume, ctx)
        and (volume["spec"].get("claimRef") or {}).get("namespace") == ctx.namespace
        and volume["metadata"]["name"] == ctx.location.vault_volume(_claim_uid(volume))
    ]


def _claim_uid(volume: Object) -> str:
    return str(volume["spec"]["claimRef"].get("uid"))


def _waits(ctx: Context, claim: Object) -> bool:
    """Whether the claim needs a volume: not if it is being deleted, and not if it names a volume of another name."""
    own = ctx.location.vault_volume(claim["metadata"]["uid"])
    wanted = claim["spec"].get("volumeName") or own
    return not is_terminating(claim) and wanted == own


def _serve(ctx: Context, vault: AcceptedVault, claims: Sequence[Object]) -> None:
    if not claims:
        return
    csi = ctx.world.cluster.read(Kind.CSI_DRIVER, "", CSI_DRIVER) is not None
    for claim in claims:
        ctx.world.cluster.apply(
            build_vault_volume(
                ctx.location,
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
        if not is_terminating(volume):
            ctx.world.cluster.delete(Kind.PERSISTENT_VOLUME, "", meta["name"], uid=meta["uid"])
