"""For any file content, a command ends with 0 or 1 and prints each problem on its own line."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kns.cli.app import app
from tests.builders import an_appdef, catalog_files

pytestmark = pytest.mark.proves("security", "any key, JSON or bytes")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def _damaged(draw: st.DrawFn, whole: Any) -> Any:
    """A document with one value replaced at a drawn place."""
    if not isinstance(whole, dict | list) or not whole or draw(st.integers(0, 4)) == 0:
        return draw(JSON)
    if isinstance(whole, list):
        index = draw(st.integers(0, len(whole) - 1))
        return [*whole[:index], draw(_damaged(whole[index])), *whole[index + 1 :]]
    key = draw(st.sampled_from(sorted(whole)))
    return {**whole, key: draw(_damaged(whole[key])), **draw(st.dictionaries(st.text(max_size=3), JSON, max_size=1))}


def _run(folder: str, files: dict[str, bytes], *command: str) -> None:
    for name, content in files.items():
        (Path(folder) / name).parent.mkdir(exist_ok=True)
        (Path(folder) / name).write_bytes(content)
    result = CliRunner().invoke(app, command)
    assert result.exit_code in (0, 1), result.exception
    assert isinstance(result.exception, SystemExit | None)
    lines = result.stderr.split("\n")[:-1]
    assert [line for line in lines if not re.match(rf"{re.escape(folder)}[^ ]*: ", line)] == []
    assert len(lines) == len(set(lines))
    assert bool(lines) or result.exit_code == 0


@given(_damaged(an_appdef()))
def test_any_appdef(data: Any) -> None:
    with TemporaryDirectory() as folder:
        _run(folder, {"app.json": json.dumps(data).encode()}, "validate", f"{folder}/app.json")


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:0123eE+-.ntf \n\\u', max_size=30).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        _run(folder, {"app.json": data}, "validate", f"{folder}/app.json")


@given(_damaged(catalog_files()))
def test_any_catalogue(files: Any) -> None:
    known = (
        {name: content for name, content in files.items() if name in catalog_files()} if isinstance(files, dict) else {}
    )
    with TemporaryDirectory() as folder:
        written = {name: json.dumps(content).encode() for name, content in known.items()}
        _run(folder, written, "catalog", "check", folder)
