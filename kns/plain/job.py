"""
A plain job as a value, as a front end submits it. Pure data: nothing here knows a front end or the cluster.

Quantities are text in Kubernetes notation (`500m`, `512M`), so that no digit is lost between a front end and the
cluster. Each field says what its default does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from kns.model.errors import InvalidInputError

_MOST_PORT = 65535


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. The order of a job's variables is kept."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """The environment variable `name`, whose value is the entry `key` of the Secret `secret` in the namespace."""

    name: str
    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class Container:
    """`image` and the identity of the process. None: as the image says."""

    image: str
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """A port in the container. With `published`, it is this port of the node; otherwise the job's Service has it."""

    target: int
    published: int | None = None
    protocol: Protocol = Protocol.TCP

    def __post_init__(self) -> None:
        for number in (self.target, self.published):
            if number is not None and not 0 < number <= _MOST_PORT:
                raise InvalidInputError("exposedPorts", f"{number} is not a port; use a number from 1 to {_MOST_PORT}")


@dataclass(frozen=True, slots=True)
class Mount:
    """
    A volume at `path` in the container.

    `volume` is a volume of a pod without its name, like `{"nfs": {"server": "nfs01", "path": "/home"}}`. `given` is the
    mount in the words of the front end, which reports it back.
    """

    path: str
    volume: Mapping[str, Any]
    read_only: bool = False
    sub_path: str = ""
    given: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Constraint:
    """A label that the node must have."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Resources:
    """
    Limits and requests of the container by Kubernetes' names (`cpu`, `memory`, `nvidia.com/gpu`), as quantities.

    A resource without a limit may use what the node has. A resource without a request has the limit as its request.
    """

    limits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    requests: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class PlainJob:
    """
    What a user submitted. A job runs `command` in a shell, `exe` directly, or with neither what its image starts.

    `environment` and `mounts` are ordered. `host` is the name of the node to run on, "" for any. `labels` and
    `annotations` go on the Kubernetes Job and its pod. `nested`: it runs in a cluster of its own. `extras` is what a
    front end wants to read back with the job: a JSON object that no other part of kns interprets, without secrets.

    Raises:
        InvalidInputError: the job cannot run. `path` is the field in the names of the job's users.
    """

    name: str
    user: str
    container: Container
    command: str = ""
    exe: str = ""
    args: tuple[str, ...] = ()
    environment: Sequence[Variable] = ()
    secrets: tuple[SecretVariable, ...] = ()
    stdin: str = ""
    working_directory: str = ""
    host: str = ""
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    resources: Resources = field(default_factory=Resources)
    constraints: tuple[Constraint, ...] = ()
    tags: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    share_process_namespace: bool = True
    nested: bool = False
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    extras: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("name", "is required")
        if not self.user:
            raise InvalidInputError("user", "must not be empty")
        if not self.container.image:
            raise InvalidInputError("container.image", "is required, because no default image is configured")
        if self.command and self.exe:
            raise InvalidInputError("command", "and exe are both set; set one of them")
        for key in sorted(self.resources.requests.keys() & self.resources.limits.keys()):
            if not self.resources.requests[key] or not self.resources.limits[key]:
                raise InvalidInputError("resourceLimits", f"{key} is empty")

    @property
    def service_ports(self) -> tuple[Port, ...]:
        """The ports that the job's Service has."""
        return tuple(port for port in self.ports if port.published is None)
