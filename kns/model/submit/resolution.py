"""
Determine a job's parameters from a submission: defaults, conditions, constants, and checks.

This happens once, at submit, and the result is stored in the record. Only `%APIKEY%` is replaced later, at delivery,
because a record never contains a key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kns.model.appdef.parameters import BoolParameter, ConstParameter, Parameter, ParameterValue, Value
from kns.model.catalog.catalog import App, User
from kns.model.catalog.machine import Machine
from kns.model.catalog.vault import Vault
from kns.model.errors import InvalidInputError
from kns.model.job.connection import substitute
from kns.model.reading.scalars import check_text

API_KEY = "APIKEY"
_PATH = "application.parameters"
_VAULT_TYPES = {"nfs": "FILE"}  # the catalogue has the protocol, AppDefs the kind of vault


@dataclass(frozen=True, slots=True)
class Constants:
    """The placeholders of CONST parameters: their values, and for each refused placeholder the reason."""

    values: Mapping[str, str]
    refused: Mapping[str, str]


def build_constants(
    *,
    app: App,
    user: User,
    machine: Machine,
    nodes: int,
    label: str | None,
    vault_name: str | None,
    vault: Vault | None,
    api_url: str,
) -> Constants:
    """The placeholders of one job. `vault` is the catalogue entry of `vault_name`. Memory is in GiB (contract E.4)."""
    vault_type = vault.type if vault else ""
    values = {
        "CORES": machine.mc_cores,
        "GPUS": machine.mc_gpus,
        "SGPUS": machine.mc_slave_gpus,
        "RAM": machine.mc_ram,
        "SRAM": machine.mc_slave_ram,
        "NODES": nodes,
        "TCORES": machine.cores(nodes),
        "TGPUS": machine.gpus(nodes),
        "TRAM": machine.memory_gib(nodes),
        "JOBLABEL": label or "",
        "MACHINETYPE": machine.mc_name,
        "VTYPE": _VAULT_TYPES.get(vault_type, vault_type.upper()),
        "VNAME": vault_name or "",
        "APIURL": api_url,
        "APIUSER": user.username,
    }
    return Constants(
        values={name: str(value) for name, value in values.items()},
        refused=_refuse_api(app=app, user=user, api_url=api_url),
    )


def _refuse_api(*, app: App, user: User, api_url: str) -> dict[str, str]:
    """Refuse API placeholders to untrusted apps: with them an app can submit jobs in the user's name."""
    if not app.certified and app.owner_name != user.username:
        why = "is only for apps that are certified or the user's own"
        return dict.fromkeys(("APIURL", "APIUSER", API_KEY), why)
    refused = {}
    if not api_url:
        refused["APIURL"] = "is not configured at this site; ask its administrator to set the URL of the API"
    if user.apikey is None:
        refused[API_KEY] = (
            f"is not available, because the catalogue has only its hash; ask for a plain key of {user.username}"
        )
    return refused


def resolve_parameters(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], constants: Constants
) -> list[ParameterValue]:
    """
    The values of a job's parameters, in the order of the AppDef. Omitted parameters have no entry.

    A condition uses the value of its BOOL parameter even if that parameter is itself omitted.

    Raises:
        InvalidInputError: with the key path of the first problem.
    """
    unknown = sorted(key for key, value in given.items() if value is not None and key not in parameters)
    if unknown:
        known = ", ".join(parameters) or "none"
        raise InvalidInputError(f"{_PATH}.{unknown[0]}", f"is not a parameter of this command; its parameters: {known}")
    flags = {
        key: _read(key, parameter, given.get(key)) is True
        for key, parameter in parameters.items()
        if isinstance(parameter, BoolParameter)
    }
    values = []
    for key, parameter in parameters.items():
        if not all(flags[name] for name in parameter.if_) or any(flags[name] for name in parameter.ifnot):
            continue
        value = (
            _resolve_constant(key, parameter, given.get(key), constants)
            if isinstance(parameter, ConstParameter)
            else _resolve(key, parameter, given.get(key))
        )
        if value is not None:
            values.append(value)
    return values


def _resolve(key: str, parameter: Parameter, given: Any) -> ParameterValue | None:
    value = _read(key, parameter, given)
    if value is not None:
        return parameter.build_value(key, value)
    if not parameter.may_be_absent:
        raise InvalidInputError(f"{_PATH}.{key}", f"is required: give a value of type {parameter.type}")
    return None


def _read(key: str, parameter: Parameter, given: Any) -> Value | None:
    try:
        return parameter.default() if parameter.is_absent(given) else parameter.read(given)
    except ValueError as error:
        raise InvalidInputError(f"{_PATH}.{key}", str(error)) from error


def _resolve_constant(key: str, parameter: ConstParameter, given: Any, constants: Constants) -> ParameterValue:
    path, template = f"{_PATH}.{key}", parameter.template
    for name, why in constants.refused.items():
        if f"%{name}%" in template:
            raise InvalidInputError(path, f"%{name}% {why}")
    try:
        text = check_text(substitute(template, constants.values))
    except ValueError as error:
        raise InvalidInputError(path, str(error)) from error
    if not parameter.is_absent(given) and _read(key, parameter, given) not in (template, text):
        raise InvalidInputError(path, "is fixed by the app; leave it out")
    value = parameter.build_value(key, text)
    return value.model_copy(update={"needs_key": f"%{API_KEY}%" in template})


def fill_api_key(parameters: Iterable[ParameterValue], apikey: str | None) -> list[ParameterValue]:
    """
    The parameters for delivery, with the API key filled in. Those with `needs_key` are then secret.

    Raises:
        InvalidInputError: a parameter needs the key and the catalogue no longer contains it.
    """
    filled = []
    for value in parameters:
        if value.needs_key and apikey is None:
            raise InvalidInputError(f"{_PATH}.{value.key}", "needs the user's API key, which is not in the catalogue")
        text = substitute(str(value.value), {API_KEY: apikey or ""})
        filled.append(value.model_copy(update={"value": text}) if value.needs_key else value)
    return filled
