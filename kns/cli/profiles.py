"""
Profiles: the sites that a user works with, and the credentials for each.

`config.json` in the configuration folder has the profiles. The secrets are in the system's keyring if there is one,
else in `credentials.json`, which only its owner can read. Each change is made under a lock: a file is read, changed and
replaced as a whole, and another command must not change it in between.
"""

import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from kns.cli.exits import CommandError, Exit
from kns.cli.surroundings import Keyring

DEFAULT = "default"
SERVICE = "kns"  # the name of our entries in the keyring
_OWNER_ONLY = 0o600
_OTHERS_WRITE = 0o022
_LOCK = ".lock"
_LOCK_TRIES, _LOCK_AGAIN_S = 120, 0.5  # a minute: the realm is asked under the lock
_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})  # homes on some network file systems
_SECRETS = TypeAdapter(dict[str, str])  # the content of `credentials.json`


class Profile(BaseModel):
    """
    One site. `username` is None if the sign-in was by Keycloak: the token has the name. `issuer` and `client_id` are
    those of that sign-in; the secret is then the tokens.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    username: str | None = None
    stored_in: Literal["file", "keyring"] = "file"
    issuer: str | None = None
    client_id: str | None = None


class Config(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    current: str = DEFAULT
    profiles: Mapping[str, Profile] = {}


class LockedError(CommandError):
    """Another command has the lock for too long."""


class Profiles:
    """The stored profiles. `keyring` is None if secrets go into the file. `sleep` waits between two tries to lock."""

    def __init__(self, folder: Path, keyring: Keyring | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._folder = folder
        self._keyring = keyring
        self._sleep = sleep
        self._is_locked = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        No other command changes the profiles during the block, unless the file system has no locks. Blocks may be
        nested.

        Raises:
            LockedError: another one does so for a minute.
            CommandError: the folder cannot be written.
        """
        if self._is_locked:
            yield
            return
        path = self._folder / _LOCK
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        except OSError as error:
            raise _explain_write(path, error) from error
        try:
            self._await_lock(handle)
            self._is_locked = True
            yield
        finally:
            self._is_locked = False
            os.close(handle)

    def _await_lock(self, handle: int) -> None:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._sleep(_LOCK_AGAIN_S)
            except OSError as error:
                if error.errno in _WITHOUT_LOCKS:
                    return
                raise _explain_write(self._folder / _LOCK, error) from error
            else:
                return
        raise LockedError(
            Exit.UNREACHABLE,
            f"another kns has been changing {self._folder} for a minute; is one suspended? end it and try again",
        )

    def read(self) -> Config:
        """
        Raises:
            CommandError: the file is not readable.
        """
        path = self._folder / "config.json"
        for each in (self._folder, path):
            check_private(each)
        try:
            return Config.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Config()
        except (OSError, ValidationError) as error:
            raise CommandError(
                Exit.USAGE,
                f"cannot read {path}: {_first_line(error)}; correct or remove it, or set KNS_CONFIG_DIR "
                "to another folder; then run `kns login`",
            ) from error

    def find_secret(self, name: str, profile: Profile) -> str | None:
        if profile.stored_in == "file":
            return self._read_secrets().get(name)
        if self._keyring is None:
            raise CommandError(
                Exit.SIGNED_OUT,
                f"the credentials of profile {name} are in a keyring, which is not available here; run `kns login`, "
                "or set KNS_USERNAME and KNS_APIKEY",
            )
        try:
            return self._keyring.get_password(SERVICE, name)
        except Exception as error:  # each keyring has its own errors
            raise CommandError(
                Exit.SIGNED_OUT,
                f"the keyring does not give the credentials of profile {name}: {error}; unlock it, run `kns login`, or "
                "set KNS_USERNAME and KNS_APIKEY",
            ) from error

    def store(self, name: str, profile: Profile, secret: str) -> Profile:
        """Store a profile with its secret, in place of one of that name, as the current one. Returns it as stored."""
        with self.locked():
            config = self.read()
            before = config.profiles.get(name)
            if before is not None:
                with suppress(CommandError):  # a keyring that refuses must not prevent a sign-in
                    self._forget_in_keyring(name, before)
                self._forget_in_file(name)
            stored_in: Literal["file", "keyring"] = "file"
            if self._keyring is not None and self._try_keyring(name, secret):
                stored_in = "keyring"
            else:
                self._write("credentials.json", {**self._read_secrets(), name: secret})
            profile = profile.model_copy(update={"stored_in": stored_in})
            self._write_config(Config(current=name, profiles={**config.profiles, name: profile}))
            return profile

    def replace_secret(self, name: str, profile: Profile, secret: str) -> None:
        """Store a new secret where the old one is."""
        if profile.stored_in == "keyring" and self._keyring is not None:
            if not self._try_keyring(name, secret):
                raise CommandError(
                    Exit.SIGNED_OUT,
                    f"the keyring does not store the tokens of profile {name}; unlock it, or `kns login`",
                )
            return
        with self.locked():
            self._write("credentials.json", {**self._read_secrets(), name: secret})

    def remove(self, name: str) -> None:
        """
        Remove a profile with its secret.

        Raises:
            CommandError: the keyring keeps the secret. The profile stays then, so that the call can be repeated.
        """
        with self.locked():
            config = self.read()
            if name in config.profiles:
                self._forget_in_keyring(name, config.profiles[name])
                self._forget_in_file(name)
            left = {key: value for key, value in config.profiles.items() if key != name}
            current = config.current if config.current in left else next(iter(left), DEFAULT)
            self._write_config(Config(current=current, profiles=left))

    def use(self, name: str) -> None:
        """Make a profile the current one."""
        with self.locked():
            self._write_config(self.read().model_copy(update={"current": name}))

    def _forget_in_keyring(self, name: str, profile: Profile) -> None:
        """An entry that is gone already needs no removal. Keyrings have no error of their own for that."""
        if profile.stored_in != "keyring":
            return
        if self._keyring is None:
            raise CommandError(
                Exit.SIGNED_OUT,
                f"the credentials of profile {name} are in a keyring, which is not available here, so they are not "
                "forgotten; make it available, then try again",
            )
        try:
            self._keyring.delete_password(SERVICE, name)
        except Exception as error:  # each keyring has its own errors
            if not self._is_absent(name):
                raise CommandError(
                    Exit.SIGNED_OUT,
                    f"the keyring does not forget the credentials of profile {name}: {error}; unlock it, then try "
                    "again",
                ) from error

    def _is_absent(self, name: str) -> bool:
        """Whether the keyring says that it has no such entry."""
        assert self._keyring is not None  # noqa: S101 - the caller has checked it
        try:
            return self._keyring.get_password(SERVICE, name) is None
        except Exception:  # noqa: BLE001 - each keyring has its own errors
            return False

    def _forget_in_file(self, name: str) -> None:
        secrets = self._read_secrets()
        if secrets.pop(name, None) is not None:
            self._write("credentials.json", secrets)

    def _try_keyring(self, name: str, secret: str) -> bool:
        """Whether the keyring took it. A keyring without a desktop session exists but refuses."""
        assert self._keyring is not None  # noqa: S101 - the caller has checked it
        try:
            self._keyring.set_password(SERVICE, name, secret)
        except Exception:  # noqa: BLE001 - each keyring has its own errors, and the file is there for all of them
            return False
        return True

    def _read_secrets(self) -> dict[str, str]:
        path = self._folder / "credentials.json"
        try:
            return _SECRETS.validate_json(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            raise CommandError(
                Exit.SIGNED_OUT, f"cannot read {path}: {_first_line(error)}; remove it, then run `kns login`"
            ) from error

    def _write_config(self, config: Config) -> None:
        self._write("config.json", config.model_dump(mode="json"))

    def _write(self, name: str, content: object) -> None:
        """Replace a file at once, readable for its owner only."""
        path = self._folder / name
        try:
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=f".{name}.")  # mode 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=2)
                    file.write("\n")
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)  # after a failure it may have a secret
        except OSError as error:
            raise _explain_write(path, error) from error


def _explain_write(path: Path, error: OSError) -> CommandError:
    return CommandError(Exit.USAGE, f"cannot write {path}: {error.strerror}; set KNS_CONFIG_DIR to another folder")


def check_private(path: Path) -> None:
    """
    Others must not write the addresses that credentials are sent to, or a kubeconfig, which can name programs to run.

    Raises:
        CommandError: they can.
    """
    try:
        found = path.stat()
    except OSError:
        return  # whoever reads it says what is wrong
    if os.name == "posix" and (found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS_WRITE):
        raise CommandError(
            Exit.USAGE,
            f"others can write {path}, so what you do could lead elsewhere; run `chmod go-w {path}` if it is yours, or "
            "set KNS_CONFIG_DIR to another folder",
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
