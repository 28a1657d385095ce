"""
The object `.Job` of the templates.

The documents' table and the published templates differ in some names; a template finds both. Lists are never null,
since `len` of null is an error in a template.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kns.launcher.ports import Names, Profile
from kns.plain.job import PlainJob
from kns.plain.objects import build_volume_mounts, build_volumes

Object = dict[str, Any]


def build_fields(
    job: PlainJob, names: Names, profile: Profile | None, *, job_id: str = "", service: str = ""
) -> Object:
    """`.Job` as JSON. `job_id` and `service` are known for a Service only."""
    return {
        "id": job_id,
        "cluster": names.cluster,
        "generateName": names.generate_name,
        "serviceName": service,
        "name": job.name,
        "user": job.user,
        "workingDirectory": job.working_directory,
        "container": _build_container(job),
        "host": job.host,
        "command": job.command,
        "exe": job.exe,
        "stdin": job.stdin,
        "args": list(job.args),
        "environment": [{"name": each.name, "value": each.value} for each in job.environment],
        "placementConstraints": [{"name": each.name, "value": each.value} for each in job.constraints],
        "exposedPorts": _build_ports(job),
        "mounts": [_build_mount(mount.given, mount.path, mount.read_only) for mount in job.mounts],
        "config": _build_config(job),
        "resourceLimits": _build_limits(job),
        "resourceProfile": _text(job.extras.get("resourceProfile")),
        "volumes": build_volumes(job.mounts),
        "volumeMounts": build_volume_mounts(job.mounts),
        "tags": list(job.tags),
        "queues": list(job.queues),
        "servicePortsJson": names.service_ports_json,
        "shareProcessNamespace": job.share_process_namespace,
        "memoryRequestRatio": profile.memory_request_ratio if profile else 1.0,
        "cpuRequestRatio": profile.cpu_request_ratio if profile else 1.0,
        # Later versions of the templates.
        "instanceId": "",
        "serviceAccountName": _text(job.extras.get("serviceAccountName")),
        "metadata": _build_metadata(job),
        "initContainers": [],
    }


def _build_container(job: PlainJob) -> Object:
    """User and group are null for the image's own, as in the documents."""
    who = job.container
    return {
        "image": who.image,
        "runAsUser": who.run_as_user,
        "runAsUserId": who.run_as_user,
        "runAsGroup": who.run_as_group,
        "runAsGroupId": who.run_as_group,
        "supplementalGroupIds": list(who.supplemental_groups),
        "capabilitiesAdd": [],
        "capabilitiesDrop": [],
    }


def _build_ports(job: PlainJob) -> list[Object]:
    """The target is a text, as in the documents. A port of the node is a number; without one it is null."""
    return [
        {"protocol": str(port.protocol), "targetPort": str(port.target), "publishedPort": port.published}
        for port in job.ports
    ]


def _build_mount(given: Mapping[str, Any], path: str, read_only: bool) -> Object:
    kind, source = _text(given.get("type")), given.get("source")
    source = source if isinstance(source, Mapping) else {}
    return {
        "mountPath": path,
        "readOnly": read_only,
        "mountSource": {"type": kind, "source": dict(source)},
        "type": kind,
        "source": dict(source),
    }


def _build_config(job: PlainJob) -> list[Object]:
    given = [each for each in _objects(job.extras.get("config")) if each.get("name") != "secret"]
    entries = [{"name": _text(each.get("name")), "value": _text(each.get("value"))} for each in given]
    secrets = [{"name": "secret", "value": f"{each.secret}:{each.key}:{each.name}"} for each in job.secrets]
    return entries + secrets


def _build_limits(job: PlainJob) -> list[Object]:
    return [
        {"type": _text(each.get("type")), "value": _text(each.get("value"))}
        for each in _objects(job.extras.get("resourceLimits"))
        if each.get("value") not in (None, "")
    ]


def _build_metadata(job: PlainJob) -> Object:
    """Empty if there is none: a template that finds some repeats it in an annotation."""
    if not job.labels and not job.annotations:
        return {}
    both = {"annotations": dict(job.annotations), "labels": dict(job.labels)}
    return {
        "job": both,
        "pod": {**both, "initContainers": []},
        "service": {"annotations": {}, "labels": {}},
    }


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, (list, tuple)) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)
