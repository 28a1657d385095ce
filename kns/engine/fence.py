"""
The fence: before each call of a reconcile to the outside, it checks that this process is still the leader.

A reconcile may be frozen (a stopped process, a suspended machine) and resume after another leader has taken over. A
write to a record then fails with a conflict. Without the fence it could still create a namespace or a client without a
record, or store an old output.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

from kns.model.errors import UnavailableError
from kns.ports import World

PortT = TypeVar("PortT")


def fence(port: PortT, may_work: Callable[[], bool]) -> PortT:
    """
    `port`, but its calls raise UnavailableError once `may_work` returns False.

    A request that is already on its way is not stopped; the margin of the Lease covers it. An adapter that delays a
    call, like the throttle, checks `may_work` again after the delay.
    """
    return cast(PortT, _Fenced(port, may_work))


def fence_world(world: World, may_work: Callable[[], bool]) -> World:
    ports: dict[str, Any] = {each.name: getattr(world, each.name) for each in fields(World)}
    return replace(world, **{name: fence(port, may_work) for name, port in ports.items() if port is not None})


class _Fenced:
    def __init__(self, port: object, may_work: Callable[[], bool]) -> None:
        self._port = port
        self._may_work = may_work

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._may_work():
                raise UnavailableError(f"{name}: this process is no longer the leader")
            return method(*args, **kwargs)

        return call
