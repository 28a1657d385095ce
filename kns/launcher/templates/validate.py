"""
The checks of `--validate-templates`. What they find should be corrected, but does not stop the plugin.

The templates are rendered for three jobs: the sample, a job with nothing but an image, and a job whose texts have
quotes and line breaks.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kns.launcher.config.groups import Groups, list_groups
from kns.launcher.templates.errors import Finding, TemplateError
from kns.launcher.templates.fields import build_fields
from kns.launcher.templates.folder import JOB, SERVICE, read_snapshot
from kns.launcher.templates.renderer import Templates, check_kind
from kns.launcher.templates.sample import JOB_ID, NAMES, PROFILE, SAMPLE, sample_fields
from kns.plain.job import Container, PlainJob, Port, Variable
from kns.plain.names import CONTAINER

HOSTILE = "it's \"quoted\": {a: [b, 'c']} # no comment\n  - line: two \\ end\n" + "long name " * 12

_POD = "spec.template.spec"
_NOTES = "spec.template.metadata.annotations"
_MAIN = f"{_POD}.containers[{CONTAINER}]"
_ANY = object()  # any value of the type will do

# Path, the value for the sample job or its type, and where the template should take it from ("" for a fixed value).
_JOB_PARTS: Sequence[tuple[str, object, str]] = (
    ("apiVersion", "batch/v1", ""),
    ("kind", "Job", ""),
    ("metadata.generateName", NAMES.generate_name, "generateName"),
    ("spec.backoffLimit", 0, ""),
    (f"{_NOTES}.name", SAMPLE.name, "name"),
    (f"{_NOTES}.user", SAMPLE.user, "user"),
    (f"{_NOTES}.service_ports", NAMES.service_ports_json, "servicePortsJson"),
    *((f"{_NOTES}.USER_TAG_{number}", tag, "tags") for number, tag in enumerate(SAMPLE.tags)),
    (f"{_POD}.restartPolicy", "Never", ""),
    (f"{_POD}.shareProcessNamespace", True, "shareProcessNamespace"),
    (f"{_POD}.nodeName", SAMPLE.host, "host"),
    (f"{_POD}.nodeSelector", {each.name: each.value for each in SAMPLE.constraints}, "placementConstraints"),
    (f"{_POD}.volumes", list, "volumes"),
    (f"{_POD}.securityContext.runAsUser", SAMPLE.container.run_as_user, "container.runAsUser"),
    (f"{_POD}.securityContext.runAsGroup", SAMPLE.container.run_as_group, "container.runAsGroup"),
    (
        f"{_POD}.securityContext.supplementalGroups",
        list(SAMPLE.container.supplemental_groups),
        "container.supplementalGroupIds",
    ),
    (_MAIN, dict, ""),
    (f"{_MAIN}.image", SAMPLE.container.image, "container.image"),
    (f"{_MAIN}.command", list, "command"),
    (f"{_MAIN}.args", list, "args"),
    (f"{_MAIN}.stdin", True, "stdin"),
    (f"{_MAIN}.stdinOnce", True, ""),
    (f"{_MAIN}.workingDir", SAMPLE.working_directory, "workingDirectory"),
    (f"{_MAIN}.env", list, "environment"),
    (f"{_MAIN}.ports", list, "exposedPorts"),
    (f"{_MAIN}.resources.limits.cpu", _ANY, "resourceLimits"),
    (f"{_MAIN}.resources.limits.memory", _ANY, "resourceLimits"),
    (f"{_MAIN}.volumeMounts", list, "volumeMounts"),
)
_SERVICE_PARTS: Sequence[tuple[str, object, str]] = (
    ("apiVersion", "v1", ""),
    ("kind", "Service", ""),
    ("metadata.name", JOB_ID, "serviceName"),
    ("metadata.labels.job-name", JOB_ID, "id"),
    ("spec.selector.job-name", JOB_ID, "id"),
    ("spec.type", str, ""),
    ("spec.ports", list, "exposedPorts"),
)
_TYPES = {str: "a text", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}
# https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/: of containers, not of pods
_OF_CONTAINERS = frozenset(
    {"capabilities", "privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "procMount"}
)
_LITERAL = re.compile(r"""\{\{[^}]*"(\.Job\.[\w.]+)"[^}]*\}\}""")


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found, and the YAML of the sample job by template. `texts` lacks a template that cannot be rendered."""

    findings: tuple[Finding, ...]
    texts: Mapping[str, str]


