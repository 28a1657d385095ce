"""
`kns posit preflight`: what would keep the plugin from running jobs, found before Workbench does.

It reads the configuration as the plugin does, and asks the API server with the plugin's own token. It creates nothing.
"""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kns.launcher.config.problems import Problem
from kns.launcher.config.settings import Settings
from kns.launcher.nested.rules import is_for_nested_jobs
from kns.launcher.nested.site import RemoteKns
from kns.launcher.ports import Options
from kns.launcher.templates.validate import validate
from kns.launcher.tools.roles import MINIMAL, NODES, Rules
from kns.launcher.tools.tokens import Client, read_expiry
from kns.model.errors import ForbiddenError, KnsError, NotFoundError, RefusedError, UnauthorizedError
from kns.model.findings import Finding, Severity

_SOON = timedelta(days=1)  # of a token's end: an administrator has time to replace it
_IMAGE = re.compile(  # https://github.com/distribution/reference: host, path, tag, digest
    r"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_METRICS = "/apis/metrics.k8s.io/v1beta1"
_RBAC_HINT = "kns posit rbac --role minimal | kubectl apply -f -"


def list_problems(problems: Sequence[Problem], *, severity: Severity) -> Iterator[Finding]:
    for problem in problems:
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        yield Finding(f"{where} {problem.key}".strip(), severity, problem.said)


def check_files(settings: Settings) -> Iterator[Finding]:
    """What needs no cluster: warnings of the configuration, folders, images, templates."""
    yield Finding("configuration", Severity.OK, f"{settings.config_file} and {settings.profile_file} are valid")
    yield from list_problems((*settings.warnings, *settings.profiles.warnings), severity=Severity.WARNING)
    yield from _check_folders(settings.options)
    yield from _check_images(settings)
    if settings.options.use_templating:
        yield from _check_templates(settings.options.scratch_path)


def _check_folders(options: Options) -> Iterator[Finding]:
    for key, path in (("scratch-path", options.scratch_path), ("logging-dir", options.logging_dir)):
        existing = next(each for each in (path, *path.parents) if each.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            yield Finding(key, Severity.OK, f"{path} can be written")
        else:
            yield Finding(key, Severity.FAULT, f"{path} cannot be written", f"give {options.server_user} the right")


def _check_images(settings: Settings) -> Iterator[Finding]:
    """Names alone: whether an image exists is the registry's secret until a node pulls it."""
    wrong, count, nobody = [], 0, []
    for section in settings.profiles.sections:
        images = [*section.settings.get("container-images", ()), section.settings.get("default-container-image", "")]
        count += sum(1 for image in images if image)
        wrong += [f"{image!r} of [{section.name}]" for image in images if image and not _IMAGE.fullmatch(image)]
        refuses = section.settings.get("allow-unknown-images") is False
        if refuses and not any(images) and not settings.profiles.for_user("*").images:
            nobody.append(f"[{section.name}]")
    if wrong:
        yield Finding("images", Severity.FAULT, f"not names of images: {', '.join(wrong)}", "see container-images")
    if nobody:
        said = f"{', '.join(nobody)} refuses unknown images and lists none, so no job can run"
        yield Finding("images", Severity.FAULT, said, "set container-images")
    if not wrong and not nobody:
        yield Finding("images", Severity.OK, f"{count} names are well-formed" if count else "users choose any image")


def _check_templates(folder: Path) -> Iterator[Finding]:
    found = validate(folder).findings
    for finding in found:
        yield Finding(f"template {finding.file}", Severity.WARNING, f"{finding.where}: {finding.said}".lstrip(": "))
    if not found:
        yield Finding("templates", Severity.OK, f"the templates in {folder} are valid")


def check_nested(settings: Settings) -> Iterator[Finding]:
    """Whether nested jobs can have clusters. Nothing if nobody asks for them."""
    options = settings.options
    if not options.can_nest or options.nested_credentials_path is None:
        if any(section.settings.get("nested") for section in settings.profiles.sections):
            said = "a profile asks for nested jobs, and nested-url is not set, so they are refused"
            yield Finding("nested jobs", Severity.FAULT, said, "docs/posit.md, Nested sessions")
        return
    try:
        site = RemoteKns(
            options.nested_url,
            credentials_path=options.nested_credentials_path,
            app=options.nested_app,
            authority_file=options.nested_authority_path,
        )
    except KnsError as error:
        yield Finding("nested jobs", Severity.FAULT, str(error), "write USERNAME:APIKEY into the file")
        return
    try:
        names = sorted(name for name, data in site.list_machines().items() if is_for_nested_jobs(name, data))
        wanted = options.nested_machine
        if not names or (wanted and wanted not in names):
            said = f"kns has no machine {wanted}".rstrip() + " for nested jobs"
            yield Finding("nested jobs", Severity.FAULT, said, "a machine needs appkind=kns in its mc_properties")
        elif not site.has_app():
            said = f"kns has no app {options.nested_app}, or not for this account"
            yield Finding("nested jobs", Severity.FAULT, said, "set nested-app, or add the app to the catalogue")
        else:
            yield Finding("nested jobs", Severity.OK, f"kns answers, machines: {', '.join(names)}")
    except KnsError as error:
        yield Finding("nested jobs", Severity.FAULT, str(error), "check nested-url, the account and the network")
    finally:
        site.close()


def check_token(token: str, now: datetime) -> Finding:
    """How long the token lives. Its text is never shown."""
    expires = read_expiry(token)
    if expires is None:
        return Finding("token", Severity.OK, "it says nothing of an end")
    left = expires - now
    when = expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if left <= timedelta(0):
        return Finding("token", Severity.FAULT, f"it expired at {when}", "replace it: kns posit token")
    if left < _SOON:
        return Finding("token", Severity.WARNING, f"it expires at {when}", "renew it regularly: kns posit token")
    return Finding("token", Severity.OK, f"it expires at {when}")


def check_cluster(client: Client, namespace: str) -> Iterator[Finding]:
    """API, namespace, rights one by one, metrics, nodes."""
    try:
        version = client.request("GET", "/version")
        # Everybody may see the version. A review needs an account.
        _may(client, "list", "batch", "jobs", namespace)
    except UnauthorizedError:
        todo = "replace the token (kns posit token), or check that it belongs to this cluster"
        yield Finding("Kubernetes API", Severity.FAULT, "it does not accept the token", todo)
        return
    except KnsError as error:
        todo = "check api-url, certificate-authority and the network"
        yield Finding("Kubernetes API", Severity.FAULT, f"it does not answer: {error}", todo)
        return
    yield Finding("Kubernetes API", Severity.OK, f"it answers, version {version.get('gitVersion', 'unknown')}")
    yield _check_namespace(client, namespace)
    yield from _check_rights(client, MINIMAL, namespace, Severity.FAULT, _RBAC_HINT)
    yield from _check_rights(client, NODES, "", Severity.WARNING, "without it, jobs report internal addresses only")
    yield _check_metrics(client)


def _check_namespace(client: Client, namespace: str) -> Finding:
    """A dry run of a Job: the only question about a namespace that a namespaced Role answers."""
    check = f"namespace {namespace}"
    probe = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "kns-preflight-"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "probe", "image": "probe"}]}}},
    }
    try:
        client.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", query={"dryRun": "All"}, body=probe)
    except NotFoundError:
        return Finding(check, Severity.FAULT, "does not exist", f"kubectl create namespace {namespace}")
    except ForbiddenError as error:
        return Finding(check, Severity.FAULT, f"refuses Jobs: {error}", _RBAC_HINT)
    except RefusedError as error:
        todo = "a quota or a policy of the namespace may need values that templates can set"
        return Finding(check, Severity.WARNING, f"does not accept a plain Job: {error}", todo)
    except KnsError as error:
        return Finding(check, Severity.UNKNOWN, f"a dry run failed: {error}")
    return Finding(check, Severity.OK, "accepts Jobs")


