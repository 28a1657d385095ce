"""
The job's own OIDC client in the site's Keycloak realm, if the app asks for one.

kns generates the client's secret and stores it in a Secret of the job's namespace before it creates the client. After a
crash the next reconcile therefore creates the same client, and a client that was deleted by hand is created again with
the secret that the app has. Once the app is deployed, kns does not touch the client until the job ends.
"""

import secrets

from kns.logs import get_logger
from kns.model.errors import (
    AlreadyExistsError,
    ForbiddenError,
    KnsError,
    RefusedError,
    TransientError,
    UnauthorizedError,
)
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.keycloak import (
    CLIENT_SECRET,
    build_client,
    build_client_info,
    build_client_secret,
    has_all_of,
    is_made_for,
    read_realm,
)
from kns.ports import Context, IdentityProvider, Kind
from kns.stages.delivery import read_client_info
from kns.stages.made_ahead import is_init_job_made
from kns.stages.outcome import Done, Failed, Outcome, Wait
from kns.stages.ownership import is_terminating
from kns.stages.patience import growing_delay_s, stuck_for_s

log = get_logger(__name__)

_STUCK = Reason.KEYCLOAK_UNREACHABLE  # what the record stores while Keycloak gives no client, for whichever reason
_FIRST_RETRY_S, _LONGEST_RETRY_S = 2.0, 30.0
_REASONS: dict[type[TransientError], Reason] = {
    UnauthorizedError: Reason.KEYCLOAK_UNAUTHORIZED,
    ForbiddenError: Reason.KEYCLOAK_FORBIDDEN,
    AlreadyExistsError: Reason.KEYCLOAK_REFUSED,
}


def ensure(ctx: Context) -> Outcome:
    status = ctx.job.status
    if ctx.accepted.nested.keycloak is None:
        return Done("the app asks for no client")
    if status.is_true(ConditionType.DEPLOYED):
        return Done()
    outcome = _ensure(ctx)
    if status.is_true(ConditionType.KEYCLOAK_READY) and not isinstance(outcome, Done):
        # The app has its client already, so the job need not wait until kns can check the client again.
        log.warning("keycloak_client_not_checked", reason=str(outcome.reason), message=outcome.message)
        return Done()
    return outcome


def ahead(ctx: Context) -> Outcome:
    """The client needs nothing of the virtual cluster, and Keycloak may be slow."""
    return Done() if ctx.accepted.nested.keycloak is None or is_init_job_made(ctx) else _ensure(ctx)


def remove(ctx: Context) -> Outcome:
    """
    Delete the client, unless it belongs to another record.

    If Keycloak is unreachable, everything else is removed, and the record stays until the client is deleted, too.
    """
    provider = ctx.world.identity
    if ctx.accepted.nested.keycloak is None:
        return Done()
    if provider is None:
        log.warning("keycloak_client_left", client_id=ctx.public_name, cause="Keycloak is switched off")
        return Done()
    try:
        found = provider.find_client(ctx.public_name)
        if found is not None and is_made_for(found, ctx.job.uid):
            provider.delete_client(found["id"])
        elif found is None:
            _tell_of_other_realm(ctx)
    except KnsError as error:
        if ctx.world.cluster.observe(Kind.NAMESPACE, "", ctx.namespace) is not None:
            raise  # the engine continues with the other stages and tries again
        waited_s = (ctx.now - (ctx.job.status.end_time or ctx.now)).total_seconds()
        return Wait(_delay_s(waited_s), _reason_of(error), f"Keycloak client {ctx.public_name} is still there: {error}")
    return Done()


def _tell_of_other_realm(ctx: Context) -> None:
    """Log that the client stays in the realm that the site had when it was made. Once: before the namespace ends."""
    namespace, settings = ctx.world.cluster.observe(Kind.NAMESPACE, "", ctx.namespace), ctx.site.keycloak
    if namespace is None or is_terminating(namespace) or settings is None:
        return
    stored = read_client_info(ctx)
    made_in, now_in = read_realm(stored), read_realm(build_client_info(ctx.accepted.number, settings, ""))
    if stored and made_in != now_in:
        cause = f"it is in {made_in}, and kns uses {now_in}"
        log.warning("keycloak_client_left", client_id=ctx.public_name, cause=cause)


def _ensure(ctx: Context) -> Outcome:
    provider, settings = ctx.world.identity, ctx.site.keycloak
    if provider is None or settings is None:
        return Failed(
            Reason.KEYCLOAK_OFF, "the app asks for a Keycloak client, and this site's Keycloak was switched off"
        )
    stored = read_client_info(ctx)
    if not stored and ctx.job.status.is_true(ConditionType.KEYCLOAK_READY):
        return Done()  # the Secret was deleted by hand; the app would not know a new client secret
    secret = stored.get(CLIENT_SECRET) or secrets.token_urlsafe(32)
    wanted = build_client_info(ctx.accepted.number, settings, secret)
    if stored != wanted:
        ctx.world.cluster.apply(build_client_secret(ctx.location, wanted))
    try:
        return _ensure_client(ctx, provider, secret)
    except RefusedError as error:
        return Failed(Reason.KEYCLOAK_REFUSED, str(error))
    except TransientError as error:  # also a taken name: the next look finds whose client it is, if kns may see it
        return _wait_or_give_up(ctx, error, limit_s=settings.limit_s)


def _ensure_client(ctx: Context, provider: IdentityProvider, secret: str) -> Outcome:
    nested = ctx.accepted.nested
    wanted = build_client(
        ctx.accepted.number,
        record_uid=ctx.job.uid,
        installation_uid=ctx.site.installation_uid,
        secret=secret,
        address=ctx.address,
        redirect_paths=nested.keycloak.redirect_paths if nested.keycloak else (),
    )
    found = provider.find_client(ctx.public_name)
    if found is None:
        provider.create_client(wanted)
    elif not is_made_for(found, ctx.job.uid):
        return Failed(
            Reason.KEYCLOAK_FOREIGN,
            f"Keycloak client {ctx.public_name} exists and was made for another record; delete it, or give each "
            "installation of kns a realm of its own",
        )
    elif not has_all_of(found, wanted):
        provider.update_client(found["id"], wanted)
    return Done()


def _wait_or_give_up(ctx: Context, error: TransientError, *, limit_s: int) -> Outcome:
    """
    The limit counts from the first failed try of Keycloak, for whichever reason. The condition may have been False for
    longer: since an error of the host, even before the turn of this stage.
    """
    waited_s = stuck_for_s(ctx, _STUCK)
    left_s = limit_s - waited_s
    if left_s <= 0:
        return Failed(_reason_of(error), f"after {limit_s} s: {error}")
    return Wait(min(_delay_s(waited_s), left_s), _reason_of(error), str(error), stuck=_STUCK)


def _delay_s(waited_s: float) -> float:
    return growing_delay_s(waited_s, first_s=_FIRST_RETRY_S, longest_s=_LONGEST_RETRY_S)


def _reason_of(error: KnsError) -> Reason:
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), Reason.KEYCLOAK_UNREACHABLE)
