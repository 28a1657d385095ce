"""
Condition types and reasons: the state of a job. Code decides on conditions, never on status texts.

A reason is a word for programs; docs/lifecycle.md says for each one what an operator does. The message is for people.
`lastTransitionTime` changes only when `status` changes, so that deadlines can be counted from it.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from kns.model.errors import clip

MESSAGE_LIMIT = 1500
# Messages of a job that wakes up. Everybody may see which of them it is, and nobody but its users any other.
CLUSTER_STARTS, APP_STARTS = "the virtual cluster is starting", "the application is starting"


class ConditionType(StrEnum):
    """One per stage, and four about the job as a whole."""

    NAMESPACE_READY = "NamespaceReady"
    VIRTUAL_CLUSTER_READY = "VirtualClusterReady"
    KEYCLOAK_READY = "KeycloakReady"
    PREPARED = "Prepared"
    VAULT_READY = "VaultReady"  # only for jobs with a usable vault
    DEPLOYED = "Deployed"
    EXPOSED = "Exposed"
    SHELL_READY = "ShellReady"  # only for jobs that ask for a web shell
    DRAINED = "Drained"  # False while a shutdown waits for the tenant's pods
    ASLEEP = "Asleep"  # only for jobs that were asleep once; True from the request to sleep to the request to wake
    ENDED = "Ended"
    REMOVED = "Removed"


class Reason(StrEnum):
    """Why a condition has its status. Documented one by one in docs/lifecycle.md; a test compares the two."""

    OK = "Ok"
    RETRYING = "Retrying"
    WAITING_FOR_API = "WaitingForApi"
    NOT_ACCEPTED = "NotAccepted"
    UNREADABLE = "Unreadable"
    NAMESPACE_FOREIGN = "NamespaceForeign"
    NAMESPACE_GONE = "NamespaceGone"
    PULL_SECRET_UNFIT = "PullSecretUnfit"  # noqa: S105 - a word
    REFUSED_BY_HOST = "RefusedByHost"
    RENDER_FAILED = "RenderFailed"
    SPAWNING = "Spawning"
    SPAWN_DELAY_PASSED = "SpawnDelayPassed"
    CONTROL_PLANE_LOST = "ControlPlaneLost"
    CONTROL_PLANE_UNAVAILABLE = "ControlPlaneUnavailable"
    KEYCLOAK_UNREACHABLE = "KeycloakUnreachable"
    KEYCLOAK_UNAUTHORIZED = "KeycloakUnauthorized"
    KEYCLOAK_FORBIDDEN = "KeycloakForbidden"
    KEYCLOAK_REFUSED = "KeycloakRefused"
    KEYCLOAK_FOREIGN = "KeycloakForeign"
    KEYCLOAK_OFF = "KeycloakOff"
    PREPARING = "Preparing"
    VAULT_CLASS_TAKEN = "VaultClassTaken"
    VAULT_REFUSED = "VaultRefused"
    INIT_STARTING = "InitStarting"
    INIT_RUNNING = "InitRunning"
    INIT_NOT_STARTED = "InitNotStarted"
    IMAGE_NOT_PULLABLE = "ImageNotPullable"
    TEMPLATES_MISSING = "TemplatesMissing"
    ITEM_OUT_OF_RETRIES = "ItemOutOfRetries"
    PLAN_NOT_UNDERSTOOD = "PlanNotUnderstood"
    INIT_FAILED = "InitFailed"
    NO_TARGET = "NoTarget"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_UNFIT = "TargetUnfit"
    TARGET_GONE = "TargetGone"
    ADDRESS_TAKEN = "AddressTaken"
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
    SHELL_NOT_ALLOWED = "ShellNotAllowed"
    SHELL_WITHOUT_URL = "ShellWithoutUrl"
    SHELL_STARTING = "ShellStarting"
    SHELL_NOT_STARTED = "ShellNotStarted"
    FALLING_ASLEEP = "FallingAsleep"
    ASLEEP = "Asleep"
    WAKING = "Waking"
    SLEEP_NOT_POSSIBLE = "SleepNotPossible"
    GRACE = "Grace"
    SHUTDOWN = "Shutdown"
    TERMINATE = "Terminate"
    WALLTIME = "Walltime"
    REMOVING = "Removing"
    KEPT = "Kept"


class Condition(BaseModel):
    """One element of `status.conditions`, in Kubernetes' form."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: AwareDatetime

    @property
    def is_true(self) -> bool:
        return self.status == "True"


def find_condition(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    return next((c for c in conditions if c.type == kind), None)


def with_condition(
    conditions: tuple[Condition, ...],
    kind: ConditionType,
    *,
    true: bool,
    reason: Reason,
    message: str = "",
    now: datetime,
) -> tuple[Condition, ...]:
    """`conditions` with one of them set. Its transition time changes only if its status does."""
    status: Literal["True", "False"] = "True" if true else "False"
    old = find_condition(conditions, kind)
    new = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=clip(message, MESSAGE_LIMIT),
        last_transition_time=old.last_transition_time if old and old.status == status else now,
    )
    if old is None:
        return (*conditions, new)
    return tuple(new if c.type == kind else c for c in conditions)
