"""The virtual cluster of a job, with the rights of its administrator."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from demo.errors import DemoError
from demo.files import write_private
from demo.kubectl import Kubectl
from demo.target import Target
from kns.cli.nested import API_PORT, read_admin_kubeconfig, set_server
from kns.model.job.location import Location


@contextlib.contextmanager
def nested_kubectl(target: Target, number: int, *, kind: type[Kubectl] = Kubectl) -> Iterator[Kubectl]:
    """
    kubectl for the virtual cluster of a job, with the kubeconfig from the job's namespace on the host.

    Raises:
        DemoError: the job has no running virtual cluster.
    """
    host, name = kind.of(target), f"kns-job-{number}"
    config = read_admin_kubeconfig(host, Location(number, name))
    if config is None:
        raise DemoError(
            f"job {number} has no running virtual cluster: Secret {name}-certs or Service {name} does not exist"
        )
    file = target.state / f"{name}.kubeconfig"
    with contextlib.ExitStack() as stack:
        if not target.is_testbed:
            port = stack.enter_context(host.forward(name, name, API_PORT))
            config = set_server(config, f"https://127.0.0.1:{port}")
        write_private(file, config)
        stack.callback(Path.unlink, file, missing_ok=True)
        yield kind(target.kubectl, str(file), use_proxy=False)
