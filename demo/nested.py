"""The virtual cluster of a job, with the rights of its administrator."""

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from demo.errors import DemoError
from demo.files import write_private
from demo.kubectl import Kubectl
from demo.target import Target

API_PORT = 443


@contextlib.contextmanager
def nested_kubectl(target: Target, number: int, *, kind: type[Kubectl] = Kubectl) -> Iterator[Kubectl]:
    """
    kubectl for the virtual cluster of a job, with the kubeconfig from the job's namespace on the host.

    Raises:
        DemoError: the job has no running virtual cluster.
    """
    host, name = kind.of(target), f"kns-job-{number}"
    secret = host.find("secret", f"{name}-certs", f"--namespace={name}")
    service = host.find("service", name, f"--namespace={name}")
    if secret is None or service is None:
        raise DemoError(
            f"job {number} has no running virtual cluster: Secret {name}-certs or Service {name} does not exist"
        )
    admin = base64.b64decode(secret["data"]["admin.conf"]).decode()
    file = target.state / f"{name}.kubeconfig"
    with contextlib.ExitStack() as stack:
        if target.is_testbed:
            server = f"https://{service['spec']['clusterIP']}:{API_PORT}"
        else:
            server = f"https://127.0.0.1:{stack.enter_context(host.forward(name, name, API_PORT))}"
        write_private(file, set_server(admin, server))
        stack.callback(Path.unlink, file, missing_ok=True)
        yield kind(target.kubectl, str(file), use_proxy=False)


def set_server(kubeconfig: str, server: str) -> str:
    """
    The kubeconfig with another address of the same cluster.
    """
    document = yaml.safe_load(kubeconfig)
    for entry in document["clusters"]:
        entry["cluster"]["server"] = server
    return yaml.safe_dump(document)
