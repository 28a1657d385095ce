"""
The faults of calls to the outside, and the gate that every call goes through.

A fault is what the engine sees, so each call has only the faults that its adapter reports: the adapters' own table
translates HTTP statuses, a broken watch is a cache that no longer changes, a deletion ignores a 409. A read has no
effect, so a fault after it equals a fault before the next call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from kns.adapters.kube.errors import error_from_status
from kns.engine.fence import fence
from kns.model.errors import AlreadyExistsError, UnavailableError
from kns.ports import Kind

ResultT = TypeVar("ResultT")
Call = Callable[[], Any]


class Crash(BaseException):
    """The process died. No code in it may catch this."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    `error` is raised instead of a result; without one the result is None. `lags`: the caches get no events for a while.
    `freezes`: the process is frozen before the call, and another process leads from then on.
    """

    error: Callable[[], BaseException] | None = None
    after: bool = False  # the call took effect before the fault
    lags: bool = False
    freezes: bool = False


def _status(code: int) -> Callable[[], BaseException]:
    return lambda: error_from_status("injected", code, b"", {"Retry-After": "7"})


def _unavailable() -> UnavailableError:
    """The error for a timeout or a reset, and for every missing answer of Keycloak."""
    return UnavailableError("injected: no answer")


_ERRORS: dict[str, Callable[[], BaseException]] = {
    "crash": Crash,
    "timeout": _unavailable,
    "409": _status(409),
    "410": _status(410),
    "429": _status(429),
    "500": _status(500),
}


def _both(*errors: str) -> dict[str, Fault]:
    return {
        f"{error} {'after' if after else 'before'}": Fault(_ERRORS[error], after=after)
        for error in errors
        for after in (False, True)
    }


CRASH = {"crash": Fault(Crash)}
READ = {name: Fault(error) for name, error in _ERRORS.items() if name != "409"}
WRITE = _both(*_ERRORS)  # "timeout after" is a lost response
CACHED = CRASH | {"cache not filled": Fault(_unavailable), "stale": Fault(lags=True)}
KEYCLOAK = _both("crash", "timeout")
FAULTS: dict[str, dict[str, Fault]] = {
    "cluster.observe": CACHED,
    "cluster.observe_job": CACHED,
    "cluster.observe_routes_at": CACHED,
    "cluster.observe_copies": CACHED,
    "cluster.observe_copy": CACHED,
    "cluster.read": READ,
    "cluster.read_shared": READ,
    "cluster.list_objects": READ,
    "cluster.list_events": READ,
    "cluster.list_metadata": READ,
    "cluster.pod_log": READ,
    "cluster.pod_log_start": READ,
    "cluster.apply": WRITE,
    "cluster.delete": {**WRITE, "409 before": Fault(), "409 after": Fault(after=True)},
    "cluster.delete_pods": WRITE,
    "cluster.scale": {**WRITE, "409 before": Fault(), "409 after": Fault(after=True)},
    "cluster.has_ready_pod": READ,
    "doors.list_addresses": READ,
    "renderer.render": CRASH | {"helm killed": Fault(_unavailable)},
    "virtual_clusters.listens": CRASH | {"any error": Fault()},
    "virtual_clusters.is_ready": CRASH | {"any error": Fault()},
    "virtual_clusters.apply": WRITE,
    "virtual_clusters.find_namespaces": READ,
    "virtual_clusters.retry_pods": WRITE,
    "identity.find_client": CRASH | {"timeout, 429 or 500": Fault(_unavailable)},
    "identity.create_client": KEYCLOAK | {"409 after": Fault(lambda: AlreadyExistsError("injected"), after=True)},
    "identity.update_client": KEYCLOAK,
    "identity.delete_client": KEYCLOAK,
    "inputs.read": READ,
    "inputs.remove": WRITE,
    "outputs.read": READ,
    "outputs.write": WRITE,
    "tokens.ensure": WRITE,
    "catalog.current": CRASH,
    "store.get": CACHED,
    "store.count_live": CACHED,
    "store.find_retained": CACHED,
    "store.list_surplus": CACHED,
    "store.find_request": CACHED,
    "store.allot_number": WRITE,
    "store.create": WRITE,
    "store.request_stop": WRITE,
    "store.set_sleep": WRITE,
    "store.accept": WRITE,
    "store.write_status": WRITE,
    "store.set_finalizer": WRITE,
    "store.delete": WRITE,
    "cluster.observe_members": CACHED,
    "cluster.observe_free_members": CACHED,
    "cluster.claim": WRITE,
    "store.count_waiting": CACHED,
    "store.find": CACHED,
    "store.fetch": READ,
}
# Only the warm pool and its claims make these calls (test_pool.py).
ASKED_BY_POOL = {
    "cluster.observe_members",
    "cluster.observe_free_members",
    "cluster.claim",
    "store.count_waiting",
    "store.find",
    "store.fetch",
}
for _faults in FAULTS.values():
    _faults["frozen"] = Fault(freezes=True)
NAMES = sorted({name for faults in FAULTS.values() for name in faults})
Plan = Callable[[int, str], Fault | None]


def no_fault(number: int, call: str) -> None:
    """A plan in which nothing goes wrong. The gate asks it at each call."""
    del number, call


class Gate:
    """Counts the calls, and asks the plan at each call which fault to inject."""

    def __init__(self) -> None:
        self.plan: Plan = no_fault
        self.calls = 0
        self.struck = 0
        self.lag: Callable[[], None] = lambda: None
        self.freeze: Callable[[], None] = lambda: None

    def pass_through(self, call: str, act: Callable[[], ResultT], anew: Callable[[], ResultT]) -> ResultT | None:
        """`anew` repeats the whole call as the process made it."""
        number, self.calls = self.calls, self.calls + 1
        fault = self.plan(number, call)
        if fault is None:
            return act()
        self.struck += 1
        if fault.freezes:
            self.freeze()
            return anew()
        if fault.lags:
            self.lag()
            return act()
        if fault.after:
            act()
        if fault.error is not None:
            raise fault.error()
        return None


class Port:
    """A port; every call of a method goes through the gate. `outer` is the object that the process holds."""

    def __init__(self, name: str, target: Any, gate: Gate) -> None:
        self._name = name
        self._target = target
        self._gate = gate
        self.outer: Any = self

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._gate.pass_through(
                f"{self._name}.{method}",
                lambda: self._act(method, args, kwargs),
                lambda: getattr(self.outer, method)(*args, **kwargs),
            )

        return call

    def fenced(self, may_work: Callable[[], bool]) -> Any:
        self.outer = fence(self, may_work)
        return self.outer

    def _act(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return getattr(self._target, method)(*args, **kwargs)


class WatchedPort(Port):
    """
    A port with the watch caches of one process. While they lag, they show the state of that moment, plus the objects
    that this process has stored since.
    """

    def __init__(self, name: str, target: Any, gate: Gate) -> None:
        super().__init__(name, target, gate)
        self._still: Any = None

    def lag(self) -> None:
        self._still = self._still or self._target.snapshot()

    def lag_since(self, still: Any) -> None:
        """Show this state, which may be older than everything that this process has seen."""
        self._still = still

    def catch_up(self) -> None:
        self._still = None

    def _act(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self._still if FAULTS[f"{self._name}.{method}"] is CACHED else None
        return getattr(source or self._target, method)(*args, **kwargs)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = super(WatchedPort, self).__getattr__(method)(*args, **kwargs)
            if self._still is not None:
                self._learn(method, args, answer)
            return answer

        return call

    def _learn(self, method: str, args: tuple[Any, ...], answer: Any) -> None:
        raise NotImplementedError


class WatchedHost(WatchedPort):
    def _learn(self, method: str, args: tuple[Any, ...], answer: Any) -> None:
        if method == "apply" or (method == "scale" and answer is not None):
            self._still.learn(answer)
        if method == "claim":
            self._still.learn(self._target.read(Kind.NAMESPACE, "", args[0].namespace))


class WatchedRecords(WatchedPort):
    def _learn(self, method: str, args: tuple[Any, ...], answer: Any) -> None:
        if method in ("accept", "write_status", "set_finalizer", "request_stop", "set_sleep"):
            self._still.learn(args[0].record, self._target)
