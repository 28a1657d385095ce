"""
The runner's own use of the virtual cluster: whether the items may run, and which of them are finished.

The init pod starts beside the virtual cluster, so that scheduling, image pulls and its first containers cost no time.
This container then waits inside until kns has prepared the virtual cluster for the job.

Finished steps are recorded in the virtual cluster and not on a volume, because a cluster that was created again needs
every step again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runner.api import ApiError, NestedApi
from runner.outcome import ApiUnreachable
from runner.plan import Awaited

POLL_S = 0.15
SLOW_POLL_S = 1.0
SLOW_AFTER_S = 120.0
"""A virtual cluster takes seconds. One that takes longer waits for a node or an image, and a second does not matter."""
SAY_AFTER_S = 60.0
RECORD_TRIES = 3
RECORD_PAUSE_S = 1.0

_CORE = "/api/v1/namespaces"
_MARKED = f"{_CORE}/default/secrets/kns-job"
_NAMESPACE, _NAME = "kube-system", "kns-init-progress"
_PROGRESS = f"{_CORE}/{_NAMESPACE}/configmaps/{_NAME}"
_NOT_FOUND = 404


class NestedCluster:
    """The virtual cluster of the job."""

    def __init__(
        self,
        api: NestedApi,
        *,
        clock: Callable[[], float],
        pause: Callable[[float], None],
        say: Callable[[str], object],
    ) -> None:
        """
        `clock` is monotonic, in seconds. `pause` sleeps, and may raise to end the run. `say` prints a line of output.
        """
        self._api = api
        self._clock = clock
        self._pause = pause
        self._say = say

    def wait_until_prepared(self, awaited: Awaited) -> dict[str, str]:
        """
        Wait until the mark of kns is in the virtual cluster: kns has made everything there that the items may use.
        Returns the finished steps of earlier runs: step index -> fingerprint.

        The mark names the record, so that the mark of another job's state is not taken for it. It implies that the API
        serves and that pods can be created, because kns looks for both before.

        Raises:
            ApiUnreachable: the mark was not there within the time of the plan.
        """
        began, said = self._clock(), False
        while True:
            try:
                if self._is_marked(awaited):
                    return self._finished()
                problem = "kns has not prepared it yet"
            except ApiError as err:
                problem = str(err)
            waited = self._clock() - began
            if waited >= awaited.limit_s:
                raise ApiUnreachable(
                    f"the virtual cluster was not ready for the items within {awaited.limit_s} s, last try: {problem}"
                )
            if waited >= SAY_AFTER_S and not said:
                self._say(f"still waiting for the virtual cluster after {SAY_AFTER_S:.0f} s: {problem}")
                said = True
            self._pause(POLL_S if waited < SLOW_AFTER_S else SLOW_POLL_S)

    def _is_marked(self, awaited: Awaited) -> bool:
        try:
            annotations = self._api.read_metadata(_MARKED).get("annotations")
        except ApiError as err:
            if err.status == _NOT_FOUND:
                return False
            raise
        return isinstance(annotations, dict) and annotations.get(awaited.annotation) == awaited.value

    def record(self, finished: Mapping[str, str]) -> None:
        """
        Record these steps, and no others, as finished.

        Raises:
            ApiError: all `RECORD_TRIES` attempts failed.
        """
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE},
            "data": dict(finished),
        }
        for tries_left in reversed(range(RECORD_TRIES)):
            try:
                self._api.apply(_PROGRESS, manifest, manager="kns-init")
            except ApiError:
                if not tries_left:
                    raise
                self._pause(RECORD_PAUSE_S)
            else:
                return

    def _finished(self) -> dict[str, str]:
        try:
            data = self._api.read(_PROGRESS).get("data") or {}
        except ApiError as err:
            if err.status == _NOT_FOUND:
                return {}
            raise
        if not isinstance(data, dict):
            raise ApiError(f"ConfigMap {_NAMESPACE}/{_NAME} has unexpected content: data is no object")
        return {str(index): str(fingerprint) for index, fingerprint in data.items()}
