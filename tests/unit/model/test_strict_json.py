"""Files are read as by Python's parser, except that equal keys and invalid numbers are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.reading.problem import Problem
from kns.model.reading.strict_json import NotJsonError, decode_json, decode_text

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_good_json_is_read_whole_and_without_problems(value: Any, indent: Any, ascii_only: bool) -> None:
    decoded = decode_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert (decoded.data, decoded.problems) == (value, ())


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    problem: Problem | None = None
    try:
        decode_json(text)
    except NotJsonError as error:
        problem = error.problem
    assert problem is None or problem.position is not None


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('{"a": 1, "a": 2}', ["a: appears twice"]),
        ('{"a": 1, "a": 2, "a": 3}', ["a: appears twice"]),
        ('[{"b": {"c": 1, "c": 1}}, {"c": 1}]', ["[0].b.c: appears twice"]),
        ('{"a": {"x": 1, "x": 1}, "a": 2}', ["a: appears twice"]),
        ('{"\\u0061": 1, "a": 2}', ["a: appears twice"]),
        ("[NaN, -Infinity, 1e999]", [f"[{i}]: is not a JSON number, or is too large" for i in range(3)]),
        (f'{{"n": {"9" * 5000}}}', ["n: is not a JSON number, or is too large"]),
        (f'{{"n": -{"9" * 4300}}}', ["n: is a larger number than 64 bits hold"]),
        ('{"n": 9223372036854775807, "m": -9223372036854775808}', []),
        ('{"n": 9223372036854775808}', ["n: is a larger number than 64 bits hold"]),
        ('{"a": ["\\ud83d"]}', ["a[0]: has half of a surrogate pair, which is no text"]),
        ('{"a": {"\\ud83d": {"b": NaN}}}', ["a: has a key with half of a surrogate pair, which is no text"]),
        ('{"a": ' + "[" * 63 + "]" * 63 + "}", []),
        ('{"a": ' + "[" * 65 + "]" * 65 + "}", ["a: is nested deeper than 64"]),
    ],
)
def test_problems_that_pythons_parser_ignores(text: str, problems: list[str]) -> None:
    assert [str(problem) for problem in decode_json(text).problems] == problems


@pytest.mark.parametrize(
    ("text", "problem", "position"),
    [
        ("", "is not JSON: Expecting value", (1, 1)),
        ('{\n\t"a": tru\n}', "is not JSON: Expecting value", (2, 7)),
        ('{"a": 1} x', "is not JSON: Extra data", (1, 10)),
        ("\ufeff{}", "is not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig)", (1, 1)),
        ("[" * 100_000, "is nested too deeply", None),
    ],
)
def test_what_is_no_json_is_reported_with_its_position(
    text: str, problem: str, position: tuple[int, int] | None
) -> None:
    with pytest.raises(NotJsonError) as refused:
        decode_json(text)
    assert (refused.value.problem.message, refused.value.problem.position) == (problem, position)


@given(VALUES, st.sampled_from(["utf-8", "utf-8-sig"]), st.sampled_from(["\n", "\r\n"]))
def test_a_file_of_any_editor_is_read_alike(value: Any, encoding: str, newline: str) -> None:
    """With and without a byte order mark, with either line ending."""
    text = json.dumps(value, indent=2, ensure_ascii=False).replace("\n", newline)
    assert decode_json(decode_text(text.encode(encoding, "surrogatepass"))).data == value


NOT_UTF_8 = {
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "is UTF-16 or UTF-32; save it as UTF-8", (1, 1)),
    "UTF-16 without its mark": ('{"a": 1}'.encode("utf-16-le"), "is UTF-16 or UTF-32; save it as UTF-8", (1, 1)),
    "UTF-16, big end first": ('{"a": 1}'.encode("utf-16-be"), "is UTF-16 or UTF-32; save it as UTF-8", (1, 1)),
    "UTF-32": ("{}".encode("utf-32"), "is UTF-16 or UTF-32; save it as UTF-8", (1, 1)),
    "Latin-1": ('{"é": 1,\n "ä": 2}'.encode("latin-1"), "is not valid UTF-8 at byte 3; save it as UTF-8", (1, 3)),
    "one byte of Latin-1": (
        '{"é": 1,\n "'.encode() + b'\xe4": 2}',
        "is not valid UTF-8 at byte 13; save it as UTF-8",
        (2, 3),
    ),
    "Latin-1 after a byte order mark": (b"\xef\xbb\xbf\xe4", "is not valid UTF-8 at byte 1; save it as UTF-8", (1, 1)),
    "half of a character at the end": (b'"\xc3', "is not valid UTF-8 at byte 2; save it as UTF-8", (1, 2)),
}


@pytest.mark.parametrize("name", NOT_UTF_8)
def test_another_encoding_is_refused_with_its_position(name: str) -> None:
    data, message, position = NOT_UTF_8[name]
    with pytest.raises(NotJsonError) as refused:
        decode_text(data)
    assert (refused.value.problem.message, refused.value.problem.position) == (message, position)


@given(st.binary())
def test_any_bytes_are_text_or_refused_with_a_position(data: bytes) -> None:
    problem: Problem | None = None
    text = ""
    try:
        text = decode_text(data)
    except NotJsonError as error:
        problem = error.problem
    if problem is None:
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")
    else:
        assert problem.position is not None
