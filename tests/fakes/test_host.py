"""The promises of the host cluster, kept by the fake."""

import pytest

from kns.ports import Kind, Object
from tests.contract.host_cluster import HostContract, Subject
from tests.fakes.host import FakeHost
from tests.fakes.stores import FakeClock


@pytest.fixture
def subject() -> Subject:
    clock = FakeClock()
    host = FakeHost(clock)

    def put_pod(namespace: str, name: str, meta: Object) -> None:
        host.put(Kind.POD, namespace, name, {"metadata": meta})

    return Subject(host, 7, put_pod, lambda: clock.advance(60))


class TestFakeHost(HostContract):
    """All promises, in memory."""
