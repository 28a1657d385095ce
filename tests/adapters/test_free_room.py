"""What is free on the host: the promises of the port on the fake and on the adapter, and how the adapter reads."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import NODES
from kns.adapters.kube.nodes import AGE_S, OLDEST_S, KubeFreeRoom
from kns.model.catalog.free import Amounts, HostRoom, Selector, count_fitting
from kns.model.catalog.machine import Machine
from kns.model.errors import KnsError, UnavailableError
from kns.ports import FreeRoom, Object
from tests.adapters.api_server import ApiServer, failure
from tests.adapters.faulty_server import Meanwhile
from tests.fakes.room import MemoryRoom, a_node
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S

ANY: Selector = frozenset()
BIG: Selector = frozenset({("pool", "big")})
SMALL = Machine(mc_name="kns-small", mc_cores=2, mc_ram=4, mc_properties="appkind=kns")
LARGE = Machine(mc_name="kns-large", mc_cores=2, mc_ram=4, mc_properties="appkind=kns,pool=big")
NODE_PATH = "/api/v1/nodes"


@dataclass
class Host:
    """What the adapter gets from other parts, and can be refused."""

    selectors: set[Selector] = field(default_factory=lambda: {ANY})
    taken: dict[Selector, Amounts] = field(default_factory=dict)
    fault: KnsError | None = None

    def sum_requests(self) -> dict[Selector, Amounts]:
        if self.fault is not None:
            raise self.fault
        return dict(self.taken)


@dataclass
class Subject:
    room: FreeRoom
    selectors: set[Selector]
    taken: dict[Selector, Amounts]
    put_node: Callable[[Object], object]
    refuse: Callable[[], object]

    def read(self) -> HostRoom:
        room = self.room.read()
        assert room is not None
        return room


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def adapter(client: KubeClient, clock: FakeClock, host: Host) -> KubeFreeRoom:
    """A read ends before `read` returns, unless the server hangs."""
    return KubeFreeRoom(
        client,
        list_selectors=lambda: host.selectors,
        sum_requests=host.sum_requests,
        clock=clock,
        wait_s=PATIENCE_S,
    )


@pytest.fixture(params=["memory", "kube"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "memory":
        memory = MemoryRoom()
        yield Subject(
            memory, memory.selectors, memory.taken, memory.nodes.append, lambda: setattr(memory, "is_refused", True)
        )
        return
    server: ApiServer = request.getfixturevalue("server")
    host: Host = request.getfixturevalue("host")
    yield Subject(
        request.getfixturevalue("adapter"),
        host.selectors,
        host.taken,
        lambda node: server.put("/api/v1", "nodes", node),
        lambda: server.script("GET", NODE_PATH, failure(403, "Forbidden", "nodes is forbidden")),
    )


def test_what_fits_is_counted(subject: Subject) -> None:
    subject.selectors.add(BIG)
    subject.taken[BIG] = (Decimal(3), Decimal(0), Decimal(0))
    subject.put_node(a_node("one"))
    subject.put_node(a_node("two", pool="big"))
    room = subject.read()
    assert (count_fitting(room, SMALL), count_fitting(room, LARGE)) == (6, 2)


def test_a_host_without_nodes_has_no_room(subject: Subject) -> None:
    assert count_fitting(subject.read(), SMALL) == 0


def test_the_nodes_of_jobs_whose_machine_is_gone_are_looked_at(subject: Subject) -> None:
    subject.taken[BIG] = (Decimal(3), Decimal(0), Decimal(0))
    subject.put_node(a_node("two", pool="big"))
    assert count_fitting(subject.read(), SMALL) == 2


def test_a_host_that_refuses_is_not_known(subject: Subject) -> None:
    subject.refuse()
    assert subject.room.read() is None


# --- the adapter


def test_everybody_shares_one_read_a_minute(adapter: KubeFreeRoom, server: ApiServer, clock: FakeClock) -> None:
    for _ in range(5):
        assert adapter.read() is not None
    clock.advance(AGE_S - 1)
    adapter.read()
    assert server.count("GET", NODE_PATH) == 1
    clock.advance(1)
    server.put("/api/v1", "nodes", a_node())
    room = adapter.read()
    assert room is not None
    assert count_fitting(room, SMALL) == 3
    assert server.count("GET", NODE_PATH) == 2


def test_nodes_come_in_pages(adapter: KubeFreeRoom, server: ApiServer, host: Host) -> None:
    for number in range(2 * NODES.page + 1):
        server.put("/api/v1", "nodes", a_node(f"node-{number:04}"))
    room = adapter.read()
    assert room is not None
    assert room.offered == {frozenset({ANY}): (Decimal(8 * 201), Decimal(201 * 32 * 2**30), Decimal(0))}
    assert server.count("GET", NODE_PATH) == 3


def test_nothing_else_is_asked_of_the_host(adapter: KubeFreeRoom, server: ApiServer) -> None:
    """The right to list nodes is enough."""
    adapter.read()
    assert {(seen.method, seen.path) for seen in server.seen} == {("GET", NODE_PATH)}


FAULTS = {
    "no right": failure(403, "Forbidden", "nodes is forbidden"),
    "an error": failure(500, "InternalError", "etcd"),
    "a page that expired": failure(410, "Expired", "too old"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_answer_before_is_shown_while_the_host_fails(
    fault: str, adapter: KubeFreeRoom, server: ApiServer, clock: FakeClock
) -> None:
    """For some minutes. Nobody is shown what is older, and the host is asked once a minute."""
    assert adapter.read() is not None
    clock.advance(AGE_S)
    server.script("GET", NODE_PATH, *([FAULTS[fault]] * 9))
    for _ in range(3):
        assert adapter.read() is not None
    assert server.count("GET", NODE_PATH) == 2
    clock.advance(OLDEST_S - AGE_S)
    assert adapter.read() is None
    server.forget_faults()
    clock.advance(AGE_S)
    assert adapter.read() is not None


def test_without_the_right_the_log_says_once_what_to_do(
    adapter: KubeFreeRoom, server: ApiServer, clock: FakeClock
) -> None:
    server.script("GET", NODE_PATH, *([FAULTS["no right"]] * 3))
    with capture_logs() as logs:
        for _ in range(3):
            assert adapter.read() is None
            clock.advance(AGE_S)
    (entry,) = [each for each in logs if each["event"] == "nodes_not_read"]
    assert "overlays/free-machines" in entry["hint"]


def test_a_cache_that_is_not_filled_yet_is_no_room(adapter: KubeFreeRoom, host: Host, clock: FakeClock) -> None:
    host.fault = UnavailableError("the cache of resourcequotas is not filled yet")
    assert adapter.read() is None
    host.fault = None
    clock.advance(AGE_S)
    assert adapter.read() is not None


def test_a_slow_host_keeps_nobody_waiting(client: KubeClient, server: ApiServer, clock: FakeClock, host: Host) -> None:
    """The first request waits a moment, all others not at all, and there is one read at a time."""
    adapter = KubeFreeRoom(
        client, list_selectors=lambda: host.selectors, sum_requests=host.sum_requests, clock=clock, wait_s=0
    )
    answered = threading.Event()
    server.script("GET", NODE_PATH, Meanwhile(lambda: answered.wait(PATIENCE_S)))
    for _ in range(5):
        assert adapter.read() is None
        clock.advance(AGE_S)
    server.wait_for("GET", NODE_PATH)
    assert server.count("GET", NODE_PATH) == 1
    answered.set()
