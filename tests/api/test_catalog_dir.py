"""The catalogue directory: loading, reloading when the mounted Secret changes, and bad versions."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from kns.adapters import catalog_dir
from kns.adapters.catalog_dir import CatalogDirectory
from kns.model.catalog.catalog import CatalogError
from tests.builders import an_app, an_appdef, catalog_files


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class SecretMount:
    """A directory as the kubelet mounts a Secret: links through `..data`, which moves to each new version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0

    def write(self, files: dict[str, Any]) -> None:
        """Write a new version: strings as they are, everything else as JSON."""
        self._version += 1
        version = self.path / f"..v{self._version}"
        version.mkdir()
        flat = {name.replace("/", "."): content for name, content in files.items()}
        for name, content in flat.items():
            (version / name).write_text(content if isinstance(content, str) else json.dumps(content))
        swing = self.path / "..data_tmp"
        swing.symlink_to(version.name)
        swing.rename(self.path / "..data")
        for name in flat:
            link = self.path / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        for link in self.path.glob("*.json"):
            if link.name not in flat:
                link.unlink()


@pytest.fixture
def mount(tmp_path: Path) -> SecretMount:
    mount = SecretMount(tmp_path)
    mount.write(catalog_files())
    return mount


@pytest.fixture
def directory(mount: SecretMount) -> CatalogDirectory:
    directory = CatalogDirectory(mount.path)
    directory.load()
    return directory


@pytest.mark.proves(
    "callers",
    "Accounts, machines, apps and vaults come from a directory of files, which is read again when it changes "
    "([flat names](decisions/0005-catalogue-keys.md))",
)
def test_a_mounted_secret_is_read_whole(directory: CatalogDirectory) -> None:
    catalog = directory.current()
    assert {"user1", "admin1"} <= set(catalog.users)
    assert list(catalog.apps) == ["hello", "secret"]
    assert list(catalog.vaults) == ["user1"]
    assert catalog.find_user("user1", "key-user1") is not None


def test_apps_may_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    for name, content in catalog_files().items():
        (tmp_path / name).write_text(json.dumps(content))
    directory = CatalogDirectory(tmp_path)
    assert list(directory.load().apps) == ["hello", "secret"]
    (tmp_path / "apps" / "third.json").write_text(json.dumps(an_app()))
    directory.refresh()
    assert list(directory.current().apps) == ["hello", "secret", "third"]


def test_current_loads_by_itself_at_first(mount: SecretMount) -> None:
    assert "hello" in CatalogDirectory(mount.path).current().apps


def test_a_new_version_is_seen_at_the_next_look_and_not_before(directory: CatalogDirectory, mount: SecretMount) -> None:
    """Requests read the current version on the event loop, so that must not touch the disk."""
    mount.write(catalog_files(apps={"fresh": an_app()}))
    assert "fresh" not in directory.current().apps
    directory.refresh()
    assert "fresh" in directory.current().apps


class _Stop(threading.Event):
    """Each wait returns at once; `seconds` records the requested durations."""

    def __init__(self, *before_each: Callable[[], object]) -> None:
        super().__init__()
        self.seconds: list[float | None] = []
        self._before_each = iter(before_each)

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        act = next(self._before_each, self.set)
        act()
        return self.is_set()


