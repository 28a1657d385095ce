"""
The variables of a job for its app's templates and scripts (contract C.4, C.6), and the uploaded files.

What is made from the parameters is in `kns.model.submit.script_data`, because a submission must fit into it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kns.model.appdef.parameters import ParameterValue, decode_upload
from kns.model.errors import InvalidInputError
from kns.model.job.job import Accepted, JobSpec
from kns.model.job.tokens import Tokens
from kns.model.site import JobAddress, Site


def build_public_env(
    spec: JobSpec, accepted: Accepted, address: JobAddress | None, *, default_class: str = ""
) -> dict[str, str]:
    """`address` is the job's, if it has or will have one; `default_class` the site's, if the host has it."""
    nodes, machine = spec.machine.nodes, accepted.machine
    return {
        "KNS_JOB_NUMBER": str(accepted.number),
        "KNS_JOB_NAME": accepted.name,
        "KNS_JOB_LABEL": spec.label or "",
        "KNS_JOB_USER": spec.user,
        "KNS_JOB_APP": spec.app,
        "KNS_JOB_COMMAND": accepted.command,
        "KNS_MACHINE": machine.mc_name,
        "KNS_CORES": str(machine.cores(nodes)),
        "KNS_RAM_GB": str(machine.memory_gib(nodes)),
        "KNS_GPUS": str(machine.gpus(nodes)),
        "KNS_JOB_URL": address.url if address else "",
        "KNS_JOB_HOST": address.host if address else "",
        "JARVICE_INGRESSPATH": address.path.strip("/") if address else "",
        "KNS_VAULT_STORAGE_CLASS": accepted.vault.storage_class if accepted.vault else "",
        "KNS_DEFAULT_STORAGE_CLASS": default_class,
    }


def build_secret_env(tokens: Tokens) -> dict[str, str]:
    return {
        "KNS_JOB_PASSWORD": tokens.password,
        **{f"KNS_RANDOM{length}": token for length, token in tokens.random.items()},
    }


def build_proxy_env(site: Site) -> dict[str, str]:
    """For the init pod only. Service addresses, and so the virtual cluster's API, are excluded from the proxy."""
    proxies = site.proxies
    given = {"http_proxy": proxies.http, "https_proxy": proxies.https}
    env = {name: value for name, value in given.items() if value}
    direct = (site.virtual.service_cidr, "localhost", "127.0.0.1", "::1", "svc", ".svc", ".svc.cluster.local")
    return {**env, "no_proxy": ",".join(filter(None, (proxies.no_proxy, *direct)))} if env else env


def build_uploads(parameters: Iterable[ParameterValue], given: Mapping[str, Any]) -> dict[str, bytes]:
    """
    The content of every uploaded file, by its path below /opt. `given` are the values as submitted.

    Raises:
        InvalidInputError: the record no longer has the content of an upload.
    """
    uploads = {}
    for value in parameters:
        if value.target is not None:
            try:
                uploads[value.target] = decode_upload(given[value.key])
            except (KeyError, ValueError) as error:
                raise InvalidInputError(
                    f"spec.parameters.{value.key}", "the uploaded content is missing in the record"
                ) from error
    return uploads
