"""
The shapes of answers and bodies as JSON Schema (2020-12, the dialect of OpenAPI 3.1).

Strict where generated clients are: an integer is no string, and what may be missing is `null`. Objects are open, since
keys may be added; each says so, since there are generators that take silence for the contrary.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
FLAG_OR_NULL: Schema = {"type": ["boolean", "null"]}
NAMES: Schema = {"type": "array", "items": STRING}
EPOCH: Schema = {"type": "integer", "minimum": 0, "description": "Seconds since 1970, 0 for not yet."}
HTML_OR_NULL: Schema = {"type": ["string", "null"], "description": "HTML."}
WALLTIME: Schema = {"type": "string", "pattern": "^[0-9]{1,5}:[0-5][0-9]:[0-5][0-9]$"}
DECIMAL: Schema = {"anyOf": [INTEGER, {"type": "string", "pattern": "^[0-9]{1,9}$"}]}


def a_record(properties: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None, **more: Any) -> Schema:
    """An object whose `properties` are all there, and `optional` ones may be; open unless `more` says otherwise."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
        "additionalProperties": True,
        **more,
    }


def or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def a_map(entry: Schema, **keys: Any) -> Schema:
    """An object of entries; `keys` is the schema of its keys, for instance a pattern."""
    return {"type": "object", "additionalProperties": entry, **({"propertyNames": keys} if keys else {})}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def a_word(word: str) -> Schema:
    """`{"status": word}`, the whole answer of a call that asks for something to happen."""
    return a_record({"status": {"type": "string", "const": word}}, additionalProperties=False)


JOBS_BY_NUMBER = "^[1-9][0-9]*$"
JOB_STATUSES = (
    "SUBMITTED", "SEQUENTIALLY QUEUED", "PROCESSING STARTING", "COMPLETED", "COMPLETED WITH ERROR", "TERMINATED",
    "CANCELED", "EXEMPT",
)  # fmt: skip

_STATUS: dict[str, Schema] = {
    "job_name": STRING,
    "job_status": {"type": "string", "enum": list(JOB_STATUSES)},
    "job_substatus": {"type": "integer", "enum": [0, 1001, 1002, 1003, 1004, 1005]},
    "job_submit_time": EPOCH,
    "job_start_time": EPOCH,
    "job_end_time": EPOCH,
    "job_application": STRING,
    "job_command": STRING,
    "job_walltime": {"type": ["string", "null"], "description": "Null while the job lives, then HH:MM:SS."},
    "job_project": TEXT_OR_NULL,
}
_STATS: dict[str, Schema] = {
    "compute_time": INTEGER,
    "queue_time": INTEGER,
    "wall_time": INTEGER,
    "job_count": INTEGER,
    "app_cost": NUMBER,
    "compute_cost": NUMBER,
}
_SUBMISSION_SHOWN = a_record(
    {
        "app": STRING,
        "application": a_record({"command": STRING, "parameters": OBJECT}, optional={"walltime": TEXT_OR_NULL}),
        "machine": a_record({"type": STRING, "nodes": INTEGER}),
        "user": a_record({"username": STRING}),
    },
    optional={
        "vault": or_null(
            a_record({}, optional={"name": TEXT_OR_NULL, "readonly": FLAG_OR_NULL, "force": FLAG_OR_NULL})
        ),
        **dict.fromkeys(("job_label", "job_project", "job_priority"), TEXT_OR_NULL),
    },
    description="The submission without its secrets; what it left out and a job has is filled in.",
)
_JOB_ENTRY: dict[str, Schema] = {
    **_STATUS,
    "job_number": {"type": "integer", "minimum": 1},
    "job_owner_username": STRING,
    "job_payer": STRING,
    "job_label": TEXT_OR_NULL,
    "job_substatus_text": TEXT_OR_NULL,
    "job_api_submission": _SUBMISSION_SHOWN,
    "job_address": TEXT_OR_NULL,
    "job_nodes": STRING,
    "job_mc_name": STRING,
    "job_mc_scale": INTEGER,
    "job_exitcode": INTEGER,
    "job_sched_id": INTEGER,
    "job_sched_job_id": {"type": "string", "pattern": "^kns-job-[1-9][0-9]*$"},
    "job_after": TEXT_OR_NULL,
    "job_price": NUMBER,
    "job_app_price": NUMBER,
    "job_app_discount": INTEGER,
    "job_mc_discount": INTEGER,
    "job_billing_code": INTEGER,
    "job_billed": BOOLEAN,
    "job_dashboard_visible": INTEGER,
    "job_stats": a_record(_STATS),
}
_INFO: dict[str, Schema] = {
    "url": TEXT_OR_NULL,
    "about": HTML_OR_NULL,
    "help": HTML_OR_NULL,
    "actions": OBJECT,
    "address": TEXT_OR_NULL,
    "password": TEXT_OR_NULL,
}
_METRIC_KEYS = ("cpu_used", "memory_used", "memory_total")
_METRICS = a_record(
    {
        "itemized": a_record({key: {"type": "array", "items": INTEGER} for key in _METRIC_KEYS}),
        "summary": a_record(dict.fromkeys(_METRIC_KEYS, INTEGER)),
    },
    description="`cpu_used` in percent of the job's CPU, memory in KB.",
)


