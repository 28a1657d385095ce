"""Parameters and variables of an AppDef: every problem has its key path, and published spellings are accepted."""

import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kns.cli.unknown import find_unknown_keys
from kns.model.appdef.appdef import parse_appdef
from kns.model.appdef.env_names import is_legal, parameter_name
from kns.model.appdef.parameters import KINDS, Parameter, decode_upload
from kns.model.errors import InvalidInputError
from kns.model.reading.scalars import MAX_TEXT_BYTES, read_number, read_text, read_whole, write_scalar
from tests.builders import a_command, an_appdef

BOOL = {"type": "BOOL"}


def parse(parameters: dict[str, Any], **command: Any) -> dict[str, Parameter]:
    appdef = an_appdef(commands={"Hello": a_command(parameters=parameters, **command)})
    return parse_appdef(appdef).commands["Hello"].parameters


def parse_one(**parameter: Any) -> Parameter:
    return parse({"p": parameter})["p"]


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no object": ({"p": 5}, "p", "dictionary"),
    "a type that is none": ({"p": {"type": "DATE"}}, "p.type", "must be one of CONST, STR, INT"),
    "a type that is no text": ({"p": {"type": 5}}, "p.type", "must be one of"),
    "required of words": ({"p": {"required": "maybe"}}, "p.required", "boolean"),
    "a constant without value": ({"p": {"type": "CONST"}}, "p.value", "is required for type CONST"),
    "a constant that is a list": ({"p": {"type": "CONST", "value": []}}, "p.value", "must be a text"),
    "a text with a zero byte": ({"p": {"value": "a\0"}}, "p.value", "zero byte"),
    "a text with half a character": ({"p": {"value": "\ud800"}}, "p.value", "valid Unicode"),
    "a text too long": ({"p": {"value": "x" * (MAX_TEXT_BYTES + 1)}}, "p.value", "at most 65536 bytes"),
    "a minimum of words": ({"p": {"type": "INT", "min": "low"}}, "p.min", "whole number"),
    "a minimum with a fraction": ({"p": {"type": "INT", "min": 0.5}}, "p.min", "whole number"),
    "a minimum that is true": ({"p": {"type": "INT", "min": True}}, "p.min", "whole number"),
    "a number that JSON cannot keep": ({"p": {"type": "INT", "max": 2**63}}, "p.max", "whole number"),
    "bounds the wrong way": ({"p": {"type": "INT", "min": 2, "max": 1}}, "p.min", "is above max"),
    "a default below": ({"p": {"type": "INT", "min": 2, "value": 1}}, "p.value", "must be at least 2"),
    "a default above": ({"p": {"type": "RANGE", "max": "2", "value": "3"}}, "p.value", "must be at most 2"),
    "a default of words": ({"p": {"type": "INT", "value": "few"}}, "p.value", "whole number"),
    "a step of nothing": ({"p": {"type": "RANGE", "step": 0}}, "p.step", "at least 1"),
    "a step with a fraction": ({"p": {"type": "RANGE", "step": 0.5}}, "p.step", "whole number"),
    "a default off the step": (
        {"p": {"type": "RANGE", "min": 1, "step": 2, "value": 4}},
        "p.value",
        "must be 1 plus a multiple of 2",
    ),
    "a negative precision": ({"p": {"type": "FLOAT", "precision": -1}}, "p.precision", "from 0 to 30"),
    "bounds of a fraction the wrong way": ({"p": {"type": "FLOAT", "min": 0.2, "max": 0.1}}, "p.min", "is above max"),
    "a fraction without end": ({"p": {"type": "FLOAT", "value": float("inf")}}, "p.value", "finite"),
    "a fraction too large": ({"p": {"type": "FLOAT", "value": "1e999"}}, "p.value", "finite"),
    "a fraction larger than any": ({"p": {"type": "FLOAT", "value": 10**400}}, "p.value", "64-bit float"),
    "a default cut below its bound": (
        {"p": {"type": "FLOAT", "min": 0.15, "precision": 1, "value": 0.15}},
        "p.value",
        "must be at least 0.15",
    ),
    "a box of words": ({"p": {"type": "BOOL", "value": "yes"}}, "p.value", "true or false"),
    "a selection of nothing": ({"p": {"type": "selection"}}, "p.values", "Field required"),
    "an empty selection": ({"p": {"type": "selection", "values": []}}, "p.values", "at least 1"),
    "a selection of lists": ({"p": {"type": "selection", "values": [[]]}}, "p.values[0]", "must be a text"),
    "twins that are fewer": (
        {"p": {"type": "selection", "values": ["a", "b"], "mvalues": ["1"]}},
        "p.mvalues",
        "has 1 entries and values has 2",
    ),
    "a default that cannot be chosen": (
        {"p": {"type": "selection", "values": ["a", "b"], "value": "c"}},
        "p.value",
        "must be one of 'a', 'b'",
    ),
    "a default file that is a number": ({"p": {"type": "FILE", "value": 5}}, "p.value", "must be a path"),
    "an upload to nowhere": ({"p": {"type": "UPLOAD"}}, "p.target", "Field required"),
    "an upload with an empty target": ({"p": {"type": "UPLOAD", "target": ""}}, "p.target", "below /opt"),
    "an upload to the folder": ({"p": {"type": "UPLOAD", "target": "."}}, "p.target", "below /opt"),
    "an absolute target": ({"p": {"type": "UPLOAD", "target": "/etc/x"}}, "p.target", "must be a relative path"),
    "a target that leaves": ({"p": {"type": "UPLOAD", "target": "a/../../b"}}, "p.target", "without '..'"),
    "a target with a space": ({"p": {"type": "UPLOAD", "target": "a b"}}, "p.target", "letters, digits"),
    "a size of words": ({"p": {"type": "UPLOAD", "target": "x", "size": "1 KB"}}, "p.size", "whole number"),
    "a size below nothing": ({"p": {"type": "UPLOAD", "target": "x", "size": -1}}, "p.size", "at least 0"),
    "two uploads": (
        {"p": {"type": "UPLOAD", "target": "x"}, "q": {"type": "UPLOAD", "target": "y"}},
        "q",
        "can have one UPLOAD, and 'p' is one already",
    ),
    "keys that meet": (
        {"-in.file": {}, "in_FILE": {}},
        "in_FILE",
        "has the variable name KNS_PARAM_IN_FILE, as '-in.file' does",
    ),
    "a key of dashes": ({"--": {}}, "--", "1 to 243 characters after its dashes"),
    "a key longer than a ConfigMap's": ({"k" * 244: {}}, "k" * 244, "1 to 243 characters after its dashes"),
    "an upload over the init runner": (
        {"p": {"type": "UPLOAD", "target": "kns-init/runner/app.py"}},
        "p.target",
        "the program of kns",
    ),
    "an upload to a long path": ({"p": {"type": "UPLOAD", "target": "a" * 254}}, "p.target", "at most 253 letters"),
    "a key with a zero byte": ({"a\0": {}}, "a\0", "the key must not contain a zero byte"),
    "a variable of the system's": ({"PATH": {"variable": True}}, "PATH.variable", "rename the parameter"),
    "a variable of ours": ({"KNS_JOB_URL": {"variable": "true"}}, "KNS_JOB_URL.variable", "rename the parameter"),
    "a condition on nothing": ({"p": {"if": ["q"]}}, "p.if", "'q' is not a BOOL parameter"),
    "a condition on a text": ({"p": {"ifnot": ["q"]}, "q": {}}, "p.ifnot", "'q' is not a BOOL parameter"),
    "conditions of another kind": ({"p": {"if": {"q": 1}}, "q": BOOL}, "p.if", "valid list"),
}


