"""An account of the catalogue, and its API key."""

import hmac
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from kns.model.reading.problem import Problem
from kns.model.reading.scalars import ScalarText

_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.@_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def hash_key(apikey: str) -> str:
    """
    The stored form of an API key.

    Plain SHA-256, not a slow hash: keys are long random strings, not passwords, and every request checks one.
    """
    return sha256(apikey.encode("utf-8", "surrogatepass")).hexdigest()


def check_username(name: str) -> Iterator[Problem]:
    """
    >>> [problem.message for problem in check_username("ana")]
    []
    """
    if not _USERNAME.fullmatch(name):
        yield Problem(
            (),
            "is not a user name: ASCII letters, digits, '.', '@', '-' and '_', at most 64, a letter or digit first",
        )


def _check_hash(value: str) -> str:
    if value and not _SHA256.fullmatch(value):
        raise ValueError("must be the SHA-256 of the key in hex; `kns catalog hash-key` makes it")
    return value


VariableName = Annotated[str, StringConstraints(pattern=_VARIABLE)]


class User(BaseModel):
    """
    An account. `apikey` is the key itself, if the file has it instead of its hash; it never leaves by a dump.

    `variables` are secrets as well: tokens and licences for the user's apps.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    username: str
    apikey_sha256: Annotated[str, AfterValidator(_check_hash)] = ""
    apikey: Annotated[str, StringConstraints(min_length=1)] | None = Field(default=None, repr=False, exclude=True)
    payer: str | None = None
    team_admin: bool = False
    admin: bool = False
    active: bool = True
    email: str = ""
    name: str = ""
    projects: tuple[str, ...] = ()
    variables: dict[VariableName, ScalarText] = Field(default={}, repr=False)

    @model_validator(mode="after")
    def _settle_key(self) -> "User":
        if self.apikey is None:
            if not self.apikey_sha256:
                raise ValueError("apikey_sha256 is missing; `kns catalog hash-key` makes it")
            return self
        hashed = hash_key(self.apikey)
        if self.apikey_sha256 not in ("", hashed):
            raise ValueError("apikey and apikey_sha256 are not the same key: give one")
        self.__dict__["apikey_sha256"] = hashed  # the model is frozen to all but this, its own making
        return self

    @property
    def team(self) -> str:
        return self.payer or self.username

    def accepts_key(self, apikey: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(self.apikey_sha256, hash_key(apikey))
