"""What a record owns beside its job's namespace: output, large inputs, and tokens."""

from typing import Protocol

from kns.model.job.inputs import JobInputs
from kns.model.job.job import Job
from kns.model.job.output import JobOutput
from kns.model.job.tokens import Tokens


class OutputStore(Protocol):
    """The jobs' output. Each is in an object owned by the job's record, so it outlives the job's namespace."""

    def read(self, job: Job, *, recent: bool = False) -> JobOutput:
        """
        The output of this record; that of an earlier record of the same name is not shown.

        With `recent` the output may be a moment old. That halves the load on the host, for clients that poll.
        """
        ...

    def write(self, job: Job, output: JobOutput) -> None:
        """Store the output if it differs from the stored one."""
        ...


class InputStore(Protocol):
    """The inputs of jobs that are too large for their records."""

    def read(self, job: Job) -> JobInputs:
        """
        The inputs of a job with `accepted.inputs`.

        Raises:
            InvalidInputError: they are missing, or were changed.
        """
        ...

    def remove(self, job: Job) -> None:
        """Delete the inputs of a job with `accepted.inputs`. Absent inputs are a success."""
        ...


class TokenStore(Protocol):
    """The jobs' passwords and random tokens. Each job's are in a Secret owned by its record."""

    def read(self, record: str) -> Tokens | None: ...

    def ensure(self, job: Job) -> Tokens:
        """The job's tokens. The first call makes them, later calls return the same."""
        ...
