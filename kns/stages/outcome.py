"""What a stage says at the end of `ensure` or `remove`: a closed set, so that the reconciler can be exhaustive."""

from dataclasses import dataclass

from kns.model.job.conditions import Reason


@dataclass(frozen=True, slots=True)
class Done:
    """
    The stage's part of the world is as it must be.

    What it found out on the way goes into the record's status; None leaves the status as it is. `message` becomes
    the condition's. `look_s` is for what no watch tells of: when to look again at the latest.
    """

    message: str = ""
    url: str | None = None
    address: str | None = None
    control_plane_uid: str | None = None
    look_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Not yet. `after_s` is when to look again if no watch event comes first.

    `reason` and `message` become the stage's condition, so a job that waits says for what.
    """

    after_s: float
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never be: the job ends `COMPLETED WITH ERROR` with this message as its last line of output."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Without:
    """
    The job goes on without this stage, which is an extra: its condition says why, and nothing waits for it.

    `after_s` is when to look again if no watch event comes first. Without a reason nobody asked for the extra, and the
    record has no trace of it.
    """

    reason: Reason | None = None
    message: str = ""
    after_s: float | None = None


Outcome = Done | Wait | Failed | Without
