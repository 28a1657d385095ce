"""
An AppDef as the public API shows it: as its author wrote it, in the types that the contract has.

Authors put numbers and booleans in quotes and single values where lists belong, and kns takes them so; clients made
from the published description do not, and one such value spoils them the whole answer. Keys that are not described
stay as they are written.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kns.model.catalog.catalog import App
from kns.model.reading.scalars import read_bool, read_number, read_whole, write_scalar

Reader = Callable[[Any], Any]
Readers = Mapping[str, Reader]


def appdef_entry(app: App) -> dict[str, Any]:
    """The AppDef, all keys in the author's order."""
    return {**_typed(app.source, _APPDEF), "appkind": app.data.appkind or "kns"}


def _typed(entry: Mapping[str, Any], readers: Readers) -> dict[str, Any]:
    """
    `entry` with the described keys in their types.

    A value that is nothing of its type, or null, is left out: that is what it means, since what kns itself reads was
    checked with the catalogue.
    """
    typed = {}
    for key, value in entry.items():
        try:
            typed[key] = readers[key](value) if key in readers else value
        except ValueError:
            continue
    return typed


def _read_text(value: Any) -> str:
    return value if isinstance(value, str) else write_scalar(value)


def _read_texts(value: Any) -> list[str]:
    return [_read_text(each) for each in (value if isinstance(value, list) else [value] if value != "" else [])]


def _read_bound(value: Any) -> int | float:
    """Whole numbers stay whole and exact."""
    try:
        return read_whole(value)
    except ValueError:
        return read_number(value)


def _map_of(readers: Readers) -> Reader:
    return lambda entries: {key: _typed(entry, readers) for key, entry in entries.items()}


def _keys(reader: Reader, names: str) -> Readers:
    return dict.fromkeys(names.split(), reader)


_VARIABLES = _map_of(_keys(read_bool, "userowned inherit required"))
_PARAMETER = {
    **_keys(read_bool, "required positional variable"),
    **_keys(_read_texts, "if ifnot values mvalues"),
    **_keys(_read_bound, "min max"),
    **_keys(_read_text, "type step size filter"),
    **_keys(read_whole, "precision"),
}
_COMMAND = {
    **_keys(read_bool, "interactive noconnect publicip webshell desktop mpirun verboseinit"),
    **_keys(_read_texts, "machines ports"),
    **_keys(_read_text, "url walltime cmdscript"),
    **_keys(read_whole, "scale_max"),
    "parameters": _map_of(_PARAMETER),
    "variables": _VARIABLES,
}
_APPDEF = {
    "classifications": _read_texts,
    "commands": _map_of(_COMMAND),
    "scale_max": read_whole,
    "variables": _VARIABLES,
    "walltime": _read_text,
}
