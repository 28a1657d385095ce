"""
Pure builders: a plain job to its Kubernetes objects.

`mark_job` and `mark_service` put kns's own labels and annotations on an object, whoever built it: these builders or a
site's template. kns finds a job by them alone.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from kns.model import names as kns_names
from kns.model.errors import InvalidInputError
from kns.plain import names
from kns.plain.job import Mount, PlainJob
from kns.plain.stored import Object, encode_job, find_container

_SHELL = "/bin/sh"


def build_job(job: PlainJob, *, generate_name: str, container: str = names.CONTAINER) -> Object:
    """The Kubernetes Job. It runs one pod once: what a job runs may not be repeated."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": generate_name,
            "labels": dict(job.labels),
            "annotations": dict(job.annotations),
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": dict(job.labels), "annotations": dict(job.annotations)},
                "spec": _build_pod(job, container),
            },
        },
    }


def _build_pod(job: PlainJob, container: str) -> Object:
    spec: Object = {
        "restartPolicy": "Never",
        "shareProcessNamespace": job.share_process_namespace,
        "containers": [_build_container(job, container)],
    }
    if job.host:
        spec["nodeName"] = job.host
    if job.constraints:
        spec["nodeSelector"] = {each.name: each.value for each in job.constraints}
    if identity := _build_identity(job):
        spec["securityContext"] = identity
    if job.mounts:
        spec["volumes"] = build_volumes(job.mounts)
    return spec


def _build_identity(job: PlainJob) -> Object:
    who = job.container
    identity: Object = {}
    if who.run_as_user is not None:
        identity["runAsUser"] = who.run_as_user
    if who.run_as_group is not None:
        identity["runAsGroup"] = who.run_as_group
    if who.supplemental_groups:
        identity["supplementalGroups"] = list(who.supplemental_groups)
    return identity


def _build_container(job: PlainJob, name: str) -> Object:
    container: Object = {"name": name, "image": job.container.image, **build_command(job)}
    if job.working_directory:
        container["workingDir"] = job.working_directory
    if job.environment or job.secrets:
        container["env"] = [
            *({"name": each.name, "value": escape_references(each.value)} for each in job.environment),
            *(
                {"name": each.name, "valueFrom": {"secretKeyRef": {"name": each.secret, "key": each.key}}}
                for each in job.secrets
            ),
        ]
    if job.ports:
        container["ports"] = [
            {
                "containerPort": port.target,
                "protocol": str(port.protocol),
                **({} if port.published is None else {"hostPort": port.published}),
            }
            for port in job.ports
        ]
    resources = {
        key: dict(values)
        for key, values in (("limits", job.resources.limits), ("requests", job.resources.requests))
        if values
    }
    if resources:
        container["resources"] = resources
    if job.mounts:
        container["volumeMounts"] = build_volume_mounts(job.mounts)
    if job.stdin:
        # The container's input stays open until the first client that is attached ends.
        container |= {"stdin": True, "stdinOnce": True}
    return container


def build_command(job: PlainJob) -> Object:
    """
    `command` and `args` of the container. A shell joins the command and its arguments by spaces, as the Launcher's
    documents say; a program receives each argument as it is.
    """
    if job.command:
        line = " ".join((job.command, *job.args))
        return {"command": [_SHELL, "-c", escape_references(line)]}
    built: Object = {"command": [escape_references(job.exe)]} if job.exe else {}
    if job.args:
        built["args"] = [escape_references(each) for each in job.args]
    return built


def escape_references(text: str) -> str:
    """
    `text` without the `$(NAME)` that Kubernetes itself would replace: the user's shell shall see it.

    >>> escape_references("echo $(date) $HOME")
    'echo $$(date) $$HOME'
    >>> escape_references("echo $HOME")
    'echo $HOME'
    """
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def build_volumes(mounts: tuple[Mount, ...]) -> list[Object]:
    return [{"name": f"mount{index}", **copy.deepcopy(dict(m.volume))} for index, m in enumerate(mounts)]


