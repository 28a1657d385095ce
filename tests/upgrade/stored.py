"""The stored jobs of earlier releases as values; see `tests.upgrade.record`."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kns.model.job.output import JobOutput
from kns.model.job.tokens import Tokens
from tests.upgrade.record import FOLDER


@dataclass(frozen=True, slots=True)
class StoredLife:
    """One job in one state, as one release made it."""

    version: str
    state: str
    now: datetime
    record: dict[str, Any]
    output: JobOutput
    tokens: Tokens | None
    objects: list[dict[str, Any]]

    @property
    def number(self) -> int:
        """The job's number."""
        return int(self.record["spec"]["accepted"]["number"])


def list_versions() -> list[str]:
    """The versions with stored jobs."""
    return sorted(folder.name for folder in FOLDER.iterdir() if any(folder.glob("*.json")))


def read_life(version: str, state: str) -> StoredLife:
    """The stored job in one of `STATES`."""
    raw = json.loads((FOLDER / version / f"{state}.json").read_text("utf-8"))
    assert (raw["version"], raw["state"]) == (version, state)
    tokens = raw["tokens"]
    return StoredLife(
        version=version,
        state=state,
        now=datetime.fromisoformat(raw["now"]),
        record=raw["record"],
        output=JobOutput(**{key: value for key, value in raw["output"].items() if key != "end"}),
        tokens=Tokens(tokens["password"], {int(n): text for n, text in tokens["random"].items()}) if tokens else None,
        objects=raw["objects"],
    )


LIVES = [read_life(version, state.stem) for version in list_versions() for state in (FOLDER / version).glob("*.json")]
