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

    SHA-256 is enough, because keys are long random strings and not passwords. A slow hash would delay every request.
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
            "is not a user name; use at most 64 ASCII letters, digits, '.', '@', '-' and '_', and begin with a letter "
            "or digit",
        )


def _check_hash(value: str) -> str:
    if value and not _SHA256.fullmatch(value):
        raise ValueError("must be the SHA-256 of the key in hex; `kns catalog hash-key` prints it")
    return value


VariableName = Annotated[str, StringConstraints(pattern=_VARIABLE)]


class User(BaseModel):
    """
    An account. `apikey` is the plain key, if the file contains it in place of the hash. It is excluded from dumps.

    `variables` are secret too: tokens and licences for the user's apps.
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
                raise ValueError("apikey_sha256 is missing; `kns catalog hash-key` prints it")
            return self
        hashed = hash_key(self.apikey)
        if self.apikey_sha256 not in ("", hashed):
            raise ValueError("apikey and apikey_sha256 are different keys; give one of them")
        self.__dict__["apikey_sha256"] = hashed  # the model is frozen for its users, not for its own validator
        return self

    @property
    def team(self) -> str:
        return self.payer or self.username

    def accepts_key(self, apikey: str) -> bool:
        """Whether `apikey` is the key of this account. The comparison takes constant time."""
        return hmac.compare_digest(self.apikey_sha256, hash_key(apikey))
