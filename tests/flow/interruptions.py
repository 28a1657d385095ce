"""Interrupts one call of a fake: the process dies or the response is lost, before or after the call takes effect."""

from collections.abc import Callable
from typing import Any

from kns.model.errors import KnsError
from kns.ports import Object
from tests.fakes.host import FakeHost
from tests.flow.conftest import Simulation, new_fakes

MOST_CALLS = 100  # of one method in the life of a job; a test that interrupts each ends before


class Crash(BaseException):
    """The process died. No code in it may catch this."""


def interrupt(target: Any, method: str, call: int, *, before: bool, error: type[BaseException]) -> Callable[[], int]:
    """Make the `call`-th use of `method` raise, before or after it took effect. Returns a count of the uses so far."""
    original = getattr(target, method)
    count = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == call and before:
            raise error("injected")
        result = original(*args, **kwargs)
        if count == call:
            raise error("injected")
        return result

    setattr(target, method, wrapped)
    return lambda: count


def refuse_apply(host: FakeHost, kind: str, error: KnsError, *, name: str = "") -> Callable[[], None]:
    """The host refuses objects of that kind, or only those of that name, until the result is called."""
    original = host.apply

    def apply(obj: Object) -> Object:
        if obj["kind"] == kind and name in ("", obj["metadata"]["name"]):
            raise error
        return original(obj)

    def relent() -> None:
        host.apply = original  # type: ignore[method-assign]

    host.apply = apply  # type: ignore[method-assign]
    return relent


def run_on(sim: Simulation, until: str) -> None:
    """Reconcile until that result. A crash acts as a restart, because `step` keeps nothing."""
    for _ in range(20):
        try:
            sim.run(until=until)
        except Crash:
            continue
        return
    raise AssertionError(f"never came to {until}")


def fresh(sim: Simulation) -> dict[str, Any]:
    """New fakes in place of those of `sim`."""
    return new_fakes(type(sim.clock)())
