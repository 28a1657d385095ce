"""What a front end answers with an error of its own. All other errors are those of `kns.model.errors`."""

from kns.model.errors import KnsError


class UnknownJobError(KnsError):
    """No such job, or it belongs to another user."""


class InvalidStateError(KnsError):
    """The job is not in a state in which this is possible."""


class NotRunningError(KnsError):
    """The job does not run, so it uses nothing."""


class OutputMissingError(KnsError):
    """The job has no output: it never started, or its pod was deleted."""


class ControlError(KnsError):
    """The job was asked to do something, and it failed."""
