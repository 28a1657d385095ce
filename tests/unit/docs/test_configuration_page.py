"""docs/configuration.md is what the table of settings says."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_up_to_date() -> None:
    """`make docs` would change nothing."""
    spec = importlib.util.spec_from_file_location("build_configuration", DOCS / "build_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "configuration.md").read_text("utf-8") == module.build_page()
