"""
The runner's own use of the virtual cluster: whether it is ready, and which steps are finished.

Finished steps are recorded in the virtual cluster and not on a volume, because a cluster that was created again needs
every step again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping

from runner.outcome import ApiUnreachable, printable

READY_TIMEOUT_S = 120.0
POLL_S = 1.0
RECORD_TRIES = 3
_REQUEST_TIMEOUT_S = 5
_CALL_TIMEOUT_S = 15.0
"""Limit of a kubectl call. It is higher than the request timeout, because discovery needs several requests."""

_NAMESPACE, _NAME = "kube-system", "kns-init-progress"


class KubectlError(Exception):
    """A kubectl call of the runner failed. The message has the last line of its output."""


class NestedCluster:
    """The virtual cluster, reached with kubectl and the pod's KUBECONFIG."""

    def __init__(self, *, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        """`clock` is monotonic, in seconds. `pause` sleeps, and may raise to end the run."""
        self._clock = clock
        self._pause = pause

    def wait_until_ready(self) -> dict[str, str]:
        """
        Wait, without output, until the API of the virtual cluster is ready. Returns the finished steps of earlier runs:
        step index -> fingerprint.

        The API is ready when the default ServiceAccount exists, because no pod can be created before.

        Raises:
            ApiUnreachable: it was not ready within `READY_TIMEOUT_S`.
        """
        deadline = self._clock() + READY_TIMEOUT_S
        while True:
            try:
                _kubectl("get", "serviceaccount", "default", "-n", "default", "-o", "name")
                return _finished()
            except KubectlError as err:
                if self._clock() >= deadline:
                    raise ApiUnreachable(
                        f"the nested cluster's API did not answer within {READY_TIMEOUT_S:.0f} s, last try: {err}"
                    ) from err
            self._pause(POLL_S)

    def record(self, finished: Mapping[str, str]) -> None:
        """
        Record these steps, and no others, as finished.

        Raises:
            KubectlError: all `RECORD_TRIES` attempts failed.
        """
        manifest = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _NAME, "namespace": _NAMESPACE},
                "data": dict(finished),
            }
        )
        for tries_left in reversed(range(RECORD_TRIES)):
            try:
                _kubectl(
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "--field-manager=kns-init",
                    "-f",
                    "-",
                    stdin=manifest,
                )
            except KubectlError:
                if not tries_left:
                    raise
                self._pause(POLL_S)
            else:
                return


def _finished() -> dict[str, str]:
    answer = _kubectl("get", "configmap", _NAME, "-n", _NAMESPACE, "--ignore-not-found", "-o", "json")
    if not answer.strip():
        return {}
    try:
        data = json.loads(answer).get("data") or {}
        return {str(index): str(fingerprint) for index, fingerprint in data.items()}
    except (ValueError, AttributeError) as err:
        raise KubectlError(f"ConfigMap {_NAMESPACE}/{_NAME} has unexpected content: {err}") from err


def _kubectl(*arguments: str, stdin: str = "") -> str:
    """
    The standard output of a kubectl call.

    Raises:
        KubectlError: the call did not start, did not end in time, or failed.
    """
    try:
        done = subprocess.run(
            ("kubectl", f"--request-timeout={_REQUEST_TIMEOUT_S}s", *arguments),
            input=stdin.encode(),
            capture_output=True,
            timeout=_CALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise KubectlError(f"kubectl {arguments[0]} took more than {_CALL_TIMEOUT_S:.0f} s") from err
    except OSError as err:
        raise KubectlError(f"cannot start kubectl: {err.strerror}") from err
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise KubectlError(f"kubectl {arguments[0]}: exit {done.returncode}: {printable(said, limit_bytes=500)}")
    return done.stdout.decode("utf-8", "replace")
