"""Signing in: where credentials come from, where they are stored, and to which site they are sent."""

import errno
import fcntl
import json
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from kns.cli.exits import CommandError
from kns.cli.profiles import Profile, Profiles
from tests.api.client import Api
from tests.builders import a_job
from tests.cli.conftest import URL, Terminal


class MemoryKeyring:
    """A keyring of the desktop; `broken` refuses as one does without a session."""

    def __init__(self, *, broken: bool = False) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.broken = broken

    def _require_session(self) -> None:
        if self.broken:
            raise RuntimeError("no session")

    def get_password(self, service_name: str, username: str) -> str | None:
        self._require_session()
        return self.entries.get((service_name, username))

    def set_password(self, service_name: str, username: str, password: str) -> None:
        self._require_session()
        self.entries[service_name, username] = password

    def delete_password(self, service_name: str, username: str) -> None:
        self._require_session()
        del self.entries[service_name, username]


@pytest.fixture
def nobody(terminal: Terminal) -> Terminal:
    terminal.environ = {}
    return terminal


def sign_in(terminal: Terminal, user: str = "user1", *options: str, url: str = URL) -> None:
    result = terminal.run("login", "--url", url, "-u", user, *options, text=f"key-{user}\n")
    assert result.exit_code == 0, result.output
    assert f"key-{user}" not in result.output


def test_a_login_is_stored_and_used(api: Api, nobody: Terminal) -> None:
    api.add(a_job())
    sign_in(nobody)
    assert [job["number"] for job in nobody.read("list")] == [7]
    assert nobody.read("profiles") == [
        {"profile": "default", "current": True, "url": URL, "username": "user1", "issuer": None, "stored_in": "file"}
    ]


def test_only_the_owner_can_read_the_files(nobody: Terminal) -> None:
    sign_in(nobody)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in nobody.folder.iterdir()}
    assert modes == {"config.json": 0o600, "credentials.json": 0o600, ".lock": 0o600}
    assert stat.S_IMODE(nobody.folder.stat().st_mode) == 0o700


def test_the_keyring_has_the_key_if_there_is_one(nobody: Terminal) -> None:
    nobody.keyring = MemoryKeyring()
    sign_in(nobody)
    assert not (nobody.folder / "credentials.json").exists()
    assert nobody.run("list").exit_code == 0
    nobody.run("logout")
    assert nobody.keyring.entries == {}
    sign_in(nobody)
    nobody.keyring = None
    assert "the credentials of profile default are in a keyring" in nobody.refuse(3, "list")


def test_a_logout_that_the_keyring_refuses_says_so_and_can_be_repeated(nobody: Terminal) -> None:
    """The credentials are still on this machine, so nobody may believe that they are not."""
    keyring = nobody.keyring = MemoryKeyring()
    sign_in(nobody)
    keyring.broken = True
    said = nobody.refuse(3, "logout")
    assert said == (
        "the keyring does not forget the credentials of profile default: no session; unlock it, then try again"
    )
    nobody.keyring = None
    assert "so they are not forgotten; make it available" in nobody.refuse(3, "logout")
    nobody.keyring, keyring.broken = keyring, False
    assert [each["profile"] for each in nobody.read("profiles")] == ["default"]
    assert nobody.run("logout").exit_code == 0
    assert (keyring.entries, nobody.read("profiles")) == ({}, [])


def test_an_entry_that_is_gone_from_the_keyring_keeps_no_profile(nobody: Terminal) -> None:
    keyring = nobody.keyring = MemoryKeyring()
    sign_in(nobody)
    keyring.entries.clear()
    assert nobody.run("logout").exit_code == 0
    assert nobody.read("profiles") == []


def test_a_locked_keyring_does_not_prevent_another_sign_in(nobody: Terminal) -> None:
    keyring = nobody.keyring = MemoryKeyring()
    sign_in(nobody)
    keyring.broken = True
    sign_in(nobody)
    assert nobody.read("profiles")[0]["stored_in"] == "file"


