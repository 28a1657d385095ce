"""docs/decisions/0013: every row is proved by tests and pages that are really there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DECISIONS = ROOT / "docs" / "decisions"
PAGE = DECISIONS / "0013-where-the-sources-are-silent.md"

_TEST = re.compile(r"`([^`:]+\.py)::(\w+)`")
_LINK = re.compile(r"\]\(([^)]+\.md)\)")


def list_rows(text: str) -> list[tuple[str, str]]:
    """What kns does, and its proof; without the heads of the tables."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [(row[0], row[1]) for row in rows if row != ["what kns does", "proof"]]


ROWS = list_rows(PAGE.read_text("utf-8"))
NAMED = sorted({found for _, proof in ROWS for found in _TEST.findall(proof)})


def test_every_row_has_a_proof() -> None:
    assert len(ROWS) > 80
    unproved = [row for row, proof in ROWS if not (_TEST.search(proof) or _LINK.search(proof) or "this page" in proof)]
    assert unproved == []


@pytest.mark.parametrize(("file", "function"), NAMED, ids=["::".join(named) for named in NAMED])
def test_a_test_that_is_named_is_there(file: str, function: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    assert function.startswith("test_")
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_a_page_that_is_named_is_there_and_the_index_has_all() -> None:
    for _, proof in ROWS:
        for name in _LINK.findall(proof):
            assert (DECISIONS / name).is_file(), name
    index = (DECISIONS / "README.md").read_text("utf-8")
    assert set(_LINK.findall(index)) >= {page.name for page in DECISIONS.glob("0*.md")}


def test_a_row_without_a_proof_is_found() -> None:
    assert list_rows("| what kns does | proof |\n|---|---|\n| a | `x.py::test_y`, [z](z.md) |") == [
        ("a", "`x.py::test_y`, [z](z.md)")
    ]
