"""
The results of a run, in one file of the cache: of each test the last result. Several calls may fill it, portion by
portion.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree

from conformance.errors import ConformanceError

_LEAF = "[It] "  # ginkgo's type of the node, before the name of a test
MESSAGE_CHARACTERS = 600  # of a failure; the report of the run has the whole text


class Outcome(StrEnum):
    """How a test ended. A test that was interrupted has no result."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # by itself, because the cluster lacks something that it needs


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one test. `commit` is that of kns, `day` the day of the run (ISO 8601)."""

    outcome: Outcome
    seconds: float
    message: str
    commit: str
    day: str


def read_report(text: str, *, commit: str, day: str) -> dict[str, Result]:
    """
    The results of the tests in a JUnit report of ginkgo. Tests that were not selected, or interrupted, are left out.

    Raises:
        ConformanceError: it is not such a report.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConformanceError(f"the report of the tests is not XML: {error}; see the log of the run") from error
    found = {}
    for case in root.iter("testcase"):
        name, status = case.get("name", ""), case.get("status", "")
        outcome = _STATUS.get(status)
        message = _read_message(case)
        if not name.startswith(_LEAF) or outcome is None or _is_missing(outcome, message):
            continue
        seconds = round(float(case.get("time", "0")), 1)
        found[name.removeprefix(_LEAF)] = Result(outcome, seconds, message, commit, day)
    return found


# ginkgo's states. The others are pending and interrupted.
_STATUS = {
    "passed": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "panicked": Outcome.FAILED,
    "timedout": Outcome.FAILED,
    "aborted": Outcome.FAILED,
    "skipped": Outcome.SKIPPED,
}


def _read_message(case: ElementTree.Element) -> str:
    """The text of a failure, or why a test skipped itself, on one line."""
    for kind in ("failure", "error", "skipped"):
        if (problem := case.find(kind)) is not None:
            text = " ".join((problem.get("message", "") or problem.text or "").split())
            return text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]} ..."
    return ""


def _is_missing(outcome: Outcome, message: str) -> bool:
    """
    Whether a test has no result. ginkgo reports a test that `--focus` leaves out, or that the end of the run reached
    first, as skipped, with that word alone. The test that runs at the end fails with the other text.
    """
    return (outcome is Outcome.SKIPPED and message == "skipped") or "A suite timeout occurred" in message


class Store:
    """The file. It is written after each portion, at once or not at all."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, Result]:
        """
        Raises:
            ConformanceError: the file is damaged.
        """
        if not self._file.exists():
            return {}
        try:
            data = json.loads(self._file.read_text("utf-8"))
            return {name: Result(**{**entry, "outcome": Outcome(entry["outcome"])}) for name, entry in data.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConformanceError(f"{self._file} is damaged: {error}; remove it, and start anew") from error

    def add(self, results: Mapping[str, Result]) -> dict[str, Result]:
        """Add results, in place of older ones of the same tests. Returns all."""
        merged = {**self.read(), **results}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".tmp")
        draft.write_text(json.dumps({name: asdict(merged[name]) for name in sorted(merged)}, indent=1) + "\n", "utf-8")
        os.replace(draft, self._file)  # noqa: PTH105 - one call, atomic
        return merged

    def clear(self, tests: Iterable[str]) -> None:
        """Forget the results of these tests."""
        gone = set(tests)
        kept = {name: result for name, result in self.read().items() if name not in gone}
        self._file.unlink(missing_ok=True)
        self.add(kept)
