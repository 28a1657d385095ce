"""
Keys of a document that kns does not read. They are probably typing errors, so they cause a warning. They are never
refused, because published AppDefs and catalogues contain keys of other systems.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kns.model.appdef.appdef import AppDef, Command
from kns.model.appdef.keys import list_kinds
from kns.model.appdef.parameters import Parameter, find_kind
from kns.model.reading.problem import Location, Problem


def find_unknown_keys(data: Any, model: type[BaseModel] = AppDef) -> list[Problem]:
    """
    One warning per unknown key, with the most similar known key.

    >>> [str(problem) for problem in find_unknown_keys({"name": "x", "comands": {}})]
    ["comands: unknown key, ignored; did you mean 'commands'?"]
    """
    return list(_walk((model,), data, ())) if isinstance(data, Mapping) else []


def _walk(models: tuple[type[BaseModel], ...], data: Mapping[str, Any], location: Location) -> Iterator[Problem]:
    """Check the keys of an object that may be any of `models`. A key of one of them is known."""
    fields = {field.alias or name: field for model in models for name, field in model.model_fields.items()}
    is_command = Command in models
    current = {old: new for new, old in Command.OLD_SPELLINGS.items()} if is_command else {}
    ignored = Command.IGNORED_KEYS if is_command else {}
    for key, value in data.items():
        name = current.get(key, key)
        if name in fields:
            yield from _walk_value(fields[name].annotation, value, (*location, name))
        elif key not in ignored:
            near = get_close_matches(str(key), list(fields), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield Problem((*location, key), f"unknown key, ignored{hint}")


def _walk_value(annotation: Any, value: Any, location: Location) -> Iterator[Problem]:
    """Check the objects in `value`: a model, or the models in a list or map. Other values have no keys to check."""
    kinds = list(list_kinds(annotation))
    if isinstance(value, list):
        items = [get_args(kind)[0] for kind in kinds if get_origin(kind) in (list, tuple)]
        for index, item in enumerate(value if items else ()):
            yield from _walk_value(Union[tuple(items)], item, (*location, index))  # noqa: UP007 - from a tuple
    elif isinstance(value, Mapping):
        models = tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
        values = [get_args(kind)[1] for kind in kinds if get_origin(kind) is dict]
        if models and not values and all(model.model_config.get("extra") == "ignore" for model in models):
            yield from _walk(tuple(_choose_kind(model, value) for model in models), value, location)
        for key, item in value.items() if values else ():
            yield from _walk_value(Union[tuple(values)], item, (*location, key))  # noqa: UP007 - from a tuple


def _choose_kind(model: type[BaseModel], data: Mapping[str, Any]) -> type[BaseModel]:
    """
    The class of a parameter's type. An unknown type is an error elsewhere; here only the common keys count as known.
    """
    if model is not Parameter:
        return model
    try:
        return find_kind(data)[0]
    except ValidationError:
        return model
