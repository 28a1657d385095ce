"""
A user's access to the host cluster, and through it the way to a job's own cluster. The commands of `cluster` use it.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kns.cli.exits import CommandError, Exit
from kns.cli.gateway import build_kubeconfig, check_gateway
from kns.cli.kubectl import Kubectl
from kns.cli.nested import forward_api, hold_file, read_kubeconfig
from kns.cli.profiles import check_private
from kns.cli.session import Session
from kns.cli.waiting import describe_end
from kns.client import Client
from kns.model import names
from kns.model.job.job import Rest
from kns.model.job.location import Location

HostKubeconfig = Annotated[
    str | None,
    typer.Option(
        "--host-kubeconfig",
        metavar="FILE",
        help="Access to the host cluster; without it KNS_HOST_KUBECONFIG, else KUBECONFIG or ~/.kube/config.",
    ),
]
HostContext = Annotated[
    str | None, typer.Option("--host-context", metavar="NAME", help="A context of that file; else its current one.")
]


ViaGateway = Annotated[
    bool | None,
    typer.Option(
        "--gateway/--no-gateway",
        help="Through kns instead of the host cluster; without either, if there is no access to the host.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Access:
    """
    How to reach a job's cluster, as given by options and variables: by the user's access to the host cluster, or
    `via_gateway`, through kns.
    """

    program: str
    kubeconfig: str | None
    context: str | None
    environ: Mapping[str, str]
    via_gateway: bool = False

    @property
    def host(self) -> Kubectl:
        return Kubectl(Path(self.program), self.kubeconfig, context=self.context, environ=self.environ)

    def inside(self, file: Path) -> Kubectl:
        """kubectl for the job's cluster."""
        return Kubectl(Path(self.program), str(file), environ=self.environ)

    def environ_inside(self, file: Path, number: int) -> dict[str, str]:
        """For a program that shall use the job's cluster. A `kns` in it still finds the host."""
        home = self.environ.get("HOME")
        usual = f"{home}/.kube/config" if home else None
        host = self.kubeconfig or self.environ.get("KUBECONFIG") or usual
        kept = {"KNS_HOST_KUBECONFIG": host} if host else {}
        if self.via_gateway:
            kept = {"KNS_GATEWAY": "1"}
        return {**self.environ, **kept, "KUBECONFIG": str(file), "KNS_JOB": str(number)}


def find_access(session: Session, kubeconfig: str | None, context: str | None, *, gateway: bool | None) -> Access:
    """
    Raises:
        CommandError: there is no kubectl, or the options contradict each other.
    """
    environ = session.surroundings.environ
    program = shutil.which("kubectl", path=environ.get("PATH"))
    if program is None:
        raise CommandError(
            Exit.USAGE, "there is no kubectl on PATH; install it: https://kubernetes.io/docs/tasks/tools/"
        )
    if gateway and (kubeconfig or context):
        raise CommandError(
            Exit.USAGE, "--gateway needs no host cluster; leave out --host-kubeconfig and --host-context"
        )
    named = kubeconfig or environ.get("KNS_HOST_KUBECONFIG") or None
    if gateway is None:
        gateway = not (named or context) and (bool(environ.get("KNS_GATEWAY")) or not _has_kubeconfig(environ))
    return Access(program, named, context, environ, via_gateway=gateway)


def _has_kubeconfig(environ: Mapping[str, str]) -> bool:
    home = environ.get("HOME")
    return bool(environ.get("KUBECONFIG")) or (home is not None and (Path(home) / ".kube" / "config").exists())


@contextmanager
def open_cluster(
    session: Session, access: Access, client: Client, job: Mapping[str, Any], *, port: int = 0, link: Path | None = None
) -> Iterator[Path]:
    """
    The file of a kubeconfig for the job's cluster, which works during the block.

    Raises:
        CommandError: the job has no cluster now, the host is that of another site, or `link` exists.
        KubectlError: the host cluster does not answer, or the user lacks a right.
    """
    number = int(job["number"])
    rest = job.get("rest", Rest.AWAKE)  # a server of an earlier release does not say
    if job["ended"] is None and rest != Rest.AWAKE:
        raise CommandError(Exit.REFUSED, f"job {number} is {rest}; `kns wake {number} --wait` brings it back")
    with ExitStack() as stack:
        text = stack.enter_context(_open_way(session, access, client, job, port=port))
        folder = session.surroundings.config_dir / "clusters"
        for each in (folder.parent, folder):
            check_private(each)
        try:
            path = stack.enter_context(hold_file(folder, text, link=link))
        except FileExistsError as error:
            raise CommandError(Exit.USAGE, f"{link} exists; choose another name, or remove it") from error
        except OSError as error:
            where = f"{folder}, or {link}," if link else str(folder)
            raise CommandError(
                Exit.USAGE,
                f"cannot write {where} for the kubeconfig: {error.strerror}; set KNS_CONFIG_DIR to a folder "
                "that you can write",
            ) from error
        yield path


@contextmanager
def _open_way(session: Session, access: Access, client: Client, job: Mapping[str, Any], *, port: int) -> Iterator[str]:
    """A kubeconfig that works during the block."""
    number, host = int(job["number"]), access.host
    if access.via_gateway:
        if port:
            raise CommandError(Exit.USAGE, "--port is for the way through the host cluster; leave it out")
        with session.screen.busy(f"asking kns for the cluster of job {number}"):
            check_gateway(session, client, number)
        yield build_kubeconfig(session, number)
        return
    with session.screen.busy(f"looking for the cluster of job {number}"):
        location = _find_location(host, job)
        config = read_kubeconfig(host, location)
        if config is None:
            raise CommandError(Exit.REFUSED, _describe_early(number))
    with ExitStack() as stack:
        with session.screen.busy(f"opening a port to the cluster of job {number}"):
            text = stack.enter_context(forward_api(host, location, config, port=port))
        yield text


def _find_location(host: Kubectl, job: Mapping[str, Any]) -> Location:
    """
    An ended job still has its namespace if it is kept.

    Raises:
        CommandError: the host cluster does not have this very job: it is removed, or KUBECONFIG leads to another site,
            where the same number is another job, perhaps of somebody else.
    """
    number = int(job["number"])
    namespace = str(job.get("namespace") or names.job_object_name(number))
    if not names.is_job_object_name(namespace):
        raise CommandError(Exit.REFUSED, f"kns names the namespace {namespace}, which cannot be one of a job")
    found = host.find("namespace", namespace)
    meta = (found or {}).get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if job["ended"] is not None and found is None:
        where = f"the cluster in KUBECONFIG has no namespace {namespace}"
        raise CommandError(Exit.REFUSED, f"{describe_end(job)}, and {where}: it is removed, or on another site")
    if job["ended"] is not None and "deletionTimestamp" in meta:
        raise CommandError(Exit.REFUSED, f"{describe_end(job)}, and its cluster is being removed")
    if found is None and job["started"] is None:
        raise CommandError(Exit.REFUSED, _describe_early(number))
    if annotations.get(names.JOB_NAME_ANNOTATION) != job["name"]:
        raise CommandError(
            Exit.REFUSED,
            f"namespace {namespace} of the cluster in KUBECONFIG is not that of job {number}; "
            "KUBECONFIG must lead to the host cluster of the same site; --gateway needs none",
        )
    return Location(number, namespace)


def _describe_early(number: int) -> str:
    return f"job {number} has no cluster yet; `kns watch {number}` waits for it"
