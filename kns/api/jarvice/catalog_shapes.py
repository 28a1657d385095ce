"""
Apps, AppDefs and machines as the public API shows them, each with its schema. Pure.

An AppDef is shown as its author wrote it, but in the types of the contract. Authors quote numbers and booleans and
write single values in place of lists, and kns accepts that. Generated clients do not: one such value spoils the whole
answer for them. The types are those of the model's keys; a key that is not in the model stays as written.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kns.http.schemas import BOOLEAN, INTEGER, NAMES, NUMBER, STRING, Schema, a_map, a_record, ref
from kns.model.appdef.keys import JsonType, Key, list_appdef_keys
from kns.model.catalog.catalog import App
from kns.model.catalog.machine import Machine
from kns.model.reading.scalars import read_bool, read_number, read_whole, write_scalar


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


_READERS: dict[JsonType, Callable[[Any], Any]] = {
    JsonType.TEXT: _read_text,
    JsonType.FLAG: read_bool,
    JsonType.WHOLE: read_whole,
    JsonType.NUMBER: _read_bound,
    JsonType.TEXTS: _read_texts,
}
_SCHEMAS: dict[JsonType, Schema] = {
    JsonType.TEXT: STRING,
    JsonType.FLAG: BOOLEAN,
    JsonType.WHOLE: INTEGER,
    JsonType.NUMBER: NUMBER,
    JsonType.TEXTS: NAMES,
}
# What the document says of a key beyond its type.
_DESCRIBED: dict[str, Schema] = {
    "appdefversion": {"type": "integer", "minimum": 2},
    "nested_kubernetes": {"type": "object", "description": "How the job's cluster is filled; see docs/appdef.md."},
    "value": {"description": "The default, as the author wrote it."},
}
_ALWAYS_SHOWN = frozenset({"parameters"})  # of a command; authors may omit it, but generated clients demand it
_KEYS = list_appdef_keys()


def _convert(entry: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """`entry` with the model's keys in their types. Null and wrongly typed values are omitted."""
    converted = {}
    for name, value in entry.items():
        try:
            converted[name] = _convert_value(value, keys[name]) if name in keys else value
        except ValueError:
            continue
    return converted


def _convert_value(value: Any, key: Key) -> Any:
    if key.type is JsonType.MAP and isinstance(value, Mapping):
        return {name: _convert(entry, key.keys) for name, entry in value.items()}
    return _READERS[key.type](value) if key.type in _READERS else value


def _record(keys: Mapping[str, Key]) -> Schema:
    """Keys that may hold anything are not described, unless they have a text of their own."""
    schemas = {
        name: _schema(name, key) for name, key in keys.items() if key.type is not JsonType.ANY or name in _DESCRIBED
    }
    required = [name for name in schemas if keys[name].required or name in _ALWAYS_SHOWN]
    return a_record(
        {name: schemas[name] for name in required},
        optional={name: schema for name, schema in schemas.items() if name not in required},
    )


def _schema(name: str, key: Key) -> Schema:
    if name in _DESCRIBED:
        return _DESCRIBED[name]
    if key.type is JsonType.MAP:
        return a_map(_record(key.keys))
    return _SCHEMAS[key.type] if key.type in _SCHEMAS else _record(key.keys)


def appdef_entry(app: App) -> dict[str, Any]:
    """The AppDef with all keys, in the author's order, and the keys that answers always have."""
    commands = {
        name: {**command, "parameters": command.get("parameters", {})}
        for name, command in app.source["commands"].items()
    }
    return _convert({**app.source, "commands": commands, "appkind": app.data.appkind or "kns"}, _KEYS)


_APP: dict[str, Schema] = {
    "id": STRING,
    "data": ref("AppDef"),
    "price": NUMBER,
    "owner": NUMBER,
    "arch": STRING,
    "privs": NAMES,
    "src": STRING,
    "updated": INTEGER,
    "checkedout": BOOLEAN,
    "certified": BOOLEAN,
    "walltime": STRING,
}


def app_entry(app: App, *, with_repo: bool) -> dict[str, Any]:
    """An entry of `apps`. Anonymous callers do not get `repo`, which names the image."""
    entry = {
        "id": app.id,
        "data": appdef_entry(app),
        "price": _number(app.price),
        "owner": _number(app.owner),
        "arch": app.arch,
        "privs": list(app.privs),
        "src": app.src,
        "updated": app.updated,
        "checkedout": app.checkedout,
        "certified": app.certified,
        "walltime": app.walltime,
    }
    return {**entry, "repo": app.repo} if with_repo else entry


_SCHEMA_OF_TYPE: dict[Any, Schema] = {str: STRING, int: INTEGER, float: NUMBER, list[str]: NAMES}
_MACHINE = {name: _SCHEMA_OF_TYPE[field.annotation] for name, field in Machine.model_fields.items()}


def machine_entry(machine: Machine) -> dict[str, Any]:
    return {**machine.model_dump(mode="json"), "mc_price": _number(machine.mc_price)}


def _number(value: float) -> int | float:
    """A whole number without `.0`, because some clients read an integer."""
    whole = int(value)
    return whole if whole == value else value


SCHEMAS: dict[str, Schema] = {
    "AppDef": _record(_KEYS),
    "App": a_record(_APP, optional={"repo": STRING}),
    "MachineDef": a_record(_MACHINE),
}
