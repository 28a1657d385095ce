"""From a submission to the parameters of a job: each type, each refusal, constants, conditions, account variables."""

import base64
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.appdef.parameters import KINDS, Parameter, ParameterValue
from kns.model.catalog.catalog import Catalog, CatalogError, parse_catalog
from kns.model.errors import InvalidInputError
from kns.model.job.connection import substitute
from kns.model.job.job import Accepted
from kns.model.job.record import build_record, job_from_record
from kns.model.reading.parsing import parse_model
from kns.model.submit.resolution import Constants, fill_api_key, resolve_parameters
from kns.model.submit.script_data import build_parameter_env, build_parameters_json
from kns.model.submit.submission import Submission, Terms, accept, build_spec, find_app
from tests.builders import a_command, a_submission, an_app, an_appdef, catalog_files
from tests.fakes.stores import START

NO_CONSTANTS = Constants(values={}, refused={})
BOOL = {"type": "BOOL"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse(parameters: dict[str, Any]) -> dict[str, Parameter]:
    return {key: Parameter.model_validate(value) for key, value in parameters.items()}


def resolve(parameters: dict[str, Any], /, **given: Any) -> dict[str, ParameterValue]:
    return {value.key: value for value in resolve_parameters(parse(parameters), given, NO_CONSTANTS)}


TAKEN: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "STR"}, "a b", "a b"),
    ({"type": "STR", "value": "x"}, "", ""),
    ({"type": "STR", "required": True}, "", ""),
    ({"type": "STR"}, 5, "5"),
    ({"type": "INT", "min": 0, "max": 8}, 8, 8),
    ({"type": "INT"}, "-3", -3),
    ({"type": "INT"}, " 3 ", 3),
    ({"type": "INT"}, 3.0, 3),
    ({"type": "INT", "value": 2}, "", 2),
    ({"type": "RANGE", "min": 1, "max": 9, "step": 2}, "7", 7),
    ({"type": "RANGE", "step": 5}, 0, 0),
    ({"type": "FLOAT", "precision": 2}, "1.239", 1.23),
    ({"type": "FLOAT", "precision": 2}, -1.239, -1.23),
    ({"type": "FLOAT"}, 1, 1.0),
    ({"type": "FLOAT"}, "1e-3", 0.001),
    ({"type": "FLOAT", "precision": 1}, -0.04, 0.0),
    ({"type": "BOOL"}, True, True),
    ({"type": "BOOL", "value": True}, "false", False),
    ({"type": "selection", "values": ["a", "b"]}, "b", "b"),
    ({"type": "selection", "values": ["a", "b"], "mvalues": ["1", "2"]}, "b", "2"),
    ({"type": "selection", "values": ["1", "2"]}, 2, "2"),
    ({"type": "selection", "values": ["a", "a"], "mvalues": ["1", "2"]}, "a", "1"),
    ({"type": "FILE", "filter": "*.c|*.py"}, "/data/a.py", "/data/a.py"),
    ({"type": "FILE"}, "data/a", "data/a"),
    ({"type": "CONST", "value": "x"}, "x", "x"),
    ({"type": "CONST", "value": "x"}, "", "x"),
    ({"type": "CONST", "value": 5}, 5, "5"),
]


@pytest.mark.proves("parameters", "Nested apps may have parameters; they are checked at submit")
@pytest.mark.parametrize(("parameter", "given_value", "value"), TAKEN, ids=str)
def test_a_value_that_is_taken(parameter: dict[str, Any], given_value: Any, value: Any) -> None:
    found = resolve({"p": parameter}, p=given_value)["p"]
    assert (found.value, type(found.value)) == (value, type(value))
    assert (found.type, found.positional, found.needs_key) == (parameter["type"], True, False)


