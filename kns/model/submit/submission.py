"""
A submission: the body of `POST /jarvice/submit`, and its conversion to a JobSpec.

`accept` checks both kinds of jobs, submitted over HTTP and applied as a NestedJob, with the same rules and messages.
"""

import random
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from kns.model import names
from kns.model.appdef.appdef import AppDef, Command, NestedKubernetes
from kns.model.appdef.variables import Variable
from kns.model.catalog.catalog import App, Catalog, User
from kns.model.catalog.machine import Machine
from kns.model.catalog.vault import AcceptedVault, accept_vault
from kns.model.errors import InvalidInputError, UnknownAppError
from kns.model.job.job import Accepted, JobSpec, MachineChoice, VaultChoice
from kns.model.job.slim import slim_submission
from kns.model.reading.duration import parse_walltime
from kns.model.reading.scalars import check_text
from kns.model.site import require_version
from kns.model.submit.resolution import build_constants, fill_api_key, resolve_parameters
from kns.model.submit.script_data import check_script_size
from kns.model.submit.token_claims import TokenClaims

EPHEMERAL_VAULT = "ephemeral"
NORMAL: Literal["normal"] = "normal"
_NAME_ALPHABET = string.ascii_uppercase + string.digits


def _read_decimal(value: Any) -> Any:
    """Older clients send `"nodes": "1"`."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


@dataclass(frozen=True, slots=True)
class Terms:
    """
    The settings of the site that submissions are checked against.

    `supported_versions` are Kubernetes minor versions (`v1.36`). `api_url` is the value of `%APIURL%`; if it is empty,
    apps that use it are refused. `local_repository` is `<registry>/<base>` if the site serves all app images itself.
    `keycloak`: apps may request a Keycloak client.
    """

    supported_versions: tuple[str, ...]
    api_url: str = ""
    local_repository: str = ""
    keycloak: bool = False

    def image_of(self, app: App) -> str:
        return f"{self.local_repository}/{app.id}:latest" if self.local_repository else app.repo


class _Body(BaseModel):
    """A part of the body. A key with null or "" counts as absent, because forms send these for empty fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None and value != ""}


class Application(_Body):
    command: str | None = None
    parameters: dict[str, Any] = {}
    walltime: str | None = None


class MachineRequest(_Body):
    type: str = Field(max_length=253)
    nodes: Annotated[int, BeforeValidator(_read_decimal), Field(ge=1, le=10_000)] = 1


class VaultRequest(_Body):
    name: str = Field(max_length=253)
    readonly: bool = False
    force: bool = False


class UserRequest(_Body):
    """The credentials. Both are absent in a request with a bearer token."""

    username: str | None = None
    apikey: str | None = Field(default=None, repr=False)


class Submission(_Body):
    """The keys of a submission that have an effect. Other documented keys are only stored, unknown keys are not."""

    app: str = Field(max_length=253)
    application: Application = Application()
    machine: MachineRequest
    vault: VaultRequest | None = None
    user: UserRequest = UserRequest()
    job_label: Annotated[str, Field(max_length=255)] | None = None
    job_project: Annotated[str, Field(max_length=255)] | None = None
    job_priority: Literal["normal", "high", "highest"] = NORMAL

    @field_validator("vault", mode="before")
    @classmethod
    def _read_vault(cls, value: Any) -> Any:
        """A vault with an empty name counts as absent. A vault without the key `name` is an error."""
        return None if isinstance(value, Mapping) and value.get("name", "?") in (None, "") else value


