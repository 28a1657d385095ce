"""`apps`, `appdef`, `machines`, `validate`."""

import json
from typing import Any

import pytest

from kns.model.reading.strict_json import NotJsonError, decode_json, decode_text
from tests.api.client import Api, as_json, assert_refused
from tests.builders import a_catalog, a_command, a_loose_appdef, an_app, an_appdef


@pytest.mark.parametrize(
    ("caller", "apps"),
    [(None, ["hello"]), ("user1", ["hello", "secret"]), ("user2", ["hello"]), ("admin1", ["hello", "secret"])],
)
def test_a_private_app_is_shown_to_its_owner_and_the_admin(api: Api, caller: str | None, apps: list[str]) -> None:
    assert list(api.get("apps", as_user=caller).json()) == apps


def test_an_app_has_every_key_and_whole_numbers_without_a_fraction(api: Api) -> None:
    api.catalog.catalog = a_catalog(apps={"hello": an_app(price=1.5, owner=12, updated="1700000000")})
    answer = api.get("apps", name="hello")
    assert answer.content == as_json(
        {
            "hello": {
                "id": "hello",
                "data": an_appdef(),
                "price": 1.5,
                "owner": 12,
                "arch": "x86_64",
                "privs": [],
                "src": "",
                "updated": 1700000000,
                "checkedout": False,
                "certified": False,
                "walltime": "",
                "repo": "registry.example.org/apps/hello:1",
            }
        }
    )


def test_anonymous_callers_are_not_told_where_the_image_lies(api: Api) -> None:
    assert "repo" not in api.get("apps", as_user=None).json()["hello"]


@pytest.mark.parametrize(
    ("params", "status", "error"),
    [
        ({"username": "user1", "apikey": "x"}, 401, "Unauthorized"),
        ({"username": "user1"}, 400, "Required parameter(s) missing"),
        ({"apikey": "key-user1"}, 400, "User required"),
        ({"version": "two"}, 400, "Invalid parameter(s)"),
    ],
)
def test_apps_refuses(api: Api, params: dict[str, str], status: int, error: str) -> None:
    assert_refused(api.get("apps", as_user=None, **params), status, error)


@pytest.mark.proves(
    "routes",
    "`apps` without `version` returns apps of every version; `version=1`, a published default, filters like any "
    "other value, and no nested app has it",
)
@pytest.mark.proves(
    "routes",
    "For an unknown app or machine the answer is an empty map; for an unknown AppDef it is 404",
)
@pytest.mark.parametrize(
    ("params", "apps"),
    [
        ({"name": "hello"}, ["hello"]),
        ({"name": "none"}, []),
        ({"name": ""}, ["hello", "three"]),
        ({"name": "all"}, ["hello", "three"]),
        ({"name": "ALL"}, []),
        ({"version": "2"}, ["hello"]),
        ({"version": "3"}, ["three"]),
        ({"version": "1"}, []),
        ({"name": "three", "version": "2"}, []),
    ],
)
def test_apps_are_filtered_by_name_and_version(api: Api, params: dict[str, str], apps: list[str]) -> None:
    api.catalog.catalog = a_catalog(apps={"three": an_app(an_appdef(appdefversion=3))})
    assert list(api.get("apps", as_user=None, **params).json()) == apps


@pytest.mark.proves(
    "routes",
    "`all`, a published default of `name`, means all apps, machines or queues, unless one has that name; `sort` "
    "may be in double quotes, as in its published default",
)
def test_an_app_that_is_called_all_is_found_by_its_name(api: Api) -> None:
    api.catalog.catalog = a_catalog(apps={"all": an_app(), "more": an_app()})
    assert list(api.get("apps", as_user=None, name="all").json()) == ["all"]


def test_a_command_without_parameters_is_shown_with_none(api: Api) -> None:
    """The contract's answers always have the key; published AppDefs leave it out."""
    source = an_appdef()
    del source["commands"]["Hello"]["parameters"]
    api.catalog.catalog = a_catalog(apps={"bare": an_app(source)})
    shown = api.get("appdef", name="bare").json()
    assert shown["commands"]["Hello"] == {**source["commands"]["Hello"], "parameters": {}}


