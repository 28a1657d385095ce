"""The Lease: who holds it, how it is renewed, and when it may be taken from a holder that does not renew it."""

from typing import Any

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.lease import LEASE, KubeLease
from kns.model.errors import KnsError, UnavailableError
from tests.adapters.api_server import ApiServer
from tests.adapters.faulty_server import Meanwhile, Reset
from tests.fakes.stores import FakeClock

PREFIX = "/apis/coordination.k8s.io/v1"


@pytest.fixture
def lease(client: KubeClient, clock: FakeClock) -> KubeLease:
    return KubeLease(client, namespace="kns", clock=clock)


def stored(server: ApiServer) -> dict[str, Any]:
    found = server.find(PREFIX, "leases", "kns", LEASE)
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


def held_by_other(server: ApiServer, *, duration_s: int = 15, renewed: str = "2020-01-01T00:00:00Z") -> None:
    spec = {"holderIdentity": "other", "leaseDurationSeconds": duration_s, "renewTime": renewed, "leaseTransitions": 3}
    server.put(PREFIX, "leases", {"metadata": {"name": LEASE, "namespace": "kns"}, "spec": spec})


def test_the_first_to_come_makes_it(server: ApiServer, lease: KubeLease) -> None:
    assert lease.try_acquire(holder="me", duration_s=15)
    spec = stored(server)
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("me", 15, 0)


def test_renewing_keeps_the_time_of_acquisition(server: ApiServer, lease: KubeLease) -> None:
    lease.try_acquire(holder="me", duration_s=15)
    before = stored(server)
    assert lease.try_acquire(holder="me", duration_s=15)
    after = stored(server)
    assert (after["acquireTime"], after["leaseTransitions"]) == (before["acquireTime"], 0)
    assert after["renewTime"] > before["renewTime"]


def test_another_holder_is_judged_by_our_own_clock(server: ApiServer, lease: KubeLease, clock: FakeClock) -> None:
    """Its timestamps are years old and do not count, because the clock of its node may be wrong."""
    held_by_other(server)
    assert not lease.try_acquire(holder="me", duration_s=15)
    clock.advance(14.9)
    assert not lease.try_acquire(holder="me", duration_s=15)
    clock.advance(0.2)
    assert lease.try_acquire(holder="me", duration_s=15)
    assert (stored(server)["holderIdentity"], stored(server)["leaseTransitions"]) == ("me", 4)


def test_a_sign_of_life_starts_the_time_anew(server: ApiServer, lease: KubeLease, clock: FakeClock) -> None:
    held_by_other(server)
    lease.try_acquire(holder="me", duration_s=15)
    clock.advance(14)
    held_by_other(server, renewed="2020-01-01T00:00:14Z")
    assert not lease.try_acquire(holder="me", duration_s=15)
    clock.advance(14)
    assert not lease.try_acquire(holder="me", duration_s=15)


def test_the_holders_own_duration_counts(server: ApiServer, lease: KubeLease, clock: FakeClock) -> None:
    held_by_other(server, duration_s=60)
    lease.try_acquire(holder="me", duration_s=15)
    clock.advance(30)
    assert not lease.try_acquire(holder="me", duration_s=15)


def test_of_two_that_take_over_one_wins(server: ApiServer, client: KubeClient, clock: FakeClock) -> None:
    """Both read an expired Lease. The second write finds a newer version."""
    held_by_other(server)
    one, two = (KubeLease(client, namespace="kns", clock=clock) for _ in range(2))
    one.try_acquire(holder="one", duration_s=15)
    two.try_acquire(holder="two", duration_s=15)
    clock.advance(16)
    server.script("GET", LEASE, Meanwhile(lambda: two.try_acquire(holder="two", duration_s=15)))
    assert not one.try_acquire(holder="one", duration_s=15)
    assert stored(server)["holderIdentity"] == "two"


def test_of_two_that_make_it_one_wins(server: ApiServer, client: KubeClient, clock: FakeClock) -> None:
    one, two = (KubeLease(client, namespace="kns", clock=clock) for _ in range(2))
    server.script("GET", LEASE, Meanwhile(lambda: two.try_acquire(holder="two", duration_s=15)))
    assert not one.try_acquire(holder="one", duration_s=15)
    assert stored(server)["holderIdentity"] == "two"


def test_a_released_lease_is_free_at_once(server: ApiServer, lease: KubeLease, client: KubeClient) -> None:
    lease.try_acquire(holder="me", duration_s=15)
    lease.release(holder="me")
    assert stored(server)["holderIdentity"] == ""
    assert KubeLease(client, namespace="kns", clock=FakeClock()).try_acquire(holder="next", duration_s=15)


def test_nobody_releases_what_another_holds(server: ApiServer, lease: KubeLease) -> None:
    held_by_other(server)
    lease.release(holder="me")
    assert stored(server)["holderIdentity"] == "other"


def test_a_lease_without_content_is_free(server: ApiServer, lease: KubeLease) -> None:
    """`kubectl create` makes such a one."""
    server.put(PREFIX, "leases", {"metadata": {"name": LEASE, "namespace": "kns"}})
    lease.release(holder="me")
    assert lease.try_acquire(holder="me", duration_s=15)


def test_no_answer_is_reported_and_not_taken_for_a_loss(server: ApiServer, lease: KubeLease) -> None:
    server.script("GET", LEASE, Reset())
    with pytest.raises(UnavailableError):
        lease.try_acquire(holder="me", duration_s=15)
    with pytest.raises(KnsError):
        lease.release(holder="me")
