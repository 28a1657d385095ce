"""
The catalogue from a directory, usually a mounted Secret; read again when it changes.

A bad new version keeps the old one and is logged once. Contents are secrets: a fault names file, key path and
position, never a value.
"""

from pathlib import Path
from threading import Event

import structlog

from kns.catalog_files import file_name, list_files, read_files
from kns.model.catalog.catalog import Catalog, CatalogError, check_catalog

CHECK_INTERVAL_S = 1.0

Stamp = tuple[tuple[str, int, int, int], ...]  # name, mtime in ns, size, inode

log = structlog.get_logger(__name__)


class CatalogDirectory:
    """
    The port `CatalogSource` over `users.json`, `machines.json`, `vaults.json` and `apps/*.json` or `apps.*.json`.

    A Secret changes by the swing of one symlink, so stamps are those of the files behind the links. Files that were
    read in the middle of a change are put right at the next look, a second later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._catalog: Catalog | None = None
        self._seen: Stamp | None = None  # the version looked at last, good or bad

    def load(self) -> Catalog:
        """
        Read it now.

        Raises:
            CatalogError: every fault, with file and key path.
        """
        self._seen = self._read_stamp()
        self._catalog = self._read_catalog()
        return self._catalog

    def current(self) -> Catalog:
        """
        The newest good version that was read. Never reads files, but for the first one: requests wait for this.

        Raises:
            CatalogError: there never was a good one.
        """
        return self._catalog or self.load()

    def run(self, stop: Event) -> None:
        """Look every second until told to stop."""
        while not stop.wait(CHECK_INTERVAL_S):
            try:
                self.look()
            except Exception:  # a fault of ours must not end all looking
                log.exception("catalog_look_failed", kept="the last good version")

    def look(self) -> None:
        """Read it again if it changed."""
        stamp = self._read_stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._catalog = self._read_catalog()
        except CatalogError as error:
            log.error(  # noqa: TRY400 - no stack
                "catalog_rejected", problem=str(error), faults=len(error.problems), kept="the last good version"
            )
            return
        log.info("catalog_loaded", users=len(self._catalog.users), apps=len(self._catalog.apps))

    def _read_stamp(self) -> Stamp:
        return tuple(entry for file in list_files(self._path) for entry in self._stamp_file(file))

    def _stamp_file(self, file: Path) -> Stamp:
        """Of the file behind the links; a file that vanished since it was listed is simply not in the stamp."""
        try:
            found = file.stat()
        except OSError:
            return ()
        return ((file_name(self._path, file), found.st_mtime_ns, found.st_size, found.st_ino),)

    def _read_catalog(self) -> Catalog:
        found = read_files(self._path)
        catalog, problems = check_catalog(found.files, found.problems)
        if problems:
            raise CatalogError(problems)
        return catalog
