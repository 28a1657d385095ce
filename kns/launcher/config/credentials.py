"""The file of the token, as it must be for the plugin to start, and each time that the plugin reads it again."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from kns.launcher.config.groups import list_group_numbers
from kns.launcher.config.values import read_token

MAX_TOKEN_BYTES = 64 * 1024  # a signed token has a few kilobytes, whatever its claims are

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class TokenFileError(Exception):
    """The token cannot be used. The text says why, and never holds a part of the token."""


def read_token_file(path: Path, account: "Account | None") -> str:
    """
    Read a token. `account` is the server user.

    Raises:
        OSError: the file cannot be read.
        TokenFileError: another user owns the file or may write to it, it is empty or too large, or it holds something
            other than a token.
    """
    # A named pipe would wait for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        fault, _ = _judge(os.fstat(file.fileno()), account, becomes=False)
        if fault:
            raise TokenFileError(fault)
        content = file.read(MAX_TOKEN_BYTES + 1)
    if len(content) > MAX_TOKEN_BYTES:
        raise TokenFileError(f"is larger than {MAX_TOKEN_BYTES} bytes")
    try:
        return read_token(content.decode("ascii").strip())
    except UnicodeDecodeError as error:
        raise TokenFileError("is not text") from error
    except ValueError as error:
        raise TokenFileError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system: its number and those of its groups."""

    uid: int
    gids: frozenset[int] = frozenset()

    def may_read(self, status: os.stat_result) -> bool:
        """By the file's mode. Folders above it and access lists may say otherwise."""
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IRUSR)
        return bool(status.st_mode & (stat.S_IRGRP if status.st_gid in self.gids else stat.S_IROTH))


def find_account(name: str) -> Account | None:
    """
    The account of a user of the operating system; None if there is no such user.

    Raises:
        UnavailableError: the system cannot list the user's groups.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a name with a zero byte
        return None
    return Account(entry.pw_uid, frozenset(list_group_numbers(name, entry.pw_gid)))


def check_token_file(path: Path, account: Account | None, *, becomes: bool = False) -> tuple[str, str]:
    """
    What is wrong with a token file as (fault, warning), "" for nothing. `account` is the server user, `becomes` whether
    the plugin becomes it after the start.

    A file of mode 0600 that the service account owns is fine. So is one of root or of the process itself, and one that
    a group reads: a Kubernetes volume with fsGroup makes such files. Another owner could exchange the token.
    """
    try:
        read_token_file(path, account)
        return _judge(path.stat(), account, becomes=becomes)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}", ""
    except TokenFileError as error:
        return str(error), ""


def check_secret_file(path: Path, account: Account | None, *, becomes: bool) -> tuple[str, str]:
    """As `check_token_file`, for a file with another secret than a token. Its content is not looked at."""
    try:
        status = path.stat()
        with path.open("rb"):
            pass
    except OSError as error:
        return f"cannot be read: {error.strerror or error}", ""
    return _judge(status, account, becomes=becomes)


def _judge(status: os.stat_result, account: Account | None, *, becomes: bool) -> tuple[str, str]:
    """What is wrong with the owner and the mode, as (fault, warning)."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a file", ""
    if status.st_uid not in {0, os.geteuid(), account.uid if account else 0}:
        return f"belongs to user {status.st_uid}; the server-user must own it (chown)", ""
    if becomes and account is not None and account.uid != 0 and not account.may_read(status):
        return "cannot be read by the server-user, who must own it or be in its group (chown)", ""
    if status.st_mode & 0o002:
        return "can be written by everybody; set its mode to 0600 (chmod)", ""
    if status.st_mode & 0o004:
        return "", "can be read by everybody; set its mode to 0600 (chmod)"
    return "", ""
