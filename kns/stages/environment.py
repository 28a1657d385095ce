"""
What the app's templates and scripts find in their environment (contract C.4, C.6).

The parameters go in here as `resolution.fill_api_key` leaves them. What may hold a secret (account variables, a
parameter with the API key) is kept apart from the rest: it belongs into a Secret, and so do both files made here.
"""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from kns.model.appdef.env_names import is_legal, parameter_name
from kns.model.appdef.parameters import ParameterValue, decode_upload
from kns.model.errors import InvalidInputError
from kns.model.job.job import Accepted, JobSpec
from kns.model.job.tokens import Tokens
from kns.model.site import Site


def build_public_env(
    spec: JobSpec, accepted: Accepted, site: Site, *, url: str | None = None, default_class: str = ""
) -> dict[str, str]:
    """`url` is the address that the job has already, if it has one; `default_class` the site's, if the host has it."""
    nodes, machine = spec.machine.nodes, accepted.machine
    address = site.job_address(accepted.number, accepted.nested, url=url)
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
    """For the init pod alone. The virtual cluster's API and whatever else has a ClusterIP is never behind a proxy."""
    proxies = site.proxies
    given = {"http_proxy": proxies.http, "https_proxy": proxies.https}
    env = {name: value for name, value in given.items() if value}
    direct = (site.virtual.service_cidr, "localhost", "127.0.0.1", "svc", ".svc", ".svc.cluster.local")
    return {**env, "no_proxy": ",".join(filter(None, (proxies.no_proxy, *direct)))} if env else env


def build_parameter_env(parameters: Iterable[ParameterValue]) -> dict[str, str]:
    """
    The parameters without a secret: as `KNS_PARAM_<KEY>`, and under their own key where the AppDef says `variable`.

    A key that no shell takes as a name is delivered under the first name only. The system's own names cannot occur:
    an AppDef with such a key is refused.
    """
    return _name(value for value in parameters if not value.needs_key)


def build_secret_parameter_env(parameters: Iterable[ParameterValue], variables: Mapping[str, str]) -> dict[str, str]:
    """The other parameters, and the account variables (name -> value)."""
    return {**_name(value for value in parameters if value.needs_key), **variables}


def build_jobenv(parameters: Iterable[ParameterValue], variables: Mapping[str, str]) -> str:
    """/etc/JARVICE/jobenv.sh: the same names and values for a shell to read in."""
    env = {**_name(parameters), **variables}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in env.items())


def build_parameters_json(parameters: Iterable[ParameterValue]) -> str:
    """/etc/kns/parameters.json: a list in the AppDef's order, values with their own JSON types."""
    entries = [
        {"key": value.key, "type": value.type, "value": value.delivered, "positional": value.positional}
        for value in parameters
    ]
    return json.dumps(entries, indent=1)


def build_uploads(parameters: Iterable[ParameterValue], given: Mapping[str, Any]) -> dict[str, bytes]:
    """
    Content of every uploaded file by its path below /opt; `given` is the record's `spec.parameters`.

    Raises:
        InvalidInputError: the record no longer has the content that it was accepted with.
    """
    uploads = {}
    for value in parameters:
        if value.target is not None:
            try:
                uploads[value.target] = decode_upload(given[value.key])
            except (KeyError, ValueError) as error:
                raise InvalidInputError(f"spec.parameters.{value.key}", "the uploaded content is gone") from error
    return uploads


def _name(parameters: Iterable[ParameterValue]) -> dict[str, str]:
    env = {}
    for value in parameters:
        env[parameter_name(value.key)] = value.text
        if value.variable and is_legal(value.key):
            env[value.key] = value.text
    return env
