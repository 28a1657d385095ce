"""
The form of a command: a field for each of its parameters, and the submission that a filled-in form becomes. Pure.

The rules are those of `kns.model.appdef.parameters`. A field repeats of them what a browser can check, so that a person
learns of a mistake early; the use case decides.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kns.model.appdef.appdef import AppDef, Command
from kns.model.appdef.parameters import (
    BoolParameter,
    ConstParameter,
    FileParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    RangeParameter,
    SelectionParameter,
    UploadParameter,
)
from kns.model.job.job import Job
from kns.model.reading.scalars import write_scalar
from kns.service.submit import MAX_BYTES
from kns.web.text import choose_visible
from kns.web.visitor import PostedForm

PREFIX = "p:"  # before the key of a parameter, so that it cannot be the name of another field
SETTINGS = ("machine", "nodes", "walltime", "label", "project", "vault", "readonly")
# In a submission a file has four thirds of its size, and the rest of the form needs room, too.
MAX_FILE_BYTES = (MAX_BYTES - 16 * 1024) * 3 // 4
_LONG_TEXT = 120  # characters of a default from which a text gets several lines
_PATH = "application.parameters."
# The fields of a form by the key paths of refusals.
_FIELD_OF_PATH = {
    "machine.type": "machine",
    "machine.nodes": "nodes",
    "application.walltime": "walltime",
    "job_label": "label",
    "job_project": "project",
    "vault.name": "vault",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """
    One field as HTML has it. `kind` is `text`, `lines`, `number`, `checkbox`, `select` or `file`. `hint` says what the
    browser cannot check. `most` is the largest file in bytes. `needs` and `needs_not` are the fields of the BOOL
    parameters that it depends on, `condition` says the same in words.
    """

    name: str
    label: str
    help: str
    kind: str
    required: bool = False
    value: str = ""
    checked: bool = False
    options: tuple[str, ...] = ()
    low: str = ""
    high: str = ""
    step: str = ""
    most: int = 0
    hint: str = ""
    needs: tuple[str, ...] = ()
    needs_not: tuple[str, ...] = ()
    condition: str = ""


def build_fields(command: Command, values: Mapping[str, Any]) -> list[Field]:
    """
    The fields of a command in the author's order. `values` replace defaults. A constant is the author's, so it has no
    field.
    """
    shown = {key: each for key, each in command.parameters.items() if not isinstance(each, ConstParameter)}
    return [_build_field(key, each, values.get(key), command) for key, each in shown.items()]


def _build_field(key: str, parameter: Parameter, value: Any, command: Command) -> Field:
    given = parameter.value if value is None else value
    if isinstance(parameter, SelectionParameter) and value is None:
        given = parameter.value or parameter.values[0]
    common: dict[str, Any] = {
        "name": PREFIX + key,
        "label": _label_of(command, key),
        "help": parameter.description,
        "required": parameter.required,
        "value": "" if given is None else given if isinstance(given, str) else _write(given),
        "needs": tuple(PREFIX + name for name in parameter.if_),
        "needs_not": tuple(PREFIX + name for name in parameter.ifnot),
        "condition": _describe_condition(parameter, command),
    }
    return Field(**{**common, **_describe_kind(parameter, given)})


def _write(value: Any) -> str:
    return write_scalar(value) if isinstance(value, bool | int | float) else ""


def _describe_condition(parameter: Parameter, command: Command) -> str:
    parts = [f"{_name_of(command, key)} is on" for key in parameter.if_]
    parts += [f"{_name_of(command, key)} is off" for key in parameter.ifnot]
    return f"Used only if {' and '.join(parts)}." if parts else ""


def _name_of(command: Command, key: str) -> str:
    return f"“{_label_of(command, key)}”"


def _label_of(command: Command, key: str) -> str:
    """The app may have changed since the key was given."""
    parameter = command.parameters.get(key)
    return choose_visible(parameter.name, key) if parameter else key


def _describe_kind(parameter: Parameter, given: Any) -> dict[str, Any]:
    match parameter:
        case BoolParameter():
            return {"kind": "checkbox", "checked": _is_on(parameter, given), "required": False}
        case SelectionParameter():
            return _describe_selection(parameter, given)
        case RangeParameter():
            step = parameter.step or 1
            start = parameter.min or 0
            hint = f"{start}, {start + step}, {start + 2 * step} and so on" if step > 1 else ""
            return {"kind": "number", **_bounds(parameter), "step": str(step), "hint": _range_hint(parameter, hint)}
        case IntParameter():
            return {
                "kind": "number",
                **_bounds(parameter),
                "step": "1",
                "hint": _range_hint(parameter, "a whole number"),
            }
        case FloatParameter():
            decimals = parameter.precision
            hint = "a number" if decimals is None else f"a number with at most {decimals} decimals"
            return {"kind": "number", **_bounds(parameter), "step": "any", "hint": _range_hint(parameter, hint)}
        case UploadParameter():
            most = MAX_FILE_BYTES if parameter.size is None else min(parameter.size, MAX_FILE_BYTES)
            return {"kind": "file", "value": "", "most": most, "hint": f"A file, at most {most} bytes."}
        case FileParameter():
            like = f", like {' or '.join(parameter.patterns)}" if parameter.patterns else ""
            return {"kind": "text", "hint": f"The path of a file in your vault{like}."}
        case _:
            text = given if isinstance(given, str) else ""
            return {"kind": "lines" if "\n" in text or len(text) > _LONG_TEXT else "text"}


def _is_on(parameter: BoolParameter, given: Any) -> bool:
    try:
        return parameter.default() is True if parameter.is_absent(given) else parameter.read(given)
    except ValueError:
        return False


def _describe_selection(parameter: SelectionParameter, given: Any) -> dict[str, Any]:
    options = tuple(parameter.values)
    if parameter.may_be_absent and "" not in options:
        options = ("", *options)
    chosen = given if isinstance(given, str) else _write(given)
    return {"kind": "select", "options": options, "value": chosen}


def _bounds(parameter: IntParameter | FloatParameter) -> dict[str, str]:
    return {
        "low": "" if parameter.min is None else write_scalar(parameter.min),
        "high": "" if parameter.max is None else write_scalar(parameter.max),
    }


def _range_hint(parameter: IntParameter | FloatParameter, what: str) -> str:
    """
    What the field takes, as a sentence.

    >>> _range_hint(IntParameter(min=1, max=4), "a whole number")
    'A whole number, from 1 to 4.'
    """
    low, high = _bounds(parameter).values()
    bounds = (
        f"from {low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}" if high else ""
    )
    text = ", ".join(filter(None, (what, bounds)))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def read_parameters(command: Command, form: PostedForm) -> dict[str, Any]:
    """
    The parameters of a submission. An unchecked box is `false`, because its default may be true. A number that is not
    filled in is absent, and so is a field that the form did not have.
    """
    given: dict[str, Any] = {}
    for key, parameter in command.parameters.items():
        name = PREFIX + key
        match parameter:
            case ConstParameter():
                continue
            case BoolParameter():
                given[key] = form.text(name) == "on"
            case UploadParameter():
                content = form.files.get(name)
                if content is not None:
                    given[key] = base64.b64encode(content).decode()
            case _ if name in form.texts:
                text = form.text(name).replace("\r\n", "\n")  # browsers send both characters
                if text or not parameter.BLANK_IS_ABSENT:
                    given[key] = text
    return given


def build_submission(app_id: str, command_key: str, parameters: Mapping[str, Any], form: PostedForm) -> dict[str, Any]:
    """The body of a submission as the API takes it, from the fields of the form."""
    vault = form.text("vault")
    body = {
        "app": app_id,
        "application": {
            "command": command_key,
            "parameters": dict(parameters),
            "walltime": form.text("walltime").strip() or None,
        },
        "machine": {"type": form.text("machine"), "nodes": form.text("nodes").strip() or None},
        "vault": {"name": vault, "readonly": form.text("readonly") == "on"} if vault else None,
        "job_label": form.text("label").strip() or None,
        "job_project": form.text("project") or None,
    }
    return {key: value for key, value in body.items() if value is not None}


def measure_submission(body: Mapping[str, Any]) -> int:
    """The bytes that the submission would have as the body of a request to the API."""
    return len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def find_field(path: str) -> str | None:
    """
    The name of the field that a refusal is about; None if it is about none.

    >>> find_field("application.parameters.N"), find_field("machine.nodes"), find_field("app")
    ('p:N', 'nodes', None)
    """
    if path.startswith(_PATH):
        return PREFIX + path.removeprefix(_PATH)
    return _FIELD_OF_PATH.get(path)


def read_settings(form: PostedForm) -> dict[str, str]:
    """What the visitor filled in beside the parameters, to show it again."""
    return {key: form.text(key) for key in SETTINGS}


def repeat_settings(job: Job) -> dict[str, str]:
    """The fields of a form that submits a job like this one."""
    spec = job.spec
    return {
        "machine": spec.machine.type,
        "nodes": str(spec.machine.nodes),
        "walltime": spec.walltime or "",
        "label": spec.label or "",
        "project": spec.project or "",
        "vault": spec.vault.name if spec.vault else "",
        "readonly": "on" if spec.vault and spec.vault.readonly else "",
    }


def list_left_out(job: Job, command: Command) -> list[str]:
    """
    The labels of what a job was given and a form cannot repeat: files, however small, and values that were too large
    for the record.
    """
    accepted = job.spec.accepted
    large = accepted.inputs.keys if accepted and accepted.inputs else []
    files = {key for key, parameter in command.parameters.items() if isinstance(parameter, UploadParameter)}
    given = [key for key in command.parameters if key in large or (key in files and job.spec.parameters.get(key))]
    return [_label_of(command, key) for key in dict.fromkeys((*given, *large))]


def list_not_offered(
    job: Job, shown: Sequence[Field], *, machines: Mapping[str, int], vaults: Collection[str], projects: Collection[str]
) -> list[str]:
    """
    The labels of the fields whose choices no longer have what a job was given. A browser chooses another value there
    without a word. `machines` has the most nodes of each machine.
    """
    given, nodes = repeat_settings(job), job.spec.machine.nodes
    offers = {"machine": machines, "vault": vaults, "project": projects}
    labels = [key.capitalize() for key, offered in offers.items() if given[key] and given[key] not in offered]
    if nodes > machines.get(given["machine"], nodes):
        labels.append(f"How many machines (it had {nodes})")
    return labels + [each.label for each in shown if each.kind == "select" and each.value not in each.options]


def default_walltime(appdef: AppDef, command: Command) -> str:
    """What a submission without a walltime gets; `""` is no limit."""
    return command.walltime or appdef.walltime or ""
