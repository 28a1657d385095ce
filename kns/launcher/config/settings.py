"""
The plugin's settings: the configuration file over the command line over the defaults, completed from the pod.

The file wins over the command line, as in the Launcher's own plugins: the Launcher passes its defaults as arguments.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kns.launcher.config.arguments import COMMAND_LINE, Arguments
from kns.launcher.config.credentials import (
    SERVICE_ACCOUNT,
    Account,
    check_secret_file,
    check_token_file,
    find_account,
)
from kns.launcher.config.launcher_conf import LauncherConf, read_launcher_conf
from kns.launcher.config.lines import ConfFile, read_conf
from kns.launcher.config.options import OPTIONS, Source
from kns.launcher.config.problems import ConfigError, Problem, suggest
from kns.launcher.config.profiles import ProfileFile, read_profiles
from kns.launcher.ports import Options

CONFIG_FOLDER = Path("/etc/rstudio")


@dataclass(frozen=True, slots=True)
class Site:
    """What the machine provides. Tests replace it; nothing else in the configuration reads the machine."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    config_folder: Path = CONFIG_FOLDER
    service_account: Path = SERVICE_ACCOUNT
    account: Callable[[str], Account | None] = find_account
    is_root: Callable[[], bool] = lambda: os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Settings:
    """
    All that the configuration says. `warnings` are problems that do not stop the plugin.

    `config_file` and `profile_file` are the files that were read, `log_level` is one of ERR, WARN, INFO, DEBUG.
    """

    options: Options
    profiles: ProfileFile
    config_file: Path
    profile_file: Path
    log_level: str
    warnings: tuple[Problem, ...] = ()


def read_settings(arguments: Arguments, site: Site | None = None) -> Settings:
    """
    Read all files.

    Raises:
        ConfigError: every problem of every file: unknown keys, wrong values, missing values, unreadable files.
    """
    return Reading(arguments, site).read()


def find_scratch_path(arguments: Arguments, site: Site | None = None) -> Path:
    """
    The folder of the templates, for the template commands, which need no cluster and no complete configuration.

    The argument wins here, because an administrator typed it; then `launcher.kubernetes.conf`, then `launcher.conf`.

    Raises:
        ConfigError: the argument is not a path, or a file exists that cannot be read or has a wrong scratch-path.
    """
    given = arguments.values.get("scratch-path")
    reading = Reading(arguments, site)
    if given is not None:
        scratch_path = reading.convert("scratch-path", given, COMMAND_LINE, 0)
    else:
        scratch_path = reading.find_scratch_path()
    if reading.problems:
        raise ConfigError(reading.problems)
    return Path(str(scratch_path))


