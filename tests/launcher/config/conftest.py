import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from kns.launcher.config.arguments import parse_arguments
from kns.launcher.config.credentials import Account
from kns.launcher.config.problems import ConfigError
from kns.launcher.config.settings import Settings, Site, read_settings

MINIMUM = "api-url=https://192.168.99.100:8443\nauth-token=aaa.bbb.ccc\n"


class Machine:
    """A configuration folder and a pod's service account folder, with the environment of the plugin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "etc"
        self.account = folder / "serviceaccount"
        self.folder.mkdir()
        self.account.mkdir()
        self.environ: dict[str, str] = {}
        self.users: dict[str, Account] = {"rstudio-server": Account(os.geteuid())}

    def write(self, text: str, name: str = "launcher.kubernetes.conf") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def site(self) -> Site:
        return Site(
            environ=MappingProxyType(self.environ),
            config_folder=self.folder,
            service_account=self.account,
            account=self.users.get,
            is_root=lambda: True,
        )

    def read(self, *argv: str) -> Settings:
        return read_settings(parse_arguments(argv), self.site())

    def problems(self, *argv: str) -> Sequence[str]:
        """Every problem, with the folder's path cut off."""
        with pytest.raises(ConfigError) as caught:
            self.read(*argv)
        return [str(problem).replace(f"{self.folder}/", "") for problem in caught.value.problems]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def configured(machine: Machine) -> Callable[[str], Machine]:
    """Write a valid file with more lines at its end."""

    def write(more: str) -> Machine:
        machine.write(MINIMUM + more)
        return machine

    return write