def test_it_is_looked_at_every_second_even_after_a_look_that_failed(
    directory: CatalogDirectory, mount: SecretMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it() -> None:
        monkeypatch.setattr(catalog_dir, "list_files", lambda _: 1 / 0)

    def mend_it() -> None:
        monkeypatch.undo()
        mount.write(catalog_files(apps={"fresh": an_app()}))

    stop = _Stop(break_it, mend_it)
    with capture_logs() as logs:
        directory.run(stop)
    assert [line["event"] for line in logs] == ["catalog_refresh_failed", "catalog_loaded"]
    assert "fresh" in directory.current().apps
    assert stop.seconds == [1.0, 1.0, 1.0]


def test_nothing_is_read_again_while_nothing_changes(directory: CatalogDirectory) -> None:
    before = directory.current()
    directory.refresh()
    assert directory.current() is before


def test_an_app_that_is_taken_away_is_gone(directory: CatalogDirectory, mount: SecretMount) -> None:
    files = catalog_files()
    del files["apps/hello.json"]
    mount.write(files)
    directory.refresh()
    assert list(directory.current().apps) == ["secret"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no JSON", {"users.json": '{"user1": '}, "users.json: is not JSON: Expecting value (line 1, column 11)"),
    ("NaN", {"machines.json": '{"m": NaN}'}, "machines.json: m: is not a JSON number"),
    ("a number too large", {"machines.json": '{"m": 1e999}'}, "machines.json: m: is not a JSON number"),
    ("nested too deeply", {"machines.json": "[" * 100_000}, "nested too deeply"),
    ("a list", {"users.json": []}, "users.json: must be a JSON object"),
    ("an app without image", {"apps/hello.json": {"data": {}}}, "apps.hello.json: "),
    (
        "a key twice",
        {"users.json": '{"u": {"apikey": "key-user1", "apikey": "x"}}'},
        "users.json: u.apikey: appears twice",
    ),
    ("no number", {"machines.json": {"m": {"mc_cores": "x", "mc_ram": 1}}}, "machines.json: m.mc_cores: Input should"),
    ("no type", {"vaults.json": {"user1": {"data": {}}}}, "vaults.json: user1.data.type: Field required"),
    ("vaults cut off", {"vaults.json": '{"user1'}, "vaults.json: is not JSON: Unterminated string"),
    ("a faulty AppDef", {"apps/hello.json": an_app(an_appdef(licensed=5))}, "apps.hello.json: data.licensed: Input"),
    ("an app cut off", {"apps/hello.json": "{"}, "apps.hello.json: is not JSON: "),
    (
        "an empty key",
        {"users.json": {"u": {"apikey": ""}}},
        "users.json: u.apikey: String should have at least 1 character",
    ),
]


@pytest.mark.proves(
    "callers",
    "Accounts, machines, apps and vaults come from a directory of files, which is read again when it changes "
    "([flat names](decisions/0005-catalogue-keys.md))",
)
@pytest.mark.parametrize(("sentence", "changes", "problem"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_version_keeps_the_old_one_and_is_logged_once(
    directory: CatalogDirectory, mount: SecretMount, sentence: str, changes: Any, problem: str
) -> None:
    before = directory.current()
    mount.write({**catalog_files(), **changes})
    with capture_logs() as logs:
        for _ in range(3):
            directory.refresh()
            assert directory.current() is before
    (line,) = [line for line in logs if line["event"] == "catalog_rejected"]
    assert problem in line["problem"]
    assert "key-user1" not in str(logs)
    assert REGISTRY.get_sample_value("kns_catalog_rejected") == 1

    mount.write(catalog_files(apps={"fresh": an_app()}))
    directory.refresh()
    assert "fresh" in directory.current().apps
    assert REGISTRY.get_sample_value("kns_catalog_rejected") == 0


@pytest.mark.parametrize(("sentence", "changes", "problem"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_version_at_the_start_is_an_error_that_says_where(
    mount: SecretMount, sentence: str, changes: Any, problem: str
) -> None:
    mount.write({**catalog_files(), **changes})
    with pytest.raises(CatalogError) as caught:
        CatalogDirectory(mount.path).load()
    assert problem in str(caught.value)


def test_every_fault_of_a_bad_version_is_logged_once(directory: CatalogDirectory, mount: SecretMount) -> None:
    faulty = {"users.json": "[", "machines.json": {"m": {"mc_cores": 1}}, "vaults.json": [], "apps/hello.json": []}
    mount.write({**catalog_files(), **faulty})
    with capture_logs() as logs:
        directory.refresh()
    (line,) = logs
    assert line["faults"] == 4
    assert line["problem"] == (
        "users.json: is not JSON: Expecting value (line 1, column 2); machines.json: m.mc_ram: Field required; "
        "apps.hello.json: must be a JSON object; vaults.json: must be a JSON object"
    )


def test_a_file_that_is_no_text_is_named(mount: SecretMount) -> None:
    (mount.path / "..data" / "machines.json").write_bytes(b'{"m": "\xff"}')
    with pytest.raises(CatalogError, match=r"machines\.json: is not valid UTF-8 at byte 8"):
        CatalogDirectory(mount.path).load()


def test_a_file_with_a_byte_order_mark_is_read_as_without(mount: SecretMount) -> None:
    before = CatalogDirectory(mount.path).load()
    file = mount.path / "..data" / "machines.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert CatalogDirectory(mount.path).load().machines == before.machines


def test_a_directory_that_vanishes_keeps_the_last_good_version(directory: CatalogDirectory, mount: SecretMount) -> None:
    before = directory.current()
    mount.path.rename(mount.path.with_name("elsewhere"))
    directory.refresh()
    assert directory.current() is before


def test_a_directory_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"users\.json: is missing"):
        CatalogDirectory(tmp_path / "none").load()


def test_a_file_that_cannot_be_read_is_named(mount: SecretMount) -> None:
    (mount.path / "machines.json").unlink()
    (mount.path / "machines.json").mkdir()
    with pytest.raises(CatalogError, match=r"machines\.json: cannot be read: Is a directory"):
        CatalogDirectory(mount.path).load()
