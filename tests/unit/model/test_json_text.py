"""The fast JSON is the same JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.reading.json_text import read_json, write_json

TEXT = st.text(st.characters())  # with halves of surrogate pairs
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read_json(write_json(value)) == value


@given(VALUES)
def test_it_reads_what_others_write(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "raw",
    [b'{"a":"\\ud800"}', b'"\\ud83d\\ude00"', b"[" * 500 + b"]" * 500, b'{"a":1,"a":2}', '"é"'.encode("utf-16")],
    ids=["half of a pair", "a pair", "500 levels", "a key twice", "UTF-16"],
)
def test_it_reads_all_that_json_reads(raw: bytes) -> None:
    """One deep or strange object must not make a list unreadable."""
    assert read_json(raw) == json.loads(raw)


@pytest.mark.parametrize("raw", [b"", b"{", b"<html>", b"{'a': 1}", b'{"a":"\xff"}', b"1 2"], ids=str)
def test_what_is_no_json_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        read_json(raw)


def test_equal_strings_are_one_object() -> None:
    """Of short strings: a list of jobs has the same keys and values thousands of times."""
    first, second = read_json(b'[{"kind":"Pod","name":"web"},{"kind":"Pod","name":"web"}]')
    assert first["name"] is second["name"]
    assert [key is other for key, other in zip(first, second, strict=True)] == [True, True]
