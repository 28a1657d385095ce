"""
Writes docs/proofs.md from the marks of the tests: `python docs/build_proofs.py` (or `make docs`).

A test names what it proves with `@pytest.mark.proves(section, claim)`, and a whole file with `pytestmark`. If the
section has a page, the claim is a sentence or a cell of that page, word for word.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HEAD = """# What is proven, and by which tests

For developers and auditors. Each claim of the documentation with the tests that prove it. This page is generated from
the marks `proves` of the tests (`make docs`); a test may be renamed without a change anywhere else.
"""
SILENT = "Where the sources are silent"


@dataclass(frozen=True)
class Section:
    """`page`, relative to docs/, is where the claims are; without one they are only on the generated page."""

    title: str
    page: str | None = None


SECTIONS = {
    "main": Section("The main claims", "../README.md"),
    "security": Section("What somebody can try", "security.md"),
    "faults": Section("Faults", "reliability.md"),
    "wire": Section(f"{SILENT}: wire rules"),
    "callers": Section(f"{SILENT}: who calls, and what they see"),
    "submit": Section(f"{SILENT}: submitting"),
    "routes": Section(f"{SILENT}: routes"),
    "statuses": Section(f"{SILENT}: statuses"),
    "shapes": Section(f"{SILENT}: shapes"),
    "appdef": Section(f"{SILENT}: AppDef"),
    "parameters": Section(f"{SILENT}: parameters and what scripts find"),
    "page": Section("The live page"),
    "settings": Section(f"{SILENT}: environment of the Deployment"),
    "objects": Section(f"{SILENT}: objects in Kubernetes"),
    "output": Section(f"{SILENT}: output and records"),
}


@dataclass(frozen=True)
class Proof:
    """`test` is the path of a file, or that and the name of a function: `tests/x/test_y.py::test_z`."""

    section: str
    claim: str
    test: str


def collect_proofs(root: Path = ROOT) -> list[Proof]:
    """
    All marks, in the order of files and lines.

    Raises:
        ValueError: a mark does not have a known section and a claim, both as literal texts.
    """
    proofs = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        name = path.relative_to(root).as_posix()
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                proofs += [Proof(*_read(mark, name), f"{name}::{node.name}") for mark in _list_marks(node)]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                proofs += [Proof(*_read(mark, name), name) for mark in _list_marks(node)]
    return proofs


def _list_marks(node: ast.FunctionDef | ast.Assign) -> Iterator[ast.Call]:
    """The calls of `pytest.mark.proves` among the decorators of a function or in a value of `pytestmark`."""
    roots: Sequence[ast.AST] = node.decorator_list if isinstance(node, ast.FunctionDef) else [node.value]
    for root in roots:
        for inner in ast.walk(root):
            if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "pytest.mark.proves":
                yield inner


def _read(mark: ast.Call, file: str) -> tuple[str, str]:
    texts = [each.value for each in mark.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    if len(texts) != 2 or mark.keywords or texts[0] not in SECTIONS:
        raise ValueError(f"{file}:{mark.lineno}: {ast.unparse(mark)} does not have a section and a claim")
    return texts[0], texts[1]


def read_page(section: Section) -> str | None:
    """The text of the section's page; None if it has none."""
    return (ROOT / "docs" / section.page).read_text("utf-8") if section.page else None


def build_page(proofs: Sequence[Proof]) -> str:
    """The whole page. Claims are in the order of their page, or of their tests."""
    parts = [HEAD]
    for key, section in SECTIONS.items():
        tests: dict[str, list[str]] = {}
        for proof in proofs:
            if proof.section == key:
                tests.setdefault(proof.claim, []).append(f"`{proof.test}`")
        text = read_page(section)
        claims = list(tests) if text is None else sorted(tests, key=text.find)
        source = f"From [{Path(section.page).name}]({section.page}).\n\n" if section.page else ""
        rows = "\n".join(f"| {claim} | {', '.join(tests[claim])} |" for claim in claims)
        parts.append(f"## {section.title}\n\n{source}| claim | tests |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("proofs.md").write_text(build_page(collect_proofs()), encoding="utf-8")
