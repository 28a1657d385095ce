"""
kubectl for the end-to-end tests. It waits longer than on an idle machine, and tries again when an API server did not
answer; a refusal is an answer.
"""

import contextlib
import time
from collections.abc import Iterator

from demo import nested
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.target import Target
from kns.cli.kubectl import DEFAULT_TIMEOUT_S
from tests.e2e.waiting import PATIENCE, POLL_S

_AGAIN_S = 20.0
# Nothing was sent, so every call may be made again. A virtual cluster refuses connections for a moment when its
# control plane, on a busy machine, answers kubelet's probe too late.
_NOT_SENT = ("TLS handshake timeout", "no route to host", "dial tcp", "connection refused")
# The request may have had effect, so only calls that may be repeated are made again.
_NO_ANSWER = (
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "Timeout: request did not complete",
    "unable to return a response in the time allotted",
    "currently unable to handle the request",
    "Client.Timeout exceeded",
    "http2: client connection lost",
    "connection reset by peer",
    "unexpected EOF",
    "i/o timeout",
    "context deadline exceeded",
    "did not end within",
)
_REPEATABLE = frozenset({"get", "apply", "logs", "api-resources", "config", "scale", "cordon", "uncordon"})
_ERRORS = ("Error from server", "Unable to connect", "The connection to the server", "error: ", "E0", "E1")


class PatientKubectl(Kubectl):
    """`timeout_s` of a call is that of an idle machine (`PATIENCE`)."""

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, check: bool = True
    ) -> str:
        deadline = time.monotonic() + _AGAIN_S * PATIENCE
        while True:
            try:
                text = super().run(*arguments, stdin=stdin, timeout_s=timeout_s * PATIENCE, check=check)
            except DemoError as error:
                if time.monotonic() > deadline or not _may_try_again(arguments, str(error)):
                    raise
            else:
                failed = not check and text.startswith(_ERRORS)
                if not failed or time.monotonic() > deadline or not _may_try_again(arguments, text):
                    return text
            time.sleep(POLL_S)


def _may_try_again(arguments: tuple[str, ...], said: str) -> bool:
    if any(text in said for text in _NOT_SENT):
        return True
    return _is_repeatable(arguments) and any(text in said for text in _NO_ANSWER)


def _is_repeatable(arguments: tuple[str, ...]) -> bool:
    verb = arguments[0]
    return (
        verb in _REPEATABLE
        or (verb == "delete" and "--ignore-not-found" in arguments)
        or (verb == "patch" and "--type=merge" in arguments)
    )


@contextlib.contextmanager
def nested_kubectl(target: Target, number: int) -> Iterator[Kubectl]:
    """Like that of `demo.nested`, but patient."""
    with nested.nested_kubectl(target, number, kind=PatientKubectl) as inside:
        yield inside
