"""Results: what counts in a report of ginkgo, and the file in which several runs keep theirs."""

from pathlib import Path

import pytest

from conformance.errors import ConformanceError
from conformance.results import MESSAGE_CHARACTERS, Outcome, Result, Store, read_report


def _case(name: str, status: str, body: str = "") -> str:
    return f'<testcase name="{name}" classname="s" status="{status}" time="1.25">{body}</testcase>'


def _read(*cases: str) -> dict[str, Result]:
    text = f'<testsuites><testsuite name="s">{"".join(cases)}</testsuite></testsuites>'
    return read_report(text, commit="abc", day="2026-11-28")


@pytest.mark.parametrize(
    ("status", "body", "outcome", "message"),
    [
        ("passed", "", Outcome.PASSED, ""),
        (
            "failed",
            '<failure message="" type="failed">[FAILED] timed\nout</failure>',
            Outcome.FAILED,
            "[FAILED] timed out",
        ),
        ("panicked", '<error message="" type="panicked">nil map</error>', Outcome.FAILED, "nil map"),
        (
            "timedout",
            '<failure type="timedout">A spec timeout occurred</failure>',
            Outcome.FAILED,
            "A spec timeout occurred",
        ),
        ("skipped", '<skipped message="skipped - needs 2 nodes"/>', Outcome.SKIPPED, "skipped - needs 2 nodes"),
    ],
)
def test_a_test_that_ended_has_a_result(status: str, body: str, outcome: Outcome, message: str) -> None:
    assert _read(_case("[It] [sig-a] one", status, body)) == {
        "[sig-a] one": Result(outcome, 1.2, message, "abc", "2026-11-28")
    }


@pytest.mark.parametrize(
    "case",
    [
        _case("[It] left out by --focus", "skipped", '<skipped message="skipped"/>'),
        _case("[It] pending", "pending", '<skipped message="pending"/>'),
        _case("[It] interrupted", "interrupted", '<error type="interrupted">Interrupted by User</error>'),
        _case(
            "[It] ended by the time limit", "timedout", '<failure type="timedout">A suite timeout occurred</failure>'
        ),
        _case("[SynchronizedBeforeSuite]", "passed"),
    ],
)
def test_a_test_that_did_not_end_has_none(case: str) -> None:
    assert _read(case) == {}


def test_a_long_message_is_cut() -> None:
    (result,) = _read(_case("[It] a", "failed", f"<failure>{'x' * 5000}</failure>")).values()
    assert len(result.message) == MESSAGE_CHARACTERS + len(" ...")


def test_a_report_that_is_not_whole_is_an_error() -> None:
    with pytest.raises(ConformanceError, match="log"):
        read_report("<testsuites>", commit="", day="")


def _result(outcome: Outcome) -> Result:
    return Result(outcome, 1.0, "", "abc", "2026-11-28")


def test_the_last_result_of_a_test_counts_and_others_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "below" / "results.json")
    assert store.read() == {}
    store.add({"a": _result(Outcome.FAILED), "b": _result(Outcome.PASSED)})
    store.add({"a": _result(Outcome.PASSED)})
    assert store.read() == {"a": _result(Outcome.PASSED), "b": _result(Outcome.PASSED)}
    store.clear(["a", "unknown"])
    assert store.read() == {"b": _result(Outcome.PASSED)}


@pytest.mark.parametrize("text", ["{", '{"a": {"outcome": "odd"}}', '{"a": {"outcome": "passed"}}', "[]"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(ConformanceError, match="remove it"):
        Store(file).read()
