"""
The ladder: one module per stage, each with `ensure(ctx)` and `remove(ctx)`.

Creation runs down `STAGES`, removal runs up. `remove` never needs a finished `ensure`, and touches nothing of another
job that has the same number (`ownership.py`). Keycloak comes before prepare, which delivers its client's secret.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kns.model.job.conditions import ConditionType
from kns.model.job.job import Substatus
from kns.ports import Context
from kns.stages import ingress, init, keycloak, namespace, prepare, shell, vault, vcluster
from kns.stages.outcome import Outcome

Verb = Callable[[Context], Outcome]


@dataclass(frozen=True, slots=True)
class Stage:
    """`condition` tells whether it is done, `substatus` what the portal shows while it is not."""

    name: str
    condition: ConditionType
    substatus: Substatus
    ensure: Verb
    remove: Verb


STAGES = (
    Stage("namespace", ConditionType.NAMESPACE_READY, Substatus.NAMESPACE, namespace.ensure, namespace.remove),
    Stage("vcluster", ConditionType.VIRTUAL_CLUSTER_READY, Substatus.SPAWNING, vcluster.ensure, vcluster.remove),
    Stage("keycloak", ConditionType.KEYCLOAK_READY, Substatus.PREPARING, keycloak.ensure, keycloak.remove),
    Stage("prepare", ConditionType.PREPARED, Substatus.PREPARING, prepare.ensure, prepare.remove),
    Stage("vault", ConditionType.VAULT_READY, Substatus.PREPARING, vault.ensure, vault.remove),
    Stage("init", ConditionType.DEPLOYED, Substatus.DEPLOYING, init.ensure, init.remove),
    Stage("ingress", ConditionType.EXPOSED, Substatus.NONE, ingress.ensure, ingress.remove),
    Stage("shell", ConditionType.SHELL_READY, Substatus.NONE, shell.ensure, shell.remove),
)

__all__ = ["STAGES", "Stage", "Verb"]
