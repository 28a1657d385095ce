"""The declared set: what is listed, less what is excluded, in portions; and mistakes in the choice."""

from pathlib import Path

import pytest

from conformance.choice import Choice, Known, Portion, declare, read_choice
from conformance.errors import ConformanceError

LISTED = ["[sig-b] two [Conformance]", "[sig-a] one [Serial] [Conformance]", "[sig-a] three [Conformance]"]


def _choose(
    *,
    order: tuple[str, ...] = ("sig-a", "sig-b", "serial"),
    excluded: tuple[str, ...] = (),
    failing: tuple[str, ...] = (),
) -> Choice:
    return Choice(order, (Known("not offered", excluded),), (Known("a reason", failing),))


def test_portions_are_groups_and_serial_tests_come_last() -> None:
    assert declare(LISTED, _choose()) == [
        Portion("sig-a", (LISTED[2],)),
        Portion("sig-b", (LISTED[0],)),
        Portion("serial", (LISTED[1],)),
    ]


def test_excluded_tests_and_empty_portions_are_left_out() -> None:
    assert [portion.name for portion in declare(LISTED, _choose(excluded=(LISTED[0],)))] == ["sig-a", "serial"]


def test_a_test_that_is_known_to_fail_runs() -> None:
    assert LISTED[0] in declare(LISTED, _choose(failing=(LISTED[0],)))[1].tests


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (_choose(excluded=("[sig-a] gone [Conformance]",)), "does not have.*gone"),
        (_choose(failing=("[sig-a] gone [Conformance]",)), "does not have.*gone"),
        (_choose(excluded=(LISTED[0],), failing=(LISTED[0],)), "twice.*two"),
        (_choose(order=("sig-a", "serial")), "lacks.*sig-b"),
    ],
)
def test_a_mistake_in_the_choice_is_an_error(choice: Choice, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        declare(LISTED, choice)


def test_every_exception_of_the_project_has_a_reason_and_full_names() -> None:
    choice = read_choice()
    known = (*choice.excluded, *choice.failing)
    assert all(each.reason and each.tests for each in known)
    assert all(test.startswith("[sig-") and test.endswith(" [Conformance]") for each in known for test in each.tests)


def test_a_file_without_a_key_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "choice.yaml"
    file.write_text("order: []\nexcluded: []\n")
    with pytest.raises(ConformanceError, match="failing"):
        read_choice(file)