def build_volume_mounts(mounts: tuple[Mount, ...]) -> list[Object]:
    return [
        {
            "name": f"mount{index}",
            "mountPath": mount.path,
            "readOnly": mount.read_only,
            **({"subPath": mount.sub_path} if mount.sub_path else {}),
        }
        for index, mount in enumerate(mounts)
    ]


def build_service(job: PlainJob, *, job_id: str, service: str) -> Object:
    """The Service of the ports that are not ports of the node."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service},
        "spec": {
            "type": "NodePort",
            "selector": {names.JOB_NAME_LABEL: job_id},
            "ports": [
                {
                    "name": f"{str(port.protocol).lower()}-{port.target}",
                    "port": port.target,
                    "targetPort": port.target,
                    "protocol": str(port.protocol),
                }
                for port in job.service_ports
            ],
        },
    }


def _owner_reference(job_object: Mapping[str, Any]) -> Object:
    """
    The Kubernetes Job as the owner of another object. Without `blockOwnerDeletion`, which would need a right on the
    Job's finalizers.
    """
    meta = job_object["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}


def mark_job(obj: Object, job: PlainJob, *, cluster: str, generate_name: str, stdin_token: str = "") -> Object:
    """
    A copy of a Kubernetes Job with what kns needs to find and to read it. Whatever the object said of these labels and
    annotations is replaced.

    Raises:
        InvalidInputError: the object cannot be a job of kns, for example because it is no Job or has no container.
    """
    marked = copy.deepcopy(obj)
    if (marked.get("apiVersion"), marked.get("kind")) != ("batch/v1", "Job"):
        found = f"{marked.get('apiVersion')} {marked.get('kind')}"
        raise InvalidInputError("job.tpl", f"makes {found}; it must make a batch/v1 Job")
    template = (marked.get("spec") or {}).get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(pod, dict) or not find_container(pod):
        raise InvalidInputError("job.tpl", "makes a Job without spec.template.spec.containers")
    meta = marked["metadata"] = marked.get("metadata") or {}
    meta.pop("namespace", None)
    if not meta.get("name") and not meta.get("generateName"):
        meta["generateName"] = generate_name
    labels = {
        names.LABEL: kns_names.label_value(cluster),
        names.USER_LABEL: kns_names.label_value(job.user),
    }
    own = {names.STORED: encode_job(job)}
    if stdin_token:
        own[names.STDIN] = stdin_token
        find_container(pod).update({"stdin": True, "stdinOnce": True})
    meta["labels"] = {**_texts(meta.get("labels")), **labels}
    meta["annotations"] = {**_foreign(meta.get("annotations")), **own}
    inner = template["metadata"] = template.get("metadata") or {}
    inner["labels"] = {**_texts(inner.get("labels")), **labels}
    inner["annotations"] = _foreign(inner.get("annotations"))
    return marked


def mark_service(obj: Object, *, cluster: str, service: str, job_object: Mapping[str, Any]) -> Object:
    """
    A copy of a Service with kns's label and the Kubernetes Job as its owner, so that it is deleted with the job.

    Raises:
        InvalidInputError: the object is no Service.
    """
    marked = copy.deepcopy(obj)
    if (marked.get("apiVersion"), marked.get("kind")) != ("v1", "Service"):
        found = f"{marked.get('apiVersion')} {marked.get('kind')}"
        raise InvalidInputError("service.tpl", f"makes {found}; it must make a v1 Service")
    meta = marked["metadata"] = marked.get("metadata") or {}
    meta.pop("namespace", None)
    meta.pop("generateName", None)
    meta["name"] = service
    meta["labels"] = {**_texts(meta.get("labels")), names.LABEL: kns_names.label_value(cluster)}
    meta["ownerReferences"] = [_owner_reference(job_object)]
    return marked


def service_ports_json(job: PlainJob) -> str:
    """The ports of a job's Service in the words of the Launcher's templates."""
    return json.dumps([{"targetPort": port.target, "protocol": str(port.protocol)} for port in job.service_ports])


def _texts(given: Any) -> Object:
    return {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}


def _foreign(given: Any) -> Object:
    return {key: value for key, value in _texts(given).items() if not key.startswith(names.OWN_PREFIX)}
