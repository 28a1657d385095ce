"""
Reach a job's own cluster with the user's access to the host cluster: read the job's kubeconfig there, open a port of
this machine, and keep the kubeconfig for it in a file that nobody else can read.

kns gives no right for this. Whoever may read the Secret in the job's namespace may do so without kns, too.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from kns.cli.kubectl import Kubectl
from kns.model import names
from kns.model.job.location import Location
from kns.objects.kubeconfig import API_PORT, build_admin_kubeconfig, build_shell_kubeconfig

__all__ = ["API_PORT", "forward_api", "hold_file", "read_admin_kubeconfig", "read_kubeconfig", "set_server"]

_LOCK = ".lock"
_NAME = "localhost"  # in the certificate of every control plane; whoever else listens on the port has none


def read_kubeconfig(host: Kubectl, location: Location) -> str | None:
    """
    A kubeconfig of the job's cluster; None while it has none. If the job has a web shell, it is that of the shell's
    ServiceAccount, so that RBAC applies and the audit log has a name. Otherwise it is the administrator's.

    Raises:
        KubectlError: the host cluster did not answer, or the user may not read it.
    """
    place = f"--namespace={location.namespace}"
    service = host.find("service", location.vcluster, place)
    if service is None:
        return None
    access = host.find("secret", names.SHELL_ACCESS, place)
    found = build_shell_kubeconfig(location, access, service) if access else None
    return found or read_admin_kubeconfig(host, location)


def read_admin_kubeconfig(host: Kubectl, location: Location) -> str | None:
    """
    The administrator's kubeconfig of the job's cluster, whose server is the ClusterIP; None while there is none.

    Raises:
        KubectlError: the host cluster did not answer, or the user may not read it.
    """
    place = f"--namespace={location.namespace}"
    certs, service = (
        host.find("secret", location.certs_secret, place),
        host.find("service", location.vcluster, place),
    )
    return build_admin_kubeconfig(certs, service) if certs and service else None


@contextlib.contextmanager
def forward_api(host: Kubectl, location: Location, config: str, *, port: int = 0) -> Iterator[str]:
    """
    The kubeconfig with the address of a local port, which is open during the block.

    Raises:
        KubectlError: the port cannot be opened.
    """
    with host.forward(location.namespace, location.vcluster, API_PORT, local=port) as chosen:
        yield set_server(config, f"https://127.0.0.1:{chosen}", name=_NAME)


def set_server(kubeconfig: str, server: str, *, name: str | None = None) -> str:
    """
    The kubeconfig with another address of the same cluster. `name` is the one that the server's certificate must have,
    if it is not that of the address.
    """
    document = yaml.safe_load(kubeconfig)
    for entry in document["clusters"]:
        entry["cluster"] |= {"server": server, **({"tls-server-name": name} if name else {})}
    return yaml.safe_dump(document)


@contextlib.contextmanager
def hold_file(folder: Path, text: str, *, link: Path | None = None) -> Iterator[Path]:
    """
    A file with mode 0600 below `folder` for the duration of the block, and a symbolic link to it at `link`.

    A process that is killed cannot remove its file. So each file has a lock that the system releases in any case, and
    the next call removes the files whose lock is free. The link then leads nowhere.

    Raises:
        FileExistsError: `link` exists.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with _lock(folder / _LOCK):
            _remove_abandoned(folder)
            own = Path(tempfile.mkdtemp(dir=folder))  # mode 0700
            stack.callback(shutil.rmtree, own, ignore_errors=True)
            stack.enter_context(_lock(own / _LOCK))
        file = own / "kubeconfig"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        if link is not None:
            stack.enter_context(_hold_link(link, file, folder))
        yield link or file


@contextlib.contextmanager
def _hold_link(link: Path, file: Path, folder: Path) -> Iterator[None]:
    if link.is_symlink() and not link.exists() and link.readlink().is_relative_to(folder.absolute()):
        link.unlink()  # of a call that was killed
    link.symlink_to(file.absolute())
    try:
        yield
    finally:
        if link.is_symlink() and link.readlink() == file.absolute():
            link.unlink()


@contextlib.contextmanager
def _lock(file: Path, *, wait: bool = True) -> Iterator[None]:
    """
    Raises:
        BlockingIOError: another process has it, and `wait` is false.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    for own in folder.iterdir():
        if own.is_symlink() or not own.is_dir():
            continue
        try:
            with _lock(own / _LOCK, wait=False):
                shutil.rmtree(own, ignore_errors=True)
        except BlockingIOError:  # its owner lives
            continue
