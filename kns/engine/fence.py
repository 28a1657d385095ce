"""
The fence around a pass: every call of it to the outside asks first whether this process still leads.

A pass may be frozen in the middle (a stopped process, a machine that was suspended) and wake up when another leader has
gone on. What it then writes to a record is a conflict, but a namespace or a client that it makes would be nobody's, and
an output that it stores the wrong one.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

from kns.model.errors import UnavailableError
from kns.ports import World

PortT = TypeVar("PortT")


def fence(port: PortT, may_work: Callable[[], bool]) -> PortT:
    """
    `port`, whose calls raise UnavailableError once `may_work` says no.

    What is on its way to the outside already is not held back: the Lease's margin is for that. An adapter that makes a
    call wait (the throttle, the turn at Keycloak) asks once more afterwards.
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
                raise UnavailableError(f"{name}: this process does not lead any more")
            return method(*args, **kwargs)

        return call