LEFT_OUT: list[tuple[dict[str, Any], Any]] = [
    ({}, None),
    ({"type": "INT"}, ""),
    ({"type": "FLOAT"}, None),
    ({"type": "FILE"}, ""),
    ({"type": "selection", "values": ["a"]}, ""),
    ({"type": "selection", "values": ["", "a"]}, None),
    ({"type": "selection", "values": ["", "a"], "mvalues": ["x", "y"], "required": True}, ""),
    ({"type": "selection", "values": ["", "a"], "required": True}, None),
    ({"type": "UPLOAD", "target": "x"}, None),
    ({"type": "UPLOAD", "target": "x"}, ""),
]


@pytest.mark.parametrize(("parameter", "given_value"), LEFT_OUT, ids=str)
def test_a_value_that_is_left_out(parameter: dict[str, Any], given_value: Any) -> None:
    assert resolve({"p": parameter}, p=given_value) == {}


SIZED = {"type": "UPLOAD", "target": "x", "size": "3"}
REFUSED: list[tuple[dict[str, Any], Any, str]] = [
    ({"required": True}, None, "is required: give a value of type STR"),
    ({"required": "true", "value": ""}, None, "is required: give a value of type STR"),
    ({"type": "INT", "required": True}, "", "is required: give a value of type INT"),
    ({"type": "UPLOAD", "target": "x", "required": True}, None, "is required: give a value of type UPLOAD"),
    ({}, [], "must be a text"),
    ({}, {"a": 1}, "must be a text"),
    ({}, "a\0b", "must not contain a zero byte"),
    ({}, "\udc00", "must be valid Unicode"),
    ({}, "x" * 65_537, "must have at most 65536 bytes"),
    ({"type": "INT"}, "few", "must be a whole number"),
    ({"type": "INT"}, 1.5, "must be a whole number"),
    ({"type": "INT"}, True, "must be a whole number"),
    ({"type": "INT"}, "9" * 25, "must be a whole number"),
    ({"type": "INT", "min": 0}, -1, "must be at least 0"),
    ({"type": "INT", "max": 8}, 9, "must be at most 8"),
    ({"type": "RANGE", "min": 10, "max": 60, "step": 10}, 15, "must be 10 plus a multiple of 10"),
    ({"type": "RANGE", "step": 2}, 1, "must be 0 plus a multiple of 2"),
    ({"type": "FLOAT"}, "1,5", "must be a number"),
    ({"type": "FLOAT"}, False, "must be a number"),
    ({"type": "FLOAT"}, float("nan"), "must be a finite number"),
    ({"type": "FLOAT", "max": 0.5}, 0.51, "must be at most 0.5"),
    ({"type": "BOOL"}, 1, "must be true or false"),
    ({"type": "BOOL"}, "yes", "must be true or false"),
    ({"type": "selection", "values": ["a", "b"]}, "c", "must be one of 'a', 'b'"),
    ({"type": "selection", "values": ["a"], "required": True}, "", "must be one of 'a'"),
    ({"type": "selection", "values": ["a"], "mvalues": ["1"]}, "1", "must be one of 'a'"),
    ({"type": "FILE"}, 5, "must be a path"),
    ({"type": "FILE", "filter": "*.c | *.py"}, "x.c/y.h", "must be a file like *.c or *.py"),
    ({"type": "CONST", "value": "x"}, "y", "is fixed by the app; leave it out"),
    ({"type": "CONST", "value": "x"}, [], "must be a text"),
    (SIZED, "%%%", "must be the file's content in base64"),
    (SIZED, "\u00e4", "must be the file's content in base64"),
    (SIZED, ["QQ=="], "must be the file's content in base64"),
    (SIZED, b64(b"four"), "has 4 bytes, at most 3 are allowed"),
]


