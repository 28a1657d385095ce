"""Every page of docs/decisions has a status and a date, and the index repeats title, status and date."""

import re
from datetime import date
from pathlib import Path

import pytest

DECISIONS = Path(__file__).parents[3] / "docs" / "decisions"
PAGES = sorted(DECISIONS.glob("0*.md"))

_STATUS = re.compile(
    r"\*\*Status:\*\* (accepted|superseded by \[decision \d+\]\(\S+\.md\)), (\S+?)(?:; amended (\S+) \(.+\))?"
)


def index_row(page: Path) -> str:
    """
    The row that the index must have for a page.

    Raises:
        ValueError: the page has no title, status or date.
    """
    title, blank, status, *_ = page.read_text("utf-8").splitlines()
    match = _STATUS.fullmatch(status)
    if not title.startswith("# ") or blank or match is None:
        raise ValueError(f"{page.name}: expected `# title`, an empty line and `**Status:** ...`, got {status!r}")
    state, decided, amended = match.groups()
    day = date.fromisoformat(amended or decided)
    return f"| {int(page.name[:4])} | [{title[2:]}]({page.name}) | {'amended' if amended else state} | {day} |"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_index_has_title_status_and_date(page: Path) -> None:
    assert index_row(page) in (DECISIONS / "README.md").read_text("utf-8").splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_context_decision_and_consequences_in_this_order(page: Path) -> None:
    headings = [line[3:] for line in page.read_text("utf-8").splitlines() if line.startswith("## ")]
    ordered = [heading for heading in headings if heading in ("Context", "Decision", "Consequences")]
    assert ordered == ["Context", "Decision", "Consequences"]


def test_numbers_have_no_gap() -> None:
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_a_page_without_status_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "0001-x.md"
    page.write_text("# A title\n\nNo status.\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected"):
        index_row(page)
