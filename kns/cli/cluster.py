"""
Commands that reach a job's own cluster: kubeconfig, connect, run, cp, port-forward.

They use the user's access to the host cluster, or go through kns, because a job's API has no address outside.
"""

import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from kns.cli.access import HostContext, HostKubeconfig, ViaGateway, find_access, open_cluster
from kns.cli.children import ending_in_order, run_program, undisturbed
from kns.cli.exits import CommandError, Exit, Terminated
from kns.cli.kubectl import Kubectl, KubectlError
from kns.cli.options import JobArgument, Output, Timeout, read_job
from kns.cli.screen import Format
from kns.cli.session import Session, get_session
from kns.cli.steps import is_over
from kns.cli.submission_file import read_file
from kns.cli.submit import (
    CommandOption,
    Label,
    Machine,
    Nodes,
    Parameters,
    Project,
    SubmissionFile,
    Uploads,
    Vault,
    Walltime,
    ensure_machine,
    merge_options,
    read_pairs,
    read_uploads,
    send,
)
from kns.cli.waiting import Until, describe_end, is_passing, status_of, wait_for
from kns.client import Client, ClientError, ResponseError

_NOT_FOUND = 404
_LOOK_S = 30.0  # between two looks whether the job still lives
_TRIES, _AGAIN_AFTER_S = 5, 2.0  # to end the job of `kns run`: a replica of kns restarts in that time
_OLDEST_KUBECTL = (1, 30)  # the oldest host that kns supports; `cp` of much older ones writes beside its destination
_OLDEST_BY_WEBSOCKET = (1, 31)  # older ones forward ports by SPDY only, which needs connections that no proxy passes on
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_TAR_NOTICE = re.compile(r"tar: [Rr]emoving leading ")
_COPY_REMEDY = "check both paths and the rights of the container's user; the container needs `tar`"
_PANEL = "The job's own cluster"

Port = Annotated[
    int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The local port; 0 for a free one.")
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NAME", help="The namespace in the job's cluster.")
]

clusters = typer.Typer()


@clusters.command(rich_help_panel=_PANEL)
def kubeconfig(
    ctx: typer.Context,
    job: JobArgument,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Where to put it; it must not exist yet.")
    ] = None,
    port: Port = 0,
    host_kubeconfig: HostKubeconfig = None,
    host_context: HostContext = None,
    gateway: ViaGateway = None,
    output: Output = None,
) -> None:
    """
    Print a KUBECONFIG for the job's cluster, and keep it usable until Ctrl-C or the end of the job.

    Its server is a port of this machine. The file is readable for you only and is removed at the end. It needs kubectl,
    and your own access to the host cluster or --gateway; see docs/command-line.md.
    """
    session = get_session(ctx)
    access = find_access(session, host_kubeconfig, host_context, gateway=gateway)
    with ending_in_order(), session.connect() as client:
        found = client.detail(read_job(job))
        with open_cluster(session, access, client, found, port=port, link=file) as path:
            screen = session.screen_for(output)
            if screen.output is Format.TABLE:
                screen.line(f"export KUBECONFIG={shlex.quote(str(path))}")
            else:
                screen.stream({"number": found["number"], "kubeconfig": str(path)})
            session.screen.note("it works until Ctrl-C")
            _wait_for_end(session, client, found["number"])
    session.screen.note(f"job {found['number']} has ended")


def _wait_for_end(session: Session, client: Client, number: int) -> None:
    while True:
        session.surroundings.sleep(_LOOK_S)
        try:
            if is_over(client.detail(number)):
                return
        except ClientError as error:
            if not is_passing(error):
                raise
            # The cluster may be reachable without kns.


@clusters.command(rich_help_panel=_PANEL)
def connect(
    ctx: typer.Context,
    job: JobArgument,
    command: Annotated[list[str] | None, typer.Argument(metavar="CMD", show_default=False)] = None,
    port: Port = 0,
    host_kubeconfig: HostKubeconfig = None,
    host_context: HostContext = None,
    gateway: ViaGateway = None,
) -> None:
    """
    Run CMD, or your shell, with a KUBECONFIG of the job's cluster: kns connect 7 -- kubectl get pods -A

    The exit status is that of CMD. The kubeconfig is removed at the end. It needs kubectl, and your
    own access to the host cluster or --gateway; see docs/command-line.md.
    """
    session = get_session(ctx)
    access = find_access(session, host_kubeconfig, host_context, gateway=gateway)
    arguments = command or [access.environ.get("SHELL") or "sh"]
    with ending_in_order(), session.connect() as client:
        found = client.detail(read_job(job))
        with open_cluster(session, access, client, found, port=port) as path:
            if not command:
                session.screen.note(f"KUBECONFIG is that of the cluster of job {found['number']}; `exit` ends this")
            status = run_program(arguments, access.environ_inside(path, found["number"]))
    raise typer.Exit(status)


