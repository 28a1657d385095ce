"""
Find the line and column of a key path in the text of a JSON document.

Python's json module reports positions for syntax errors only. tree-sitter's JSON grammar reports all of them for any
text. YAML parsers fail on tabs, long keys and surrogates, and the JSON source maps on PyPI on escaped keys and deep
nesting.
"""

import json
from collections.abc import Mapping

import tree_sitter_json
from tree_sitter import Language, Node, Parser

from kns.model.reading.problem import Location

_JSON = Language(tree_sitter_json.language())


class Positions:
    """
    The positions in one text, which may have syntax errors. `spellings` has an alternative spelling for some keys.

    >>> Positions('{"a": [1,\\n  {"é": 2}]}').of(("a", 1, "é"))
    (2, 9)
    """

    def __init__(self, text: str, *, spellings: Mapping[str, str] | None = None) -> None:
        self._text = text.encode()
        self._spellings = spellings or {}
        self._root = Parser(_JSON).parse(self._text).root_node

    def of(self, location: Location, *, key: bool = False) -> tuple[int, int]:
        """
        Line and column, both from 1, of a value or (`key`) of its key. If the location does not exist, those of the
        innermost value around it.
        """
        node = next(iter(_list_values(self._root)), self._root)
        place = node
        for part in location:
            pair = self._find(node, part)
            if pair is None:
                break
            name, node = pair
            place = name if key and name is not None else node
        return self._line_and_column(place)

    def _find(self, node: Node, part: int | str) -> tuple[Node | None, Node] | None:
        """Key and value at `part` of a node. If a key appears twice, the last one wins, as in JSON parsers."""
        if isinstance(part, int):
            values = _list_values(node) if node.type == "array" else []
            return (None, values[part]) if part < len(values) else None
        names = (part, self._spellings.get(part))
        for pair in reversed(node.named_children if node.type == "object" else []):
            name, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
            if pair.type == "pair" and name is not None and value is not None and self._read(name) in names:
                return name, value
        return None

    def _read(self, key: Node) -> str:
        return str(json.loads(self._text[key.start_byte : key.end_byte]))

    def _line_and_column(self, node: Node) -> tuple[int, int]:
        """The position in characters, as editors show it; tree-sitter counts bytes."""
        before = self._text[: node.start_byte]
        return before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1


def _list_values(node: Node) -> list[Node]:
    """The values in a node, without parts that the grammar does not know: the `+5` in `1e+5`, which is valid JSON."""
    return [child for child in node.named_children if not child.is_error]
