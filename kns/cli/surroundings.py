"""What the command line uses of the machine: environment, clock, browser, keyring, files. Tests replace it."""

import importlib
import os
import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import typer

from kns.cli.exits import CommandError, Exit
from kns.client import Client, Credentials
from kns.client.realm import Realm


class Keyring(Protocol):
    """The functions of the package `keyring` that are used."""

    def get_password(self, service_name: str, username: str) -> str | None: ...

    def set_password(self, service_name: str, username: str, password: str) -> None: ...

    def delete_password(self, service_name: str, username: str) -> None: ...


def find_keyring() -> Keyring | None:
    """The system's keyring; None if the package `keyring` is not installed or finds no keyring that can store."""
    try:
        keyring = importlib.import_module("keyring")  # optional: the extra `keyring`
    except ImportError:
        return None
    backend = keyring.get_keyring()
    found: Keyring | None = keyring if getattr(backend, "priority", 0) > 0 else None
    return found


@dataclass(frozen=True)
class Surroundings:
    """
    `connect` makes the HTTP client, `connect_realm` that of a Keycloak realm with issuer and client; `open_url` shows a
    URL in the browser and returns whether that worked.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    connect: Callable[[str, Credentials | None], Client] = Client
    connect_realm: Callable[[str, str], Realm] = Realm
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    open_url: Callable[[str], bool] = webbrowser.open
    find_keyring: Callable[[], Keyring | None] = find_keyring

    @property
    def config_dir(self) -> Path:
        """
        An absolute path. The current folder may be somebody else's, and has no configuration unless the user says so.

        Raises:
            CommandError: the user has no home.
        """
        if given := self.environ.get("KNS_CONFIG_DIR"):
            return Path(given).absolute()
        folder = Path(typer.get_app_dir("kns"))
        if not folder.is_absolute():  # the XDG specification ignores an XDG_CONFIG_HOME that is empty or relative
            folder = Path(os.path.expanduser("~/.config/kns"))  # noqa: PTH111 - without a home it does not raise
        if not folder.is_absolute():
            raise CommandError(Exit.USAGE, "there is no home folder for the configuration; set KNS_CONFIG_DIR")
        return folder