@pytest.mark.proves(
    "shapes",
    "`classifications` may be a string in a file and is a list in answers; `step` and `size` are strings there; "
    "numbers, booleans and lists that a file has as strings are returned in their own type; wrongly typed values "
    "are omitted",
)
def test_an_appdef_is_shown_in_the_types_and_the_order_that_strict_clients_want(api: Api) -> None:
    """A key without a described type stays as written; a value of the wrong type is omitted."""
    source = a_loose_appdef()
    api.catalog.catalog = a_catalog(apps={"loose": an_app(source)})
    zoo = {
        **source["commands"]["Zoo"],
        "parameters": {
            "int": {"name": "N", "type": "INT", "min": 0, "max": 2**63 - 1, "required": True, "if": ["bool"]},
            "float": {"type": "FLOAT", "min": -1.5, "max": 2, "precision": 2, "positional": False},
            "range": {"type": "RANGE", "step": "5", "value": "10", "ifnot": ["bool"]},
            "text": {"odd": "5", "target": "7"},
            "choice": {"type": "selection", "values": ["1", "2.5", "true"], "mvalues": ["2", "x", "false"]},
            "bool": {"type": "BOOL", "value": "true"},
            "file": {"type": "UPLOAD", "target": "x", "size": "1048576"},
        },
        "interactive": True,
        "noconnect": False,
        "variables": {"COLOUR": {"inherit": True}},
        "ports": ["80", "90/udp"],
        "webshell": True,
    }
    expected = {
        **source,
        "classifications": ["Data"],
        "commands": {
            "Zoo": {key: zoo[key] for key in zoo if key not in ("url", "machines", "scale_max", "publicip", "desktop")},
            "Ant": {**source["commands"]["Ant"], "ports": ["80"]},
        },
        "variables": {"TOKEN": {"name": "Token", "required": False, "userowned": True}},
        "appkind": "kns",
    }
    del expected["walltime"]
    answer = api.get("appdef", name="loose")
    shown = answer.json()["commands"]
    assert (list(shown), list(shown["Zoo"]["parameters"])) == (["Zoo", "Ant"], list(zoo["parameters"]))
    assert api.get("apps", name="loose").json()["loose"]["data"] == answer.json()
    assert as_json(answer.json()) == answer.content
    assert json.dumps(answer.json(), sort_keys=True) == json.dumps(expected, sort_keys=True)  # 1 is not True


@pytest.mark.proves(
    "routes",
    "For an unknown app or machine the answer is an empty map; for an unknown AppDef it is 404",
)
@pytest.mark.parametrize(
    ("params", "status", "error"),
    [
        ({}, 400, "Required parameter(s) missing"),
        ({"name": ""}, 400, "Required parameter(s) missing"),
        ({"name": "none"}, 404, "Application Not Found"),
        ({"name": "secret"}, 404, "Application Not Found"),
    ],
)
def test_appdef_refuses(api: Api, params: dict[str, str], status: int, error: str) -> None:
    assert_refused(api.get("appdef", as_user="user2", **params), status, error)


@pytest.mark.proves(
    "routes",
    "`all`, a published default of `name`, means all apps, machines or queues, unless one has that name; `sort` "
    "may be in double quotes, as in its published default",
)
@pytest.mark.proves(
    "routes",
    "For an unknown app or machine the answer is an empty map; for an unknown AppDef it is 404",
)
@pytest.mark.parametrize(
    ("params", "machines"),
    [
        ({}, ["kns-small", "kns-large", "kns-classic"]),
        ({"name": "kns-large"}, ["kns-large"]),
        ({"name": "all"}, ["kns-small", "kns-large", "kns-classic"]),
        ({"name": "none"}, []),
        ({"vault": "data"}, ["kns-small", "kns-large", "kns-classic"]),
    ],
)
def test_machines_are_filtered_by_name_only(api: Api, params: dict[str, str], machines: list[str]) -> None:
    assert list(api.get("machines", **params).json()) == machines