def _check_rights(client: Client, rules: Rules, namespace: str, severity: Severity, todo: str) -> Iterator[Finding]:
    for (group, resource), verbs in rules.items():
        check = f"right {resource}{f'.{group}' if group else ''}"
        try:
            missing = [verb for verb in verbs if not _may(client, verb, group, resource, namespace)]
        except KnsError as error:
            yield Finding(check, Severity.UNKNOWN, f"cannot be asked for: {error}")
            continue
        if missing:
            yield Finding(check, severity, f"missing: {', '.join(missing)}", todo)
        else:
            yield Finding(check, Severity.OK, ", ".join(verbs))


def _may(client: Client, verb: str, group: str, resource: str, namespace: str) -> bool:
    plural, _, sub = resource.partition("/")
    wanted = {"verb": verb, "group": group, "resource": plural, "subresource": sub, "namespace": namespace}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": wanted},
    }
    return bool((client.request("POST", _REVIEWS, body=body).get("status") or {}).get("allowed"))


def _check_metrics(client: Client) -> Finding:
    todo = "install metrics-server to show what a job uses; jobs run without it"
    try:
        client.request("GET", _METRICS)
    except NotFoundError:
        return Finding("metrics", Severity.WARNING, "the cluster has no metrics API", todo)
    except KnsError as error:
        return Finding("metrics", Severity.WARNING, f"the metrics API does not answer: {error}", todo)
    return Finding("metrics", Severity.OK, "the metrics API answers")
