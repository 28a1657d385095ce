"""The manifests and every page that names an image of kns name the version of this tree."""

import re
from pathlib import Path

import pytest
from packaging.version import Version

from kns import __version__

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "manifests").glob("*.yaml"))]

_IMAGE = re.compile(r"kns-(?:scheduler|init|gotty):([0-9][\w.-]*)")


def list_tags(text: str) -> set[str]:
    """The tags that a text gives to images of kns."""
    return set(_IMAGE.findall(text))


TAGGED = [path for path in FILES if list_tags(path.read_text("utf-8"))]


@pytest.mark.parametrize("path", TAGGED, ids=lambda path: str(path.relative_to(ROOT)))
def test_images_have_the_version_of_this_tree(path: Path) -> None:
    assert list_tags(path.read_text("utf-8")) == {__version__}


def test_another_tag_is_found() -> None:
    assert list_tags("`localhost/kns-init:0.1.0` and kns-gotty:0.2.0.dev0, kns-example-hello:1") == {
        "0.1.0",
        "0.2.0.dev0",
    }


def test_readme_and_manifests_name_the_images() -> None:
    assert {ROOT / "README.md", ROOT / "manifests" / "deployment.yaml"} <= set(TAGGED)


def test_the_changelog_has_a_section_for_this_version() -> None:
    """A development version is described under Unreleased, a release under its own number."""
    headings = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert (__version__ in headings) is not Version(__version__).is_devrelease