def test_a_machine_has_every_key_with_its_own_type(api: Api) -> None:
    assert api.get("machines", name="kns-large").content == as_json(
        {
            "kns-large": {
                "mc_name": "kns-large",
                "mc_description": "",
                "mc_cores": 8,
                "mc_slots": 0,
                "mc_ram": 32,
                "mc_gpus": 0,
                "mc_swap": 0,
                "mc_scratch": 0,
                "mc_devices": "",
                "mc_properties": "appkind=kns,pool=big",
                "mc_slave_cores": 0,
                "mc_slave_ram": 0,
                "mc_slave_gpus": 0,
                "mc_slave_properties": "",
                "mc_scale_min": 1,
                "mc_scale_max": 1,
                "mc_scale_select": "",
                "mc_lesser": 1,
                "mc_price": 0,
                "mc_priority": 0,
                "mc_privs": [],
                "mc_arch": "x86_64",
                "mc_sched_id": 1,
                "mc_max_concurrent": 0,
            }
        }
    )


def test_validate_needs_no_account(api: Api) -> None:
    answer = api.call("POST", "/jarvice/validate", json=an_appdef())
    assert (answer.status_code, answer.content) == (200, as_json({"valid": True}))


def _with_item(**item: Any) -> dict[str, Any]:
    return an_appdef(commands={"Hello": a_command(nested={"templates": [{"name": "x", **item}]})})


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("nothing in it", {}, "name: Field required"),
    ("no author", an_appdef(author=None), "author: Field required"),
    ("version 1", an_appdef(appdefversion=1), "appdefversion: Input should be greater than or equal to 2"),
    ("an item of an unknown type", _with_item(type="helm"),
     "commands.Hello.nested_kubernetes.templates[0].type: Input should be 'kubectl', 'kustomize' or 'custom'"),
    ("a path that leaves the folder", _with_item(type="kubectl", path="../x"),
     "commands.Hello.nested_kubernetes.templates[0]: path must be relative to /templates, without '..'"),
    ("a version that is not here", an_appdef(commands={"Hello": a_command(nested={"kubernetes_version": "v1.20"})}),
     "commands.Hello.nested_kubernetes.kubernetes_version: v1.20 is not supported here; supported: v1.36, v1.35"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "appdef", "problem"), INVALID, ids=[row[0] for row in INVALID])
def test_validate_names_the_key_path_of_the_first_fault(
    api: Api, sentence: str, appdef: dict[str, Any], problem: str
) -> None:
    assert_refused(api.call("POST", "/jarvice/validate", json=appdef), 400, problem)


TWICE = b'{"commands": {"Go": {"nested_kubernetes": {"version": 1, "version": 2}}}}'
UNFIT = [
    (TWICE, "commands.Go.nested_kubernetes.version: appears twice"),
    (b'{"name": "a", "name": "b"}', "name: appears twice"),
    (b'{"walltime": 99999999999999999999}', "Bad Request"),
    (b'{"walltime": NaN}', "Bad Request"),
    (b'{"name": "\\ud83d"}', "Bad Request"),
    (b'{"\\ud83d": 1}', "Bad Request"),
    (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "Bad Request"),
]


@pytest.mark.parametrize(("body", "error"), UNFIT)
def test_validate_refuses_what_the_command_line_refuses(api: Api, body: bytes, error: str) -> None:
    assert_refused(api.call("POST", "/jarvice/validate", content=body), 400, error)
    assert len(decode_json(decode_text(body)).problems) == 1


