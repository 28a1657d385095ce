"""
Keys of an AppDef that kns does not read: most likely a typing error, so worth a warning, and never a refusal, because
published AppDefs carry keys of other systems. Those are listed here as known and without effect.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from kns.model.appdef import AppDef
from kns.model.parameters import Parameter, find_kind
from kns.model.parsing import key_path

_WITHOUT_EFFECT = frozenset(
    {
        "nestedkubernetes",
        *("publicip", "ports", "webshell", "desktop", "mpirun", "verboseinit", "cmdscript"),
    }
)


def find_unknown_keys(data: Any) -> list[str]:
    """
    One line per unknown key, with its path and the key that was probably meant.

    >>> find_unknown_keys({"name": "x", "comands": {}})
    ["comands: unknown key, ignored; did you mean 'commands'?"]
    """
    return [_describe(path, known) for path, known in _walk(AppDef, data, ())]


def _describe(path: tuple[int | str, ...], known: list[str]) -> str:
    near = get_close_matches(str(path[-1]), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{key_path(path)}: unknown key, ignored{hint}"


def _walk(
    model: type[BaseModel], data: Any, path: tuple[int | str, ...]
) -> Iterator[tuple[tuple[int | str, ...], list[str]]]:
    if not isinstance(data, dict):
        return
    if model is Parameter:
        model = _parameter_kind(data)
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in data.items():
        if key in fields:
            yield from _walk_field(fields[key].annotation, value, (*path, key))
        elif key not in _WITHOUT_EFFECT:
            yield (*path, key), list(fields)


def _walk_field(
    annotation: Any, value: Any, path: tuple[int | str, ...]
) -> Iterator[tuple[tuple[int | str, ...], list[str]]]:
    """Into a model, or the models of a list or a map; a field of another kind has no keys of ours."""
    model = next((kind for kind in (annotation, *get_args(annotation)) if _is_open(kind)), None)
    if model is None:
        return
    if annotation is model:
        yield from _walk(model, value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(model, item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(model, item, (*path, key))


def _parameter_kind(data: dict[str, Any]) -> type[BaseModel]:
    try:
        return find_kind(data)[0]
    except ValidationError:  # the check of the whole AppDef says so
        return Parameter


def _is_open(kind: Any) -> bool:
    """A model that lets unknown keys pass; the others refuse them by themselves."""
    return isinstance(kind, type) and issubclass(kind, BaseModel) and kind.model_config.get("extra") == "ignore"
