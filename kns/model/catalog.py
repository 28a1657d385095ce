"""
The catalogue: who may submit, on which machines, which apps and vaults. Parsed from JSON files, immutable.

One fault anywhere makes the whole new version unacceptable (`CatalogError` says file and key), so that a half-written
catalogue never replaces a good one.
"""

import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from kns.model.appdef import AppDef
from kns.model.errors import InvalidInputError, KnsError
from kns.model.machine import Integer, Machine
from kns.model.parsing import parse_model
from kns.model.scalars import ScalarText

_SHA256 = r"^[0-9a-f]{64}$"


class CatalogError(KnsError):
    """A catalogue that cannot be used. `file` is relative to the catalogue directory."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        super().__init__(f"{file}: {problem}")


def hash_key(apikey: str) -> str:
    """
    The stored form of an API key.

    Plain SHA-256, not a slow hash: keys are long random strings, not passwords, and every request checks one.
    """
    return sha256(apikey.encode()).hexdigest()


class User(BaseModel):
    """
    An account. The hash of its key is what logins are checked with.

    `apikey`, if users.json has it in plain form, is only for apps that are allowed to submit jobs by themselves.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    username: str
    apikey_sha256: Annotated[str, StringConstraints(pattern=_SHA256)]
    apikey: str | None = Field(default=None, repr=False)
    payer: str | None = None
    team_admin: bool = False
    admin: bool = False
    active: bool = True
    email: str = ""
    name: str = ""
    projects: tuple[str, ...] = ()
    variables: dict[str, ScalarText] = Field(default={}, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _hash_key(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("apikey"), str):
            if not data["apikey"]:
                raise ValueError("apikey must not be empty")
            return {**data, "apikey_sha256": hash_key(data["apikey"])}
        return data

    @property
    def team(self) -> str:
        return self.payer or self.username

    def accepts_key(self, apikey: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(self.apikey_sha256, hash_key(apikey))


class App(BaseModel):
    """An entry of the app catalogue. `repo` is the app image; `owner_name` limits a private app to one user."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    data: AppDef
    source: dict[str, Any] = Field(default={}, repr=False)  # the AppDef as written, for answers
    repo: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    price: FiniteFloat = 0
    owner: FiniteFloat = 0
    owner_name: str | None = None
    arch: str = "x86_64"
    privs: tuple[str, ...] = ()
    src: str = ""
    updated: Integer = 0
    checkedout: bool = False
    certified: bool = True
    public: bool = True
    walltime: Annotated[str, BeforeValidator(lambda v: v or "")] = ""
    pullsecret: str | None = None

    def is_visible_to(self, user: User | None) -> bool:
        if user is not None and (user.admin or user.username == self.owner_name):
            return True
        return self.public


@dataclass(frozen=True, slots=True)
class Catalog:
    """One good version of the whole catalogue. `vaults` is user -> vault name -> definition."""

    users: Mapping[str, User]
    machines: Mapping[str, Machine]
    apps: Mapping[str, App]
    vaults: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def find_user(self, username: str, apikey: str) -> User | None:
        """The user with that key, active or not; an unknown name costs the same time as a wrong key."""
        user = self.users.get(username)
        candidate = user or _NOBODY
        return user if candidate.accepts_key(apikey) and user is not None else None

    def find_variables(self, username: str, wanted: Iterable[str], *, inherited: Collection[str]) -> dict[str, str]:
        """
        Those of the account variables `wanted` that have a value, in that order. Secrets.

        The user's own come first; for names in `inherited` the payer's account may stand in.
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
    A catalogue from decoded JSON files, keyed by their path (`users.json`, `apps/hello.json`, ...).

    Raises:
        CatalogError: with file and key path of the first fault.
    """
    return Catalog(
        users=_parse_map(
            files,
            "users.json",
            lambda key, value, path: parse_model(User, {**value, "username": key}, prefix=path),
        ),
        machines=_parse_map(
            files,
            "machines.json",
            lambda key, value, path: parse_model(Machine, {"mc_name": key, **value}, prefix=path),
        ),
        apps={app_id: _parse_app(app_id, file, files[file]) for app_id, file in _app_files(files)},
        vaults=_parse_map(files, "vaults.json", lambda _key, value, _path: value, required=False),
    )


def _parse_map(files: Mapping[str, Any], file: str, parse: Any, *, required: bool = True) -> dict[str, Any]:
    if file not in files:
        if required:
            raise CatalogError(file, "is missing")
        return {}
    data = files[file]
    if not isinstance(data, dict):
        raise CatalogError(file, "must be a JSON object")
    result = {}
    for key, value in data.items():
        if not isinstance(value, dict):
            raise CatalogError(file, f"{key}: must be a JSON object")
        try:
            result[key] = parse(key, value, key)
        except InvalidInputError as error:
            raise CatalogError(file, str(error)) from error
    return result


def _app_files(files: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    App id and file of every app.

    A Secret's keys cannot hold a slash, so beside `apps/<id>.json` the flat form `apps.<id>.json` is read.
    """
    found = []
    for file in sorted(files):
        if file.startswith(("apps/", "apps.")) and file.endswith(".json"):
            found.append((file[len("apps/") : -len(".json")], file))
    return found


def _parse_app(app_id: str, file: str, data: Any) -> App:
    if not isinstance(data, dict):
        raise CatalogError(file, "must be a JSON object")
    try:
        return parse_model(App, {**data, "id": app_id, "source": data.get("data", {})})
    except InvalidInputError as error:
        raise CatalogError(file, str(error)) from error
