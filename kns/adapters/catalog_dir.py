"""
The catalogue in a directory, usually a mounted Secret. It is read again when a file changes.

If the new version is invalid, the old one stays in use and the problems are logged once. The contents are secret: a
problem has file, key path and position, and no value.
"""

from pathlib import Path
from threading import Event

from kns import metrics
from kns.catalog_files import file_name, list_files, read_files
from kns.logs import get_logger
from kns.model.catalog.catalog import Catalog, CatalogError, check_catalog

CHECK_INTERVAL_S = 1.0

Stamp = tuple[tuple[str, int, int, int], ...]  # name, mtime in ns, size, inode

log = get_logger(__name__)


class CatalogDirectory:
    """
    Implements `ports.CatalogSource` with `users.json`, `machines.json`, `vaults.json` and `apps/*.json` or
    `apps.*.json`.

    Kubernetes updates a mounted Secret by changing one symlink, so stamps are taken of the files behind the links. If a
    change happens during a read, the next check, a second later, reads the files again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._catalog: Catalog | None = None
        self._seen: Stamp | None = None  # the version read last, valid or not

    def load(self) -> Catalog:
        """
        Read the catalogue now.

        Raises:
            CatalogError: with every problem.
        """
        self._seen = self._read_stamp()
        self._catalog = self._read_catalog()
        return self._catalog

    def current(self) -> Catalog:
        """
        The newest valid version. It reads files only for the first version, because requests wait for this call.

        Raises:
            CatalogError: there was no valid version yet.
        """
        return self._catalog or self.load()

    def run(self, stop: Event) -> None:
        """Check every second until `stop` is set."""
        while not stop.wait(CHECK_INTERVAL_S):
            try:
                self.refresh()
            except Exception:  # a bug must not end the checks
                log.exception("catalog_refresh_failed", kept="the last good version")

    def refresh(self) -> None:
        """Read the catalogue if a file changed."""
        stamp = self._read_stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._catalog = self._read_catalog()
        except CatalogError as error:
            metrics.set_catalog_rejected(rejected=True)
            log.error(  # noqa: TRY400 - no stack
                "catalog_rejected", problem=str(error), faults=len(error.problems), kept="the last good version"
            )
            return
        metrics.set_catalog_rejected(rejected=False)
        log.info("catalog_loaded", users=len(self._catalog.users), apps=len(self._catalog.apps))

    def _read_stamp(self) -> Stamp:
        return tuple(entry for file in list_files(self._path) for entry in self._stamp_file(file))

    def _stamp_file(self, file: Path) -> Stamp:
        """The stamp of the file behind the links; empty if the file was removed since it was listed."""
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
