"""
The data that a job's app gets, collected from the record, the tokens and the catalogue at each use.

Secrets of the catalogue are read only here, so that no record stores them.
"""

import base64
from dataclasses import dataclass

from kns.model import names
from kns.model.job.inputs import JobInputs, inline_inputs
from kns.model.submit.resolution import fill_api_key
from kns.model.submit.script_data import (
    build_jobenv,
    build_parameter_env,
    build_parameters_json,
    build_secret_parameter_env,
)
from kns.ports import Context, Kind, Object
from kns.stages.environment import build_proxy_env, build_public_env, build_secret_env, build_uploads


@dataclass(frozen=True, slots=True)
class JobInfo:
    """`public` and `secret` are the data of ConfigMap and Secret `kns-job` (contract C.6)."""

    public: dict[str, str]
    secret: dict[str, str]


@dataclass(frozen=True, slots=True)
class InitInput:
    """Additional data for the init pod: `files` by their key in the init Secret, `uploads` by their path below /opt."""

    env: dict[str, str]
    files: dict[str, str]
    uploads: dict[str, bytes]


def read_job_info(ctx: Context) -> JobInfo:
    """
    Raises:
        InvalidInputError: a parameter needs the user's API key, which is no longer in the catalogue; or the object with
            the large parameters is missing or was changed.
    """
    user = ctx.world.catalog.current().users.get(ctx.job.spec.user)
    parameters = fill_api_key(_read_inputs(ctx).parameters, user.apikey if user else None)
    tokens = ctx.world.tokens.ensure(ctx.job)
    public = build_public_env(
        ctx.job.spec,
        ctx.accepted,
        ctx.address,
        default_class="" if read_default_class(ctx) is None else ctx.site.classes.default_storage_class or "",
    )
    return JobInfo(
        public={**build_parameter_env(parameters), **public},
        secret={
            **build_secret_parameter_env(parameters),
            **build_secret_env(tokens),
            **read_client_info(ctx),
        },
    )


def read_default_class(ctx: Context) -> Object | None:
    """The host's storage class for jobs; None if the site configures none or the host does not have it."""
    name = ctx.site.classes.default_storage_class
    return ctx.world.cluster.read_shared(Kind.STORAGE_CLASS, "", name) if name else None


def read_client_info(ctx: Context) -> dict[str, str]:
    """The app's data about its Keycloak client; empty if it asks for none or there is none yet."""
    if ctx.accepted.nested.keycloak is None:
        return {}
    stored = ctx.world.cluster.read(Kind.SECRET, ctx.namespace, names.KEYCLOAK_INFO) or {}
    return {key: base64.b64decode(value).decode() for key, value in (stored.get("data") or {}).items()}


def _read_inputs(ctx: Context) -> JobInputs:
    return inline_inputs(ctx.job.spec) if ctx.accepted.inputs is None else ctx.world.inputs.read(ctx.job)


def read_init_input(ctx: Context) -> InitInput:
    """
    Raises:
        InvalidInputError: as in `read_job_info`, or the record no longer has an upload.
    """
    catalog, accepted = ctx.world.catalog.current(), ctx.accepted
    user = catalog.users.get(ctx.job.spec.user)
    inputs = _read_inputs(ctx)
    parameters = fill_api_key(inputs.parameters, user.apikey if user else None)
    variables = catalog.find_variables(ctx.job.spec.user, accepted.variables, inherited=accepted.inherited_variables)
    return InitInput(
        env={**build_proxy_env(ctx.site), **variables},
        files={
            "jobenv.sh": build_jobenv(parameters, variables),
            "parameters.json": build_parameters_json(parameters),
        },
        uploads=build_uploads(parameters, inputs.uploads),
    )
