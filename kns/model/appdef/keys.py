"""
The keys of an AppDef and the JSON type of each, derived from the models.

The models are the one source: the public API converts an author's values to these types, OpenAPI describes them, and
the command line warns of other keys.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from kns.model.appdef.appdef import AppDef, Command
from kns.model.appdef.parameters import KINDS, Parameter, PublishedAs


class JsonType(StrEnum):
    """The type of a value in the public API. `number` is an integer or a float, `map` an object with free keys."""

    TEXT = "text"
    FLAG = "flag"
    WHOLE = "whole"
    NUMBER = "number"
    TEXTS = "texts"
    OBJECT = "object"
    OBJECTS = "objects"
    MAP = "map"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Key:
    """
    One key. `keys` are those of the object, of each object in the list, or of each value in the map.

    `required`: a valid AppDef always has it. `read` is False for keys of older systems, which kns publishes and
    otherwise ignores.
    """

    type: JsonType
    required: bool
    keys: Mapping[str, "Key"] = field(default_factory=dict)
    read: bool = True


def list_appdef_keys() -> dict[str, Key]:
    """
    The keys of an AppDef by name.

    >>> list_appdef_keys()["commands"].keys["scale_max"]
    Key(type=<JsonType.WHOLE: 'whole'>, required=False, keys={}, read=True)
    """
    return _list_keys(AppDef)


def _list_keys(model: type[BaseModel]) -> dict[str, Key]:
    if model is Parameter:
        return _merge([_list_keys(kind) for kind in KINDS.values()])
    keys = {}
    for name, info in model.model_fields.items():
        published = next((each.annotation for each in info.metadata if isinstance(each, PublishedAs)), info.annotation)
        kind, nested = _read_annotation(published)
        keys[info.alias or name] = Key(kind, info.is_required(), nested)
    if model is Command:
        # A command may use the old spelling of this key, so clients cannot rely on the new one.
        keys["nested_kubernetes"] = Key(JsonType.OBJECT, required=False, keys=keys["nested_kubernetes"].keys)
        keys |= {
            name: Key(_read_annotation(annotation)[0], required=False, read=False)
            for name, annotation in Command.IGNORED_KEYS.items()
        }
    return keys


def _merge(variants: list[dict[str, Key]]) -> dict[str, Key]:
    """The keys of an object that may be any of `variants`: a key is required only if every variant requires it."""
    merged: dict[str, Key] = {}
    for name in dict.fromkeys(name for variant in variants for name in variant):
        found = [variant[name] for variant in variants if name in variant]
        types = {key.type for key in found}
        if len(types) > 1 and types != {JsonType.WHOLE, JsonType.NUMBER}:
            raise TypeError(f"parameter key {name} has several JSON types: {', '.join(sorted(types))}")
        kind = JsonType.NUMBER if len(types) > 1 else found[0].type
        merged[name] = Key(kind, required=len(found) == len(variants) and all(key.required for key in found))
    return merged


_SCALARS = {str: JsonType.TEXT, bool: JsonType.FLAG, int: JsonType.WHOLE, float: JsonType.NUMBER}


def _read_annotation(annotation: Any) -> tuple[JsonType, dict[str, Key]]:
    """The JSON type of a field's annotation and the keys of the objects in it."""
    kinds = [kind for kind in list_kinds(annotation) if kind is not type(None)]
    if len(kinds) != 1:
        return JsonType.ANY, {}
    (kind,) = kinds
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind], {}
    if origin is Literal:
        return JsonType.TEXT, {}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return JsonType.OBJECT, _list_keys(kind)
    if origin in (list, dict):
        inner, keys = _read_annotation(arguments[-1])
        if inner is JsonType.OBJECT:
            return JsonType.MAP if origin is dict else JsonType.OBJECTS, keys
        if origin is list and inner is JsonType.TEXT:
            return JsonType.TEXTS, {}
    return JsonType.ANY, {}


def list_kinds(annotation: Any) -> Iterator[Any]:
    """The members of a union, without the wrappers around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from list_kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from list_kinds(member)
    else:
        yield annotation