def validate(folder: Path, groups: Groups = list_groups) -> Validation:
    """Check the templates of a folder."""
    try:
        snapshot = read_snapshot(folder)
        templates = Templates(snapshot, folder, groups)
    except TemplateError as error:
        return Validation((Finding(error.file, f"line {error.line}" if error.line else "", error.said),), {})
    findings = list(_check_sources(snapshot.sources))
    texts: dict[str, str] = {}
    for file in (JOB, SERVICE):
        try:
            rendered = templates.render(file, sample_fields(file))
            texts[file] = rendered.text
            value = check_kind(file, rendered.value)
            findings += _check_space(file, rendered.text, value)
            findings += _check_parts(file, value, _JOB_PARTS if file == JOB else _SERVICE_PARTS)
            findings += _check_texts(file, value)
            findings += _check_job(value) if file == JOB else _check_service(value)
            findings += _check_other_jobs(templates, file)
        except TemplateError as error:
            findings.append(Finding(error.file, f"line {error.line}" if error.line else "", error.said))
    return Validation(tuple(dict.fromkeys(findings)), texts)


def _check_sources(sources: Mapping[str, str]) -> Iterator[Finding]:
    for file, source in sources.items():
        for number, line in enumerate(source.split("\n"), start=1):
            for match in _LITERAL.finditer(line):
                said = f'"{match[1]}" is a text, not the value; write {match[1]} without quotes'
                yield Finding(file, f"line {number}", said)


def _check_space(file: str, text: str, value: Any) -> Iterator[Finding]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line != line.rstrip() and not line.rstrip().endswith(
            ":"
        ):  # published templates have `key: {{ nindent ... }}`
            yield Finding(file, f"line {number} of the result", "ends in white space; use {{- or -}}")
    for path, key in _walk_keys(value):
        if key != key.strip():
            yield Finding(file, path, f"the key {key!r} has white space around it")
    for path, leaf in _walk(value):
        is_own = isinstance(leaf, str) and leaf in (SAMPLE.stdin,)
        if isinstance(leaf, str) and leaf != leaf.strip() and not is_own:
            yield Finding(file, path, f"{leaf[:60]!r} has white space around it")


def _check_parts(file: str, value: Any, parts: Sequence[tuple[str, object, str]]) -> Iterator[Finding]:
    for path, expected, field in parts:
        found = _find(value, path)
        source = f"; take it from .Job.{field}" if field else ""
        if found is None:
            yield Finding(file, path, f"is missing, and the plugin needs it{source}")
        elif isinstance(expected, type):
            if not isinstance(found, expected):
                yield Finding(file, path, f"must be {_TYPES[expected]}, not {_name(found)}{source}")
        elif expected is not _ANY and type(found) is not type(expected):
            yield Finding(file, path, f"must be {_name(expected)}, not {_name(found)}{source}")
        elif expected is not _ANY and found != expected:
            said = (
                f"is not what .Job.{field} has: {found!r:.80}" if field else f"must be {expected!r}, not {found!r:.80}"
            )
            yield Finding(file, path, said)


def _check_texts(file: str, value: Any) -> Iterator[Finding]:
    """The API server refuses labels and annotations that are no texts."""
    for path in ("metadata", "spec.template.metadata"):
        for kind in ("labels", "annotations"):
            found = _find(value, f"{path}.{kind}")
            if found is None:
                continue
            if not isinstance(found, dict):
                yield Finding(file, f"{path}.{kind}", f"must be an object, not {_name(found)}")
                continue
            for key, text in found.items():
                if not isinstance(text, str):
                    yield Finding(
                        file, f"{path}.{kind}.{key}", f"must be a text, not {_name(text)}; use quote or toYaml"
                    )


