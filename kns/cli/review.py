"""Warnings for entries of a catalogue that are valid but probably wrong."""

from collections.abc import Iterator, Sequence
from typing import Any

from kns.catalog_files import CatalogFiles
from kns.cli.unknown import find_unknown_keys
from kns.model.appdef.versions import find_unsupported
from kns.model.catalog.catalog import (
    MACHINES,
    USERS,
    VAULTS,
    App,
    Catalog,
    CatalogProblem,
    User,
    Vault,
    list_app_files,
)
from kns.model.catalog.machine import Machine
from kns.model.reading.problem import Problem


def review(found: Catalog, files: CatalogFiles, *, supported_versions: Sequence[str]) -> list[CatalogProblem]:
    """
    The warnings of each file. `found` are the valid entries of `files`.

    An invalid entry is checked for unknown keys only. A reference to an invalid entry causes no warning.
    """
    catalog = _Reviewed(found, files.files, supported_versions)
    apps = list_app_files(files.texts)
    warnings = {
        USERS: catalog.review_users(),
        MACHINES: _list_unknown(Machine, files.files.get(MACHINES)),
        VAULTS: catalog.review_vaults(),
        **{file: catalog.review_app(app_id, files.files.get(file)) for app_id, file in apps},
    }
    strays = {name: [Problem((), "is not a file of a catalogue, ignored")] for name in files.texts.keys() - warnings}
    return [CatalogProblem(file, problem) for file, problems in {**warnings, **strays}.items() for problem in problems]


class _Reviewed:
    """The valid entries of a catalogue, and its decoded files."""

    def __init__(self, found: Catalog, files: dict[str, Any], supported_versions: Sequence[str]) -> None:
        self._found = found
        self._files = files
        self._supported_versions = supported_versions

    def review_users(self) -> Iterator[Problem]:
        yield from _list_unknown(User, self._files.get(USERS), own_name="username")
        for name, user in self._found.users.items():
            if "-" in name or "_" in name:
                yield Problem(
                    (name,),
                    "contains '-' or '_'; programs that read the user from a job's name (`...-<app>-<user>_s1`) cut "
                    "it there, kns does not",
                )
            if user.apikey is not None:
                yield Problem(
                    (name, "apikey"),
                    "is a plain key; use apikey_sha256 (`kns catalog hash-key`), unless an app of this user needs "
                    "%APIKEY%",
                )
            if user.payer is not None and not self._is_user(user.payer):
                yield Problem((name, "payer"), f"{user.payer!r} is not a user, so the team has no leader")

    def review_vaults(self) -> Iterator[Problem]:
        written = self._files.get(VAULTS)
        for user, vaults in written.items() if isinstance(written, dict) else ():
            if not self._is_user(user):
                yield Problem((user,), "is not a user")
            yield from (problem.below((user,)) for problem in _list_unknown(Vault, vaults))
        for user, usable in self._found.vaults.items():
            for name, vault in usable.items():
                if vault.export is None:
                    key = "address" if vault.type == "nfs" else "type"
                    yield Problem(
                        (user, name, key),
                        "kns can mount only NFS with an address IP:/PATH; jobs get no storage class for this vault",
                    )

    def review_app(self, app_id: str, written: Any) -> Iterator[Problem]:
        yield from _drop_name(find_unknown_keys(written, App), "id")
        if isinstance(written, dict):
            found = find_unsupported(written.get("data"), self._supported_versions)
            yield from (problem.below(("data",)) for problem in found)
        app = self._found.apps.get(app_id)
        if app is not None:
            yield from self._review_use(app)

    def _review_use(self, app: App) -> Iterator[Problem]:
        nested = [name for name, machine in self._found.machines.items() if machine.runs_nested_jobs]
        known = set(self._found.machines) == self._names_in(MACHINES)
        for key, command in app.data.commands.items() if known else ():
            if not any(app.data.admits_machine(command, name) for name in nested):
                own = ("data", "commands", key, "machines")
                location = own if command.machines is not None else ("data", "machines")
                yield Problem(location, "matches no machine with appkind=kns, so the app cannot run")
        if app.owner_name is not None and not self._is_user(app.owner_name):
            yield Problem(("owner_name",), f"{app.owner_name!r} is not a user")

    def _is_user(self, name: str) -> bool:
        """Whether `name` is a user. If the users cannot be read, every name counts as one."""
        names = self._names_in(USERS)
        return names is None or name in names

    def _names_in(self, file: str) -> set[str] | None:
        entries = self._files.get(file)
        return set(entries) if isinstance(entries, dict) else None


def _list_unknown(model: type[Any], entries: Any, *, own_name: str = "") -> Iterator[Problem]:
    """`own_name`: a key of the model that is filled from the entry's name, and may be repeated in the entry."""
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        unknown = find_unknown_keys(entry, model)
        yield from (problem.below((name,)) for problem in _drop_name(unknown, own_name))


def _drop_name(problems: list[Problem], own_name: str) -> list[Problem]:
    return [problem for problem in problems if problem.location != (own_name,)]
