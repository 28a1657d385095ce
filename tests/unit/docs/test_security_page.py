"""Every line of the escape table names a test, and every test that it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
_TABLE = PAGE.partition("## What somebody can try")[2].partition("## What is left")[0]
ROWS = [line.strip("| ").split(" | ") for line in _TABLE.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not name or name in tests
    assert any(test.startswith("test_") for test in tests)


@pytest.mark.parametrize("row", [row for row in ROWS if not row[0].startswith("**")], ids=lambda row: row[0][:60])
def test_every_line_has_what_stops_it_and_its_test(row: list[str]) -> None:
    _, stops, test = row
    assert stops
    assert re.search(r"`tests/[\w/]+\.py", test)
