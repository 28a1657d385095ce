"""
Ways to connect to a cluster: by kubeconfig, by the pod's ServiceAccount, with a token, and to a virtual cluster, whose
kubeconfig may name nothing but address, certificates and token.
"""

import base64
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config, load_kube_config_from_dict

from kns.adapters.kube.client import HOST_BOUNDS, NESTED_BOUNDS, Bounds, KubeClient
from kns.model.errors import KnsError

_ALLOWED_KEYS = {
    "cluster": {"server", "certificate-authority-data"},
    "user": {"client-certificate-data", "client-key-data", "token"},
}


def find_administrators_kubeconfig() -> Path | None:
    """The first file of KUBECONFIG, for commands that an administrator calls. The scheduler never reads it."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else None


def connect(kubeconfig: Path | None) -> KubeClient:
    """
    A client for the host cluster, configured by `kubeconfig` or by the pod's ServiceAccount.

    Raises:
        KnsError: the configuration is not usable.
    """
    configuration = Configuration()
    try:
        if kubeconfig is not None:
            load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            load_incluster_config(client_configuration=configuration)
    except Exception as error:  # the library does not translate the errors of its YAML parser
        source = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's ServiceAccount"
        raise KnsError(f"cannot reach the host cluster by {source}: {error}") from error
    return KubeClient(configuration)


def connect_with_token(
    api_url: str,
    *,
    read_token: Callable[[], str],
    authority_file: Path | None,
    verify: bool = True,
) -> KubeClient:
    """
    A client for the API at `api_url`, with a token that `read_token` returns for each request.

    Without `authority_file` the system's certificate authorities are used. `read_token` may raise `KnsError`.
    """
    return connect_with_header(
        api_url, read_header=lambda: f"Bearer {read_token()}", authority_file=authority_file, verify=verify
    )


def connect_with_header(
    api_url: str,
    *,
    read_header: Callable[[], str],
    authority_file: Path | None,
    verify: bool = True,
    bounds: Bounds = HOST_BOUNDS,
) -> KubeClient:
    """As `connect_with_token`, with the whole value of `Authorization`."""
    configuration = Configuration()
    configuration.host = api_url.rstrip("/")
    configuration.verify_ssl = verify
    configuration.ssl_ca_cert = None if authority_file is None else str(authority_file)
    configuration.api_key = {"authorization": ""}

    def refresh(own: Configuration) -> None:
        own.api_key["authorization"] = read_header()

    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # the library declares None alone
    return KubeClient(configuration, bounds=bounds)


def connect_to(kubeconfig: Mapping[str, Any], *, bounds: Bounds = NESTED_BOUNDS) -> KubeClient:
    """
    A client for the cluster of a decoded kubeconfig.

    Its certificates are in a temporary folder. The library would keep a file of each until the process ends.

    Raises:
        KnsError: the kubeconfig is not usable, or has other keys than address, certificates and token. Such a key could
            name a program to run.
    """
    configuration = Configuration()
    files = tempfile.TemporaryDirectory(prefix="kns-kube-")
    try:
        _check_keys(kubeconfig)
        plain = _write_certificates(kubeconfig, Path(files.name))
        load_kube_config_from_dict(plain, client_configuration=configuration, persist_config=False)
    except (ConfigException, KeyError, TypeError, ValueError) as error:
        files.cleanup()
        raise KnsError(f"unusable kubeconfig of a virtual cluster: {error}") from error
    return KubeClient(configuration, files=files, bounds=bounds)


def _check_keys(kubeconfig: Mapping[str, Any]) -> None:
    for kind, allowed in _ALLOWED_KEYS.items():
        for entry in kubeconfig[f"{kind}s"]:
            if unknown := sorted(entry[kind].keys() - allowed):
                raise ValueError(f"{kind} {entry['name']} has {', '.join(unknown)}")


def _write_certificates(kubeconfig: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write each `...-data` value to a file in `folder`. Returns the kubeconfig with the paths in their place."""
    plain: dict[str, Any] = json.loads(json.dumps(kubeconfig))
    entries = [
        *(entry["cluster"] for entry in plain.get("clusters") or ()),
        *(entry["user"] for entry in plain.get("users") or ()),
    ]
    for index, entry in enumerate(entries):
        for key in ("certificate-authority", "client-certificate", "client-key"):
            if f"{key}-data" in entry:
                path = folder / f"{index}-{key}"
                path.write_bytes(base64.b64decode(entry.pop(f"{key}-data")))
                entry[key] = str(path)
    return plain
