"""
The templates folder, put back between the attempts of a script.

A script that stopped half way has left its folder half changed: a second `git clone` or `mkdir` would fail because of
the first. So each retry starts from what the item found; what finished items changed stays.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

_Signature = dict[str, tuple[int, ...]]


class TemplatesFolder:
    """The folder, and a copy of it in `spare_dir`, which no item should touch."""

    def __init__(self, path: Path, *, spare_dir: Path) -> None:
        self._path = path.resolve()  # /templates itself may be a link, which no script can change
        self._copy = spare_dir / ".templates-kept"
        self._kept: _Signature | None = None

    def keep(self) -> None:
        """
        Remember the folder as it is now. Costs a copy only if it changed since the last time.

        Raises:
            OSError: it cannot be read or copied; nothing is remembered then.
        """
        kept, self._kept = self._kept, None
        signature = _scan(self._path)
        if signature != kept:
            self.forget()
            try:
                self._copy.mkdir()
                _copy_content(self._path, self._copy)
            except OSError:
                self.forget()
                raise
        self._kept = signature

    def restore(self) -> None:
        """
        Put back what was remembered; without that, or without a change since, nothing happens.

        Raises:
            OSError: it cannot be put back whole.
        """
        if self._kept is None:
            return
        with contextlib.suppress(OSError):  # a folder that a script closed is a change, too
            if not self._path.is_symlink() and _scan(self._path) == self._kept:
                return
        if self._path.is_symlink() or not self._path.is_dir():  # a script removed or replaced the folder itself
            self._path.unlink(missing_ok=True)
            self._path.mkdir()
        _remove_content(self._path)
        _copy_content(self._copy, self._path)
        self._kept = _scan(self._path)

    def forget(self) -> None:
        """Remove the copy."""
        self._kept = None
        if self._copy.exists():
            _remove_content(self._copy)
            self._copy.rmdir()


def _scan(folder: Path) -> _Signature:
    """What tells a change: any write, rename or chmod gives a new ctime."""
    found: _Signature = {}
    for path in _walk(folder):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_ctime_ns)
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _copy_content(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True, ignore=_skip_special, dirs_exist_ok=True)
    except shutil.Error as err:  # a list of (source, target, reason)
        first = err.args[0][0]
        raise OSError(None, f"{first[0]}: {first[2]}") from err


def _skip_special(folder: str, entries: list[str]) -> set[str]:
    """Sockets, pipes and devices: nothing that a template is, and nothing that can be copied."""
    kinds = {entry: stat.S_IFMT(Path(folder, entry).lstat().st_mode) for entry in entries}
    return {name for name, kind in kinds.items() if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)}


def _remove_content(folder: Path) -> None:
    """Delete what is in the folder, also below folders that a script made read-only."""
    folder.chmod(folder.stat().st_mode | stat.S_IRWXU)
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _remove_content(path)
            path.rmdir()
        else:
            path.unlink()
