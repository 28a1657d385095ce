"""docs/proofs.md has what the marks of the tests say, and no other page names a test."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROOFS = ROOT / "docs" / "proofs.md"
PAGES = [
    page
    for page in ROOT.rglob("*.md")
    if page != PROOFS and not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
]
# They describe the files of the end-to-end tests, and the tests of each feature of Posit's documents.
NAMES_TESTS = {ROOT / "docs" / "testing.md", ROOT / "tests" / "launcher" / "README.md"}


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_proofs", ROOT / "docs" / "build_proofs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def proofs(builder: ModuleType) -> list[Any]:
    """The marks of the tests of this tree."""
    return list(builder.collect_proofs())


def test_the_page_is_up_to_date(builder: ModuleType, proofs: list[Any]) -> None:
    """`make docs` would change nothing."""
    assert PROOFS.read_text("utf-8") == builder.build_page(proofs)


def test_every_claim_is_on_its_page_word_for_word(builder: ModuleType, proofs: list[Any]) -> None:
    pages = {key: builder.read_page(section) for key, section in builder.SECTIONS.items()}
    missing = [proof for proof in proofs if proof.claim not in (pages[proof.section] or proof.claim)]
    assert missing == []


@pytest.mark.parametrize(
    ("section", "heading"),
    [
        ("security", "What somebody can try, and what stops it"),
        ("faults", "Faults that neither shows"),
        ("faults", "Faults on the testbed"),
    ],
)
def test_every_row_of_a_table_of_claims_is_proven(
    builder: ModuleType, proofs: list[Any], section: str, heading: str
) -> None:
    """The first cell is the claim, or begins with it. Bold rows are headings."""
    text = builder.read_page(builder.SECTIONS[section])
    table = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    heads = {"fault", "who tries what"}
    claims = tuple(proof.claim for proof in proofs if proof.section == section)
    assert len(rows) > 2
    assert [row for row in rows if not row.startswith(("**", *claims)) and row not in heads] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_other_page_names_a_test(page: Path) -> None:
    """So that a test can be renamed, moved or split alone."""
    text = page.read_text("utf-8")
    named = re.findall(r"\btest_\w+\.py|\btest_\w+\*|::test_\w+|`test_\w+`", text)
    assert page in NAMES_TESTS or named == []


def test_the_page_about_tests_names_files_that_exist() -> None:
    for page in NAMES_TESTS:
        for name in re.findall(r"\btest_\w+\.py", page.read_text("utf-8")):
            assert list((ROOT / "tests").rglob(name)), f"{page.name} names {name}"


@pytest.mark.parametrize(
    "mark",
    ['"no section", "a claim"', '"main"', '"main", claim', '"main", claim="a claim"', '"main", "a claim", "another"'],
)
def test_a_mark_that_is_not_a_section_and_a_claim_is_refused(builder: ModuleType, tmp_path: Path, mark: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(f"@pytest.mark.proves({mark})\ndef test_y():\n    pass\n")
    with pytest.raises(ValueError, match=r"tests/test_x\.py:1: "):
        builder.collect_proofs(tmp_path)


def test_marks_of_tests_and_of_files_are_found(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        'pytestmark = [pytest.mark.e2e, pytest.mark.proves("main", "a file")]\n\n'
        '@pytest.mark.parametrize("x", [1])\n@pytest.mark.proves("wire", "a " "test")\ndef test_y(x): ...\n'
    )
    assert builder.collect_proofs(tmp_path) == [
        builder.Proof("main", "a file", "tests/test_x.py"),
        builder.Proof("wire", "a test", "tests/test_x.py::test_y"),
    ]
