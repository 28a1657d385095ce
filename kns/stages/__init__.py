"""
The stages of a nested job: one module per stage, each with `ensure(ctx)`, and with `remove(ctx)` if it needs one.

`ensure` runs down `STAGES`, `remove` runs up. While a stage waits, `ahead` of the later ones makes what does not need
it: keycloak and init make everything for the init pod, in this order. No stage changes or removes an object of another
record (`ownership.py`). Stage keycloak precedes prepare and init, which deliver the Keycloak client's secret.
"""

from kns.model.job.conditions import ConditionType
from kns.model.job.job import Substatus
from kns.stages import ingress, init, keycloak, member, namespace, prepare, shell, sleep, vault, vcluster
from kns.stages.keep import explain_kept
from kns.stages.lifecycle import Lifecycle, MemberKind, Stage
from kns.stages.room import retry_refused
from kns.stages.sessions import has_open_shell
from kns.stages.usage import measure

_VCLUSTER = Stage("vcluster", ConditionType.VIRTUAL_CLUSTER_READY, Substatus.SPAWNING, vcluster.ensure)

STAGES = (
    Stage("namespace", ConditionType.NAMESPACE_READY, Substatus.NAMESPACE, namespace.ensure, namespace.remove),
    _VCLUSTER,
    Stage(
        "keycloak", ConditionType.KEYCLOAK_READY, Substatus.PREPARING, keycloak.ensure, keycloak.remove, keycloak.ahead
    ),
    Stage("prepare", ConditionType.PREPARED, Substatus.PREPARING, prepare.ensure),
    Stage("vault", ConditionType.VAULT_READY, Substatus.PREPARING, vault.ensure, vault.remove),
    Stage("init", ConditionType.DEPLOYED, Substatus.DEPLOYING, init.ensure, init.remove, init.ahead),
    Stage("ingress", ConditionType.EXPOSED, Substatus.NONE, ingress.ensure, ahead=ingress.ahead),
    Stage("shell", ConditionType.SHELL_READY, Substatus.NONE, shell.ensure),
)

NESTED_JOB = Lifecycle(
    stages=STAGES,
    starting=_VCLUSTER,
    drain=vcluster.drain,
    measure=measure,
    follow=retry_refused,
    explain_kept=explain_kept,
    let_run=sleep.let_run,
    sleep=sleep.sleep,
    wake=sleep.wake,
    can_sleep=sleep.can_sleep,
    is_in_use=has_open_shell,
)

NESTED_MEMBER = MemberKind(
    stages=STAGES[: STAGES.index(_VCLUSTER) + 1],
    draft=member.draft,
    describe=member.describe,
    build_namespace=member.build_member_namespace,
)

__all__ = ["NESTED_JOB", "NESTED_MEMBER", "STAGES"]
