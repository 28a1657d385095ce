"""`kns catalog`: what the scheduler would say of a directory, with line and column, and what it would not."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kns.adapters.catalog_dir import CatalogDirectory
from kns.cli.app import app
from kns.model.catalog.catalog import CatalogError, hash_key
from kns.model.reading.problem import key_path
from tests.builders import a_command, an_app, an_appdef, catalog_files

KEY = "a-key-of-more-than-twenty-characters"
HASHED = {"apikey_sha256": hash_key(KEY)}


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KNS_KUBERNETES_VERSIONS", raising=False)


def _files(**changes: Any) -> dict[str, Any]:
    """A catalogue without a warning."""
    return {
        "users.json": {"ana": {**HASHED, "payer": "bob"}, "bob": HASHED},
        "machines.json": {"kns-small": {"mc_cores": 2, "mc_ram": 4, "mc_properties": "appkind=kns"}},
        "vaults.json": {"ana": {"data": {"type": "nfs", "address": "10.0.0.1:/data"}}},
        "apps/hello.json": an_app(),
        **changes,
    }


def _check(folder: Path, files: dict[str, Any], *options: str) -> tuple[Result, list[str]]:
    (folder / "apps").mkdir()
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    result = CliRunner().invoke(app, ["catalog", "check", str(folder), *options])
    return result, [line.removeprefix(f"{folder}/") for line in result.stderr.splitlines()]


def test_a_good_catalogue_is_counted(tmp_path: Path) -> None:
    result, lines = _check(tmp_path, _files())
    assert (result.exit_code, lines) == (0, [])
    assert result.stdout == (f"{tmp_path}: valid: 2 users, 1 machine of which 1 run nested jobs, 1 app, 1 vault\n")


def test_all_problems_of_all_files(tmp_path: Path) -> None:
    files = _files(
        **{
            "users.json": '{\n "ana": {"apikey_sha256": "x"},\n "bob": {"payer": 1, "payer": 2}\n}',
            "machines.json": '{"m": {"mc_cores": 1}',
            "apps/hello.json": '{"repo": "x"}',
        }
    )
    result, lines = _check(tmp_path, files)
    assert result.exit_code == 1
    assert lines == [
        "apps/hello.json:1:1: data: Field required",
        "machines.json:1:22: is not JSON: Expecting ',' delimiter",
        "users.json:2:27: ana.apikey_sha256: must be the SHA-256 of the key in hex; `kns catalog hash-key` prints it",
        "users.json:3:31: bob.payer: appears twice",
        f"{tmp_path}: 4 problems: kns would not load this catalogue",
    ]
    assert result.stdout.startswith(f"{tmp_path}: valid entries: 0 users, 0 machines")


WARNINGS: list[tuple[str, dict[str, Any], str]] = [
    ("a plain key", {"users.json": {"ana": {"apikey": KEY}}}, "users.json:1:10: warning: ana.apikey: is a plain key; "),
    ("no such payer", {"users.json": {"ana": {**HASHED, "payer": "zoe"}}}, "ana.payer: 'zoe' is not a user"),
    ("an unknown key of a user", {"users.json": {"ana": {**HASHED, "payr": ""}}}, "did you mean 'payer'?"),
    (
        "an unknown key of a machine",
        {"machines.json": {"kns-m": {"mc_cores": 1, "mc_ram": 1, "mc_prperties": "", "mc_properties": "appkind=kns"}}},
        "kns-m.mc_prperties: unknown key",
    ),
    ("a vault of nobody", {"vaults.json": {"zoe": {}}}, "vaults.json:1:2: warning: zoe: is not a user"),
    (
        "an unknown key of a vault",
        {"vaults.json": {"ana": {"d": {"type": "nfs", "address": "10.0.0.1:/d", "adress": ""}}}},
        "ana.d.adress: unknown key",
    ),
    (
        "an unusable address",
        {"vaults.json": {"ana": {"d": {"type": "nfs", "address": "10.0.0.1"}}}},
        "ana.d.address: kns can mount only NFS",
    ),
    ("an unusable vault", {"vaults.json": {"ana": {"d": {"type": "ceph"}}}}, "ana.d.type: kns can mount only NFS"),
    (
        "an unknown key of an app",
        {"apps/hello.json": an_app(reppo="")},
        "reppo: unknown key, ignored; did you mean 'repo'?",
    ),
    ("an unknown key of an AppDef", {"apps/hello.json": an_app(an_appdef(comands={}))}, "data.comands: unknown key"),
    ("an app of nobody", {"apps/hello.json": an_app(owner_name="zoe")}, "owner_name: 'zoe' is not a user"),
    (
        "an app without machine",
        {"apps/hello.json": an_app(an_appdef(machines=["gpu-*"]))},
        "data.machines: matches no machine with appkind=kns",
    ),
    (
        "a command without machine",
        {"apps/hello.json": an_app(an_appdef(commands={"A": a_command(machines=[])}))},
        "data.commands.A.machines: matches no machine",
    ),
    (
        "a version that is not offered",
        {"apps/hello.json": an_app(an_appdef(commands={"A": a_command(nested={"kubernetes_version": "1.20"})}))},
        "kubernetes_version: v1.20 is not supported here",
    ),
    ("a stray file", {"user.json": {}}, "user.json:1:1: warning: is not a file of a catalogue, ignored"),
]


@pytest.mark.parametrize(("sentence", "changes", "warning"), WARNINGS, ids=[row[0] for row in WARNINGS])
def test_warnings_are_no_problems(tmp_path: Path, sentence: str, changes: dict[str, Any], warning: str) -> None:
    result, lines = _check(tmp_path, _files(**changes))
    assert result.exit_code == 0
    told = [line for line in lines if warning in line]
    assert len(told) == 1
    assert ": warning: " in told[0]
    assert KEY not in result.output


def test_names_that_entries_repeat_are_no_unknown_keys(tmp_path: Path) -> None:
    files = _files(**{"users.json": {"ana": {**HASHED, "username": "ana"}}, "apps/hello.json": an_app(id="hello")})
    files["vaults.json"] = {}
    assert _check(tmp_path, files)[1] == []


def test_the_scheduler_says_the_same(tmp_path: Path) -> None:
    """Both use one reader: the command reports the problems for which the scheduler keeps the old version."""
    files = catalog_files(users={"a b": {}}, machines={"m": {"mc_cores": float("nan"), "mc_ram": 1}})
    lines = _check(tmp_path, {**files, "vaults.json": "{"})[1]
    with pytest.raises(CatalogError) as refused:
        CatalogDirectory(tmp_path).load()
    checked = [line for line in lines if "warning: " not in line][:-1]
    for fault in refused.value.problems:
        path = key_path(fault.problem.location)
        what = f"{path}: {fault.problem.message}" if path else fault.problem.message
        assert [line for line in checked if line.startswith(f"{fault.file}:") and line.endswith(f": {what}")]
    assert len(checked) == len(refused.value.problems)


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "/nowhere/catalog"], ["hash-key", KEY]])
def test_wrong_use_has_a_status_of_its_own(arguments: list[str]) -> None:
    """Above all a key as an argument, which the shell would store in its history."""
    assert CliRunner().invoke(app, ["catalog", *arguments], input="").exit_code == 2


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_key_is_hashed_without_the_end_of_its_line(end: str) -> None:
    result = CliRunner().invoke(app, ["catalog", "hash-key"], input=KEY + end)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{hash_key(KEY)}\n", "")


@pytest.mark.parametrize("given", ["", "\n", f" {KEY}", f"{KEY}\n\n", f"{KEY}\n{KEY}", f"{KEY}\0", b"\xff"])
def test_what_is_no_key_is_refused(given: str | bytes) -> None:
    result = CliRunner().invoke(app, ["catalog", "hash-key"], input=given)
    assert (result.exit_code, result.stdout) == (1, "")
    assert KEY not in result.output


def test_a_short_key_is_hashed_with_a_warning() -> None:
    result = CliRunner().invoke(app, ["catalog", "hash-key"], input="short")
    assert (result.exit_code, result.stdout) == (0, f"{hash_key('short')}\n")
    assert result.stderr == "warning: a key of under 20 characters can be guessed from its hash; use --generate\n"


def test_made_keys_fit_their_hashes_and_are_new_each_time() -> None:
    made = set()
    for _ in range(3):
        result = CliRunner().invoke(app, ["catalog", "hash-key", "--generate"])
        values = dict(line.split(": ") for line in result.stdout.splitlines())
        assert values["apikey_sha256"] == hash_key(values["apikey"])
        made.add(values["apikey"])
    assert len(made) == 3
    assert all(len(key) == 40 for key in made)