@clusters.command(rich_help_panel=_PANEL)
def run(
    ctx: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="Id of the app.", show_default=False)],
    command_line: Annotated[list[str], typer.Argument(metavar="CMD", show_default=False)],
    file: SubmissionFile = None,
    param: Parameters = None,
    upload: Uploads = None,
    machine: Machine = None,
    nodes: Nodes = None,
    command: CommandOption = None,
    walltime: Walltime = None,
    label: Label = None,
    project: Project = None,
    vault: Vault = None,
    timeout: Timeout = None,
    host_kubeconfig: HostKubeconfig = None,
    host_context: HostContext = None,
    gateway: ViaGateway = None,
) -> None:
    """
    Submit a job, wait until it serves, run CMD with a KUBECONFIG of its cluster, and end the job.

    The exit status is that of CMD. The job is ended in any case, also after a signal; give it a walltime (-t) for the
    case that this machine fails. --timeout is for the start. It needs kubectl, and your own access to the host cluster
    or --gateway; see docs/command-line.md.
    """
    session = get_session(ctx)
    access = find_access(session, host_kubeconfig, host_context, gateway=gateway)
    if shutil.which(command_line[0], path=access.environ.get("PATH")) is None:
        raise CommandError(Exit.USAGE, f"there is no program {command_line[0]}, so nothing was submitted")
    # In a pipe, standard output is that of CMD.
    screen = session.screen if session.screen.is_terminal else session.screen.with_output(Format.JSON)
    with ending_in_order(), session.connect() as client:
        body = merge_options(
            read_file(file) if file is not None else {},
            app=app,
            parameters={**read_pairs(param, "--param"), **read_uploads(upload)},
            machine=machine,
            nodes=nodes,
            command=command,
            walltime=walltime,
            label=label,
            project=project,
            vault=vault,
        )
        ensure_machine(client, body)
        with _submitted(session, client, body) as number:
            session.screen.note(f"job {number}")
            try:
                found = wait_for(session, screen, client, number, until=Until.SERVING, timeout_s=timeout)
            except CommandError as error:
                if error.status is not Exit.TIMED_OUT:
                    raise
                said = f"job {number} did not serve within {timeout:g} s, so it was ended and CMD was not run"
                raise CommandError(Exit.TIMED_OUT, said) from error
            if is_over(found):
                raise CommandError(status_of(found) or Exit.FAILED, f"{describe_end(found)}; CMD was not run")
            with open_cluster(session, access, client, found) as path:
                status = run_program(command_line, access.environ_inside(path, number))
            _warn_of_early_end(session, client, number)
    raise typer.Exit(status)


def _warn_of_early_end(session: Session, client: Client, number: int) -> None:
    """The status stays that of CMD, which knows whether it was done."""
    with suppress(ClientError, CommandError):  # if kns does not answer, or a sign-in has ended, ending the job says so
        found = client.detail(number)
        if is_over(found):
            session.screen.warn(f"{describe_end(found)}, before CMD did")


@contextmanager
def _submitted(session: Session, client: Client, body: Mapping[str, Any]) -> Iterator[int]:
    """The number of a job that lives as long as the block."""
    key, sleep = f"kns-run-{secrets.token_hex(16)}", session.surroundings.sleep
    number: int | None = None
    try:
        number = send(sleep, client, body, key=key).number
        yield number
    except (KeyboardInterrupt, Terminated):
        if number is None:  # the job may exist; the same key makes no second one
            with undisturbed():
                number = send(sleep, client, body, key=key).number
        raise
    finally:
        if number is not None:
            with undisturbed():
                _end(session, client, number)


def _end(session: Session, client: Client, number: int) -> None:
    """
    Raises:
        CommandError: kns does not take the request, or the user's sign-in has ended.
    """
    session.screen.note(f"ending job {number}")
    for attempt in range(1, _TRIES + 1):
        try:
            client.terminate(number)
        except (ClientError, CommandError) as error:
            if isinstance(error, ResponseError) and error.status == _NOT_FOUND:
                return  # an administrator has deleted its record, so it has ended
            if attempt == _TRIES:
                raise CommandError(
                    Exit.UNREACHABLE, f"job {number} goes on: {error}; end it with `kns terminate {number}`"
                ) from error
            session.surroundings.sleep(_AGAIN_AFTER_S)
        else:
            return


