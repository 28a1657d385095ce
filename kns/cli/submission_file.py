"""
The file of a submission, as JSON or YAML.

YAML 1.1 reads `no` as false, `0123` as 83, `12:00:00` as 43200 and a date as an object that JSON does not have. Here
only the plain scalars of JSON have a type, and every other one is a text. A repeated key is refused, as in JSON. Each
alias becomes a copy, because JSON has none. A few lines could become gigabytes, so the whole has a bound.
"""

import json
import re
from itertools import chain
from typing import Any, NoReturn

import yaml

from kns.cli.exits import CommandError, Exit
from kns.cli.input_files import MOST_BYTES, read_input, read_standard_input
from kns.model.reading.strict_json import REPEATED, NotJsonError, decode_json, decode_text

_PLAIN = "kns.io/plain"  # the tag of a scalar without quotes that JSON has too
_MERGE = "tag:yaml.org,2002:merge"
_NULLS = ("", "~")  # as YAML writes it
_JSON_SCALAR = re.compile(r"(?:~|null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)?$")
_KEPT = (None, *(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")))


class _Loader(yaml.SafeLoader):
    """Any other tag is refused, because it could make an object that JSON does not have."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[yaml.Node, int] = {}  # in characters, each alias as often as it is there

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and node is not None and node not in self._sizes:
            self._refuse("an alias is inside of what it stands for", node)
        if node is not None and not is_alias:
            parts = list(chain.from_iterable(node.value)) if isinstance(node, yaml.MappingNode) else node.value
            is_scalar = isinstance(node, yaml.ScalarNode)
            size = 1 + (len(parts) if is_scalar else sum(self._sizes[part] for part in parts))
            if size > MOST_BYTES:
                self._refuse(f"with its aliases it has more than {MOST_BYTES} characters", node)
            self._sizes[node] = size
            if isinstance(node, yaml.MappingNode):
                self._check_keys(node)
        return node

    def _check_keys(self, node: yaml.MappingNode) -> None:
        """PyYAML keeps the last of two equal keys. One that is merged is no second one."""
        seen = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self._refuse(f"{key.value}: {REPEATED}", key)
                seen.add(key.value)

    def _refuse(self, problem: str, node: yaml.Node) -> NoReturn:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _construct_plain(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """A number that JSON would write in another way stays a text: `1.10` may be a version."""
    text = str(loader.construct_scalar(node))
    value = None if text in _NULLS else json.loads(text)
    return value if value is None or json.dumps(value) == text else text


_Loader.yaml_implicit_resolvers = {"<": [(_MERGE, re.compile("<<$"))]}
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _KEPT}
_Loader.add_implicit_resolver(_PLAIN, _JSON_SCALAR, None)
_Loader.add_constructor(_PLAIN, _construct_plain)


def read_file(path: str) -> dict[str, Any]:
    """
    A submission that can be sent as JSON.

    Raises:
        CommandError: there is no such file, or what it has is no submission. The message has the key path.
    """
    try:
        text = decode_text(read_standard_input() if path == "-" else read_input(path))
        is_json = text.lstrip().startswith("{")
        decoded = decode_json(text if is_json else json.dumps(yaml.load(text, _Loader)))  # noqa: S506 - a safe one
    except OSError as error:
        raise CommandError(Exit.USAGE, f"cannot read {path}: {error.strerror}") from error
    except (NotJsonError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CommandError(Exit.USAGE, f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error
    if decoded.problems:
        raise CommandError(Exit.USAGE, f"{path}: {decoded.problems[0]}")
    if not isinstance(decoded.data, dict):
        raise CommandError(Exit.USAGE, f"{path} must hold one object: the body of a submission")
    return decoded.data
