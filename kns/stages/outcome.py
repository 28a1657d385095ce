"""The outcomes of a stage's `ensure` and `remove`: a closed set, so that the reconciler can handle every case."""

from dataclasses import dataclass
from typing import Any

from kns.model.job.conditions import Reason

_STATUS_FIELDS = ("url", "address", "control_plane_uid")


@dataclass(frozen=True, slots=True)
class Done:
    """
    The stage's part of the world is as it must be.

    `message` becomes the condition's message; None leaves that of a condition that is already True. `url`, `address`
    and `control_plane_uid` go into the job's status; None leaves the status unchanged. `requeue_after_s` is for changes
    that no watch reports: reconcile again after that time at the latest.
    """

    message: str | None = None
    url: str | None = None
    address: str | None = None
    control_plane_uid: str | None = None
    requeue_after_s: float | None = None

    def status_changes(self) -> dict[str, Any]:
        """New values of fields of `JobStatus`."""
        return {name: value for name in _STATUS_FIELDS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Not done yet. Reconcile again after `requeue_after_s`, or earlier if a watch reports a change.

    `reason` and `message` become the stage's condition, so the record says what the job waits for. `stuck` is set if
    there is no progress: it is the reason of the job's end if this lasts too long. The record stores since when. Stages
    init and keycloak also use it as a clock only, with a reason that ends no job.
    """

    requeue_after_s: float
    reason: Reason
    message: str
    stuck: Reason | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The stage can never be done. The job ends `COMPLETED WITH ERROR`; `message` is the last line of its output."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """
    The job goes on without this optional stage. Its condition gets `reason` and `message`, and nothing waits for it.

    Without a reason the job did not ask for the stage, and the record gets no condition. Reconcile again after
    `requeue_after_s`, or earlier if a watch reports a change.
    """

    reason: Reason | None = None
    message: str = ""
    requeue_after_s: float | None = None


Outcome = Done | Wait | Failed | Skipped