@pytest.mark.proves("parameters", "Nested apps may have parameters; they are checked at submit")
@pytest.mark.parametrize(("parameter", "given_value", "problem"), REFUSED, ids=str)
def test_a_value_that_is_refused(parameter: dict[str, Any], given_value: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve({"p": parameter}, p=given_value)
    assert (caught.value.path, caught.value.problem) == ("application.parameters.p", problem)


@pytest.mark.proves("parameters", "An upload is base64 and becomes a file below `/opt`")
def test_an_upload_keeps_its_content_out() -> None:
    found = resolve({"p": SIZED}, p=b64(b"abc"))["p"]
    assert (found.value, found.target) == (None, "x")


def test_an_upload_is_delivered_as_other_parameters_are_with_its_path_as_the_value() -> None:
    found = resolve({"p": {**SIZED, "variable": True}}, p=b64(b"abc"))["p"]
    assert build_parameter_env([found]) == {"KNS_PARAM_P": "/opt/x", "p": "/opt/x"}
    assert json.loads(build_parameters_json([found])) == [
        {"key": "p", "type": "UPLOAD", "value": "/opt/x", "positional": True}
    ]
    found = resolve({"p": {**SIZED, "positional": False}}, p=b64(b"abc"))["p"]
    assert (found.positional, found.variable) == (False, False)


def test_an_unknown_key_is_refused_and_null_is_absent() -> None:
    assert resolve({"a": {}}, nobody=None) == {}
    with pytest.raises(InvalidInputError) as caught:
        resolve({"a": {}, "b": {}}, z=1, c=1)
    assert str(caught.value) == "application.parameters.c: is not a parameter of this command; its parameters: a, b"
    with pytest.raises(InvalidInputError, match="its parameters: none"):
        resolve({}, c=1)


def test_the_order_is_the_appdefs() -> None:
    keys = ["z", "a", "m"]
    assert list(resolve({key: {} for key in keys}, m="1", a="2", z="3")) == keys


CONDITIONS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"if": ["on"]}, {}, False),
    ({"if": ["on"]}, {"on": True}, True),
    ({"if": ["on", "also"]}, {"on": True}, False),
    ({"if": ["on", "also"]}, {"on": True, "also": "true"}, True),
    ({"ifnot": ["on"]}, {}, True),
    ({"ifnot": ["on", "also"]}, {"also": True}, False),
    ({"if": ["on"], "ifnot": ["also"]}, {"on": True}, True),
    ({"if": ["preset"]}, {}, True),
    ({"if": ["preset"]}, {"preset": False}, False),
    ({"if": ["hidden"]}, {"hidden": True}, True),
]


@pytest.mark.parametrize(("condition", "given_values", "kept"), CONDITIONS, ids=str)
def test_a_condition(condition: dict[str, Any], given_values: dict[str, Any], kept: bool) -> None:
    flags = {"on": BOOL, "also": BOOL, "preset": {"type": "BOOL", "value": True}, "hidden": {**BOOL, "if": ["on"]}}
    assert ("p" in resolve({"p": {"value": "x", **condition}, **flags}, **given_values)) is kept


def test_what_a_condition_leaves_out_is_neither_required_nor_read() -> None:
    parameters = {"on": BOOL, "p": {"type": "INT", "required": True, "if": ["on"]}}
    assert "p" not in resolve(parameters)
    assert "p" not in resolve(parameters, p="words")
    with pytest.raises(InvalidInputError, match="is required"):
        resolve(parameters, on=True)


# --- constants, through `accept`


def take(
    constant: str,
    *,
    api_url: str = "https://kns.example.org",
    app: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
    given_value: Any = None,
    command: dict[str, Any] | None = None,
    user: str = "user1",
    **changes: Any,
) -> Accepted:
    parameters = {"c": {"type": "CONST", "value": constant}}
    data = an_appdef(commands={"Hello": a_command(parameters=parameters, **(command or {}))})
    files = catalog_files(apps={"hello": an_app(data, **{"certified": True, **(app or {})})})
    files["users.json"][user].update(account or {})
    files["machines.json"]["kns-small"].update(mc_gpus=1, mc_slave_gpus=2, mc_slave_ram=3)
    return _accept(parse_catalog(files), user=user, api_url=api_url, given={"c": given_value}, **changes)


