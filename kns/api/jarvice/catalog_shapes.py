"""
Apps, AppDefs and machines as the public API shows them, each with its schema. Pure.

An AppDef is shown as its author wrote it, but in the types of the contract. Authors quote numbers and booleans and
write single values in place of lists, and kns accepts that. Generated clients do not: one such value spoils the whole
answer for them. One table has both the type and the schema of each key. Keys that are not in it stay as written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kns.http.schemas import BOOLEAN, INTEGER, NAMES, NUMBER, STRING, Schema, a_map, a_record, ref
from kns.model.catalog.catalog import App
from kns.model.catalog.machine import Machine
from kns.model.reading.scalars import read_bool, read_number, read_whole, write_scalar


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an AppDef: the schema of its value, and what converts a written value; None if none is needed."""

    schema: Schema
    read: Callable[[Any], Any] | None = None


Keys = Mapping[str, Key]


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


def _convert(entry: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """`entry` with the described keys in their types. Null and wrongly typed values are omitted."""
    converted = {}
    for key, value in entry.items():
        read = keys[key].read if key in keys else None
        try:
            converted[key] = value if read is None else read(value)
        except ValueError:
            continue
    return converted


def _keys(names: str, schema: Schema, read: Callable[[Any], Any] | None = None) -> Keys:
    return dict.fromkeys(names.split(), Key(schema, read))


def _schemas(keys: Keys) -> dict[str, Schema]:
    return {name: key.schema for name, key in keys.items()}


def _map_key(schema: Schema, keys: Keys) -> Key:
    """The key of a map whose entries have `keys`."""
    return Key(schema, lambda entries: {name: _convert(entry, keys) for name, entry in entries.items()})


_VARIABLE: Keys = {**_keys("name description", STRING), **_keys("userowned inherit required", BOOLEAN, read_bool)}
_VARIABLES = _map_key(a_map(a_record({}, optional=_schemas(_VARIABLE))), _VARIABLE)
_PARAMETER: Keys = {
    **_keys("name description target", STRING),
    **_keys("type step size filter", STRING, _read_text),
    **_keys("required positional variable", BOOLEAN, read_bool),
    **_keys("if ifnot values mvalues", NAMES, _read_texts),
    **_keys("min max", NUMBER, _read_bound),
    "precision": Key(INTEGER, read_whole),
    "value": Key({"description": "The default, as the author wrote it."}),
}
_COMMAND_REQUIRED: Keys = {
    **_keys("path name description", STRING),
    "parameters": _map_key(a_map(a_record({}, optional=_schemas(_PARAMETER))), _PARAMETER),
}
_COMMAND_OPTIONAL: Keys = {
    "nested_kubernetes": Key({"type": "object", "description": "How the job's cluster is filled; see docs/appdef.md."}),
    **_keys("url walltime cmdscript", STRING, _read_text),
    **_keys("interactive noconnect publicip webshell desktop mpirun verboseinit", BOOLEAN, read_bool),
    **_keys("machines ports", NAMES, _read_texts),
    "scale_max": Key(INTEGER, read_whole),
    "variables": _VARIABLES,
}
_COMMANDS = _map_key(
    a_map(a_record(_schemas(_COMMAND_REQUIRED), optional=_schemas(_COMMAND_OPTIONAL))),
    {**_COMMAND_REQUIRED, **_COMMAND_OPTIONAL},
)
_APPDEF_REQUIRED: Keys = {
    **_keys("name description author", STRING),
    "licensed": Key(BOOLEAN),
    "appdefversion": Key({"type": "integer", "minimum": 2}),
    "classifications": Key(NAMES, _read_texts),
    **_keys("machines vault-types", NAMES),
    "commands": _COMMANDS,
    "image": Key(a_record({"type": STRING, "data": STRING})),
}
_APPDEF_OPTIONAL: Keys = {
    "appkind": Key(STRING),
    "walltime": Key(STRING, _read_text),
    "scale_max": Key(INTEGER, read_whole),
    "variables": _VARIABLES,
}
_APPDEF: Keys = {**_APPDEF_REQUIRED, **_APPDEF_OPTIONAL}


def appdef_entry(app: App) -> dict[str, Any]:
    """The AppDef with all keys, in the author's order."""
    return {**_convert(app.source, _APPDEF), "appkind": app.data.appkind or "kns"}


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
    "AppDef": a_record(_schemas(_APPDEF_REQUIRED), optional=_schemas(_APPDEF_OPTIONAL)),
    "App": a_record(_APP, optional={"repo": STRING}),
    "MachineDef": a_record(_MACHINE),
}