@pytest.mark.parametrize(
    ("encoding", "status"), [("utf-8", 200), ("utf-8-sig", 200), ("utf-16", 400), ("utf-16-le", 400), ("latin-1", 400)]
)
def test_validate_reads_the_encodings_that_the_command_line_reads(api: Api, encoding: str, status: int) -> None:
    body = json.dumps(an_appdef(description="Größe"), ensure_ascii=False).encode(encoding)
    assert api.call("POST", "/jarvice/validate", content=body).status_code == status
    if status == 200:
        assert decode_json(decode_text(body)).problems == ()
    else:
        with pytest.raises(NotJsonError):
            decode_text(body)


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"null", b"7", b'{"name":'])
def test_validate_of_what_is_no_json_object(api: Api, body: bytes) -> None:
    assert_refused(api.call("POST", "/jarvice/validate", content=body), 400, "Bad Request")


@pytest.mark.proves("routes", "A vault is listed as empty, because kns mounts none")
@pytest.mark.proves(
    "routes",
    "`all`, a published default of `name`, means all apps, machines or queues, unless one has that name; `sort` "
    "may be in double quotes, as in its published default",
)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"sort": "n"},
        {"sort": "N"},
        {"sort": ""},
        {"sort": '"n"'},
        {"details": "true"},
        *({"details": "true", "sort": sort} for sort in "nNsSmM"),
        {"vault": "ephemeral"},
        {"path": "/a/../b"},
    ],
)
def test_a_vault_that_the_caller_has_is_shown_empty(api: Api, params: dict[str, str]) -> None:
    answer = api.get("vault", **{"vault": "data", "path": "/", **params})
    assert (answer.status_code, answer.content) == (200, b"[]\n")


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"vault": ""}, "Required parameter(s) missing"),
        ({"path": ""}, "Required parameter(s) missing"),
        ({"sort": "x"}, "Invalid parameter(s)"),
        ({"sort": "nn"}, "Invalid parameter(s)"),
        ({"sort": '""'}, "Invalid parameter(s)"),
        *(({"sort": sort}, "Invalid parameter(s)") for sort in "sSmM"),
        ({"sort": "s", "details": "True"}, "Invalid parameter(s)"),
        ({"vault": "other"}, "Invalid parameter(s)"),
    ],
)
def test_vault_refuses(api: Api, params: dict[str, str], error: str) -> None:
    assert_refused(api.get("vault", **{"vault": "data", "path": "/", **params}), 400, error)


def test_a_vault_of_somebody_else_is_unknown(api: Api) -> None:
    assert_refused(api.get("vault", as_user="user2", vault="data", path="/"), 400, "Invalid parameter(s)")


@pytest.mark.proves("routes", "There are no queues: an empty list, or an empty map with `info`")
@pytest.mark.parametrize(
    ("info", "empty"),
    [
        (None, b"[]\n"),
        (False, b"[]\n"),
        (0, b"[]\n"),
        ("0", b"[]\n"),
        ("false", b"[]\n"),
        ("True", b"[]\n"),
        ("", b"[]\n"),
        ("yes", b"[]\n"),
        ([1], b"[]\n"),
        (1.5, b"[]\n"),
        (True, b"{}\n"),
        (1, b"{}\n"),
        (-1, b"{}\n"),
        ("1", b"{}\n"),
        ("true", b"{}\n"),
    ],
)
def test_there_are_no_queues_in_the_form_that_was_asked_for(api: Api, info: Any, empty: bytes) -> None:
    body = {"username": "user1", "apikey": "key-user1", "info": info}
    answer = api.call("POST", "/jarvice/queues", json=body)
    assert (answer.status_code, answer.content) == (200, empty)


@pytest.mark.proves(
    "routes",
    "`all`, a published default of `name`, means all apps, machines or queues, unless one has that name; `sort` "
    "may be in double quotes, as in its published default",
)
def test_all_queues_are_none(api: Api) -> None:
    assert api.get("queues", name="all").content == b"[]\n"


@pytest.mark.parametrize("params", [{"name": "q"}, {"name": "q", "info": "true"}])
def test_a_named_queue_is_unknown(api: Api, params: dict[str, str]) -> None:
    assert_refused(api.get("queues", **params), 404, "Queue not found")
