"""Conditions: when their transition time changes, and that every reason is documented."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from kns.model.job.conditions import MESSAGE_LIMIT, ConditionType, Reason, find_condition, with_condition
from kns.model.job.job import TRANSITIONS, JobState
from tests.fakes.stores import START

LIFECYCLE = Path(__file__).resolve().parents[3] / "docs" / "lifecycle.md"
KIND = ConditionType.DEPLOYED


def later(minutes: int) -> timedelta:
    return timedelta(minutes=minutes)


def test_the_time_moves_only_when_the_status_flips() -> None:
    """So a deadline counted from it is correct after any number of writes and restarts."""
    first = with_condition((), KIND, true=False, reason=Reason.INIT_STARTING, now=START)
    second = with_condition(
        first, KIND, true=False, reason=Reason.INIT_RUNNING, message="new words", now=START + later(1)
    )
    third = with_condition(second, KIND, true=True, reason=Reason.OK, now=START + later(2))
    fourth = with_condition(third, KIND, true=True, reason=Reason.OK, message="again", now=START + later(3))
    times = [find_condition(c, KIND).last_transition_time - START for c in (first, second, third, fourth)]  # type: ignore[union-attr]
    assert times == [later(0), later(0), later(2), later(2)]
    assert (second[0].reason, second[0].message, fourth[0].message) == ("InitRunning", "new words", "again")


def test_others_stay_and_keep_their_place() -> None:
    conditions = with_condition((), ConditionType.NAMESPACE_READY, true=True, reason=Reason.OK, now=START)
    conditions = with_condition(conditions, KIND, true=False, reason=Reason.INIT_STARTING, now=START)
    changed = with_condition(conditions, ConditionType.NAMESPACE_READY, true=False, reason=Reason.OK, now=START)
    assert [condition.type for condition in changed] == ["NamespaceReady", "Deployed"]
    assert changed[1] is conditions[1]


def test_a_message_is_one_line_and_bounded() -> None:
    (condition,) = with_condition((), KIND, true=False, reason=Reason.OK, message="a\nb" * 5000, now=START)
    assert len(condition.message) == MESSAGE_LIMIT
    assert "\n" not in condition.message


def test_every_reason_has_a_row_that_says_what_to_do() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", LIFECYCLE.read_text(), re.MULTILINE))
    assert {reason.value for reason in Reason} - rows == set(), "missing in docs/lifecycle.md"
    assert rows - {reason.value for reason in Reason} == set(), "docs/lifecycle.md names reasons that are none"


@pytest.mark.proves(
    "statuses",
    "Only the listed transitions happen, an ended job stays ended, and times are set once",
)
def test_an_ended_job_never_changes() -> None:
    assert TRANSITIONS.keys() == set(JobState)
    for state, following in TRANSITIONS.items():
        assert bool(following) is not state.is_ended
