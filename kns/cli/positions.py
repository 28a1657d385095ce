"""
Where in the text of a JSON document a key path lies, for people who look for a fault in an editor.

Python's json module tells positions for syntax errors only. tree-sitter's JSON grammar knows all of them, whatever
the text is like; YAML readers stumble over tabs, long keys and surrogates, and PyPI's JSON source maps over escaped
keys and deep nesting.
"""

import json
from collections.abc import Mapping

import tree_sitter_json
from tree_sitter import Language, Node, Parser

from kns.model.reading.problem import Location

_JSON = Language(tree_sitter_json.language())


class Positions:
    """
    Of one text, which may have syntax errors. `spellings` are other names that a key may have in it.

    >>> Positions('{"a": [1,\\n  {"é": 2}]}').of(("a", 1, "é"))
    (2, 9)
    """

    def __init__(self, text: str, *, spellings: Mapping[str, str] | None = None) -> None:
        self._text = text.encode()
        self._spellings = spellings or {}
        self._root = Parser(_JSON).parse(self._text).root_node

    def of(self, location: Location, *, key: bool = False) -> tuple[int, int]:
        """
        Line and column, both from 1, of a value or (`key`) of its key; of what is not there, the innermost value
        around it.
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
        """Key and value of one step downwards; of equal keys the last, which is the one that readers take."""
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
        """tree-sitter counts in bytes, editors in characters."""
        before = self._text[: node.start_byte]
        return before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1


def _list_values(node: Node) -> list[Node]:
    """Without what the grammar does not understand: the `+5` of `1e+5`, which is good JSON all the same."""
    return [child for child in node.named_children if not child.is_error]
