"""The commands of `kns posit`, wired: files, API server, processes. `kns.cli.posit_command` has their options."""

import getpass
import os
import pwd
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kns.adapters.kube.connect import connect
from kns.launcher.config.arguments import Mode, parse_arguments
from kns.launcher.config.problems import ConfigError
from kns.launcher.config.settings import Settings, find_scratch_path, read_settings
from kns.launcher.process import connect_cluster
from kns.launcher.templates.commands import run_command
from kns.launcher.templates.yaml_text import write_yaml
from kns.launcher.tools.preflight import check_cluster, check_files, check_nested, check_token, list_problems
from kns.launcher.tools.roles import RoleKind, build_rbac
from kns.launcher.tools.session import PluginProcess, Sinks, run_job
from kns.launcher.tools.tokens import Token, ensure_secret_token, parse_duration, request_token, write_token
from kns.model.errors import KnsError
from kns.model.findings import Finding, Severity

PROGRAM = "rstudio-kubernetes-launcher"
_ADMIN_NOTE = """\
# With this binding each account of the namespace {namespace} may do everything in it, also those of the users' jobs.
# The plugin needs less: kns posit rbac --role minimal
"""


def preflight(arguments: Sequence[str]) -> Iterator[Finding]:
    """All findings. `arguments` are those of the plugin."""
    try:
        settings = read_settings(parse_arguments(arguments))
    except ConfigError as error:
        yield from list_problems(error.problems, severity=Severity.FAULT)
        return
    yield from check_files(settings)
    yield from _check_api(settings)
    yield from check_nested(settings)


def _check_api(settings: Settings) -> Iterator[Finding]:
    options = settings.options
    try:
        path = options.auth_token_path
        yield check_token(options.auth_token if path is None else path.read_text().strip(), datetime.now(UTC))
        client = connect_cluster(options)
    except (KnsError, OSError) as error:
        yield Finding("token", Severity.FAULT, str(error), "see auth-token-path")
        return
    yield from check_cluster(client, options.namespace)


def rbac(role: str, *, namespace: str, account: str, with_nodes: bool) -> str:
    """The objects as YAML, with what an administrator should know as a comment."""
    kind = RoleKind(role)
    objects = build_rbac(kind, namespace=namespace, account=account, with_nodes=with_nodes)
    note = _ADMIN_NOTE.format(namespace=namespace) if kind is RoleKind.ADMIN else ""
    return note + "".join(f"---\n{write_yaml(each)}\n" for each in objects)


def token(
    *, namespace: str, account: str, duration: str | None, file: Path | None, owner: str | None, kubeconfig: Path | None
) -> Token:
    """
    Issue a token and write it to `file` if given. Without `duration` it is the one of a Secret.

    Raises:
        KnsError: see `kns.launcher.tools.tokens`.
        ValueError: the duration.
    """
    client = connect(kubeconfig)
    if duration is None:
        issued = ensure_secret_token(client, namespace=namespace, account=account)
    else:
        seconds = parse_duration(duration)
        issued = request_token(client, namespace=namespace, account=account, duration_s=seconds)
    if file is not None:
        write_token(file, issued.text, owner=_find_owner(owner))
    return issued


def _find_owner(name: str | None) -> tuple[int, int] | None:
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise KnsError(f"there is no user {name!r}") from error
    return entry.pw_uid, entry.pw_gid


def run(
    job: Mapping[str, Any],
    *,
    user: str | None,
    program: str | None,
    arguments: Sequence[str],
    sinks: Sinks,
    limit_s: float | None,
) -> int:
    """Start the plugin, run one job, return its exit code. Raises KnsError as `kns.launcher.tools.session`."""
    found = shutil.which(program or PROGRAM)
    if found is None and program is None:  # of a virtual environment whose folder is not on the PATH
        found = shutil.which(Path(sys.executable).with_name(PROGRAM))
    if found is None:
        raise KnsError(f"the program {program or PROGRAM} is not on the PATH; give it by --program")
    with PluginProcess([found, *arguments]) as plugin:
        return run_job(plugin, job, user=user or getpass.getuser(), sinks=sinks, limit_s=limit_s)


def templates(mode: str, arguments: Sequence[str], say: Callable[[str], None], *, verbose: bool) -> int:
    """
    Run a template command; its exit status.

    Raises:
        KnsError: the scratch folder cannot be found.
    """
    folder = find_scratch_path(parse_arguments(arguments))
    return run_command(Mode(mode), folder, say, verbose=verbose)


def find_kubeconfig() -> Path | None:
    """The administrator's kubeconfig: KUBECONFIG, or the one in the home folder; None inside a pod."""
    if given := os.environ.get("KUBECONFIG"):
        return Path(given)
    home = Path.home() / ".kube" / "config"
    return home if home.exists() else None
