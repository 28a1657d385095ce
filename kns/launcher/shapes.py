"""
The Launcher's job object: JSON to `PlainJob` and back.

`PlainJob.extras` keeps what only the Launcher knows, under these keys, so that a job is reported as it was submitted:
`resourceLimits` and `config` (lists of objects as submitted, with defaults applied), `resourceProfile` (text).
`Mount.given` is the mount as submitted.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kns.launcher.fields import (
    Json,
    check_reported,
    describe_type,
    read_list,
    read_number,
    read_objects,
    read_text,
    read_texts,
)
from kns.launcher.mounts import read_mounts
from kns.model.errors import InvalidInputError
from kns.plain.job import (
    Constraint,
    Container,
    PlainJob,
    Port,
    Protocol,
    Resources,
    SecretVariable,
    Variable,
)
from kns.plain.views import View

LIMITS = "resourceLimits"
CONFIG = "config"
PROFILE = "resourceProfile"
SECRET = "secret"  # noqa: S105 - the name of a config entry: secret:key:VARIABLE
NVIDIA, AMD = "NVIDIA GPUs", "AMD GPUs"
CPU, MEMORY = "cpuCount", "memory"
CPU_REQUEST, MEMORY_REQUEST = "CPU Request", "Memory Request"
KUBERNETES_NAMES = {CPU: "cpu", MEMORY: "memory", NVIDIA: "nvidia.com/gpu", AMD: "amd.com/gpu"}
REQUEST_OF = {CPU_REQUEST: CPU, MEMORY_REQUEST: MEMORY}
MOST_PORTS = 100  # of one job; the Services of a whole cluster share 2768 ports of the nodes
MOST_ENVIRONMENT_BYTES = 256 * 1024  # names and values; each stays in memory while the job is in the cluster
_ENVIRONMENT_NAME_LIMIT = 1024


def read_environment(data: Json) -> tuple[Variable, ...]:
    variables = []
    for index, item in enumerate(read_objects(data, "environment")):
        path = f"environment[{index}].name"
        name = read_text(item, "name", path=path)
        if not name or "=" in name or len(name) > _ENVIRONMENT_NAME_LIMIT:
            raise InvalidInputError(path, "is not the name of an environment variable")
        variables.append(Variable(name, read_text(item, "value", path=f"environment[{index}].value")))
    size = sum(len(each.name.encode()) + len(each.value.encode()) for each in variables)
    if size > MOST_ENVIRONMENT_BYTES:
        raise InvalidInputError("environment", f"has {size} bytes; {MOST_ENVIRONMENT_BYTES} are possible")
    return tuple(variables)


def read_container(data: Json, *, default_image: str) -> Container:
    given = data.get("container")
    if given is None:
        return Container(default_image)
    if not isinstance(given, dict):
        raise InvalidInputError("container", f"is {describe_type(given)}; write an object")
    groups_key = "supplementalGroupIds" if "supplementalGroupIds" in given else "supplememtalGroupIds"
    groups = []
    for group in read_list(given, groups_key):
        if isinstance(group, bool) or not isinstance(group, int) or group < 0:
            raise InvalidInputError("container.supplementalGroupIds", f"has {describe_type(group)}; write group ids")
        groups.append(group)
    return Container(
        image=read_text(given, "image", path="container.image") or default_image,
        run_as_user=read_number(given, "runAsUserId", path="container.runAsUserId"),
        run_as_group=read_number(given, "runAsGroupId", path="container.runAsGroupId"),
        supplemental_groups=tuple(groups),
    )


def read_ports(data: Json) -> tuple[Port, ...]:
    ports = []
    for index, item in enumerate(read_objects(data, "exposedPorts")):
        path = f"exposedPorts[{index}]"
        target = read_number(item, "targetPort", path=f"{path}.targetPort")
        if target is None:
            raise InvalidInputError(f"{path}.targetPort", "is required")
        protocol = read_text(item, "protocol", path=f"{path}.protocol").upper() or "TCP"
        if protocol not in set(Protocol):
            raise InvalidInputError(f"{path}.protocol", f"{protocol!r} is not supported; use TCP or UDP")
        published = read_number(item, "publishedPort", path=f"{path}.publishedPort")
        ports.append(Port(target, published or None, Protocol(protocol)))
    if len(ports) > MOST_PORTS:
        raise InvalidInputError("exposedPorts", f"has {len(ports)} ports; at most {MOST_PORTS} are allowed")
    if len({(port.target, port.protocol) for port in ports}) < len(ports):
        raise InvalidInputError("exposedPorts", "has the same targetPort and protocol twice; remove one")
    return tuple(ports)


def read_secrets(config: Sequence[Json]) -> tuple[SecretVariable, ...]:
    """The config entries `secret`, whose value is `secret:key:VARIABLE`."""
    found = []
    for index, item in enumerate(config):
        if item.get("name") != SECRET:
            continue
        value = read_text(item, "value", path=f"config[{index}].value")
        parts = value.split(":")
        if len(parts) != 3 or not all(parts):
            raise InvalidInputError(f"config[{index}].value", "is not secretName:key:ENVIRONMENT_VARIABLE")
        found.append(SecretVariable(name=parts[2], secret=parts[0], key=parts[1]))
    return tuple(found)


def read_constraints(data: Json) -> tuple[Constraint, ...]:
    return tuple(
        Constraint(
            read_text(item, "name", path=f"placementConstraints[{index}].name"),
            read_text(item, "value", path=f"placementConstraints[{index}].value"),
        )
        for index, item in enumerate(read_objects(data, "placementConstraints"))
    )


def read_job(
    data: Json,
    *,
    user: str,
    default_image: str = "",
    limits: Sequence[Json] | None = None,
    constraints: Sequence[Constraint] | None = None,
    resources: Resources | None = None,
    share_process_namespace: bool = True,
) -> PlainJob:
    """
    The job of a submission. `status`, `id` and all that only the plugin writes are ignored: clients send garbage there.

    `limits`, `constraints` and `resources` replace what was submitted, after the profile's rules.

    Raises:
        InvalidInputError: the job cannot run; `path` is the key in the job object.
    """
    config = [dict(item) for item in read_objects(data, CONFIG)]
    check_reported(config, CONFIG)
    given_limits = [dict(item) for item in (read_objects(data, LIMITS) if limits is None else limits)]
    extras: dict[str, Any] = {LIMITS: given_limits, CONFIG: config}
    if profile := read_text(data, PROFILE):
        extras[PROFILE] = profile
    return PlainJob(
        name=read_text(data, "name"),
        user=user,
        container=read_container(data, default_image=default_image),
        command=read_text(data, "command"),
        exe=read_text(data, "exe"),
        args=read_texts(data, "args"),
        environment=read_environment(data),
        secrets=read_secrets(config),
        stdin=read_text(data, "stdin"),
        working_directory=read_text(data, "workingDirectory"),
        host=read_text(data, "host"),
        ports=read_ports(data),
        mounts=read_mounts(data),
        resources=resources or Resources(),
        constraints=tuple(read_constraints(data) if constraints is None else constraints),
        tags=read_texts(data, "tags"),
        queues=read_texts(data, "queues"),
        share_process_namespace=share_process_namespace,
        extras=extras,
    )


def format_time(time: datetime | None) -> str | None:
    """
    >>> format_time(datetime(2026, 1, 5, 14, 15, 30, tzinfo=UTC))
    '2026-01-05T14:15:30.000000Z'
    """
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def build_state(view: View, *, cluster: str) -> dict[str, Any]:
    """A job as the Launcher reads it. The input is left out: it may be large, and may have secrets."""
    job, state = view.job, view.state
    shape: dict[str, Any] = {
        "id": view.id,
        "cluster": cluster,
        "name": job.name,
        "user": job.user,
        "args": list(job.args),
        "environment": [{"name": each.name, "value": each.value} for each in job.environment],
        "workingDirectory": job.working_directory,
        "host": state.host or job.host,
        "container": _build_container(job),
        "exposedPorts": [_build_port(port, view) for port in job.ports],
        "mounts": [dict(mount.given) for mount in job.mounts],
        "placementConstraints": [{"name": each.name, "value": each.value} for each in job.constraints],
        LIMITS: list(job.extras.get(LIMITS) or ()),
        CONFIG: list(job.extras.get(CONFIG) or ()),
        "tags": list(job.tags),
        "queues": list(job.queues),
        "status": str(state.status),
        "submissionTime": format_time(view.stored.submitted),
        "stdoutFile": "",
        "stderrFile": "",
    }
    optional = {
        "command": job.command or None,
        "exe": job.exe or None,
        "statusMessage": state.message or None,
        "exitCode": state.exit_code,
        "lastUpdateTime": format_time(state.changed),
        PROFILE: job.extras.get(PROFILE),
    }
    return shape | {key: value for key, value in optional.items() if value is not None}


def _build_container(job: PlainJob) -> dict[str, Any]:
    who = job.container
    shape: dict[str, Any] = {"image": who.image, "supplementalGroupIds": list(who.supplemental_groups)}
    if who.run_as_user is not None:
        shape["runAsUserId"] = who.run_as_user
    if who.run_as_group is not None:
        shape["runAsGroupId"] = who.run_as_group
    return shape


def _build_port(port: Port, view: View) -> dict[str, Any]:
    published = port.published or view.published.get((port.target, port.protocol))
    shape: dict[str, Any] = {"targetPort": port.target, "protocol": str(port.protocol)}
    return shape if published is None else {**shape, "publishedPort": published}


def project(shape: Mapping[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    """The wanted fields of a job; its id is always one of them."""
    if not fields:
        return dict(shape)
    return {key: value for key, value in shape.items() if key in fields or key == "id"}
