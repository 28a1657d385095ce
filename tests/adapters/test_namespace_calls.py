"""Calls about the jobs of one namespace that need no watch."""

from collections.abc import Iterator
from typing import cast

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.namespace_calls import NamespaceCalls
from kns.model.errors import UnavailableError


class Silent:
    """A client whose log has one part, and then nothing until the read timeout."""

    def open_stream(self, path: str, **_: object) -> "Silent":
        assert path == "/api/v1/namespaces/n/pods/x/log"
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield b"part"
        raise UnavailableError("GET x (log): no answer (ReadTimeoutError: timed out)")

    def close(self) -> None:
        pass


def test_a_log_that_is_followed_may_be_silent_and_another_is_not_whole() -> None:
    """The container of the second has ended, so silence is a problem of the network."""
    calls = NamespaceCalls(cast(KubeClient, Silent()), namespace="n")
    assert list(calls.open_log("x", "c", stream="", since="", follow=True)) == [b"part"]
    parts = iter(calls.open_log("x", "c", stream="", since="", follow=False))
    assert next(parts) == b"part"
    with pytest.raises(UnavailableError):
        next(parts)
