"""
Keys of a document that kns does not read: most likely a typing error, so worth a warning, and never a refusal, because
published AppDefs and catalogues carry keys of other systems. Those are listed here as known and without effect.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kns.model.appdef.appdef import AppDef, Command
from kns.model.appdef.parameters import Parameter, find_kind
from kns.model.reading.problem import Location, Problem

_WITHOUT_EFFECT: dict[type[BaseModel], frozenset[str]] = {
    AppDef: frozenset({"identity", "hints", "meta"}),
    Command: frozenset(
        {
            *("publicip", "ports", "webshell", "desktop", "mpirun", "verboseinit", "cmdscript"),
            "nestedkubernetes",
        }
    ),
}
OLD_SPELLINGS = {"nested_kubernetes": "nestedkubernetes"}  # by what the key is called today


def find_unknown_keys(data: Any, model: type[BaseModel] = AppDef) -> list[Problem]:
    """
    One warning per unknown key, with the key that was probably meant.

    >>> [str(problem) for problem in find_unknown_keys({"name": "x", "comands": {}})]
    ["comands: unknown key, ignored; did you mean 'commands'?"]
    """
    return list(_walk((model,), data, ())) if isinstance(data, Mapping) else []


def _walk(models: tuple[type[BaseModel], ...], data: Mapping[str, Any], location: Location) -> Iterator[Problem]:
    """`models` are what the value may be; a key that one of them has is known."""
    fields = {field.alias or name: field for model in models for name, field in model.model_fields.items()}
    old = {OLD_SPELLINGS[name]: name for name in fields if name in OLD_SPELLINGS}
    ignored = {key for model in models for key in _WITHOUT_EFFECT.get(model, ())}
    for key, value in data.items():
        name = old.get(key, key)
        if name in fields:
            yield from _walk_value(fields[name].annotation, value, (*location, name))
        elif key not in ignored:
            near = get_close_matches(str(key), list(fields), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield Problem((*location, key), f"unknown key, ignored{hint}")


def _walk_value(annotation: Any, value: Any, location: Location) -> Iterator[Problem]:
    """Into a model, or the models of a list or a map; a value of another kind has no keys of ours."""
    kinds = list(_list_kinds(annotation))
    if isinstance(value, list):
        items = [get_args(kind)[0] for kind in kinds if get_origin(kind) in (list, tuple)]
        for index, item in enumerate(value if items else ()):
            yield from _walk_value(Union[tuple(items)], item, (*location, index))  # noqa: UP007 - of a tuple
    elif isinstance(value, Mapping):
        models = tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
        values = [get_args(kind)[1] for kind in kinds if get_origin(kind) is dict]
        if models and not values and all(model.model_config.get("extra") == "ignore" for model in models):
            yield from _walk(tuple(_choose_kind(model, value) for model in models), value, location)
        for key, item in value.items() if values else ():
            yield from _walk_value(Union[tuple(values)], item, (*location, key))  # noqa: UP007 - of a tuple


def _choose_kind(model: type[BaseModel], data: Mapping[str, Any]) -> type[BaseModel]:
    """A parameter's keys are those of its type; of an unknown type, which is a fault, those that all have."""
    if model is not Parameter:
        return model
    try:
        return find_kind(data)[0]
    except ValidationError:
        return model


def _list_kinds(annotation: Any) -> Iterator[Any]:
    """The members of a union, without the wrappers around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _list_kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _list_kinds(member)
    else:
        yield annotation
