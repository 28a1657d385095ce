"""
What the Dockerfiles copy from the build context is in the tree and passes .dockerignore.

The testbed hands the tools to the build in an image, so it never builds the stages that copy the Go module.
"""

import re
from pathlib import Path

import pytest

from testbed.dockerfile import ignore_patterns, is_ignored

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = ignore_patterns(ROOT)
COPIED = [
    (dockerfile, source)
    for dockerfile in ("Dockerfile", "init-image/Dockerfile", "gotty-image/Dockerfile")
    for line in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / dockerfile).read_text("utf-8"), re.MULTILINE)
    for source in line.split()[:-1]
]


@pytest.mark.parametrize(("dockerfile", "source"), COPIED)
def test_what_is_copied_is_there(dockerfile: str, source: str) -> None:
    path = ROOT / source
    assert path.exists(), f"{dockerfile} copies {source}"
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert any(not is_ignored(file.relative_to(ROOT).as_posix(), PATTERNS) for file in files)


def test_the_go_module_is_copied_by_all_three() -> None:
    assert {dockerfile for dockerfile, source in COPIED if source == "testbed/go/go.mod"} == {
        "Dockerfile",
        "init-image/Dockerfile",
        "gotty-image/Dockerfile",
    }


def _find_build(dockerfile: str, program: str) -> str:
    """The command that builds a program, with the comment before it."""
    (found,) = re.findall(
        rf"^(?:#.*\n)?RUN (?:.*\\\n)*.*-o {program} \S+\n", (ROOT / dockerfile).read_text("utf-8"), re.MULTILINE
    )
    return str(found)


@pytest.mark.parametrize("program", ["/kubectl", "/helm"])
def test_init_pods_and_web_shells_have_programs_of_the_same_build(program: str) -> None:
    """A Dockerfile cannot include another."""
    assert _find_build("init-image/Dockerfile", program) == _find_build("gotty-image/Dockerfile", program)