def _check_job(value: Any) -> Iterator[Finding]:
    security = _find(value, f"{_POD}.securityContext")
    for key in sorted(security.keys() & _OF_CONTAINERS) if isinstance(security, dict) else ():
        yield Finding(
            JOB,
            f"{_POD}.securityContext.{key}",
            f"has no effect on a pod; write it to the securityContext of the container {CONTAINER}",
        )
    env = {entry.get("name"): entry for entry in _objects(_find(value, f"{_MAIN}.env"))}
    for variable in SAMPLE.environment:
        if env.get(variable.name, {}).get("value") != variable.value:
            said = f"does not have {variable.name} of .Job.environment as it is"
            yield Finding(JOB, f"{_MAIN}.env", said)
    for secret in SAMPLE.secrets:
        reference = _find(env.get(secret.name, {}), "valueFrom.secretKeyRef") or {}
        if (reference.get("name"), reference.get("key")) != (secret.secret, secret.key):
            yield Finding(JOB, f"{_MAIN}.env", f"does not have the secret variable {secret.name} of .Job.config")
    volumes = {each.get("name") for each in _objects(_find(value, f"{_POD}.volumes"))}
    paths = {each.get("mountPath"): each.get("name") for each in _objects(_find(value, f"{_MAIN}.volumeMounts"))}
    for mount in SAMPLE.mounts:
        if paths.get(mount.path) not in volumes:
            yield Finding(JOB, f"{_MAIN}.volumeMounts", f"does not mount a volume at {mount.path} of .Job.volumeMounts")
    line = " ".join(map(str, [*_texts(value, "command"), *_texts(value, "args")]))
    if SAMPLE.command not in line or not all(each in line for each in SAMPLE.args):
        yield Finding(JOB, f"{_MAIN}.args", "does not run .Job.command with .Job.args")
    hosts = {each.get("hostPort") for each in _objects(_find(value, f"{_MAIN}.ports"))}
    if not {port.published for port in SAMPLE.ports if port.published} <= hosts:
        yield Finding(JOB, f"{_MAIN}.ports", "does not have the publishedPort of .Job.exposedPorts as hostPort")


def _check_service(value: Any) -> Iterator[Finding]:
    ports = {each.get("port") for each in _objects(_find(value, "spec.ports"))}
    wanted = {port.target for port in SAMPLE.service_ports}
    if ports != wanted:
        said = (
            f"has {sorted(map(str, ports))}; it must have the ports without publishedPort, {sorted(wanted)}, as numbers"
        )
        yield Finding(SERVICE, "spec.ports", said)


def _check_other_jobs(templates: Templates, file: str) -> Iterator[Finding]:
    """A template must also render for a job with few fields, and keep a user's texts."""
    for job, which in ((SMALL, "of a job with only an image and a command"), (STRANGE, "of a job with strange texts")):
        ids = {"job_id": JOB_ID, "service": JOB_ID} if file == SERVICE else {}
        try:
            value = check_kind(file, templates.render(file, build_fields(job, NAMES, PROFILE, **ids)).value)
        except TemplateError as error:
            yield Finding(error.file, f"line {error.line}" if error.line else "", f"{which}: {error.said}")
            continue
        if file == JOB and job is STRANGE:
            for path, text in ((f"{_NOTES}.name", job.name), (f"{_NOTES}.USER_TAG_0", job.tags[0])):
                found = _find(value, path)
                if isinstance(found, str) and found != text:
                    yield Finding(file, path, f"changes a text with quotes and line breaks: {found!r:.80}; use toYaml")


SMALL = PlainJob(name="small", user="sample-user", container=Container("busybox"), exe="true", ports=(Port(8787),))
STRANGE = dataclasses.replace(
    SAMPLE,
    name=HOSTILE,
    tags=(HOSTILE,),
    args=(HOSTILE,),
    environment=(*SAMPLE.environment, Variable("STRANGE", HOSTILE)),
    stdin=HOSTILE,
)


def _find(value: Any, path: str) -> Any:
    """The value at a path such as `a.b[NAME].c`, where NAME is the name of an item of a list; None if missing."""
    for part in re.findall(r"[^.\[\]]+\]?", path):
        if part.endswith("]"):
            value = next((each for each in _objects(value) if each.get("name") == part[:-1]), None)
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _texts(value: Any, key: str) -> list[Any]:
    found = _find(value, f"{_MAIN}.{key}")
    return found if isinstance(found, list) else []


def _name(value: object) -> str:
    if value is None:
        return "null"
    return "true or false" if isinstance(value, bool) else _TYPES.get(type(value), "a number")


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{path}[{number}]")
    else:
        yield path, value


def _walk_keys(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield path, str(key)
            yield from _walk_keys(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk_keys(item, f"{path}[{number}]")
