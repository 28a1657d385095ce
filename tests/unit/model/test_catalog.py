"""The files of the catalogue: what is read, every problem with file and key path, and no secret in a message."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.catalog.catalog import Catalog, CatalogError, CatalogProblem, check_catalog, hash_key, parse_catalog
from kns.model.catalog.vault import Vault
from tests.builders import an_app, an_appdef, catalog_files

SECRET = "s3cr3t-s3cr3t-s3cr3t"
HASH = hash_key(SECRET)
MACHINE = {"mc_cores": 2, "mc_ram": 4, "mc_properties": "appkind=kns"}


def _encode(config: Any) -> str:
    return base64.b64encode(json.dumps(config).encode()).decode()


def _faults(**changes: Any) -> list[str]:
    """The usual catalogue with changes: entries of users or machines, otherwise whole files."""
    files = catalog_files(users=changes.pop("users", None), machines=changes.pop("machines", None))
    if "vaults" in changes:
        files["vaults.json"] = changes.pop("vaults")
    if "app" in changes:
        files["apps/hello.json"] = changes.pop("app")
    files |= changes.pop("files", {})
    assert not changes
    return [str(problem) for problem in check_catalog(files)[1]]


def _user(**data: Any) -> dict[str, Any]:
    """One user. `catalog_files` adds a key unless there is one."""
    return {"users": {"ana": data}}


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("a hash instead of a key", {"files": {"users.json": {"ana": {"apikey_sha256": HASH}}}}),
    ("a key and its hash", _user(apikey=SECRET, apikey_sha256=HASH)),
    ("a name with dots and an at", {"users": {"ana.maria@example.org": {}}}),
    ("variables", _user(variables={"LAB_TOKEN": SECRET, "_x1": ""})),
    ("a name said twice", {"users": {"ana": {"username": "ana"}}, "machines": {"m": {"mc_name": "m", **MACHINE}}}),
    ("numbers as text", {"machines": {"m": {"mc_cores": "2", "mc_ram": " 4 ", "mc_gpus": "", "mc_price": "0.5"}}}),
    ("lists as text", {"machines": {"m": {**MACHINE, "mc_privs": ""}, "n": {**MACHINE, "mc_privs": "a,b"}}}),
    ("a pull secret with line breaks", {"app": an_app(pullsecret=_encode({"auths": {"r": {"auth": "eDp5"}}}) + "\n")}),
    ("labels of nodes", {"machines": {"m": {**MACHINE, "mc_properties": "appkind=kns,x.org/a=B_1,gpu"}}}),
    ("properties that are no labels", {"machines": {"m": {**MACHINE, "mc_properties": "zone=a b"}}}),
    ("an empty price", {"machines": {"m": {**MACHINE, "mc_price": ""}}}),
    ("a classic machine without memory", {"machines": {"m": {"mc_cores": 1, "mc_ram": 0}}}),
    ("vaults of other kinds", {"vaults": {"user1": {"a": {"type": "ceph", "pool": "x"}, "b": {"type": "x"}}}}),
    ("an address that cannot be used", {"vaults": {"user1": {"a": {"type": "nfs", "address": "somewhere"}}}}),
    ("a pull secret", {"app": an_app(pullsecret=_encode({"auths": {"r.example.org": {"auth": "eDp5"}}}))}),
    ("keys of other systems", {"app": an_app(colour="red"), **_user(shoe_size=44)}),
]


@pytest.mark.parametrize(("sentence", "changes"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_accepted(sentence: str, changes: dict[str, Any]) -> None:
    assert _faults(**changes) == []


_NOT_A_USERNAME = (
    "is not a user name; use at most 64 ASCII letters, digits, '.', '@', '-' and '_', and begin with a letter or digit"
)
_NO_HASH = "must be the SHA-256 of the key in hex; `kns catalog hash-key` prints it"
_OTHER_NAME = "differs from the key of the entry"
_NO_PULL_SECRET = "must be a Docker config.json in base64; "
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no users", {"files": {"users.json": []}}, "users.json: must be a JSON object"),
    (
        "a user that is none",
        {"users": {}, "files": {"users.json": {"ana": "x"}}},
        "users.json: ana: must be a JSON object",
    ),
    (
        "no key",
        {"files": {"users.json": {"ana": {}}}},
        "users.json: ana: apikey_sha256 is missing; `kns catalog hash-key` prints it",
    ),
    ("a key as hash", _user(apikey_sha256=SECRET), f"users.json: ana.apikey_sha256: {_NO_HASH}"),
    (
        "an upper case hash",
        {"files": {"users.json": {"ana": {"apikey_sha256": HASH.upper()}}}},
        f"users.json: ana.apikey_sha256: {_NO_HASH}",
    ),
    (
        "another key's hash",
        _user(apikey_sha256=HASH),
        "users.json: ana: apikey and apikey_sha256 are different keys; give one of them",
    ),
    ("an empty key", _user(apikey=""), "users.json: ana.apikey: String should have at least 1 character"),
    ("a key that is a number", _user(apikey=5), "users.json: ana.apikey: Input should be a valid string"),
    (
        "half a character as key",
        _user(apikey="\ud800"),
        "users.json: ana.apikey: Input should be a valid string, unable to parse raw data as a unicode string",
    ),
    *(
        (f"user {name!r}", {"users": {name: {}}}, f"users.json: {f'{name}: ' if name else ''}{_NOT_A_USERNAME}")
        for name in ("ü", "a b", "a/b", ".a", "a" * 65, "a\n")
    ),
    ("another name inside", _user(username="bob"), f"users.json: ana.username: {_OTHER_NAME}"),
    ("projects as text", _user(projects=SECRET), "users.json: ana.projects: Input should be a valid list"),
    (
        "variables as text",
        _user(variables=SECRET),
        "users.json: ana.variables: Input should be a valid dictionary",
    ),
    (
        "a variable with a bad name",
        _user(variables={"A-B": SECRET}),
        "users.json: ana.variables.A-B: String should match pattern '^[A-Za-z_][A-Za-z0-9_]*$'",
    ),
    (
        "a variable with NUL",
        _user(variables={"A": "\0"}),
        "users.json: ana.variables.A: must not contain a zero byte",
    ),
    ("no cores", {"machines": {"m": {"mc_ram": 1}}}, "machines.json: m.mc_cores: Field required"),
    (
        "cores that are a word",
        {"machines": {"m": {**MACHINE, "mc_cores": "two"}}},
        "machines.json: m.mc_cores: Input should be a valid integer, unable to parse string as an integer",
    ),
    (
        "cores that are a strange digit",
        {"machines": {"m": {**MACHINE, "mc_cores": "²"}}},
        "machines.json: m.mc_cores: Input should be a valid integer, unable to parse string as an integer",
    ),
    ("zero cores", {"machines": {"m": {**MACHINE, "mc_cores": ""}}}, "machines.json: m.mc_cores: must be at least 1"),
    *(
        (
            f"the label {label}",
            {"machines": {"m": {**MACHINE, "mc_properties": f"appkind=kns,{label}"}}},
            f"machines.json: m.mc_properties: {label} is not a valid node label",
        )
        for label in ("zone=a b", "=x", "a/b/c=1")
    ),
    (
        "less than no GPUs",
        {"machines": {"m": {**MACHINE, "mc_gpus": -1}}},
        "machines.json: m.mc_gpus: must be at least 0",
    ),
    (
        "another machine's name",
        {"machines": {"m": {**MACHINE, "mc_name": "n"}}},
        f"machines.json: m.mc_name: {_OTHER_NAME}",
    ),
    (
        "a machine with a space",
        {"machines": {"m 1": MACHINE}},
        "machines.json: m 1: is not a name; use 1 to 253 printable ASCII characters without spaces",
    ),
    ("vaults of nobody", {"vaults": {"user1": []}}, "vaults.json: user1: must be a JSON object"),
    (
        "a vault without type",
        {"vaults": {"user1": {"a": {"address": "x"}}}},
        "vaults.json: user1.a.type: Field required",
    ),
    (
        "NFS without address",
        {"vaults": {"user1": {"a": {"type": "nfs"}}}},
        "vaults.json: user1.a: address is required for type nfs, as IP:/PATH",
    ),
    (
        "an address that is a number",
        {"vaults": {"user1": {"a": {"type": "nfs", "address": 1}}}},
        "vaults.json: user1.a.address: Input should be a valid string",
    ),
    ("an app that is a list", {"app": []}, "apps/hello.json: must be a JSON object"),
    ("an app without image", {"app": {"data": an_appdef()}}, "apps/hello.json: repo: Field required"),
    ("an app without AppDef", {"app": {"repo": "r"}}, "apps/hello.json: data: Field required"),
    (
        "an AppDef that is a text",
        {"app": an_app() | {"data": "x"}},
        "apps/hello.json: data: Input should be a valid dictionary or instance of AppDef",
    ),
    (
        "a fault in the AppDef",
        {"app": an_app(an_appdef(name=5))},
        "apps/hello.json: data.name: Input should be a valid string",
    ),
    ("another app's id", {"app": an_app(id="other")}, f"apps/hello.json: id: {_OTHER_NAME}"),
    (
        "an app twice",
        {"files": {"apps.hello.json": an_app()}},
        "apps/hello.json: defines the same app as apps.hello.json; remove one of the files",
    ),
    (
        "an app without id",
        {"files": {"apps/.json": an_app()}},
        "apps/.json: the file name is not a valid app id; use at most 128 letters, digits, '.', '_' and '-'",
    ),
    (
        "no base64",
        {"app": an_app(pullsecret=SECRET)},
        f"apps/hello.json: pullsecret: {_NO_PULL_SECRET}it is not JSON in base64",
    ),
    (
        "base64 of no JSON",
        {"app": an_app(pullsecret="eHk=")},
        f"apps/hello.json: pullsecret: {_NO_PULL_SECRET}it is not JSON in base64",
    ),
    (
        "no auths",
        {"app": an_app(pullsecret=_encode({"a": 1}))},
        f"apps/hello.json: pullsecret: {_NO_PULL_SECRET}it has no object `auths` that contains objects",
    ),
    (
        "auths of texts",
        {"app": an_app(pullsecret=_encode({"auths": {"r": SECRET}}))},
        f"apps/hello.json: pullsecret: {_NO_PULL_SECRET}it has no object `auths` that contains objects",
    ),
]


@pytest.mark.parametrize(("sentence", "changes", "problem"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_with_file_and_key_path_and_no_value(sentence: str, changes: dict[str, Any], problem: str) -> None:
    assert _faults(**changes) == [problem]
    assert SECRET not in problem


def test_missing_files_are_reported_but_vaults_and_apps_may_be_absent() -> None:
    catalog, problems = check_catalog({})
    assert [str(problem) for problem in problems] == ["users.json: is missing", "machines.json: is missing"]
    assert catalog == Catalog(users={}, machines={}, apps={}, vaults={})


def test_all_problems_are_found_and_the_valid_entries_kept() -> None:
    files = catalog_files(users={"a b": {}, "bob": {"email": 1, "active": "perhaps"}}, machines={"m": {}})
    catalog, problems = check_catalog(files)
    assert [str(problem).partition(": ")[2].partition(": ")[0] for problem in problems] == [
        *("a b", "bob.active", "bob.email", "m.mc_cores", "m.mc_ram")
    ]
    assert "user1" in catalog.users
    assert not {"a b", "bob"} & set(catalog.users)
    with pytest.raises(CatalogError) as refused:
        parse_catalog(files)
    assert list(refused.value.problems) == problems


def test_the_message_has_the_first_problems_and_counts_the_rest() -> None:
    with pytest.raises(CatalogError) as refused:
        parse_catalog(catalog_files(machines={f"m{n}": {"mc_cores": 1} for n in range(7)}))
    assert str(refused.value) == (
        "; ".join(f"machines.json: m{n}.mc_ram: Field required" for n in range(5))
        + "; and 2 more; `kns catalog check` lists all"
    )


def test_a_plain_key_is_kept_beside_its_hash_and_shown_nowhere() -> None:
    user = parse_catalog(catalog_files(users={"ana": {"apikey": SECRET, "variables": {"A": SECRET}}})).users["ana"]
    assert (user.apikey, user.apikey_sha256) == (SECRET, HASH)
    assert user.accepts_key(SECRET)
    assert SECRET not in repr(user)
    assert "apikey" not in user.model_dump()


def test_a_hashed_key_leaves_no_plain_one() -> None:
    files = {**catalog_files(), "users.json": {"ana": {"apikey_sha256": HASH}}}
    user = parse_catalog(files).users["ana"]
    assert user.apikey is None
    assert user.accepts_key(SECRET)
    assert not user.accepts_key(HASH)


@pytest.mark.parametrize(
    ("kind", "address", "export"),
    [
        ("nfs", "10.0.0.1:/home/ana", ("10.0.0.1", "/home/ana")),
        ("nfs", "10.0.0.1:/", ("10.0.0.1", "/")),
        ("nfs", "nfs.example.org:/a:/b", ("nfs.example.org", "/a:/b")),
        ("nfs", "[fd00::1]:/a", ("fd00::1", "/a")),
        ("nfs", "[fd00:x]:/a", None),
        ("nfs", "10.0.0.1:home", None),
        ("nfs", "10.0.0.1", None),
        ("nfs", ":/home", None),
        ("nfs", "10.0.0.1:/a b", None),
        ("nfs", "-o.example.org:/a", None),
        ("ceph", "10.0.0.1:/home", None),
    ],
)
def test_what_kns_can_mount_of_a_vault(kind: str, address: str, export: tuple[str, str] | None) -> None:
    assert Vault(type=kind, address=address).export == export


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)
KEYS = st.sampled_from(
    [
        *("apikey", "apikey_sha256", "payer", "projects", "variables", "mc_cores", "mc_ram", "mc_price", "mc_privs"),
        *("mc_properties", "type", "address", "data", "repo", "pullsecret", "id", "source", "updated", "commands"),
    ]
)
ENTRY = st.dictionaries(KEYS, JSON, max_size=6)
FILE = JSON | st.dictionaries(st.text(max_size=5), ENTRY | st.dictionaries(st.text(max_size=3), ENTRY), max_size=3)
NAMES = st.sampled_from(
    ["users.json", "machines.json", "vaults.json", "apps/a.json", "apps.b.json", "apps.a.json", "apps.json", "x.json"]
)


@given(st.dictionaries(NAMES, FILE | ENTRY, max_size=6))
def test_anything_is_a_catalogue_or_a_catalogue_error(files: dict[str, Any]) -> None:
    faults: tuple[CatalogProblem, ...] = ()
    try:
        parse_catalog(files)
    except CatalogError as error:
        faults = error.problems
    assert {fault.file for fault in faults} <= {*files, "users.json", "machines.json"}
