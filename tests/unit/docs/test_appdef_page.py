"""
docs/appdef.md lists every key of an AppDef and of a command, and says truly which are required.
"""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from kns.model.appdef.appdef import AppDef, Command

PAGE = Path(__file__).resolve().parents[3] / "docs" / "appdef.md"


def _read_table(heading: str) -> dict[str, str]:
    """Key -> the column "default" of the table below a heading."""
    section = PAGE.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {key: row[2] for row in rows for key in re.findall(r"`([^`]+)`", row[0])}


@pytest.mark.parametrize(("heading", "model"), [("The top level", AppDef), ("`commands.<name>`", Command)])
def test_every_key_is_there(heading: str, model: type[BaseModel]) -> None:
    told = _read_table(heading)
    required = {field.alias or name: field.is_required() for name, field in model.model_fields.items()}
    assert required.keys() <= told.keys()
    assert {key for key in required if told[key] == "required"} == {key for key, is_so in required.items() if is_so}
