"""docs/proofs.md is what the marks of the tests say, and no other page names a test."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROOFS = ROOT / "docs" / "proofs.md"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_proofs", ROOT / "docs" / "build_proofs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(builder: ModuleType) -> None:
    """`make docs` would change nothing."""
    assert PROOFS.read_text("utf-8") == builder.build_page(builder.collect_proofs())


def test_every_claim_is_on_its_page_word_for_word(builder: ModuleType) -> None:
    pages = {key: builder.read_page(section) for key, section in builder.SECTIONS.items()}
    missing = [proof for proof in builder.collect_proofs() if proof.claim not in (pages[proof.section] or proof.claim)]
    assert missing == []


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
