"""The page: how results are counted and shown, and when the goals are reached."""

from pathlib import Path

import pytest

from conformance.choice import Choice, Known, Portion
from conformance.errors import ConformanceError
from conformance.page import BEGIN, END, PAGE, Summary, find_missed_goals, render, summarize, write
from conformance.results import Outcome, Result

GOOD, KNOWN, BAD, LATE, OUT = "[sig-a] good", "[sig-a] known", "[sig-b] bad", "[sig-b] late", "[sig-b] out"
CHOICE = Choice(("sig-a", "sig-b"), (Known("Not offered.", (OUT,)),), (Known("By design.", (KNOWN,)),))
PORTIONS = [Portion("sig-a", (GOOD, KNOWN)), Portion("sig-b", (BAD, LATE))]


def _result(outcome: Outcome, message: str = "") -> Result:
    return Result(outcome, 1.0, message, "abc1234", "2026-11-28")


RESULTS = {
    GOOD: _result(Outcome.PASSED),
    KNOWN: _result(Outcome.FAILED, "as ever"),
    BAD: _result(Outcome.FAILED, "got `x`|y"),
}


def _summarize(results: dict[str, Result]) -> Summary:
    return summarize([GOOD, KNOWN, BAD, LATE, OUT], PORTIONS, CHOICE, results, "v1.36.3")


def test_each_declared_test_counts_once() -> None:
    total = _summarize(RESULTS).total
    assert (total.declared, total.passed, total.known, total.unknown, total.not_run) == (4, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({BAD: _result(Outcome.PASSED), LATE: _result(Outcome.PASSED)}, True),
        ({BAD: _result(Outcome.PASSED)}, False),  # one did not run
        ({LATE: _result(Outcome.PASSED)}, False),  # one failed without a known reason
        ({BAD: _result(Outcome.SKIPPED), LATE: _result(Outcome.PASSED)}, False),  # nobody declared that it is skipped
        ({BAD: _result(Outcome.PASSED), LATE: _result(Outcome.PASSED), KNOWN: _result(Outcome.PASSED)}, False),
    ],
)
def test_a_run_is_as_declared_if_exactly_the_known_tests_fail(changes: dict[str, Result], expected: bool) -> None:
    assert _summarize({**RESULTS, **changes}).is_as_declared is expected


def test_the_page_says_what_failed_and_why() -> None:
    text = render(_summarize(RESULTS), CHOICE, RESULTS)
    assert "4 are declared, 1 of them pass (25.0 %)" in text
    assert "1 have no result yet; of the 3 others 33.3 % pass, 1 fail for a known reason and 1 for another" in text
    assert "2026-11-28 (commit abc1234)" in text
    assert "| sig-b | 2 | 0 | 0 | 1 | 1 |" in text
    assert f"By design.\n\n* `{KNOWN}`" in text
    assert f"* `{BAD}`: `got 'x'|y`" in text
    assert f"Not offered.\n\n* `{OUT}`" in text


def test_a_known_failure_that_passes_is_shown() -> None:
    results = {**RESULTS, KNOWN: _result(Outcome.PASSED)}
    text = render(_summarize(results), CHOICE, results)
    assert f"Known to fail, but passed:\n\n* `{KNOWN}`" in text
    assert "By design." not in text


def test_the_goals_are_whole_groups_a_size_and_a_share() -> None:
    tests = tuple(f"[sig-{group}] {number}" for group in ("api-machinery", "auth", "c") for number in range(130))
    portions, choice = [Portion("all", tests)], Choice((), (), ())
    good = {test: _result(Outcome.PASSED) for test in tests}

    def missed(results: dict[str, Result]) -> list[str]:
        return find_missed_goals(summarize(tests, portions, choice, results, "v"))

    assert missed(good) == []
    assert missed({test: result for test, result in good.items() if not test.startswith("[sig-c] 1")}) == [
        "97% of the declared tests: 89.5 % pass"
    ]
    assert missed({test: result for test, result in good.items() if test != "[sig-auth] 7"}) == [
        "all of sig-auth: 129 of 130 pass"
    ]
    assert any("at least 370" in goal for goal in find_missed_goals(_summarize(RESULTS)))


def test_only_the_generated_part_of_the_page_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"head\n{BEGIN}\nold\n{END}\ntail\n")
    write("new", page)
    write("newer", page)
    assert page.read_text() == f"head\n{BEGIN}\n\nnewer\n\n{END}\ntail\n"


def test_a_page_without_marks_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("head\n")
    with pytest.raises(ConformanceError, match="needs the lines"):
        write("new", page)


def test_the_page_of_the_project_has_its_marks() -> None:
    text = PAGE.read_text("utf-8")
    assert text.index(BEGIN) < text.index(END)