@pytest.mark.parametrize(("parameters", "path", "problem"), FAULTS.values(), ids=FAULTS.keys())
def test_a_problem_is_reported_with_its_key_path(parameters: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(parameters)
    assert caught.value.path == f"commands.Hello.parameters.{path}"
    assert problem in caught.value.problem


def test_too_many() -> None:
    with pytest.raises(InvalidInputError, match="at most 500"):
        parse({f"p{i}": {} for i in range(501)})


@pytest.mark.parametrize(
    ("written", "kind"),
    [(None, "STR"), ("", "STR"), ("int", "INT"), ("Selection", "selection"), ("SELECTION", "selection")],
)
def test_a_type_in_any_case_and_none_at_all(written: str | None, kind: str) -> None:
    assert parse_one(type=written, values=["a"]).type == kind


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_descriptions_may_be_missing(kind: str) -> None:
    parameter = parse_one(type=kind, value="1" if kind != "BOOL" else "true", values=["1"], target="x")
    assert (parameter.name, parameter.required, parameter.positional, parameter.variable) == ("", False, True, False)


DEFAULTS: list[tuple[dict[str, Any], Any]] = [
    ({}, None),
    ({"value": ""}, ""),
    ({"value": "", "required": True}, None),
    ({"value": 5}, "5"),
    ({"type": "CONST", "value": True}, "true"),
    ({"type": "INT"}, None),
    ({"type": "INT", "value": "", "min": "", "max": None}, None),
    ({"type": "INT", "value": "5", "min": "0", "max": "8"}, 5),
    ({"type": "INT", "value": 5.0}, 5),
    ({"type": "INT", "value": 2**63 - 1}, 2**63 - 1),
    ({"type": "RANGE", "value": 3, "min": 1, "step": "2"}, 3),
    ({"type": "RANGE", "value": -4, "step": 2}, -4),
    ({"type": "FLOAT", "value": "2.999", "precision": "2"}, 2.99),
    ({"type": "FLOAT", "value": -2.999, "precision": 0}, -2.0),
    ({"type": "FLOAT", "value": 0.3, "precision": 1}, 0.3),
    ({"type": "FLOAT", "value": 1e300, "precision": 2}, 1e300),
    ({"type": "FLOAT", "value": 10.04, "precision": 1, "max": 10}, 10.0),
    ({"type": "FLOAT", "value": 1}, 1.0),
    ({"type": "BOOL"}, False),
    ({"type": "BOOL", "value": "True"}, True),
    ({"type": "selection", "values": ["a", "b"]}, "a"),
    ({"type": "selection", "values": ["a", "b"], "value": ""}, "a"),
    ({"type": "selection", "values": ["a", "b"], "value": "b"}, "b"),
    ({"type": "selection", "values": ["a", "b"], "mvalues": [1, 2]}, "1"),
    ({"type": "selection", "values": ["a", "b"], "mvalues": []}, "a"),
    ({"type": "selection", "values": [1, 2.5, True], "value": 2.5}, "2.5"),
    ({"type": "selection", "values": ["", "b"]}, None),
    ({"type": "FILE", "filter": "*.c|*.py", "value": "/data/x.py"}, "/data/x.py"),
    ({"type": "FILE", "filter": "", "value": "x"}, "x"),
    ({"type": "FILE", "filter": "*.c", "value": "/data/x.py"}, "/data/x.py"),
    ({"type": "UPLOAD", "target": "x", "value": 5}, None),
]


@pytest.mark.parametrize(("parameter", "value"), DEFAULTS, ids=str)
def test_a_default_in_every_spelling(parameter: dict[str, Any], value: Any) -> None:
    found = parse_one(**parameter).default()
    assert (found, type(found)) == (value, type(value))


def test_a_form_may_send_the_default_file_back_whatever_the_filter() -> None:
    parameter = parse_one(type="FILE", filter="*.c", value="x.py")
    assert parameter.read("x.py") == "x.py"
    with pytest.raises(ValueError, match="must be a file like"):
        parameter.read("y.py")


def test_a_condition_may_be_one_name() -> None:
    assert parse({"q": BOOL, "p": {"if": "q"}})["p"].if_ == ["q"]


def test_a_target_is_kept_in_its_plain_form() -> None:
    assert parse_one(type="UPLOAD", target="a//b/./c").model_dump()["target"] == "a/b/c"


def test_a_key_that_no_type_has_is_worth_a_warning() -> None:
    parameters = {"p": {"type": "INT", "mim": 0}, "q": {"type": "DATE", "min": 0}, "r": {"name": "R", "if": []}}
    variables = {"A": {"inherits": True}}
    data = an_appdef(commands={"Hello": a_command(parameters=parameters)}, variables=variables)
    assert [str(problem) for problem in find_unknown_keys(data)] == [
        "commands.Hello.parameters.p.mim: unknown key, ignored; did you mean 'min'?",
        "commands.Hello.parameters.q.min: unknown key, ignored",
        "variables.A.inherits: unknown key, ignored; did you mean 'inherit'?",
    ]


# --- names

NOT_RESERVED = ("JARVICE_TOOLS", "JARVICE_MPI_PROVIDER", "KNS_OWN_CHOICE", "PYTHONPATH", "LD_OPTIONS", "PATHS")


@pytest.mark.parametrize("name", NOT_RESERVED)
def test_only_whole_names_are_reserved(name: str) -> None:
    """Published AppDefs have parameters called JARVICE_..., with `variable: true`."""
    assert parse({name: {"variable": True, "value": "x"}})[name].variable
    assert name in parse_appdef(an_appdef(variables={name: {}})).variables


def test_a_command_without_parameters_has_none() -> None:
    """As published AppDefs have it."""
    command = a_command()
    del command["parameters"]
    assert parse_appdef(an_appdef(commands={"Hello": command})).commands["Hello"].parameters == {}
    with pytest.raises(InvalidInputError, match="parameters"):
        parse_appdef(an_appdef(commands={"Hello": {**command, "parameters": None}}))


# --- variables

VARIABLE_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"1A": {}}, "1A", "is not a variable name"),
    ({"A-B": {}}, "A-B", "is not a variable name"),
    ({"LD_PRELOAD": {}}, "LD_PRELOAD", "is reserved for the system"),
    ({"KNS_JOB_URL": {}}, "KNS_JOB_URL", "is reserved for the system"),
    ({"KNS_PARAM_X": {}}, "KNS_PARAM_X", "is reserved for the system"),
    ({"A": None}, "A", "dictionary"),
    ({"A": {"required": 2}}, "A.required", "boolean"),
]


