"""
The jobs of an answer as JSON text. Each job is encoded once per change, and an answer joins the texts: 50 simultaneous
lists of 200 jobs would otherwise encode 45 MB.

A text has three groups of fields, so that an answer that is too large for the Launcher can leave groups out.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kns.launcher.shapes import project

ENVIRONMENT = ("environment",)
LARGE = ("command", "args", "mounts", "config")
# What an answer of several jobs leaves out if it is too large otherwise. A request for one job is answered in full.
_TIERS: tuple[tuple[str, ...], ...] = ((), ENVIRONMENT, (*ENVIRONMENT, *LARGE))
_WORTH_PACKING = 256  # bytes

Shape = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobText:
    """
    JSON members without braces. `large` are those of LARGE. The text of the environment is compressed if
    `packed_bytes`, its length before, is not 0: completed jobs are many, and hardly any request is about them.
    """

    small: bytes
    large: bytes
    environment: bytes
    packed_bytes: int
    is_completed: bool

    @classmethod
    def of(cls, shape: Shape, *, is_completed: bool) -> "JobText":
        large, environment = _pick(shape, LARGE), _pick(shape, ENVIRONMENT)
        rest = {key: value for key, value in shape.items() if key not in large and key not in environment}
        text, packed_bytes = _encode(environment), 0
        if is_completed and len(text) >= _WORTH_PACKING:
            text, packed_bytes = zlib.compress(text), len(text)
        return cls(_encode(rest), _encode(large), text, packed_bytes, is_completed)

    def sizes(self) -> tuple[int, int, int]:
        """Bytes of the job in an answer, by tier: with everything, and with less and less."""
        without = len(self.small) + 3  # braces and a comma before the next job
        with_large = without + len(self.large) + 1
        return with_large + (self.packed_bytes or len(self.environment)) + 1, with_large, without

    def write(self, tier: int) -> Iterator[bytes]:
        """The pieces of the JSON object."""
        yield b"{"
        yield self.small
        if tier < len(_TIERS) - 1 and self.large:
            yield b","
            yield self.large
        if tier == 0 and self.environment:
            yield b","
            yield self._read_environment()
        yield b"}"

    def project(self, fields: frozenset[str]) -> "JobText":
        """The wanted fields."""
        shape = self._decode(fields)
        if fields.isdisjoint((*LARGE, *ENVIRONMENT)):
            return JobText(_encode(shape), b"", b"", 0, self.is_completed)
        return JobText.of(shape, is_completed=self.is_completed)

    def _decode(self, fields: frozenset[str]) -> Shape:
        shape: dict[str, Any] = json.loads(b"{" + self.small + b"}")
        if not fields.isdisjoint(LARGE):
            shape |= json.loads(b"{" + self.large + b"}")
        if not fields.isdisjoint(ENVIRONMENT):
            shape |= json.loads(b"{" + self._read_environment() + b"}")
        return project(shape, fields)

    def _read_environment(self) -> bytes:
        return zlib.decompress(self.environment) if self.packed_bytes else self.environment


@dataclass(frozen=True, slots=True)
class Listed:
    """The JSON of a list of jobs, the fields that each of them lacks, and the number of jobs that are missing."""

    pieces: Sequence[bytes]
    left_out: tuple[str, ...] = ()
    missing: int = 0


def write_jobs(texts: Sequence[JobText], fields: frozenset[str], *, room: int) -> Listed:
    """
    The list of jobs in at most `room` bytes, the oldest job first.

    A single job is written in full. A list loses fields first. If there are too many jobs, it loses the oldest
    completed ones, then the oldest: an answer without them is of more use than none.
    """
    if fields:
        texts = [text.project(fields) for text in texts]
    if len(texts) == 1:
        return Listed([b"[", *texts[0].write(0), b"]"])
    sizes = [text.sizes() for text in texts]
    totals = [sum(each[tier] for each in sizes) + 2 for tier in range(len(_TIERS))]
    tier = next((index for index, total in enumerate(totals) if total <= room), len(_TIERS) - 1)
    dropped = _choose_dropped(texts, [each[tier] for each in sizes], totals[tier] - room)
    pieces: list[bytes] = []
    for index, text in enumerate(texts):
        if index not in dropped:
            pieces.append(b"," if pieces else b"[")
            pieces += text.write(tier)
    return Listed([*(pieces or [b"["]), b"]"], _TIERS[tier], len(dropped))


def _choose_dropped(texts: Sequence[JobText], sizes: Sequence[int], surplus: int) -> frozenset[int]:
    """The positions of the jobs to leave out, so that `surplus` bytes less are needed."""
    dropped: list[int] = []
    if surplus > 0:
        for index in sorted(range(len(texts)), key=lambda position: not texts[position].is_completed):
            if surplus <= 0:
                break
            dropped.append(index)
            surplus -= sizes[index]
    return frozenset(dropped)


def _pick(shape: Shape, keys: Sequence[str]) -> Shape:
    return {key: shape[key] for key in keys if key in shape}


def _encode(members: Shape) -> bytes:
    """Members without braces, ASCII alone, as all frames."""
    return json.dumps(members, separators=(",", ":"), allow_nan=False).encode("ascii")[1:-1]
