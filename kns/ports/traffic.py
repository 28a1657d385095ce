"""How much the jobs are used, as the ingress controller saw it."""

from collections.abc import Mapping
from typing import Protocol


class Traffic(Protocol):
    def count_requests(self) -> Mapping[str, float]:
        """
        The requests to each job's page and web shell so far, by the job's namespace on the host. Only changes of a
        number mean anything: a controller that restarts counts anew. A job without requests is absent.

        Raises:
            UnavailableError: a controller did not answer, or its answer is incomplete. Then nothing is known.
        """
        ...
