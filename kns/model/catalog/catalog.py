"""
The catalogue: users, machines, apps and vaults. Parsed from JSON files, immutable.

One problem makes the whole version invalid, so that a partly written catalogue never replaces a valid one.
`CatalogError` has every problem with file and key. The scheduler and `kns catalog check` use the same checks.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from kns.model.appdef.appdef import AppDef
from kns.model.catalog.account import User, check_username, hash_key
from kns.model.catalog.machine import Integer, Machine, Number
from kns.model.catalog.pull_secret import check_pull_secret
from kns.model.catalog.vault import Vault
from kns.model.errors import KnsError
from kns.model.reading.parsing import check_model
from kns.model.reading.problem import Problem

__all__ = [
    "MACHINES",
    "USERS",
    "VAULTS",
    "App",
    "Catalog",
    "CatalogError",
    "CatalogProblem",
    "User",
    "Vault",
    "check_catalog",
    "hash_key",
    "list_app_files",
    "parse_catalog",
]

USERS, MACHINES, VAULTS = "users.json", "machines.json", "vaults.json"

_MAX_SHOWN = 5  # problems in one message, so that a log line stays readable
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"(?=.{1,253}(/|\Z))([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_APP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CEILING = ("mc_cores", "mc_ram")
_COUNTS = (*_CEILING, "mc_gpus", "mc_slave_cores", "mc_slave_ram", "mc_slave_gpus", "mc_scale_min", "mc_scale_max")
_ENTRY_NAME = re.compile(r"[\x21-\x7e]{1,253}")

EntryT = TypeVar("EntryT")
Read = tuple[EntryT | None, list[Problem]]  # an entry or None, and the problems


@dataclass(frozen=True, slots=True)
class CatalogProblem:
    """A problem in a file of the catalogue. `file` is relative to the catalogue directory."""

    file: str
    problem: Problem

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


class CatalogError(KnsError):
    """The catalogue is invalid. `problems` has every problem; the message has the first few."""

    def __init__(self, problems: Sequence[CatalogProblem]) -> None:
        self.problems = tuple(problems)
        rest = len(self.problems) - _MAX_SHOWN
        shown = [str(problem) for problem in self.problems[:_MAX_SHOWN]]
        if rest > 0:
            shown.append(f"and {rest} more; `kns catalog check` lists all")
        super().__init__("; ".join(shown))


class App(BaseModel):
    """An entry of the app catalogue. `repo` is the app image, `owner_name` the only user who sees a private app."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    data: AppDef
    source: dict[str, Any] = Field(default={}, repr=False)  # the AppDef as the author wrote it, for API responses
    repo: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    price: Number = 0
    owner: Number = 0
    owner_name: str | None = None
    arch: str = "x86_64"
    privs: tuple[str, ...] = ()
    src: str = ""
    updated: Integer = 0
    checkedout: bool = False
    certified: bool = False
    public: bool = True
    walltime: Annotated[str, BeforeValidator(lambda v: v or "")] = ""
    pullsecret: Annotated[str, AfterValidator(check_pull_secret)] | None = Field(default=None, repr=False)

    def is_visible_to(self, user: User | None) -> bool:
        if user is not None and (user.admin or user.username == self.owner_name):
            return True
        return self.public


@dataclass(frozen=True, slots=True)
class Catalog:
    """One valid version of the whole catalogue. `vaults` is user -> vault name -> vault."""

    users: Mapping[str, User]
    machines: Mapping[str, Machine]
    apps: Mapping[str, App]
    vaults: Mapping[str, Mapping[str, Vault]]

    def find_user(self, username: str, apikey: str) -> User | None:
        """The user with that key, active or not. An unknown user name takes the same time as a wrong key."""
        user = self.users.get(username)
        candidate = user or _NOBODY
        return user if candidate.accepts_key(apikey) and user is not None else None

    def find_variables(self, username: str, wanted: Iterable[str], *, inherited: Collection[str]) -> dict[str, str]:
        """
        The values of those account variables in `wanted` that have one, in that order. They are secret.

        The user's account has priority. For names in `inherited`, the payer's account is used if the user has none.
        """
        user = self.users.get(username)
        payer = self.users.get(user.payer) if user is not None and user.payer else None
        own = user.variables if user is not None else {}
        payers = payer.variables if payer is not None else {}
        sources = {name: own if name in own or name not in inherited else payers for name in wanted}
        return {name: source[name] for name, source in sources.items() if name in source}


_NOBODY = User(username="", apikey_sha256="0" * 64)


def parse_catalog(files: Mapping[str, Any]) -> Catalog:
    """
    Check decoded JSON files, keyed by their path (`users.json`, `apps/hello.json`, ...).

    Raises:
        CatalogError: with every problem.
    """
    catalog, problems = check_catalog(files)
    if problems:
        raise CatalogError(problems)
    return catalog