class Reading:
    """
    One reading of the configuration. `problems` grows as files are read; values of wrong keys get their default.

    `options` is what the files say. Only `read` asks the system for users, which a directory service may hold up.
    """

    def __init__(self, arguments: Arguments, site: Site | None = None) -> None:
        self.arguments = arguments
        self.site = site or Site()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._where: dict[str, tuple[str, int]] = {}

    @cached_property
    def options(self) -> Options:
        return self._build_options(self._found, self._launcher)

    def read(self) -> Settings:
        """
        Read the other files, and check all that was read.

        Raises:
            ConfigError: every problem of every file.
        """
        options, found, config_file = self.options, self._found, self._config_file
        self._check_access(found, config_file)
        self._check_nested(found, config_file)
        profile_file = self._find_profile_file(found, config_file)
        profiles = read_profiles(
            profile_file,
            config_file.with_name(f"launcher.{self._plugin_name().lower()}.resources.conf"),
            self.problems,
            must_exist="profile-config" in found,
            nested=bool(found["nested"]),
        )
        if self.problems:
            raise ConfigError(self.problems)
        return Settings(
            options=options,
            profiles=profiles,
            config_file=config_file,
            profile_file=profile_file,
            log_level=str(found["log-level"]),
            warnings=tuple(self.warnings),
        )

    @cached_property
    def _launcher(self) -> LauncherConf:
        path = self.arguments.values.get("launcher-config-file") or str(self.site.config_folder / "launcher.conf")
        return read_launcher_conf(Path(path), self.problems)

    @cached_property
    def _config_file(self) -> Path:
        given = self.arguments.values.get("config-file") or self._launcher.find_cluster(self._plugin_name()).config_file
        return Path(given) if given else self.site.config_folder / f"launcher.{self._plugin_name().lower()}.conf"

    @cached_property
    def _found(self) -> dict[str, Any]:
        """The values of the settings, by their keys."""
        launcher, config_file = self._launcher, self._config_file
        conf = read_conf(config_file, self.problems) if self._must_exist(config_file) else None
        found = self._merge(conf)
        found.setdefault("scratch-path", launcher.scratch_path(self._plugin_name()))
        self._complete_from_pod(found)
        return found

    def find_scratch_path(self) -> object:
        config_file = self._config_file
        if config_file.exists() and (conf := read_conf(config_file, self.problems)):
            for entry in conf.entries():
                if entry.key == "scratch-path":
                    return self.convert(entry.key, entry.value, conf.path, entry.line)
        return self._launcher.scratch_path(self._plugin_name())

    def convert(self, key: str, text: str, file: str, line: int) -> object:
        try:
            return OPTIONS[key].read(text)
        except ValueError as error:
            self.problems.append(Problem(file, line, key, str(error)))
            default = OPTIONS[key].default
            return None if default is None else OPTIONS[key].read(default)

    def _plugin_name(self) -> str:
        return self.arguments.values.get("plugin-name") or "kubernetes"

    def _must_exist(self, config_file: Path) -> bool:
        """In a pod, everything that is required has a value without a file."""
        return config_file.exists() or not self.site.environ.get("KUBERNETES_SERVICE_HOST")

    def _merge(self, conf: ConfFile | None) -> dict[str, Any]:
        """Defaults, then the command line, then the file."""
        found: dict[str, Any] = {
            key: option.read(option.default) for key, option in OPTIONS.items() if option.default is not None
        }
        for key, text in self.arguments.values.items():
            self._put(found, key, self.convert(key, text, COMMAND_LINE, 0))
        if conf is None:
            return found
        for section in conf.sections:
            if section.name:
                self.problems.append(
                    Problem(conf.path, section.line, f"[{section.name}]", "sections belong in the profiles file")
                )
        for entry in conf.entries():
            option = OPTIONS.get(entry.key)
            if option is None or option.source is Source.ARGUMENT:
                self.problems.append(
                    Problem(conf.path, entry.line, entry.key, f"is not a setting; {suggest(entry.key, _FILE_KEYS)}")
                )
            elif entry.key in self._where:
                first = self._where[entry.key][1]
                self.problems.append(Problem(conf.path, entry.line, entry.key, f"is set twice, first in line {first}"))
            else:
                self._where[entry.key] = (conf.path, entry.line)
                self._put(found, entry.key, self.convert(entry.key, entry.value, conf.path, entry.line))
        return found

    @staticmethod
    def _put(found: dict[str, Any], key: str, value: object) -> None:
        """A wrong value of a key without a default is as if the key were missing; the problem is already noted."""
        if value is not None:
            found[key] = value

    def _complete_from_pod(self, found: dict[str, Any]) -> None:
        """
        Take what Kubernetes gives every pod, for keys that are not set.

        The CA belongs to the API server of the pod, so it is taken only together with that server's address.
        """
        environ, files = self.site.environ, self.site.service_account
        host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            return
        if "api-url" not in found:
            # An IPv6 address has brackets in a URL, and none in this variable.
            url = f"https://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"https://{host}:{port}"
            found["api-url"] = self.convert("api-url", url, "KUBERNETES_SERVICE_HOST", 0)
            if "certificate-authority" not in found and (files / "ca.crt").exists():
                found["certificate-authority"] = self._read_ca(files / "ca.crt")
        if "auth-token" not in found and "auth-token-path" not in found and (files / "token").exists():
            found["auth-token-path"] = str(files / "token")

    def _read_ca(self, path: Path) -> str:
        try:
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(Problem(str(path), 0, "certificate-authority", f"cannot be read: {error}"))
            return ""

    def _check_access(self, found: dict[str, Any], config_file: Path) -> None:
        """Address and token are required, and the token must be usable by the user that the plugin becomes."""
        file = str(config_file)
        if not found.get("api-url") and "api-url" not in self._where:
            self.problems.append(Problem(file, 0, "api-url", "is required, such as https://192.168.99.100:8443"))
        if not found.get("auth-token-path") and not found.get("auth-token"):
            if not self._where.keys() & {"auth-token", "auth-token-path"}:
                self.problems.append(Problem(file, 0, "auth-token-path", "is required, unless auth-token is set"))
            return
        if {"auth-token", "auth-token-path"} <= self._where.keys():
            where, line = self._where["auth-token"]
            self.warnings.append(Problem(where, line, "auth-token", "is ignored, because auth-token-path is set"))
        if not found["verify-ssl-certs"] and str(found.get("api-url", "")).startswith("https:"):
            where, line = self._where.get("verify-ssl-certs", (file, 0))
            self.warnings.append(
                Problem(where, line, "verify-ssl-certs", "is 0: anybody between here and the API can read the token")
            )
        self._check_token_file(found, file)

    def _check_nested(self, found: dict[str, Any], config_file: Path) -> None:
        """Whoever sets one of them needs all, as `nested=1` does. A profile's `nested` is checked at a submission."""
        needed = ("nested-url", "nested-credentials-path", "nested-app")
        if not found["nested"] and not any(key in self._where for key in needed):
            return
        for key in needed:
            if not found.get(key) and key not in self._where:
                self.problems.append(
                    Problem(str(config_file), 0, key, "is required for nested jobs; see docs/posit.md")
                )
        if path := found.get("nested-credentials-path"):
            where, line = self._where.get("nested-credentials-path", (path, 0))
            becomes = self.site.is_root() and not found["unprivileged"]
            fault, warning = check_secret_file(Path(path), self.site.account(found["server-user"]), becomes=becomes)
            if fault:
                self.problems.append(Problem(where, line, "nested-credentials-path", f"{path} {fault}"))
            elif warning:
                self.warnings.append(Problem(where, line, "nested-credentials-path", f"{path} {warning}"))

    def _check_token_file(self, found: dict[str, Any], file: str) -> None:
        account = self.site.account(found["server-user"])
        becomes = self.site.is_root() and not found["unprivileged"]
        if account is None and becomes:
            where, line = self._where.get("server-user", (file, 0))
            self.problems.append(
                Problem(where, line, "server-user", f"no user {found['server-user']!r}; create it or set another")
            )
        path = found.get("auth-token-path")
        if not path:
            return
        where, line = self._where.get("auth-token-path", (path, 0))
        fault, warning = check_token_file(Path(path), account, becomes=becomes)
        if fault:
            self.problems.append(Problem(where, line, "auth-token-path", f"{path} {fault}"))
        elif warning and not Path(path).is_relative_to(self.site.service_account):
            self.warnings.append(Problem(where, line, "auth-token-path", f"{path} {warning}"))

    def _find_profile_file(self, found: dict[str, Any], config_file: Path) -> Path:
        given = found.get("profile-config")
        return Path(given) if given else config_file.with_name(f"launcher.{self._plugin_name().lower()}.profiles.conf")

    def _build_options(self, found: dict[str, Any], launcher: LauncherConf) -> Options:
        token_path = found.get("auth-token-path")
        return Options(
            cluster=launcher.find_cluster(self._plugin_name()).name,
            api_url=found.get("api-url") or "",
            auth_token="" if token_path else found.get("auth-token") or "",
            auth_token_path=Path(token_path) if token_path else None,
            certificate_authority=found.get("certificate-authority") or "",
            verify_ssl_certs=found["verify-ssl-certs"],
            namespace=found["kubernetes-namespace"],
            scratch_path=Path(found["scratch-path"]),
            heartbeat_interval_s=float(found["heartbeat-interval-seconds"]),
            thread_pool_size=found["thread-pool-size"],
            job_expiry_hours=float(found["job-expiry-hours"]),
            watch_timeout_s=found["watch-timeout-seconds"],
            fetch_limit=found["fetch-limit"],
            shared_process_namespace=found["shared-process-namespace"],
            max_message_bytes=found["max-message-size"],
            debug=found["enable-debug-logging"],
            server_user=found["server-user"],
            unprivileged=found["unprivileged"],
            logging_dir=Path(found["logging-dir"]),
            use_templating=found["use-templating"],
            nested=found["nested"],
            nested_url=found.get("nested-url") or "",
            nested_credentials_path=_to_path(found.get("nested-credentials-path")),
            nested_app=found.get("nested-app") or "",
            nested_machine=found.get("nested-machine") or "",
            nested_authority_path=_to_path(found.get("nested-authority-path")),
        )


def _to_path(text: str | None) -> Path | None:
    return Path(text) if text else None


_FILE_KEYS = frozenset(key for key, option in OPTIONS.items() if option.source is not Source.ARGUMENT)
