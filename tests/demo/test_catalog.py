"""
The demo's catalogue is one that kns accepts, and no key leaves the demo's own folder.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from demo import accounts, catalog
from demo.errors import DemoError
from demo.target import Target, choose_target
from kns.cli.app import app
from kns.model.catalog.catalog import Catalog, parse_catalog


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return accounts.load_keys(tmp_path)


@pytest.fixture
def files(keys: dict[str, str]) -> dict[str, Any]:
    return catalog.build_catalog(choose_target({}), keys)


@pytest.fixture
def parsed(files: dict[str, Any]) -> Catalog:
    return parse_catalog(files)


def test_keys_are_made_once_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    first = accounts.load_keys(tmp_path)
    assert accounts.load_keys(tmp_path) == first
    assert len(set(first.values())) == len(accounts.ACCOUNTS)
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_a_missing_key_is_added_beside_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"user1": "known"}')
    keys = accounts.load_keys(tmp_path)
    assert keys["user1"] == "known"
    assert set(keys) == set(accounts.ACCOUNTS)


def test_a_damaged_key_file_is_reported_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(DemoError, match=r"keys\.json is not valid JSON"):
        accounts.load_keys(tmp_path)
    assert (tmp_path / "keys.json").read_text() == "{"


def test_accounts_are_found_by_their_keys(parsed: Catalog, keys: dict[str, str]) -> None:
    for name, key in keys.items():
        user = parsed.find_user(name, key)
        assert user is not None
        assert user.username == name
    assert parsed.find_user("user1", keys["user2"]) is None


def test_two_users_share_a_team(parsed: Catalog) -> None:
    assert parsed.users["user1"].team == parsed.users["user2"].team == parsed.users["payer1"].team == "payer1"
    assert [name for name, user in parsed.users.items() if user.team_admin] == ["payer1"]
    assert [name for name, user in parsed.users.items() if user.admin] == ["admin1"]


def test_users_have_what_the_examples_need(parsed: Catalog) -> None:
    """A project each, and one account variable, which another user of the team lacks."""
    projects = {name: user.projects for name, user in parsed.users.items() if user.projects}
    assert projects == {"user1": ("orion",), "user2": ("vega",)}
    assert [name for name, user in parsed.users.items() if user.variables.get("LAB_TOKEN")] == ["user1"]


def test_the_vault_is_one_that_kns_can_use_and_leads_nowhere(parsed: Catalog) -> None:
    assert {user: list(vaults) for user, vaults in parsed.vaults.items()} == {"user1": ["data"]}
    assert parsed.vaults["user1"]["data"].export == ("127.0.0.1", "/srv/user1")


def test_the_check_has_nothing_to_say(files: dict[str, Any], tmp_path: Path) -> None:
    catalog.write_directory(tmp_path, files)
    result = CliRunner().invoke(app, ["catalog", "check", str(tmp_path), "--kubernetes-versions", "v1.36.3"])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("machine", "nested", "cores", "memory_gib", "selector"),
    [
        ("kns-small", True, 2, 4, {}),
        ("kns-large", True, 4, 8, {}),
        ("kns-huge", True, 128, 512, {}),
        ("kns-gpu", True, 2, 4, {}),
        ("kns-nowhere", True, 2, 4, {"example.org/no-such-node": "true"}),
        ("plain", False, 2, 4, {}),
    ],
)
def test_machines(
    parsed: Catalog, machine: str, nested: bool, cores: int, memory_gib: int, selector: dict[str, str]
) -> None:
    found = parsed.machines[machine]
    assert found.runs_nested_jobs is nested
    assert (found.cores(1), found.memory_gib(1)) == (cores, memory_gib)
    assert found.node_selector == selector


def test_every_example_is_an_app_with_its_own_image(parsed: Catalog) -> None:
    assert set(parsed.apps) == {
        *("hello", "late", "limits", "never", "prefix", "slow", "three-kinds"),
        *("helm-chart", "keycloak-login", "kustomize-overlay", "parameters", "storage", "two-targets", "web-shell"),
        "conformance",
    }
    images = {name: f"localhost/kns-example-{name}:1" for name in parsed.apps}
    images["conformance"] = images["hello"]  # it is no example, and deploys the same
    assert {name: app.repo for name, app in parsed.apps.items()} == images


def test_images_come_from_the_users_registry_if_there_is_one(keys: dict[str, str], foreign: Target) -> None:
    parsed = parse_catalog(catalog.build_catalog(foreign, keys))
    assert parsed.apps["hello"].repo == "registry.example.org/team/kns-example-hello:1"


def test_the_secret_holds_hashes_only_and_its_keys_are_legal(files: dict[str, Any], keys: dict[str, str]) -> None:
    secret = catalog.build_secret(files)
    content = {name: base64.b64decode(data).decode() for name, data in secret["data"].items()}
    assert {name: json.loads(text) for name, text in content.items()} == files
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", name) for name in content)
    assert not [key for key in keys.values() if any(key in text for text in content.values())]


def test_the_directory_is_the_same_catalogue(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "apps.gone.json").write_text("{}")
    catalog.write_directory(tmp_path, files)
    assert {file.name: json.loads(file.read_text()) for file in tmp_path.iterdir()} == files