def test_a_keyring_that_refuses_is_replaced_by_the_file(nobody: Terminal) -> None:
    nobody.keyring = MemoryKeyring(broken=True)
    sign_in(nobody)
    assert nobody.run("list").exit_code == 0


def test_wrong_credentials_are_not_stored(nobody: Terminal) -> None:
    line = nobody.refuse(3, "login", "--url", URL, "-u", "user1", text="wrong\n")
    assert line.startswith("kns does not accept these credentials")
    assert not nobody.folder.exists()


@pytest.mark.parametrize(
    ("args", "text", "words"),
    [
        (("--url", "kns.example.org", "-u", "user1"), "k\n", "'kns.example.org' is not an address"),
        (("-u", "user1"), "k\n", "address of kns is missing"),
        (("--url", URL), "k\n", "user name is missing"),
        (("--url", URL, "-u", "user1"), "", "the API key is empty"),
    ],
)
def test_what_a_login_needs(nobody: Terminal, args: tuple[str, ...], text: str, words: str) -> None:
    assert nobody.refuse(2, "login", *args, text=text).startswith(words)


def test_several_sites_are_profiles(api: Api, nobody: Terminal) -> None:
    api.add(a_job())
    sign_in(nobody, "user1", "--name", "lab")
    sign_in(nobody, "user2", "--name", "home", url="https://home.example.org")
    assert [(each["profile"], each["current"]) for each in nobody.read("profiles")] == [("home", True), ("lab", False)]
    assert nobody.read("list") == []
    assert [job["number"] for job in nobody.read("--profile", "lab", "list")] == [7]
    assert nobody.run("use", "lab").exit_code == 0
    assert [job["number"] for job in nobody.read("list")] == [7]
    nobody.environ["KNS_PROFILE"] = "home"
    assert nobody.read("list") == []
    assert nobody.run("logout", "home").exit_code == 0
    assert nobody.refuse(3, "list").startswith("there is no profile home")
    assert nobody.refuse(4, "logout", "home").startswith("there is no profile home")
    assert nobody.refuse(4, "use", "home").startswith("there is no profile home")


def test_a_stored_key_is_never_sent_to_another_site(nobody: Terminal) -> None:
    sign_in(nobody)
    seen = len(nobody.bridge.seen)
    line = nobody.refuse(3, "--url", "https://other.example.org", "list")
    assert line.startswith(
        "not signed in to https://other.example.org; run `kns login --url https://other.example.org`"
    )
    nobody.environ["KNS_URL"] = "https://third.example.org"
    assert nobody.refuse(3, "list").startswith("not signed in to https://third.example.org")
    assert len(nobody.bridge.seen) == seen


def test_variables_win_over_the_profile(api: Api, nobody: Terminal) -> None:
    api.add(a_job().owned_by("user2"))
    sign_in(nobody)
    assert nobody.read("list") == []
    nobody.environ |= {"KNS_USERNAME": "user2", "KNS_APIKEY": "key-user2"}
    assert [job["user"] for job in nobody.read("list")] == ["user2"]


def test_without_a_site_or_a_login_the_sentence_says_what_to_run(nobody: Terminal) -> None:
    assert nobody.refuse(3, "list") == "which kns? run `kns login --url https://...`, or set KNS_URL"
    nobody.environ["KNS_URL"] = URL
    assert nobody.refuse(3, "list").startswith(f"not signed in to {URL}; run `kns login")


@pytest.mark.parametrize("value", ["\udcff", "s3cr3t\r"], ids=["not UTF-8, as Python has it", "of a file of Windows"])
@pytest.mark.parametrize("name", ["KNS_URL", "KNS_USERNAME", "KNS_APIKEY", "KNS_TOKEN"])
def test_a_variable_that_cannot_be_sent_is_named_and_not_shown(terminal: Terminal, name: str, value: str) -> None:
    terminal.environ[name] = value
    assert terminal.refuse(2, "list") == f"{name} is not in UTF-8, or has a line break or control character in it"


