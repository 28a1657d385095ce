"""What scripts get must fit into the objects of the job: whatever is accepted fits, and the refusal names the cause."""

from bisect import bisect_left
from collections.abc import Mapping

import pytest

from kns.model.appdef.appdef import NestedKubernetes
from kns.model.appdef.parameters import ParameterValue
from kns.model.errors import InvalidInputError
from kns.model.submit.script_data import (
    MAX_SCRIPT_BYTES,
    build_jobenv,
    build_parameter_env,
    build_parameters_json,
    check_script_size,
    measure_items,
)
from kns.objects.init import build_init_secrets, build_plan_file
from kns.objects.inside import build_job_info
from tests.builders import a_job, a_location
from tests.fakes.host import require_size

OWN = "x" * 30 * 1024  # of kns, in each object
VALUE_BYTES = 60_000


def with_items(*items: Mapping[str, object]) -> NestedKubernetes:
    return NestedKubernetes.model_validate(
        {"templates": [{"name": "web", "type": "kubectl", "path": "web.yml"}, *items]}
    )


def with_values(unit: str, count: int, *, variable: bool) -> list[ParameterValue]:
    """Parameters with `count` units in total, each as long as one may be."""
    text = unit * count
    step = VALUE_BYTES // len(unit.encode())
    parts = [text[start : start + step] for start in range(0, len(text), step)]
    return [ParameterValue(key=f"p{n}", type="STR", value=part, variable=variable) for n, part in enumerate(parts)]


def plan_of(nested: NestedKubernetes) -> str:
    accepted = a_job().build().spec.accepted
    assert accepted is not None
    return build_plan_file(accepted.model_copy(update={"nested": nested}), record_uid="uid-1", wait_limit_s=900)


def is_accepted(values: list[ParameterValue], nested: NestedKubernetes, **variables: str) -> bool:
    try:
        check_script_size(values, variables, nested)
    except InvalidInputError:
        return False
    return True


@pytest.mark.proves(
    "parameters", "Inputs that do not fit into the objects of a job are refused at submit, with the key and the remedy"
)
@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("unit", ["x", "é", "漢", "\U0001f600", "'", '"', "\\", "\n", "\x01", "<"])
def test_what_is_accepted_fits_into_the_objects_of_the_job(unit: str, variable: bool) -> None:
    """Tried with the most of it that is accepted."""
    nested = with_items({"name": "漢" * 1000, "type": "custom", "cmd": "eHh4\n" * 20_000})

    def is_refused(count: int) -> bool:
        return not is_accepted(with_values(unit, count, variable=variable), nested)

    first_refused = bisect_left(range(MAX_SCRIPT_BYTES), True, key=is_refused)
    assert 1000 < first_refused < MAX_SCRIPT_BYTES
    values = with_values(unit, first_refused - 1, variable=variable)
    files = {
        "kubeconfig": OWN,
        "plan.json": plan_of(nested),
        "jobenv.sh": build_jobenv(values, {}),
        "parameters.json": build_parameters_json(values),
    }
    env = build_parameter_env(values)
    objects = build_init_secrets(a_location(), files=files, env={"KNS_OWN": OWN, **env})
    for obj in [*objects, *build_job_info("default", public={"KNS_OWN": OWN, **env}, secret={})]:
        require_size(obj)


def test_text_of_any_script_needs_its_bytes_and_no_escapes() -> None:
    """Eight values of 20 000 Chinese characters each; as escapes they need twice as much."""
    values = [ParameterValue(key=f"p{n}", type="STR", value="漢" * 20_000) for n in range(8)]
    assert len(build_parameters_json(values).encode()) < 8 * VALUE_BYTES + 1000
    assert is_accepted(values, with_items())


@pytest.mark.parametrize(
    "items",
    [
        {"name": "漢" * 60_000, "type": "kustomize", "path": 'a"\\' * 20_000},
        {"name": "n", "type": "custom", "cmd": "eHh4\n" * 20_000, "retry": 10**9, "retry_sleep": 10**9},
        {"name": "", "type": "kubectl", "path": "eA==", "format": "base64", "retry": 10**9, "retry_sleep": 10**9},
    ],
)
def test_items_need_at_most_what_is_measured(items: dict[str, object]) -> None:
    nested = with_items(*[items] * 5)
    assert len(plan_of(nested).encode()) <= measure_items(nested) + 300


LONG_ITEMS = [{"name": "漢" * 60_000, "type": "kubectl", "path": "p"}] * 6
MANY_VARIABLES = {f"V{number}": "z" * 50_000 for number in range(20)}


@pytest.mark.parametrize(
    ("values", "variables", "items", "key"),
    [
        ({"short": "x", "long": "y" * 60_000}, MANY_VARIABLES, [], "application.parameters.long"),
        ({"short": "x"}, {**MANY_VARIABLES, "LONG": "z" * 60_000}, [], "variables.LONG"),
        ({"long": "x" * 60_000}, {}, LONG_ITEMS, "nested_kubernetes.templates"),
        ({}, {}, LONG_ITEMS, "nested_kubernetes.templates"),
    ],
    ids=["parameter", "account variable", "items, not the parameter", "items"],
)
def test_the_longest_value_is_named(
    values: dict[str, str], variables: dict[str, str], items: list[dict[str, object]], key: str
) -> None:
    given = [ParameterValue(key=name, type="STR", value=value) for name, value in values.items()]
    with pytest.raises(InvalidInputError, match=f"a job holds {MAX_SCRIPT_BYTES}") as refused:
        check_script_size(given, variables, with_items(*items))
    assert str(refused.value).startswith(f"{key}: is the longest ")