@clusters.command(rich_help_panel=_PANEL)
def cp(
    ctx: typer.Context,
    job: JobArgument,
    source: Annotated[str, typer.Argument(metavar="SRC", help="A local path, or POD:PATH.", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="DST", help="A local path, or POD:PATH.", show_default=False)],
    namespace: Namespace = "default",
    container: Annotated[str | None, typer.Option("--container", "-c", metavar="NAME", help="The container.")] = None,
    host_kubeconfig: HostKubeconfig = None,
    host_context: HostContext = None,
    gateway: ViaGateway = None,
) -> None:
    """
    Copy files between this machine and a pod of the job, as `kubectl cp` does: kns cp 7 web-0:/data/out.csv out.csv

    The container needs `tar`. Exit status 1: not everything was copied. It needs kubectl, and your own access to the
    host cluster or --gateway; see docs/command-line.md.
    """
    session = get_session(ctx)
    if (_is_remote(source), _is_remote(target)) not in ((True, False), (False, True)):
        raise CommandError(Exit.USAGE, "exactly one of SRC and DST must be POD:PATH; write a local path as ./NAME")
    access = find_access(session, host_kubeconfig, host_context, gateway=gateway)
    _check_version(access.host, _OLDEST_KUBECTL, "with it, a container could write to other places than DST")
    with ending_in_order(), session.connect() as client:
        found = client.detail(read_job(job))
        options = [f"--namespace={namespace}", *([f"--container={container}"] if container else [])]
        with open_cluster(session, access, client, found) as path, session.screen.busy(f"copying {source}"):
            _copy(session, access.inside(path), options, source, target)


def _copy(session: Session, kubectl: Kubectl, options: Sequence[str], source: str, target: str) -> None:
    """
    kubectl may succeed although `tar` in the container failed: it ends when the archive does, without the status.

    Raises:
        CommandError: something was not copied.
    """
    problems: list[str] = []
    before = _find_written(target)

    def say(line: str) -> None:
        session.screen.note(line)
        if line.startswith("tar: ") and not _TAR_NOTICE.match(line):
            del problems[1:]  # the first one is the cause
            problems.append(line)

    try:
        kubectl.follow("cp", *options, "--", source, target, say=say)
    except KubectlError as error:
        raise CommandError(Exit.FAILED, f"{error}; {_COPY_REMEDY}") from error
    if problems:
        raise CommandError(Exit.FAILED, f"not everything was copied: {problems[0]}; {_COPY_REMEDY}")
    if _is_remote(source) and not Path(target).is_dir() and _find_written(target) == before:
        raise CommandError(Exit.FAILED, f"nothing was copied: there is no {source}; {_COPY_REMEDY}")


def _find_written(path: str) -> int | None:
    """When a file was written, in nanoseconds; None if there is none."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def _is_remote(text: str) -> bool:
    """
    Whether kubectl takes it for a path in a pod.

    >>> [_is_remote(text) for text in ("web-0:/data", "ns/web-0:/data", "data", "./a:b", "/a:b")]
    [True, True, False, False, False]
    """
    return ":" in text and not text.startswith((".", "/"))


def _check_version(kubectl: Kubectl, oldest: tuple[int, int], why: str) -> None:
    text = kubectl.run("version", "--client")
    found = _VERSION.search(text)
    if found is None or (int(found[1]), int(found[2])) < oldest:
        raise CommandError(
            Exit.USAGE, f"this kubectl is older than {'.'.join(map(str, oldest))}: {why}; install a newer one"
        )


@clusters.command("port-forward", rich_help_panel=_PANEL)
def port_forward(
    ctx: typer.Context,
    job: JobArgument,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="POD, service/NAME or deployment/NAME.", show_default=False)
    ],
    ports: Annotated[list[str], typer.Argument(metavar="[LOCAL:]PORT", show_default=False)],
    namespace: Namespace = "default",
    host_kubeconfig: HostKubeconfig = None,
    host_context: HostContext = None,
    gateway: ViaGateway = None,
) -> None:
    """
    Open local ports to a pod or Service of the job until Ctrl-C: kns port-forward 7 service/web 8080

    The ports are on 127.0.0.1 only. It needs kubectl, and your own access to the host cluster or --gateway; see
    docs/command-line.md.
    """
    session = get_session(ctx)
    if target.startswith("-") or any(each.startswith("-") for each in ports):
        raise CommandError(Exit.USAGE, "write it like: kns port-forward 7 service/web 8080")
    access = find_access(session, host_kubeconfig, host_context, gateway=gateway)
    if access.via_gateway:
        _check_version(access.host, _OLDEST_BY_WEBSOCKET, "with it, kubectl cannot forward ports through kns")
    with ending_in_order(), session.connect() as client:
        found = client.detail(read_job(job))
        with open_cluster(session, access, client, found) as path:
            arguments = ["port-forward", "--address=127.0.0.1", f"--namespace={namespace}", target, *ports]
            status = run_program([access.program, *arguments], access.inside(path).environ)
    raise typer.Exit(status)
