"""A key path is found in any JSON text, whatever its layout."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.cli.positions import Positions
from kns.model.reading.problem import Location

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def _list_locations(value: Any, location: Location = ()) -> Iterator[tuple[Location, Any]]:
    yield location, value
    if isinstance(value, dict | list):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _list_locations(item, (*location, part))


def _offset(text: str, position: tuple[int, int]) -> int:
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: position[0] - 1]) + position[1] - 1


@given(VALUES, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_each_value_starts_where_it_is_said_to(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).replace("\x7f", "x")
    positions = Positions(text)
    for location, item in _list_locations(json.loads(text)):
        assert json.JSONDecoder().raw_decode(text, _offset(text, positions.of(location)))[0] == item


TEXT = '{\n\t"a": [1e+5, {"ü\\n": "x", "b": 22}],\r\n\t"old": {"c": 33}, "a2": 1, "a2" : 44\n}'


@pytest.mark.parametrize(
    ("location", "value", "key"),
    [
        ((), "{\n", "{\n"),
        (("a",), "[1e+5", '"a"'),
        (("a", 0), "1e+5", "1e+5"),
        (("a", 1, "b"), "22", '"b"'),
        (("a", 1, "ü\n"), '"x"', '"ü'),
        (("a", 1, "missing"), '{"ü', '{"ü'),
        (("a", 7), "[1e+5", '"a"'),
        (("a", "b"), "[1e+5", '"a"'),
        (("missing", "below", 3), "{\n", "{\n"),
        (("new", "c"), "33", '"c"'),
        (("a2",), "44", '"a2" '),
    ],
)
def test_values_keys_and_what_is_not_there(location: Location, value: str, key: str) -> None:
    positions = Positions(TEXT, spellings={"new": "old"})
    assert _offset(TEXT, positions.of(location)) == TEXT.index(value)
    assert _offset(TEXT, positions.of(location, key=True)) == TEXT.index(key)


@pytest.mark.parametrize("text", ["", "{", '{"a": ', "[1,,2]", "\0", "x"])
def test_a_text_that_is_no_json_has_a_beginning(text: str) -> None:
    assert Positions(text).of(("a", 0))[0] == 1