def _keep_submission(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the record keeps of the body, with integers where the contract requires them."""
    data = slim_submission(body)
    if isinstance(data.get("machine"), Mapping):
        data["machine"] = {"nodes": 1, **data["machine"]}
        data["machine"]["nodes"] = _read_decimal(data["machine"]["nodes"])
    return data


def build_spec(submission: Submission, *, user: str, body: Mapping[str, Any], may_be_urgent: bool = False) -> JobSpec:
    """
    The JobSpec of a submission, before acceptance. `body` is the decoded JSON that `submission` was parsed from.

    Only administrators may set a priority above normal. A higher priority of another user is stored as normal.
    """
    vault = submission.vault
    if submission.job_priority != NORMAL and not may_be_urgent:
        body = {**body, "job_priority": NORMAL}
    return JobSpec(
        user=user,
        app=submission.app,
        command=submission.application.command,
        parameters=submission.application.parameters,
        machine=MachineChoice(type=submission.machine.type, nodes=submission.machine.nodes),
        vault=VaultChoice(name=vault.name, readonly=vault.readonly) if vault else None,
        walltime=submission.application.walltime,
        label=submission.job_label,
        project=submission.job_project,
        submission=_keep_submission(body),
    )


def build_job_name(*, app: str, user: str, now: datetime, rng: random.Random) -> str:
    """`<UTC time>-<5 characters>-<app>-<user>_s<scheduler>`. Clients parse it; kns never does."""
    tag = "".join(rng.choices(_NAME_ALPHABET, k=5))
    return f"{now.astimezone(UTC):%Y%m%d%H%M%S}-{tag}-{app}-{user}_s{names.SCHEDULER_ID}"


def find_app(catalog: Catalog, spec: JobSpec) -> App:
    """
    The catalogue's app for a job.

    Raises:
        InvalidInputError: the user is not in the catalogue or not active.
        UnknownAppError: no such app, or the user may not see it.
    """
    user = _find_user(catalog, spec.user)
    app = catalog.apps.get(spec.app)
    if app is None or not app.is_visible_to(user):
        raise UnknownAppError(f"app: {spec.app!r} is not in the catalogue")
    return app


def accept(
    spec: JobSpec,
    *,
    app: App,
    catalog: Catalog,
    terms: Terms,
    now: datetime,
    rng: random.Random,
    allot_number: Callable[[], int],
    claims: TokenClaims | None = None,
) -> Accepted:
    """
    Check a job against its app and the catalogue, and freeze the values that it needs.

    `app` is what `find_app` returns, or a changed copy of it. `allot_number` is called after the last check, so a
    refused job uses no number. `claims` of the caller's token determine the payer; without them the catalogue does.

    Raises:
        InvalidInputError: the first problem, with the submission's key path.
        UnknownAppError: the app has no such command.
    """
    user = _find_user(catalog, spec.user)
    key, command = app.data.choose_command(spec.command)
    machine = _find_machine(catalog, spec.machine, appdef=app.data, command=command)
    _check_nested(command.nested_kubernetes, terms)
    _check_vault(catalog, spec, user)
    _check_label(spec.label)
    if spec.project is not None and spec.project not in user.projects:
        raise InvalidInputError("job_project", f"{user.username} is not a member of {spec.project!r}")
    walltime = spec.walltime or command.walltime or app.data.walltime
    walltime_s = parse_walltime(walltime, path="application.walltime") if walltime else None
    variables = app.data.variables_of(command)
    account_variables = _find_variables(catalog, user, variables)
    vault_name = spec.vault.name if spec.vault else None
    constants = build_constants(
        app=app,
        user=user,
        machine=machine,
        nodes=spec.machine.nodes,
        label=spec.label,
        vault_name=vault_name,
        vault=catalog.vaults.get(spec.user, {}).get(vault_name) if vault_name else None,
        api_url=terms.api_url,
    )
    parameters = resolve_parameters(command.parameters, spec.parameters, constants)
    check_script_size(fill_api_key(parameters, user.apikey), account_variables, command.nested_kubernetes)
    interactive = command.interactive if command.interactive is not None else True
    return Accepted(
        number=allot_number(),
        name=build_job_name(app=spec.app, user=spec.user, now=now, rng=rng),
        payer=(claims.payer if claims else None) or user.team,
        billing_code=claims.billing_code if claims else 0,
        submit_time=now,
        image=terms.image_of(app),
        command=key,
        machine=machine,
        nested=command.nested_kubernetes,
        url=command.url,
        walltime_s=walltime_s,
        connectable=interactive and not command.noconnect and bool(command.nested_kubernetes.targets),
        parameters=parameters,
        variables=list(variables),
        inherited_variables=_inherited(variables),
        vault=_accept_vault(catalog, spec),
    )


def _find_user(catalog: Catalog, username: str) -> User:
    user = catalog.users.get(username)
    if user is None:
        raise InvalidInputError("user", f"{username!r} is not in the user catalogue")
    if not user.active:
        raise InvalidInputError("user", f"the account {username} is not active")
    return user


def _find_machine(catalog: Catalog, choice: MachineChoice, *, appdef: AppDef, command: Command) -> Machine:
    machine = catalog.machines.get(choice.type)
    if machine is None:
        raise InvalidInputError("machine.type", f"no machine {choice.type!r}")
    if not machine.runs_nested_jobs:
        raise InvalidInputError("machine.type", f"{choice.type!r} lacks appkind=kns, so it runs no nested jobs")
    if not appdef.admits_machine(command, choice.type):
        raise InvalidInputError("machine.type", f"{choice.type!r} is not among the machines of this app")
    if choice.nodes > max(1, machine.mc_scale_max):
        raise InvalidInputError("machine.nodes", f"{choice.type!r} has at most {max(1, machine.mc_scale_max)}")
    most = appdef.most_nodes(command)
    if most is not None and choice.nodes > most:
        raise InvalidInputError("machine.nodes", f"this app takes at most {most}")
    return machine


def _check_nested(nested: NestedKubernetes, terms: Terms) -> None:
    """Refuse what this site does not support. An empty version requests the default, which always exists."""
    if nested.kubernetes_version:
        require_version(nested.kubernetes_version, terms.supported_versions)
    if nested.keycloak is not None and not terms.keycloak:
        raise InvalidInputError(
            "nested_kubernetes.keycloak",
            "this site has no Keycloak for apps; choose another app or ask its administrator",
        )


def has_vault(catalog: Catalog, user: User, name: str) -> bool:
    return name == EPHEMERAL_VAULT or name in catalog.vaults.get(user.username, {})


def _check_vault(catalog: Catalog, spec: JobSpec, user: User) -> None:
    if spec.vault is not None and not has_vault(catalog, user, spec.vault.name):
        raise InvalidInputError("vault.name", f"{user.username} has no vault {spec.vault.name!r}")


def _check_label(label: str | None) -> None:
    """The label becomes an environment variable of the init job, as parameters do."""
    try:
        check_text(label or "")
    except ValueError as error:
        raise InvalidInputError("job_label", str(error)) from error


def _accept_vault(catalog: Catalog, spec: JobSpec) -> AcceptedVault | None:
    choice = spec.vault
    vault = catalog.vaults.get(spec.user, {}).get(choice.name) if choice else None
    if choice is None or vault is None:
        return None
    return accept_vault(vault, user=spec.user, name=choice.name, readonly=choice.readonly)


def _find_variables(catalog: Catalog, user: User, variables: Mapping[str, Variable]) -> dict[str, str]:
    found = catalog.find_variables(user.username, variables, inherited=_inherited(variables))
    for name, variable in variables.items():
        if variable.required and name not in found:
            raise InvalidInputError(
                f"variables.{name}",
                f"the app needs this account variable and {user.username} has none; ask your administrator to set it",
            )
    return found


def _inherited(variables: Mapping[str, Variable]) -> list[str]:
    return [name for name, variable in variables.items() if variable.inherit]