def test_a_key_that_is_no_text_is_refused(nobody: Terminal) -> None:
    assert nobody.refuse(2, "login", "--url", URL, "-u", "user1", text=b"\xff\n") == "the API key is not in UTF-8"
    nobody.environ["KNS_USERNAME"] = "\udcff"
    assert nobody.refuse(2, "login", "--url", URL, text="x\n").startswith("KNS_USERNAME is not")


def test_a_damaged_file_is_named(nobody: Terminal) -> None:
    sign_in(nobody)
    for content in ("{", "[]", '{"default": {}}', "[" * 100_000):
        (nobody.folder / "credentials.json").write_text(content)
        assert str(nobody.folder / "credentials.json") in nobody.refuse(3, "list")
    (nobody.folder / "config.json").write_text("[]")
    assert str(nobody.folder / "config.json") in nobody.refuse(2, "list")


def test_two_commands_at_once_both_store_their_profile(tmp_path: Path) -> None:
    first = Profiles(tmp_path, None)
    with ExitStack() as held:
        held.enter_context(first.locked())

        def go_on(_seconds: float) -> None:
            first.store("a", Profile(url=URL, username="user1"), "key-a")
            held.close()

        second = Profiles(tmp_path, None, sleep=go_on)
        second.store("b", Profile(url=URL, username="user2"), "key-b")
    found = first.read().profiles
    assert {name: first.find_secret(name, profile) for name, profile in found.items()} == {"a": "key-a", "b": "key-b"}


def test_a_command_does_not_wait_forever_for_another(tmp_path: Path) -> None:
    slept: list[float] = []
    with Profiles(tmp_path, None).locked(), pytest.raises(CommandError, match="another kns has been changing"):
        Profiles(tmp_path, None, sleep=slept.append).use("a")
    assert sum(slept) == 60


def test_a_home_without_file_locks_stores_a_login(nobody: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS without a lock daemon, and Lustre without the mount option `flock`."""

    def refuse(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    sign_in(nobody)
    assert nobody.run("list").exit_code == 0


def test_a_full_disk_leaves_the_files_as_they_were_and_no_secret_beside_them(
    nobody: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(nobody)
    before = {path.name: path.read_bytes() for path in nobody.folder.iterdir()}

    def fill(_content: object, file: IO[str], **_options: object) -> None:
        file.write("key-us")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dump", fill)
    line = nobody.refuse(2, "login", "--url", URL, "-u", "user1", text="key-user1\n")
    assert "credentials.json: No space left on device" in line
    assert {path.name: path.read_bytes() for path in nobody.folder.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(nobody: Terminal, tmp_path: Path) -> None:
    (tmp_path / "kns").write_text("")
    line = nobody.refuse(2, "login", "--url", URL, "-u", "user1", text="key-user1\n")
    assert "KNS_CONFIG_DIR" in line


@pytest.mark.proves("security", "put another kubeconfig or site in the place of the user's")
def test_a_folder_that_others_can_write_is_not_used(nobody: Terminal) -> None:
    """Whoever writes config.json chooses the address that the stored key is sent to."""
    sign_in(nobody)
    seen = len(nobody.bridge.seen)
    for path, mode in ((nobody.folder, 0o777), (nobody.folder / "config.json", 0o666)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert nobody.refuse(2, "list").startswith(f"others can write {path}, so what you do could lead elsewhere")
        path.chmod(before)
    assert len(nobody.bridge.seen) == seen
    assert nobody.run("list").exit_code == 0


def test_a_site_without_tls_is_warned_about(nobody: Terminal) -> None:
    for url, warns in (("http://kns.example.org", True), ("http://127.0.0.1:8080", False), (URL, False)):
        result = nobody.run("login", "--url", url, "-u", "user1", text="key-user1\n")
        assert result.exit_code == 0
        assert ("has no TLS" in result.stderr) is warns


def test_no_key_is_in_any_url(nobody: Terminal) -> None:
    sign_in(nobody)
    nobody.run("list")
    assert [request for request in nobody.bridge.seen if "key-user1" in str(request.url)] == []