def check_catalog(
    files: Mapping[str, Any], known: Sequence[CatalogProblem] = ()
) -> tuple[Catalog, list[CatalogProblem]]:
    """
    The valid entries and every problem. Use the catalogue only if there are no problems.

    `known` are the problems found while decoding. They come first, and later problems at the same place are dropped.
    """
    problems: list[CatalogProblem] = []
    for file in (USERS, MACHINES):
        if file not in files:
            problems.append(CatalogProblem(file, Problem((), "is missing")))
    catalog = Catalog(
        users=_read_map(files, USERS, _read_user, problems),
        machines=_read_map(files, MACHINES, _read_machine, problems),
        apps=_read_apps(files, problems),
        vaults=_read_map(files, VAULTS, _read_vaults, problems),
    )
    reported = {(one.file, one.problem.location) for one in known}
    rest = [one for one in problems if (one.file, one.problem.location) not in reported]
    return catalog, [*known, *rest]


def _read_map(
    files: Mapping[str, Any],
    file: str,
    read: Callable[[str, Mapping[str, Any]], Read[EntryT]],
    problems: list[CatalogProblem],
) -> dict[str, EntryT]:
    if file not in files:
        return {}
    entries, found = _read_entries(files[file], read)
    problems += [CatalogProblem(file, problem) for problem in found]
    return entries


def _read_entries(
    data: Any, read: Callable[[str, Mapping[str, Any]], Read[EntryT]]
) -> tuple[dict[str, EntryT], list[Problem]]:
    """Read each value of a JSON object with `read`. Returns the valid entries, and the problems below their keys."""
    if not isinstance(data, Mapping):
        return {}, [Problem((), "must be a JSON object")]
    entries: dict[str, EntryT] = {}
    problems: list[Problem] = []
    for name, value in data.items():
        if isinstance(value, Mapping):
            entry, found = read(name, value)
        else:
            entry, found = None, [Problem((), "must be a JSON object")]
        problems += [problem.below((name,)) for problem in found]
        if entry is not None and not found:
            entries[name] = entry
    return entries, problems


def _read_user(name: str, data: Mapping[str, Any]) -> Read[User]:
    user, problems = check_model(User, {**data, "username": name})
    return user, [*check_username(name), *_check_repeated_name(data, "username", name), *problems]


def _read_machine(name: str, data: Mapping[str, Any]) -> Read[Machine]:
    machine, problems = check_model(Machine, {**data, "mc_name": name})
    own = [*_check_name(name), *_check_repeated_name(data, "mc_name", name)]
    return machine, [*own, *problems, *((*_check_ceiling(machine), *_check_selector(machine)) if machine else ())]


def _check_ceiling(machine: Machine) -> Iterator[Problem]:
    """`Machine` does not check this, because stored records must stay readable when the rules change."""
    least = 1 if machine.runs_nested_jobs else 0
    for key in _COUNTS:
        floor = least if key in _CEILING else 0
        if getattr(machine, key) < floor:
            yield Problem((key,), f"must be at least {floor}")


def _check_selector(machine: Machine) -> Iterator[Problem]:
    for key, value in machine.node_selector.items() if machine.runs_nested_jobs else ():
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            yield Problem(("mc_properties",), f"{key}={value} is not a valid node label")


def _read_vaults(_user: str, data: Mapping[str, Any]) -> Read[dict[str, Vault]]:
    return _read_entries(data, _read_vault)


def _read_vault(name: str, data: Mapping[str, Any]) -> Read[Vault]:
    vault, problems = check_model(Vault, data)
    return vault, [*_check_name(name), *problems]


def _check_name(name: str) -> Iterator[Problem]:
    if not _ENTRY_NAME.fullmatch(name):
        yield Problem((), "is not a name; use 1 to 253 printable ASCII characters without spaces")


def _check_repeated_name(data: Mapping[str, Any], key: str, name: str) -> Iterator[Problem]:
    """An entry may repeat its own name. A different name is probably a copied entry that was not edited."""
    if data.get(key, name) != name:
        yield Problem((key,), "differs from the key of the entry")


def _read_apps(files: Mapping[str, Any], problems: list[CatalogProblem]) -> dict[str, App]:
    apps: dict[str, App] = {}
    file_of: dict[str, str] = {}
    for app_id, file in list_app_files(files):
        app, found = _read_app(app_id, files[file])
        if app_id in file_of:
            found = [*found, Problem((), f"defines the same app as {file_of[app_id]}; remove one of the files")]
        problems += [CatalogProblem(file, problem) for problem in found]
        file_of[app_id] = file
        if app is not None and not found:
            apps[app_id] = app
    return apps


def list_app_files(files: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    The id and file of every app.

    The keys of a Secret cannot contain a slash, so `apps.<id>.json` is accepted as well as `apps/<id>.json`.
    """
    found = []
    for file in sorted(files):
        if file.startswith(("apps/", "apps.")) and file.endswith(".json"):
            found.append((file[len("apps/") : -len(".json")], file))
    return found


def _read_app(app_id: str, data: Any) -> Read[App]:
    if not isinstance(data, Mapping):
        return None, [Problem((), "must be a JSON object")]
    own = list(_check_repeated_name(data, "id", app_id))
    if not _APP_ID.fullmatch(app_id):
        own.append(
            Problem((), "the file name is not a valid app id; use at most 128 letters, digits, '.', '_' and '-'")
        )
    app, problems = check_model(App, {**data, "id": app_id, "source": data.get("data", {})})
    return app, [*own, *(problem for problem in problems if problem.location[:1] != ("source",))]
