"""
What an app's scripts get of parameters and account variables, as environment variables and files (contract C.4, C.6),
and whether it fits into the objects of the job.

All parameters come from `resolution.fill_api_key`. Values that may be secret (account variables, a parameter with the
API key) are built separately, because they belong into a Secret. Both files belong into a Secret, too.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence

from kns.model.appdef.appdef import NestedKubernetes
from kns.model.appdef.env_names import is_legal, parameter_name
from kns.model.appdef.parameters import ParameterValue
from kns.model.errors import InvalidInputError

MAX_SCRIPT_BYTES = 992 * 1024  # of a Secret's 1 MiB; kns's own 32 KiB are the kubeconfig, or the variables of the job
_STEP_BYTES = 256  # of an item in the plan, besides the values that are measured
_ITEMS = "nested_kubernetes.templates"


def build_parameter_env(parameters: Iterable[ParameterValue]) -> dict[str, str]:
    """
    The parameters without secrets: as `KNS_PARAM_<KEY>`, and also under their own key if the AppDef says `variable`.

    A key that is not a valid shell name only gets the first form. An AppDef whose key is a reserved name is refused
    earlier.
    """
    return _name(value for value in parameters if not value.needs_key)


def build_secret_parameter_env(parameters: Iterable[ParameterValue]) -> dict[str, str]:
    """The parameters with secrets."""
    return _name(value for value in parameters if value.needs_key)


def build_jobenv(parameters: Iterable[ParameterValue], variables: Mapping[str, str]) -> str:
    """/etc/JARVICE/jobenv.sh: the same names and values, for a shell to source."""
    env = {**_name(parameters), **variables}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in env.items())


def build_parameters_json(parameters: Iterable[ParameterValue]) -> str:
    """/etc/kns/parameters.json: a list in the AppDef's order; values have their JSON types."""
    entries = [
        {"key": value.key, "type": value.type, "value": value.delivered, "positional": value.positional}
        for value in parameters
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False)


def check_script_size(
    parameters: Sequence[ParameterValue], variables: Mapping[str, str], nested: NestedKubernetes
) -> None:
    """
    Whether the init pod's two Secrets can hold what the scripts get. One has the files: `jobenv.sh`, `parameters.json`
    and the plan, whose size the items decide. The other has the environment; ConfigMap and Secret `kns-job` are parts
    of that.

    Raises:
        InvalidInputError: with the key of the longest value.
    """
    items = measure_items(nested)
    jobenv = _measure(build_jobenv(parameters, variables))
    files = items + jobenv + _measure(build_parameters_json(parameters))
    environment = sum(_measure(f"{name}={value}\n") for name, value in {**_name(parameters), **variables}.items())
    if max(files, environment) <= MAX_SCRIPT_BYTES:
        return
    sizes = {f"application.parameters.{value.key}": _measure(value.text) for value in parameters}
    sizes |= {f"variables.{name}": _measure(value) for name, value in variables.items()}
    longest = max(sizes, key=lambda key: sizes[key], default=_ITEMS)
    raise InvalidInputError(
        _ITEMS if items > MAX_SCRIPT_BYTES else longest,
        f"is the longest of values that need {max(files, environment)} bytes as variables and files of the scripts; a "
        f"job holds {MAX_SCRIPT_BYTES}. Shorten values, or put large ones into an upload, the vault or the app's image",
    )


def measure_items(nested: NestedKubernetes) -> int:
    """The most bytes that the items of `templates` need in the plan."""
    texts = ([item.name, item.path, item.cmd] for item in nested.templates)
    return sum(_STEP_BYTES + _measure(json.dumps(each, ensure_ascii=False)) for each in texts)


def _measure(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))  # as `model.job.slim` measures


def _name(parameters: Iterable[ParameterValue]) -> dict[str, str]:
    env = {}
    for value in parameters:
        env[parameter_name(value.key)] = value.text
        if value.variable and is_legal(value.key):
            env[value.key] = value.text
    return env
