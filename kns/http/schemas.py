"""
JSON Schema (2020-12, the dialect of OpenAPI 3.1) in short form.

The schemas are as strict as generated clients: an integer is not a string, and an absent value is `null`. Objects are
open, because keys may be added; each says so, because some generators take silence for closed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
FLAG_OR_NULL: Schema = {"type": ["boolean", "null"]}
NAMES: Schema = {"type": "array", "items": STRING}


def a_record(properties: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None, **more: Any) -> Schema:
    """An object that has all `properties` and may have the `optional` ones; open unless `more` says otherwise."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
        "additionalProperties": True,
        **more,
    }


def or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def a_map(entry: Schema, **keys: Any) -> Schema:
    """An object of entries; `keys` is the schema of its keys, for instance a pattern."""
    return {"type": "object", "additionalProperties": entry, **({"propertyNames": keys} if keys else {})}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def a_word(word: str) -> Schema:
    """`{"status": word}`, the whole answer of a call that has no other result."""
    return a_record({"status": {"type": "string", "const": word}}, additionalProperties=False)


def an_error(texts: Iterable[str], patterns: Iterable[str]) -> Schema:
    """An error body whose text is one of `texts`, or matches one of `patterns`."""
    fixed = sorted(set(texts))
    choices: list[Schema] = [{"type": "string", "enum": fixed}] if fixed else []
    choices += [{"type": "string", "pattern": pattern} for pattern in sorted(set(patterns))]
    text = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return a_record({"error": text}, additionalProperties=False)
