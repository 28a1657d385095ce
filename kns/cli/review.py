"""What is allowed in a catalogue and still most likely not meant."""

from collections.abc import Iterator, Sequence
from typing import Any

from kns.catalog_files import CatalogFiles
from kns.cli.unknown import find_unknown_keys
from kns.model.catalog import (
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
from kns.model.machine import Machine
from kns.model.problem import Problem
from kns.model.versions import find_unsupported


def review(catalog: Catalog, files: CatalogFiles, *, supported_versions: Sequence[str]) -> list[CatalogProblem]:
    """Warnings, file by file. Entries with faults are looked at for unknown keys only."""
    apps = list_app_files(files.texts)
    found = {
        USERS: [*_unknown(User, files.files.get(USERS), {"username"}), *_review_users(catalog, files.files.get(USERS))],
        MACHINES: list(_unknown(Machine, files.files.get(MACHINES), set())),
        VAULTS: [*_unknown_in_vaults(files.files.get(VAULTS)), *_review_vaults(catalog)],
        **{file: _review_app(catalog, app_id, files.files.get(file), supported_versions) for app_id, file in apps},
    }
    warnings = [CatalogProblem(file, problem) for file, problems in found.items() for problem in problems]
    for name in sorted(files.texts.keys() - found.keys()):
        warnings.append(CatalogProblem(name, Problem((), "is no file of a catalogue, and not read")))
    return warnings


def _unknown(model: type[Any], entries: Any, extra: set[str]) -> Iterator[Problem]:
    """`extra` are keys that an entry may have although the model has them from elsewhere."""
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        for problem in find_unknown_keys(model, entry) if isinstance(entry, dict) else ():
            if problem.location[0] not in extra:
                yield problem.below((name,))


def _unknown_in_vaults(users: Any) -> Iterator[Problem]:
    for user, vaults in users.items() if isinstance(users, dict) else ():
        for problem in _unknown(Vault, vaults, set()):
            yield problem.below((user,))


def _review_users(catalog: Catalog, written: Any) -> Iterator[Problem]:
    for name, user in catalog.users.items():
        if user.apikey is not None:
            yield Problem(
                (name, "apikey"),
                "the key itself; write `apikey_sha256` (`kns catalog hash-key`) unless one of the user's apps takes "
                "%APIKEY%",
            )
        if user.payer is not None and user.payer not in written:
            yield Problem((name, "payer"), f"{user.payer!r} is no user: nobody leads this team")


def _review_vaults(catalog: Catalog) -> Iterator[Problem]:
    for user, vaults in catalog.vaults.items():
        if user not in catalog.users:
            yield Problem((user,), "is no user")
        for name, vault in vaults.items():
            if vault.export is None:
                key = "address" if vault.type == "nfs" else "type"
                yield Problem((user, name, key), "kns can use NFS with the address IP:/PATH only; jobs get no class")


def _review_app(catalog: Catalog, app_id: str, written: Any, supported: Sequence[str]) -> list[Problem]:
    problems = find_unknown_keys(App, written) if isinstance(written, dict) else []
    problems = [problem for problem in problems if problem.location[0] != "id"]
    if isinstance(written, dict):
        problems += [problem.below(("data",)) for problem in find_unsupported(written.get("data"), supported)]
    app = catalog.apps.get(app_id)
    return [*problems, *(_review_use(catalog, app) if app is not None else ())]


def _review_use(catalog: Catalog, app: App) -> Iterator[Problem]:
    nested = [name for name, machine in catalog.machines.items() if machine.runs_nested_jobs]
    for key, command in app.data.commands.items():
        if not any(app.data.admits_machine(command, name) for name in nested):
            own = command.machines is not None
            location = ("data", "commands", key, "machines") if own else ("data", "machines")
            yield Problem(location, "matches no machine with appkind=kns: the app cannot run")
    if app.owner_name is not None and app.owner_name not in catalog.users:
        yield Problem(("owner_name",), f"{app.owner_name!r} is no user")