def _typed(schema: Schema, keys: str) -> dict[str, Schema]:
    return dict.fromkeys(keys.split(), schema)


_MACHINE = {
    **_typed(STRING, "mc_name mc_description mc_devices mc_properties mc_slave_properties mc_scale_select mc_arch"),
    **_typed(INTEGER, "mc_cores mc_slots mc_ram mc_gpus mc_swap mc_scratch mc_slave_cores mc_slave_ram mc_slave_gpus"),
    **_typed(INTEGER, "mc_scale_min mc_scale_max mc_lesser mc_priority mc_sched_id mc_max_concurrent"),
    "mc_price": NUMBER,
    "mc_privs": NAMES,
}
_PARAMETER = a_record(
    {},
    optional={
        **_typed(STRING, "name description type step size filter target"),
        **_typed(BOOLEAN, "required positional variable"),
        **_typed(NAMES, "if ifnot values mvalues"),
        **_typed(NUMBER, "min max"),
        "precision": INTEGER,
        "value": {"description": "The default, as the author wrote it."},
    },
)
_VARIABLES = a_map(
    a_record({}, optional={**_typed(STRING, "name description"), **_typed(BOOLEAN, "userowned inherit required")})
)
_COMMAND = a_record(
    {
        "path": STRING,
        "name": STRING,
        "description": STRING,
        "parameters": a_map(_PARAMETER),
    },
    optional={
        "nested_kubernetes": {"type": "object", "description": "How the job's cluster is filled; see docs/appdef.md."},
        **_typed(STRING, "url walltime cmdscript"),
        **_typed(BOOLEAN, "interactive noconnect publicip webshell desktop mpirun verboseinit"),
        **_typed(NAMES, "machines ports"),
        "scale_max": INTEGER,
        "variables": _VARIABLES,
    },
)
_APPDEF: dict[str, Schema] = {
    "name": STRING,
    "description": STRING,
    "author": STRING,
    "licensed": BOOLEAN,
    "appdefversion": {"type": "integer", "minimum": 2},
    "classifications": NAMES,
    "machines": NAMES,
    "vault-types": NAMES,
    "commands": a_map(_COMMAND),
    "image": a_record({"type": STRING, "data": STRING}),
}
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
_USER = a_record({"username": {"type": "string", "minLength": 1}, "apikey": {"type": "string", "minLength": 1}})
_LABEL: Schema = {"type": ["string", "null"], "maxLength": 255}
_SUBMISSION_COMMON: dict[str, Schema] = {
    "application": a_record(
        {},
        optional={
            "command": TEXT_OR_NULL,
            "parameters": OBJECT,
            "walltime": {"anyOf": [WALLTIME, {"type": "null"}]},
        },
    ),
    "vault": a_record({"name": {"type": "string", "minLength": 1}}, optional={"readonly": BOOLEAN, "force": BOOLEAN}),
    "user": _USER,
    "job_label": _LABEL,
    "job_project": _LABEL,
    "job_priority": {"type": "string", "enum": ["normal", "high", "highest"]},
}
_MACHINE_WANTED = a_record({"type": {"type": "string", "minLength": 1}}, optional={"nodes": DECIMAL})

SCHEMAS: dict[str, Schema] = {
    "Status": a_record(_STATUS),
    "JobEntry": a_record(_JOB_ENTRY),
    "Statuses": a_map(ref("Status"), pattern=JOBS_BY_NUMBER),
    "Jobs": a_map(ref("JobEntry"), pattern=JOBS_BY_NUMBER),
    "Info": a_record(_INFO),
    "Connect": a_record({"address": STRING, "password": STRING}),
    "Metrics": _METRICS,
    "AppDef": a_record(
        _APPDEF, optional={"appkind": STRING, "walltime": STRING, "scale_max": INTEGER, "variables": _VARIABLES}
    ),
    "App": a_record(_APP, optional={"repo": STRING}),
    "MachineDef": a_record(_MACHINE),
    "Submission": a_record(
        {"app": {"type": "string", "minLength": 1}, "machine": _MACHINE_WANTED}, optional=_SUBMISSION_COMMON
    ),
    "BatchSubmission": a_record({"container": OBJECT, "machine": _MACHINE_WANTED}, optional=_SUBMISSION_COMMON),
    "Submitted": a_record({"name": STRING, "number": {"type": "integer", "minimum": 1}}),
    "TeamUser": a_record({"email": STRING, "name": STRING}),
    "VaultFile": {
        "type": "array",
        "prefixItems": [STRING, INTEGER, INTEGER],
        "minItems": 3,
        "maxItems": 3,
        "description": "Name (a directory ends in `/`), size, time of the last change.",
    },
}


def an_error(texts: Iterable[str], patterns: Iterable[str]) -> Schema:
    """An error body whose text is one of `texts`, or matches one of `patterns`."""
    fixed = sorted(set(texts))
    choices: list[Schema] = [{"type": "string", "enum": fixed}] if fixed else []
    choices += [{"type": "string", "pattern": pattern} for pattern in sorted(set(patterns))]
    text = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return a_record({"error": text}, additionalProperties=False)
