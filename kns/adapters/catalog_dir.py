"""
The catalogue from a directory, usually a mounted Secret; read again when it changes.

A bad new version keeps the old one and is logged once. Contents are secrets: a fault names file, key path and
position, never a value.
"""

import json
import math
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import structlog

from kns.model.catalog import Catalog, CatalogError, parse_catalog
from kns.ports import Clock

CHECK_INTERVAL_S = 1.0

Stamp = tuple[tuple[str, int, int, int], ...]  # name, mtime in ns, size, inode

log = structlog.get_logger(__name__)


class CatalogDirectory:
    """
    The port `CatalogSource` over `users.json`, `machines.json`, `vaults.json` and `apps/*.json` or `apps.*.json`.

    A Secret changes by the swing of one symlink, so stamps are those of the files behind the links. Files that were
    read in the middle of a change are put right at the next look, a second later.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._catalog: Catalog | None = None
        self._seen: Stamp | None = None  # the version looked at last, good or bad
        self._checked_at: float | None = None

    def load(self) -> Catalog:
        """
        Read it now.

        Raises:
            CatalogError: what is wrong, with file and key path.
        """
        with self._lock:
            self._checked_at = self._clock.monotonic()
            self._seen = self._read_stamp()
            self._catalog = self._read_catalog()
            return self._catalog

    def current(self) -> Catalog:
        """
        The newest good version; looks at the directory at most once per second.

        Raises:
            CatalogError: there never was a good one.
        """
        catalog = self._catalog
        if catalog is None:
            return self.load()
        if self._lock.acquire(blocking=False):  # another thread is looking: what we have is good enough
            try:
                self._refresh()
                catalog = self._catalog or catalog
            finally:
                self._lock.release()
        return catalog

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        if self._checked_at is not None and now - self._checked_at < CHECK_INTERVAL_S:
            return
        self._checked_at = now
        stamp = self._read_stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._catalog = self._read_catalog()
        except CatalogError as error:
            log.error("catalog_rejected", problem=str(error), kept="the last good version")  # noqa: TRY400 - no stack
            return
        log.info("catalog_loaded", users=len(self._catalog.users), apps=len(self._catalog.apps))

    def _list_files(self) -> list[Path]:
        return sorted([*self._path.glob("*.json"), *self._path.glob("apps/*.json")])

    def _read_stamp(self) -> Stamp:
        return tuple(entry for file in self._list_files() for entry in self._stamp_file(file))

    def _stamp_file(self, file: Path) -> Stamp:
        """Of the file behind the links; a file that vanished since it was listed is simply not in the stamp."""
        try:
            found = file.stat()
        except OSError:
            return ()
        return ((self._name(file), found.st_mtime_ns, found.st_size, found.st_ino),)

    def _name(self, file: Path) -> str:
        return file.relative_to(self._path).as_posix()

    def _read_catalog(self) -> Catalog:
        try:
            return parse_catalog({self._name(file): self._read_file(file) for file in self._list_files()})
        except RecursionError as error:
            raise CatalogError(str(self._path), "a file is nested too deeply") from error

    def _read_file(self, file: Path) -> Any:
        try:
            text = file.read_text(encoding="utf-8")
            return json.loads(text, parse_constant=_refuse_constant, parse_float=_read_float)
        except OSError as error:
            raise CatalogError(self._name(file), f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CatalogError(self._name(file), f"is not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _read_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)