def _accept(catalog: Catalog, *, user: str, api_url: str, given: dict[str, Any], **changes: Any) -> Accepted:
    body = a_submission(user=user, application={"command": "Hello", "parameters": given}, **changes)
    spec = build_spec(parse_model(Submission, body), user=user, body=body)
    return accept(
        spec,
        app=find_app(catalog, spec),
        catalog=catalog,
        terms=Terms(supported_versions=("v1.36",), api_url=api_url),
        now=START,
        rng=random.Random(1),
        allot_number=lambda: 7,
    )


CONSTANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("plain 100%", "plain 100%", {}),
    ("%CORES% %GPUS% %SGPUS% %RAM% %SRAM%", "2 1 2 4 3", {}),
    ("%NODES%: %TCORES% %TGPUS% %TRAM%", "3: 6 5 10", {"machine": {"type": "kns-small", "nodes": 3}}),
    ("%MACHINETYPE%/%JOBLABEL%", "kns-small/", {}),
    ("%JOBLABEL%", "100% %CORES%", {"job_label": "100% %CORES%"}),
    ("[%VTYPE%%VNAME%]", "[]", {}),
    ("%VTYPE%/%VNAME%", "FILE/data", {"vault": {"name": "data"}}),
    ("%VTYPE%/%VNAME%", "/ephemeral", {"vault": {"name": "ephemeral"}}),
    ("%APIUSER%@%APIURL%", "user1@https://kns.example.org", {}),
    ("%UNKNOWN% %cores% %%CORES%%", "%UNKNOWN% %cores% %2%", {}),
    ("%APIUSER%", "user1", {"app": {"certified": False, "owner_name": "user1"}}),
]


@pytest.mark.parametrize(("constant", "text", "changes"), CONSTANTS, ids=[row[0] for row in CONSTANTS])
def test_a_constant(constant: str, text: str, changes: dict[str, Any]) -> None:
    (value,) = take(constant, **changes).parameters
    assert (value.value, value.needs_key) == (text, False)


@pytest.mark.parametrize("given_value", ["%CORES% cores", "2 cores", None])
def test_a_constant_may_be_given_as_written_and_as_it_becomes(given_value: str | None) -> None:
    (value,) = take("%CORES% cores", given_value=given_value).parameters
    assert value.value == "2 cores"


FOREIGN = {"certified": False, "owner_name": "user2"}
HASH = {"apikey": None, "apikey_sha256": "0" * 64}
REFUSED_CONSTANTS: list[tuple[str, dict[str, Any], str]] = [
    ("%APIKEY%", {"app": FOREIGN}, "%APIKEY% is only for apps that are certified or the user's own"),
    ("x%APIUSER%", {"app": FOREIGN}, "%APIUSER% is only for apps that are certified or the user's own"),
    ("%APIURL%", {"app": FOREIGN}, "%APIURL% is only for apps that are certified or the user's own"),
    ("%APIURL%", {"api_url": ""}, "%APIURL% is not configured at this site; ask its administrator to set the URL"),
    (
        "%APIKEY%",
        {"account": HASH},
        "%APIKEY% is not available, because the catalogue has only its hash; ask for a plain key of user1",
    ),
    ("%JOBLABEL%" * 300, {"job_label": "x" * 255}, "must have at most 65536 bytes"),
    ("%CORES%", {"given_value": "3"}, "is fixed by the app; leave it out"),
]


