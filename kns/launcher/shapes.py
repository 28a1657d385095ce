"""
The Launcher's job object: JSON to `PlainJob` and back.

`PlainJob.extras` keeps what only the Launcher knows, under these keys, so that a job is reported as it was submitted:
`resourceLimits` and `config` (lists of objects as submitted, with defaults applied), `resourceProfile` (text).
`Mount.given` is the mount as submitted.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kns.model.errors import InvalidInputError
from kns.plain.job import (
    Constraint,
    Container,
    Mount,
    PlainJob,
    Port,
    Protocol,
    Resources,
    SecretVariable,
    Variable,
)
from kns.plain.jobs import View

Json = Mapping[str, Any]

LIMITS = "resourceLimits"
CONFIG = "config"
PROFILE = "resourceProfile"
SECRET = "secret"  # noqa: S105 - the name of a config entry: secret:key:VARIABLE
NVIDIA, AMD = "NVIDIA GPUs", "AMD GPUs"
CPU, MEMORY = "cpuCount", "memory"
CPU_REQUEST, MEMORY_REQUEST = "CPU Request", "Memory Request"
KUBERNETES_NAMES = {CPU: "cpu", MEMORY: "memory", NVIDIA: "nvidia.com/gpu", AMD: "amd.com/gpu"}
REQUEST_OF = {CPU_REQUEST: CPU, MEMORY_REQUEST: MEMORY}
MOST_ITEMS = 1000  # of one list of a job; a Job of Kubernetes with more does not fit etcd's 1.5 MiB anyway
MOST_DEPTH = 32  # lists and objects in one another; a volume of Kubernetes has fewer than 10
MOST_PORTS = 100  # of one job; the Services of a whole cluster share 2768 ports of the nodes
MOST_ENVIRONMENT_BYTES = 256 * 1024  # names and values; each stays in memory while the job is in the cluster
_ENVIRONMENT_NAME_LIMIT = 1024
_NUMBERS = range(-(2**63), 2**64)  # other readers of JSON refuse larger whole numbers


def read_text(data: Json, key: str, *, path: str = "") -> str:
    """
    The text of a key; "" if it is missing or null.

    Raises:
        InvalidInputError: another type, or a zero byte, which no process can receive.
    """
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(path or key, f"is {_kind(value)}; write a text")
    if not _is_text(value):
        raise InvalidInputError(path or key, "contains a zero byte or half of a surrogate pair; remove it")
    return value


def _is_text(value: Any) -> bool:
    """Whether a process and a file can receive it."""
    return isinstance(value, str) and "\0" not in value and _is_unicode(value)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_list(data: Json, key: str) -> Sequence[Any]:
    """The list of a key; empty if it is missing or null. Raises InvalidInputError for another type."""
    value = data.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInputError(key, f"is {_kind(value)}; write a list")
    if len(value) > MOST_ITEMS:
        raise InvalidInputError(key, f"has {len(value)} items; at most {MOST_ITEMS} are allowed")
    return value


def read_texts(data: Json, key: str) -> tuple[str, ...]:
    texts = read_list(data, key)
    for text in texts:
        if not _is_text(text):
            raise InvalidInputError(key, f"has {_kind(text)} as an item that is no text without zero bytes")
    return tuple(texts)


def read_objects(data: Json, key: str) -> Sequence[Json]:
    items = read_list(data, key)
    for item in items:
        if not isinstance(item, dict):
            raise InvalidInputError(key, f"has {_kind(item)} as an item; write objects")
    return items


def read_number(data: Json, key: str, *, path: str) -> int | None:
    """A whole number, which S000 writes as a text and the SDK as a number; None if missing, null or ""."""
    value = data.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInputError(path, f"is {_kind(value)}; write a whole number")
    return value


def check_reported(items: Sequence[Json], key: str) -> None:
    """
    Whether every reader of JSON can take what is reported back as it was submitted. One job with NaN or half of a
    surrogate pair would make each list of all jobs unreadable.

    Raises:
        InvalidInputError: a number, a text or a depth that is not portable.
    """
    left: list[tuple[Any, int]] = [(item, 1) for item in items]
    while left:
        value, depth = left.pop()
        if depth > MOST_DEPTH:
            raise InvalidInputError(key, f"has more than {MOST_DEPTH} lists and objects in one another")
        if isinstance(value, dict):
            left += ((each, depth + 1) for pair in value.items() for each in pair)
        elif isinstance(value, list):
            left += ((each, depth + 1) for each in value)
        elif isinstance(value, str) and not _is_unicode(value):
            raise InvalidInputError(key, "contains half of a surrogate pair; remove it")
        elif (isinstance(value, float) and not math.isfinite(value)) or (
            isinstance(value, int) and value not in _NUMBERS
        ):
            raise InvalidInputError(key, "contains a number that is too large or is none")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


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
        raise InvalidInputError("container", f"is {_kind(given)}; write an object")
    groups_key = "supplementalGroupIds" if "supplementalGroupIds" in given else "supplememtalGroupIds"
    groups = []
    for group in read_list(given, groups_key):
        if isinstance(group, bool) or not isinstance(group, int) or group < 0:
            raise InvalidInputError("container.supplementalGroupIds", f"has {_kind(group)}; write group ids")
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


def read_mounts(data: Json) -> tuple[Mount, ...]:
    """
    The mounts, as Kubernetes volumes.

    Raises:
        InvalidInputError: a mount without path or of an unknown type.
    """
    mounts = []
    check_reported(read_objects(data, "mounts"), "mounts")
    for index, item in enumerate(read_objects(data, "mounts")):
        where = f"mounts[{index}]"
        path = read_text(item, "mountPath", path=f"{where}.mountPath")
        if not path.startswith("/"):
            raise InvalidInputError(f"{where}.mountPath", f"{path!r} is not an absolute path in the container")
        read_only = item.get("readOnly", False)
        if not isinstance(read_only, bool):
            raise InvalidInputError(f"{where}.readOnly", f"is {_kind(read_only)}; write true or false")
        volume = _read_volume(item, where, read_only=read_only)
        sub_path = ""
        if isinstance(item.get("source"), dict):
            sub_path = read_text(item["source"], "subPath", path=f"{where}.source.subPath")
        mounts.append(Mount(path=path, volume=volume, read_only=read_only, sub_path=sub_path, given=dict(item)))
    return tuple(mounts)


# What the documents call the fields of a source, and what Kubernetes calls them: (Launcher, Kubernetes, required).
_SOURCES: Mapping[str, tuple[str, tuple[tuple[str, str, bool], ...]]] = {
    "host": ("hostPath", (("path", "path", True),)),
    "nfs": ("nfs", (("host", "server", True), ("path", "path", True))),
    "azureFile": ("azureFile", (("secretName", "secretName", True), ("shareName", "shareName", True))),
    "glusterFs": ("glusterfs", (("endpoints", "endpoints", True), ("path", "path", True))),
    "cephFs": ("cephfs", (("path", "path", False), ("user", "user", False), ("secretFile", "secretFile", False))),
}
_CLAIM_TYPES = ("passthrough", "pvc", "persistentVolumeClaim")
_PASSED = frozenset(
    {"persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "downwardAPI", "csi", "ephemeral",
     "hostPath", "nfs", "iscsi", "image"}
)  # fmt: skip


def _read_volume(item: Json, where: str, *, read_only: bool) -> dict[str, Any]:
    kind = read_text(item, "type", path=f"{where}.type")
    source = item.get("source")
    if not isinstance(source, dict):
        raise InvalidInputError(f"{where}.source", f"is {_kind(source)}; write an object")
    if kind in _SOURCES:
        return _build_source(kind, source, where, read_only=read_only)
    if kind in _CLAIM_TYPES:
        return _read_passed(kind, source, where, read_only=read_only)
    known = ", ".join(sorted((*_SOURCES, *_CLAIM_TYPES)))
    raise InvalidInputError(f"{where}.type", f"{kind!r} is not supported; use one of {known}")


def _build_source(kind: str, source: Json, where: str, *, read_only: bool) -> dict[str, Any]:
    name, fields = _SOURCES[kind]
    volume: dict[str, Any] = {}
    for given, kubernetes, required in fields:
        value = read_text(source, given, path=f"{where}.source.{given}")
        if required and not value:
            raise InvalidInputError(f"{where}.source.{given}", f"is required for a mount of the type {kind}")
        if value:
            volume[kubernetes] = value
    if kind == "cephFs":
        volume["monitors"] = list(read_texts(source, "monitors"))
        if not volume["monitors"]:
            raise InvalidInputError(f"{where}.source.monitors", "is required for a mount of the type cephFs")
        if secret := source.get("secretRef"):
            volume["secretRef"] = {"name": secret["name"] if isinstance(secret, dict) else str(secret)}
    if read_only and kind != "host":  # a hostPath has no such field; the mount has it
        volume["readOnly"] = True
    return {name: volume}


def _read_passed(kind: str, source: Json, where: str, *, read_only: bool) -> dict[str, Any]:
    """A claim by name, or a volume in Kubernetes' own words."""
    claim = source.get("claimName")
    if isinstance(claim, str) and claim:
        return {"persistentVolumeClaim": {"claimName": claim, **({"readOnly": True} if read_only else {})}}
    words = {key: value for key, value in source.items() if key not in ("subPath", "name")}
    if kind != "passthrough" or len(words) != 1 or not words.keys() <= _PASSED:
        allowed = ", ".join(sorted(_PASSED))
        raise InvalidInputError(
            f"{where}.source",
            f"has neither claimName nor, for passthrough, exactly one volume of Kubernetes: {allowed}",
        )
    ((name, value),) = words.items()
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where}.source.{name}", f"is {_kind(value)}; write an object")
    return {name: value}


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
