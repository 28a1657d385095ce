"""
YAML as Helm writes and reads it: objects become JSON values.

A text is always written in one line, so that it stays in its place whatever the indentation of the template is.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from kns.launcher.templates.limits import MAX_NODES

# What YAML 1.1 or 1.2 may read as something other than text. Readers differ, so all of it is quoted.
_NOT_TEXT = re.compile(
    r"""(?ix) ~ | null | y | n | yes | no | true | false | on | off | = | << | [-+.0-9].* | 0[box].* | nan | inf """
)
_PRINTED_NOTHING = "<no value>"  # the engine prints it for nil, and it is taken out of the output


def plain_text(text: str) -> str:
    """The text of a subclass of `str`, whatever it prints."""
    return str.__str__(text)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def represent_text(self, text: str) -> yaml.Node:
        style = '"' if _NOT_TEXT.fullmatch(text) or not text or not text.isprintable() or "<" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", plain_text(text), style=style)

    def represent_number(self, number: float) -> yaml.Node:
        """A whole number has no point: Kubernetes' quantities of GPUs are whole."""
        if math.isfinite(number) and number.is_integer() and abs(number) < 2**63:
            return self.represent_int(int(number))
        return self.represent_float(number)

    def represent_mapping_in_order(self, mapping: Mapping[Any, Any]) -> yaml.Node:
        return self.represent_mapping("tag:yaml.org,2002:map", sorted(mapping.items(), key=lambda pair: str(pair[0])))


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_multi_representer(str, _Dumper.represent_text)
_Dumper.add_representer(float, _Dumper.represent_number)
_Dumper.add_representer(dict, _Dumper.represent_mapping_in_order)
_Dumper.add_multi_representer(dict, _Dumper.represent_mapping_in_order)


def write_yaml(value: Any) -> str:
    """
    The YAML of a value, without a line break at its end.

    >>> write_yaml({"b": ["x", 1.0], "a": "yes"})
    'a: "yes"\\nb:\\n- x\\n- 1'
    >>> write_yaml("a\\nb"), write_yaml(None), write_yaml([])
    ('"a\\\\nb"', 'null', '[]')
    """
    text: str = yaml.dump(value, Dumper=_Dumper, width=math.inf, allow_unicode=True, default_flow_style=False)
    # `...` ends a document that is one plain scalar.
    return text.removesuffix("\n").removesuffix("\n...").replace(_PRINTED_NOTHING, "\\x3cno value>")


def write_json(value: Any, *, indent: int | None = None, escape_html: bool = True) -> str:
    """
    JSON that YAML reads as the same value: YAML knows more characters that end a line, and refuses some others.

    >>> write_json({"b": "\u0085<", "a": [1.0, None]})
    '{"a":[1,null],"b":"\\\\u0085\\\\u003c"}'
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(_whole(value), indent=indent, separators=separators, sort_keys=True, ensure_ascii=False)
    escaped = _HTML if escape_html else ""
    return "".join(
        f"\\u{ord(character):04x}" if character in escaped or _ends_or_breaks(character) else character
        for character in text
    ).replace(_PRINTED_NOTHING, "\\u003cno value>")


_HTML = "<>&"  # Go escapes them, so that JSON can stand in a page


def _ends_or_breaks(character: str) -> bool:
    """Whether YAML may read this character of JSON otherwise. JSON's own line breaks are indentation."""
    return not character.isprintable() and character != "\n" and ord(character) < 0x10000


def _whole(value: Any) -> Any:
    """Whole numbers without a point, as in YAML."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, Mapping):
        return {plain_text(key) if isinstance(key, str) else key: _whole(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(item) for item in value]
    return value


class _Loader(yaml.SafeLoader):
    """Plain scalars as go-yaml reads them: no dates, no numbers of base 60."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth = getattr(self, "depth", 0) + 1
        if self.depth > _MAX_DEPTH:
            raise YamlError("is nested too deeply", 0)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


_OTHERWISE = (":timestamp", ":int", ":float", ":value")  # what go-yaml does not read, or reads by other patterns
_MAX_DEPTH = 60  # levels; a Kubernetes Job has about 15, and Python's stack is finite
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(_OTHERWISE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0[0-7]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


class YamlError(Exception):
    """The text is not YAML, or not one object. `line` counts from 1, 0 if unknown."""

    def __init__(self, said: str, line: int) -> None:
        self.said = said
        self.line = line
        super().__init__(said)


def read_yaml(text: str) -> Any:
    """
    One document as JSON values. Keys become texts.

    Raises:
        YamlError: the text is not YAML, holds several documents, or is too large with its aliases.
    """
    loader = _Loader(text)
    try:
        value = loader.get_single_data()
        return _to_json(value, _Counter())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(" ".join(filter(None, (error.problem, error.context))), mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise YamlError(str(error), 0) from error
    except RecursionError as error:
        raise YamlError("is nested too deeply", 0) from error
    finally:
        loader.dispose()


class _Counter:
    def __init__(self) -> None:
        self.nodes = 0

    def count(self) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise YamlError(f"has more than {MAX_NODES} values", 0)


def _to_json(value: Any, counter: _Counter) -> Any:
    counter.count()
    if isinstance(value, dict):
        return {_to_key(key): _to_json(item, counter) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item, counter) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlError(f"{value} is not a number of JSON", 0)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise YamlError(f"a {type(value).__name__} is no JSON value", 0)


def _to_key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None:
        return "null"
    return str(key)