@pytest.mark.parametrize(("constant", "changes", "problem"), REFUSED_CONSTANTS, ids=str)
def test_a_constant_that_is_refused(constant: str, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        take(constant, **changes)
    assert caught.value.path == "application.parameters.c"
    assert caught.value.problem.startswith(problem)


def test_the_api_key_is_filled_in_at_delivery_only() -> None:
    accepted = take("%APIUSER%:%APIKEY%")
    assert [(value.value, value.needs_key) for value in accepted.parameters] == [("user1:%APIKEY%", True)]
    assert [value.value for value in fill_api_key(accepted.parameters, "k%CORES%")] == ["user1:k%CORES%"]
    with pytest.raises(InvalidInputError, match="needs the user's API key"):
        fill_api_key(accepted.parameters, None)


def test_a_label_does_not_fetch_the_api_key() -> None:
    accepted = take("%JOBLABEL%", job_label="%APIKEY%", app=FOREIGN)
    assert not accepted.parameters[0].needs_key
    assert fill_api_key(accepted.parameters, "secret") == accepted.parameters


@pytest.mark.proves(
    "parameters",
    "Account variables, the API key and pull secrets are in no record ([secrets](decisions/0008-catalogue-secrets.md))",
)
def test_neither_record_nor_repr_holds_a_secret() -> None:
    account = {"variables": {"TOKEN": "S3CR3T"}, "apikey": "key-user1"}
    accepted = take("%APIKEY%", account=account, command={"variables": {"TOKEN": {"required": True}}})
    body = a_submission()
    spec = build_spec(parse_model(Submission, body), user="user1", body=body)
    record = build_record(record="r", spec=spec.model_copy(update={"accepted": accepted}), namespace="n")
    users = parse_catalog(catalog_files(users={"user1": account})).users
    for text in (json.dumps(record), repr(accepted), repr(users)):
        assert "S3CR3T" not in text
        assert "key-user1" not in text


# --- account variables

TOKEN = {"variables": {"TOKEN": {"required": True}}}
INHERITED = {"variables": {"TOKEN": {"required": True, "inherit": True}, "B": {}}}


@pytest.mark.parametrize(
    ("command", "own", "payers", "found"),
    [
        (TOKEN, {"TOKEN": "own", "OTHER": "x"}, {}, {"TOKEN": "own"}),
        (TOKEN, {"TOKEN": ""}, {}, {"TOKEN": ""}),
        (INHERITED, {}, {"TOKEN": "payer's", "B": "x"}, {"TOKEN": "payer's"}),
        (INHERITED, {"TOKEN": "own", "B": "b"}, {"TOKEN": "payer's"}, {"TOKEN": "own", "B": "b"}),
    ],
)
def test_account_variables(
    command: dict[str, Any], own: dict[str, str], payers: dict[str, str], found: dict[str, str]
) -> None:
    data = an_appdef(commands={"Hello": a_command(**command)})
    users = {"user1": {"payer": "payer1", "variables": own}, "payer1": {"variables": payers}}
    catalog = parse_catalog(catalog_files(apps={"hello": an_app(data, certified=True)}, users=users))
    accepted = _accept(catalog, user="user1", api_url="", given={})
    assert accepted.variables == list(command["variables"])
    assert catalog.find_variables("user1", accepted.variables, inherited=accepted.inherited_variables) == found


@pytest.mark.parametrize("account", [{}, {"payer": None}, {"payer": "gone"}, {"variables": {"token": "x"}}])
def test_a_required_variable_that_is_missing(account: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        take("x", command=TOKEN, account=account)
    assert str(caught.value) == (
        "variables.TOKEN: the app needs this account variable and user1 has none; ask your administrator to set it"
    )


def test_an_account_variable_that_no_environment_can_hold_is_a_problem_of_the_catalogue() -> None:
    assert parse_catalog(catalog_files(users={"user1": {"variables": {"A": 5}}})).users["user1"].variables == {"A": "5"}
    with pytest.raises(CatalogError, match=r"users\.json: user1\.variables\.A: must not contain a zero byte"):
        parse_catalog(catalog_files(users={"user1": {"variables": {"A": "a\0"}}}))


def test_nobody_has_no_variables() -> None:
    assert parse_catalog(catalog_files()).find_variables("nobody", ["A"], inherited=["A"]) == {}


# --- records


def test_a_job_survives_its_record() -> None:
    parameters = {
        "s": {"value": "x", "variable": True, "positional": False},
        "i": {"type": "INT", "value": 5},
        "f": {"type": "FLOAT", "value": 5},
        "b": {"type": "BOOL", "value": "true"},
        "c": {"type": "CONST", "value": "%APIKEY%"},
        "u": {"type": "UPLOAD", "target": "a/b"},
    }
    data = an_appdef(commands={"Hello": a_command(parameters=parameters)})
    catalog = parse_catalog(catalog_files(apps={"hello": an_app(data, certified=True)}))
    accepted = _accept(catalog, user="user1", api_url="", given={"u": b64(b"x")})
    body = a_submission()
    spec = build_spec(parse_model(Submission, body), user="user1", body=body)
    record = build_record(record="r", spec=spec.model_copy(update={"accepted": accepted}), namespace="n")
    assert _read(record).accepted == accepted
    assert [entry.get("value") for entry in record["spec"]["accepted"]["parameters"]] == [
        "x", 5, 5.0, True, "%APIKEY%", None,
    ]  # fmt: skip


def test_a_record_from_before_parameters_is_read() -> None:
    body = a_submission()
    spec = build_spec(parse_model(Submission, body), user="user1", body=body)
    accepted = take("x")
    record = build_record(record="r", spec=spec.model_copy(update={"accepted": accepted}), namespace="n")
    for key in ("parameters", "variables", "inheritedVariables", "billingCode"):
        del record["spec"]["accepted"][key]
    record["spec"]["submission"]["application"]["parameters"] = {"a": 1}
    old = _read(record)
    assert old.accepted is not None
    assert (old.accepted.parameters, old.accepted.variables, old.accepted.billing_code) == ([], [], 0)


def _read(record: dict[str, Any]) -> Any:
    meta = {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-05T14:15:30Z"}
    stored = json.loads(json.dumps(record))
    return job_from_record({**stored, "metadata": {**stored["metadata"], **meta}}).spec


# --- promises for all input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["", "1", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
ALL = parse(
    {
        kind: {"type": kind, "value": "" if kind in ("INT", "FLOAT", "RANGE") else None, "values": ["a", "b"]}
        | ({"target": "x"} if kind == "UPLOAD" else {})
        | ({"value": "%JOBLABEL%"} if kind == "CONST" else {})
        | ({"step": 3, "min": -4} if kind == "RANGE" else {})
        | ({"precision": 2} if kind == "FLOAT" else {})
        for kind in KINDS
    }
)


@given(st.dictionaries(st.sampled_from(list(KINDS)), JSON, max_size=3), st.text(max_size=10))
def test_anything_given_is_settled_or_refused_by_our_own_error(given_values: dict[str, Any], label: str) -> None:
    """The resolved parameters are JSON, and valid in an environment."""
    try:
        values = resolve_parameters(ALL, given_values, Constants(values={"JOBLABEL": label}, refused={}))
    except InvalidInputError:
        return
    for value in values:
        json.dumps(value.model_dump(mode="json"), allow_nan=False)
        assert "\0" not in value.text
        value.text.encode()


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 12))
def test_truncation_never_grows_and_is_settled_at_once(number: float, precision: int) -> None:
    parameter = {"p": {"type": "FLOAT", "precision": precision}}
    cut = resolve(parameter, p=number)["p"].value
    assert isinstance(cut, float)
    assert abs(cut) <= abs(number)
    assert abs(number - cut) <= 10.0**-precision + math.ulp(number)
    assert resolve(parameter, p=cut)["p"].value == cut


NAMES = st.text("ABCXYZ019", min_size=1, max_size=4)


@given(st.lists(NAMES | st.text(max_size=5), max_size=6), st.dictionaries(NAMES, st.text(max_size=5), max_size=4))
def test_substitution_replaces_known_names_and_only_those(parts: list[str], values: dict[str, str]) -> None:
    """Texts without `%` between placeholders, so that the expected text is plain."""
    clean = [part.replace("%", "") for part in parts]
    text = "".join(f"<%{part}%>" if index % 2 else part for index, part in enumerate(clean))
    expected = "".join(f"<{values.get(part, f'%{part}%')}>" if index % 2 else part for index, part in enumerate(clean))
    assert substitute(text, values) == expected
    assert substitute(text, {}) == text