@pytest.mark.parametrize(("variables", "path", "problem"), VARIABLE_FAULTS, ids=str)
def test_a_problem_of_a_variable(variables: dict[str, Any], path: str, problem: str) -> None:
    for appdef, place in (
        (an_appdef(variables=variables), "variables"),
        (an_appdef(commands={"Hello": a_command(variables=variables)}), "commands.Hello.variables"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            parse_appdef(appdef)
        assert caught.value.path == f"{place}.{path}"
        assert problem in caught.value.problem


def test_a_command_adds_to_the_variables_of_its_app_or_replaces_them() -> None:
    command = a_command(variables={"B": {"required": "true"}, "C": {}})
    appdef = parse_appdef(an_appdef(variables={"A": {}, "B": {}}, commands={"Hello": command}))
    found = appdef.variables_of(appdef.commands["Hello"])
    assert {name: variable.required for name, variable in found.items()} == {"A": False, "B": True, "C": False}


def test_a_parameter_and_a_variable_of_one_name_meet_only_if_both_are_delivered_by_it() -> None:
    def appdef(**parameter: Any) -> dict[str, Any]:
        return an_appdef(variables={"A": {}}, commands={"Hello": a_command(parameters={"A": parameter})})

    assert parse_appdef(appdef()).variables.keys() == {"A"}
    with pytest.raises(
        InvalidInputError, match=r"^commands\.Hello\.parameters\.A: has the same name as an account var"
    ):
        parse_appdef(appdef(variable=True))


@pytest.mark.parametrize("kept", [{"hints": ["x"]}, {"meta": "m"}, {"identity": {"username": "a"}}, {"hints": 5}])
def test_what_is_only_stored_may_be_anything(kept: dict[str, Any]) -> None:
    (key,) = kept
    assert getattr(parse_appdef(an_appdef(**kept)), key) == kept[key]


# --- promises for all input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["", "1", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("value", "min", "max", "step", "precision", "values", "mvalues", "filter", "target", "size"),
        *("required", "positional", "variable", "if", "ifnot", "name", "description"),
    ]
)
ENTRIES = st.fixed_dictionaries(
    {"type": st.sampled_from([*KINDS, "str", None]) | JSON, "values": JSON | st.just(["a", ""])},
    optional={"target": st.just("x")},
).flatmap(lambda base: st.dictionaries(KEYS, JSON, max_size=4).map(lambda more: {**base, **more}))
# Some of these are accepted.
SIMPLE = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(KINDS)), "values": st.just(["a", ""]), "target": st.just("x")},
    optional={"value": JSON, "min": JSON},
)
PLAUSIBLE = st.dictionaries(st.sampled_from(["p", "q"]), SIMPLE, min_size=1)
PARAMETERS = st.dictionaries(st.text(max_size=4) | st.sampled_from(["p", "PATH", "-p"]), ENTRIES | JSON, max_size=3)


@given(PLAUSIBLE | PARAMETERS | JSON, st.just({}) | st.dictionaries(st.text(max_size=4), JSON, max_size=2) | JSON)
@example({"p": {"type": "INT", "value": "5"}}, {})
def test_anything_is_read_or_refused_by_our_own_error(parameters: Any, variables: Any) -> None:
    """The default of an accepted parameter is a valid value, or there is none."""
    try:
        found = parse(parameters, variables=variables)
    except InvalidInputError:
        return
    for parameter in found.values():
        default = parameter.default()
        assert default is None or isinstance(default, str | int | float)


@given(st.text())
def test_a_parameters_name_is_always_legal(key: str) -> None:
    assert is_legal(parameter_name(key)) or len(key) > 200


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_what_is_written_reads_back(whole: int, number: float, flag: bool) -> None:
    assert read_whole(write_scalar(whole)) == whole
    assert read_number(write_scalar(number)) == number
    assert read_text(flag) == write_scalar(flag)


@given(st.binary(max_size=200))
def test_an_upload_reads_back(content: bytes) -> None:
    assert decode_upload(base64.encodebytes(content).decode()) == content
