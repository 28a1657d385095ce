"""Lists that are read once for many requests: how long they are reused, and which are never stored."""

from collections.abc import Callable, Sequence

import pytest

from kns.adapters.recent import AGE_S, OBJECT_AGE_S, RecentLists, RecentObjects
from kns.model.errors import ForbiddenError, NotFoundError, UnavailableError
from kns.ports import Kind, NamespaceReader, Object
from tests.fakes.stores import FakeClock, MemoryNamespaces


class Counted(MemoryNamespaces):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        self.asked += 1
        return super().list_objects(kind, namespace, selector)

    def list_warnings(self, namespace: str) -> Sequence[Object]:
        self.asked += 1
        return [event for event in self.objects[Kind.EVENT, namespace] if event["type"] == "Warning"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def host() -> Counted:
    host = Counted()
    host.objects[Kind.POD_METRICS, "a"] = [{"in": "a"}]
    host.objects[Kind.POD_METRICS, "b"] = [{"in": "b"}]
    host.objects[Kind.RESOURCE_QUOTA, "a"] = [{"a": "quota"}]
    return host


@pytest.fixture
def recent(host: Counted, clock: FakeClock) -> RecentLists:
    recent = RecentLists(host, clock=clock, kinds={Kind.POD_METRICS})
    _port: NamespaceReader = recent  # mypy compares them
    return recent


def test_many_who_ask_are_one_question(recent: RecentLists, host: Counted, clock: FakeClock) -> None:
    for _ in range(10):
        assert recent.list_objects(Kind.POD_METRICS, "a") == [{"in": "a"}]
        clock.advance(AGE_S / 10 - 0.01)
    assert host.asked == 1


def test_an_old_answer_is_asked_for_again_and_forgotten(recent: RecentLists, host: Counted, clock: FakeClock) -> None:
    recent.list_objects(Kind.POD_METRICS, "a")
    clock.advance(AGE_S)
    host.objects[Kind.POD_METRICS, "a"] = [{"in": "a", "new": True}]
    recent.list_objects(Kind.POD_METRICS, "b")
    assert len(recent._answers) == 1
    assert recent.list_objects(Kind.POD_METRICS, "a") == [{"in": "a", "new": True}]


def test_namespaces_and_selectors_do_not_mix(recent: RecentLists, host: Counted) -> None:
    assert recent.list_objects(Kind.POD_METRICS, "a") == [{"in": "a"}]
    assert recent.list_objects(Kind.POD_METRICS, "b") == [{"in": "b"}]
    recent.list_objects(Kind.POD_METRICS, "a", "x=y")
    assert host.asked == 3


def test_warnings_are_shared_as_well(recent: RecentLists, host: Counted, clock: FakeClock) -> None:
    """Users ask for explanations, and pages ask for them again and again."""
    host.objects[Kind.EVENT, "a"] = [{"type": "Normal"}, {"type": "Warning"}]
    assert [recent.list_warnings("a") for _ in range(3)] == [[{"type": "Warning"}]] * 3
    assert host.asked == 1
    clock.advance(AGE_S)
    recent.list_warnings("a")
    assert host.asked == 2


def test_other_kinds_are_always_asked_for(recent: RecentLists, host: Counted) -> None:
    for _ in range(3):
        assert recent.list_objects(Kind.RESOURCE_QUOTA, "a") == [{"a": "quota"}]
    assert host.asked == 3


@pytest.mark.parametrize(("error", "asked"), [(NotFoundError, 1), (ForbiddenError, 1), (UnavailableError, 3)])
def test_that_there_is_nothing_is_kept_and_that_nobody_answers_is_not(
    recent: RecentLists, host: Counted, error: type[Exception], asked: int
) -> None:
    host.faults[Kind.POD_METRICS] = error("no")
    for _ in range(3):
        with pytest.raises(error, match="no"):
            recent.list_objects(Kind.POD_METRICS, "a")
    assert host.asked == asked


class Source:
    """An object that a test changes."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Object | None = {"version": 1}
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self.asked += 1
        self.meanwhile()
        if self.error is not None:
            raise self.error
        return self.answer


def test_an_object_is_read_once_for_all_and_again_when_it_is_old(clock: FakeClock) -> None:
    source = Source()
    shared = RecentObjects(source.read, clock=clock)
    for _ in range(10):
        assert shared.read(Kind.SECRET, "a", "b") == {"version": 1}
        clock.advance(OBJECT_AGE_S / 10 - 0.01)
    assert source.asked == 1
    clock.advance(1)
    source.answer = None
    assert shared.read(Kind.SECRET, "a", "b") is None
    assert shared.read(Kind.SECRET, "a", "b") is None
    assert source.asked == 2


def test_while_one_reads_an_object_the_others_do_not_wait(clock: FakeClock) -> None:
    source = Source()
    shared = RecentObjects(source.read, clock=clock)
    shared.read(Kind.SECRET, "a", "b")
    clock.advance(OBJECT_AGE_S)
    source.answer, seen = {"version": 2}, []
    source.meanwhile = lambda: seen.append(shared.read(Kind.SECRET, "a", "b"))
    assert shared.read(Kind.SECRET, "a", "b") == {"version": 2}
    assert (seen, source.asked) == ([{"version": 1}], 2)


def test_an_error_leaves_the_object_before_and_is_not_repeated_at_once(clock: FakeClock) -> None:
    source = Source()
    shared = RecentObjects(source.read, clock=clock)
    source.error = UnavailableError("503")
    for _ in range(2):
        with pytest.raises(UnavailableError):
            shared.read(Kind.SECRET, "a", "b")
    source.error = None
    shared.read(Kind.SECRET, "a", "b")
    clock.advance(OBJECT_AGE_S)
    source.error, asked = ForbiddenError("403"), source.asked
    for _ in range(3):
        assert shared.read(Kind.SECRET, "a", "b") == {"version": 1}
    assert source.asked == asked + 1
