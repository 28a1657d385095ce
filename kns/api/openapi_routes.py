"""
Every public route as data: what it takes, what it answers, with which texts it refuses.

The texts are those of `errors`, so that a text changed there changes here.
"""

from dataclasses import dataclass, field

from kns.api import errors
from kns.api.errors import Refusal
from kns.api.openapi_schemas import (
    BOOLEAN,
    INTEGER,
    NAMES,
    STRING,
    Schema,
    a_map,
    a_record,
    a_word,
    ref,
)

BOTH = ("get", "post")
POST = ("post",)
TEXT = "text/plain"
JSON = "application/json"

NO_KEY, MAY_KEY, NEEDS_KEY, KEY_IN_BODY = "none", "optional", "required", "in the body"


@dataclass(frozen=True, slots=True)
class Parameter:
    """`kind` is the schema of its value. A GET has it in the query, a POST in the query, a form or a JSON object."""

    name: str
    about: str
    kind: Schema = field(default_factory=lambda: STRING)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """
    `answer` is the schema of success, None for a route that never succeeds here. `body` is the schema of a JSON body
    that is no bag of parameters. `patterns` are texts of 400 that are not fixed.
    """

    path: str
    about: str
    answer: Schema | None
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    methods: tuple[str, ...] = BOTH
    media: str = JSON
    credentials: str = NEEDS_KEY
    body: Schema | None = None
    refusals: tuple[Refusal, ...] = ()
    patterns: tuple[str, ...] = ()

    @property
    def takes_key(self) -> bool:
        """Whether `username` and `apikey` are parameters of it."""
        return self.credentials in (MAY_KEY, NEEDS_KEY)

    def refuses(self, method: str) -> tuple[Refusal, ...]:
        """Every refusal with a fixed text."""
        found = (*ALWAYS, *self.refusals, *(CREDENTIALS if self.takes_key else ()))
        return tuple(dict.fromkeys(found if method == "get" else (*found, *WITH_BODY)))


JOB = (
    Parameter("name", "Name of the job; it or `number` is needed, and both must mean the same job."),
    Parameter("number", "Number of the job.", INTEGER),
)
LINES = Parameter("lines", "How many of the last lines, 0 for all.", {**INTEGER, "minimum": 0, "default": 100})
REPEAT = Parameter(
    "Idempotency-Key",
    "The same key of the same user gets the same job for 24 hours.",
    {**STRING, "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)
COMPLETED = Parameter("completed", "Only ended jobs.", {**BOOLEAN, "default": False})

# What any request may meet; then what a form, the credentials, the store and the look-up of a job add.
ALWAYS = (errors.BAD_REQUEST, errors.TOO_LATE, errors.INTERNAL)
WITH_BODY = (errors.TOO_LARGE, errors.NOT_READY)
CREDENTIALS = (
    errors.USER_REQUIRED,
    errors.PARAMETERS_MISSING,
    errors.INVALID_PARAMETERS,
    errors.UNAUTHORIZED,
    errors.TOO_MANY_REQUESTS,
)
STORE = (errors.NOT_READY,)
LOOKUP = (*STORE, errors.NO_JOB_SPECIFIED)
RUNNING = (*LOOKUP, errors.UNKNOWN_JOB, errors.NOT_RUNNING)
STOPPING = (*LOOKUP, errors.UNKNOWN_JOB_AT_STOP)
SUBMITTING = (errors.MALFORMED, errors.NOT_AUTHORIZED, errors.ACCOUNT_INACTIVE, errors.TOO_MANY_REQUESTS)
MALFORMED_BECAUSE = f"^{errors.MALFORMED.error}: ."
READY = a_record({"status": {"type": "string", "const": "OK"}, "version": STRING})


def _job_route(path: str, about: str, answer: Schema | None, *more: Parameter, **options: object) -> Route:
    return Route(path, about, answer, (*JOB, *more), **{"refusals": RUNNING, **options})  # type: ignore[arg-type]  # as Route checks


JOB_ROUTES = (
    _job_route("status", "One job, live or ended.", ref("Statuses"),
               refusals=(*LOOKUP, errors.UNKNOWN_JOB_AT_STATUS)),
    _job_route("info", "How to reach a running job.", ref("Info")),
    _job_route("connect", "Address and password of a running job.", ref("Connect")),
    _job_route("tail", "The last lines of a running job's output.", STRING, LINES, media=TEXT),
    _job_route("output", "The output of an ended job.", STRING, LINES, media=TEXT,
               refusals=(*LOOKUP, errors.UNKNOWN_JOB, errors.NOT_ENDED)),
    _job_route("events", "Kubernetes events of a live job's namespace, oldest first; for system admins.", STRING,
               media=TEXT),
    _job_route("metrics", "What a running job uses.", ref("Metrics")),
    _job_route("screenshot", "Nested jobs have no screen: always 404.", None,
               Parameter("width", "Width of the picture.", INTEGER),
               Parameter("height", "Height of the picture.", INTEGER),
               Parameter("emphatic", "Present for true."),
               refusals=(*RUNNING, errors.NO_SCREEN)),
    _job_route("shutdown", "Ask a running job to end; it ends COMPLETED.", a_word("shutdown requested"),
               refusals=(*STOPPING, errors.NOT_RUNNING)),
    _job_route("terminate", "End a live job; an ended one stays as it is.", a_word("terminated"), refusals=STOPPING),
    _job_route("signal", "A nested job has no single process: always refused.", None,
               Parameter("signal", "Number of the signal.", {**INTEGER, "default": 20}),
               refusals=(*STOPPING, errors.NOT_RUNNING, errors.NO_SIGNAL)),
    _job_route("action", "Nested apps define no actions: always refused.", None,
               Parameter("action", "Name of the action.", required=True)),
)  # fmt: skip

SUBMIT_ROUTES = (
    Route("submit", "Store a job; it is durable when the answer comes.", ref("Submitted"), methods=POST,
          credentials=KEY_IN_BODY, body=ref("Submission"), patterns=(MALFORMED_BECAUSE,), headers=(REPEAT,),
          refusals=(*SUBMITTING, errors.UNKNOWN_APP, errors.TOO_MANY_JOBS, errors.NOT_STORED, *STORE)),
    Route("batch", "A container with a script is no nested app: always refused.", None, methods=POST,
          credentials=KEY_IN_BODY, body=ref("BatchSubmission"), refusals=(*SUBMITTING, errors.NO_CONTAINERS)),
    Route("validate", "Check an AppDef; the refusal names the key path of the first fault.",
          a_record({"valid": {"type": "boolean", "const": True}}, additionalProperties=False), methods=POST,
          credentials=NO_KEY, body=ref("AppDef"), patterns=("^.",), refusals=(errors.BAD_REQUEST,)),
)  # fmt: skip

LIST_ROUTES = (
    Route("jobs", "The caller's own jobs by number.", ref("Jobs"),
          (COMPLETED,
           Parameter("label", "Only jobs whose label has this text in it."),
           Parameter("exactmatch", "`label` is the whole label.", {**BOOLEAN, "default": False}),
           Parameter("all", "Live and ended jobs.", {**BOOLEAN, "default": False})),
          refusals=STORE),
    Route("teamjobs", "The jobs of the caller's team for its payer and its admins; else the caller's own.", ref("Jobs"),
          (COMPLETED,), refusals=STORE),
    Route("apps", "Apps by id; without credentials the public ones, without `repo`.", a_map(ref("App")),
          (Parameter("name", "Id of the app, else all."), Parameter("version", "Only apps of that version.", INTEGER)),
          credentials=MAY_KEY),
    Route("appdef", "The AppDef of an app.", ref("AppDef"), (Parameter("name", "Id of the app.", required=True),),
          refusals=(errors.UNKNOWN_APP,)),
    Route("machines", "Machines by name.", a_map(ref("MachineDef")),
          (Parameter("name", "Name of the machine, else all."), Parameter("vault", "Has no effect."))),
    Route("vault", "The files of a vault; kns mounts none, so there are none to see.",
          {"type": "array", "items": ref("VaultFile")},
          (Parameter("vault", "Name of the vault.", required=True),
           Parameter("path", "Directory.", required=True),
           Parameter("details", "With size and time.", {**BOOLEAN, "default": False}),
           Parameter("sort", "By name, size or time, upper case for reverse; all but name need `details`.",
                     {**STRING, "pattern": "^[nsmNSM]$", "default": "n"}))),
    Route("queues", "kns has no queues: `[]`, with `info` `{}`.",
          {"anyOf": [{"type": "array", "items": {}, "maxItems": 0}, {"type": "object", "maxProperties": 0}]},
          (Parameter("name", "Name of a queue."),
           Parameter("info", "A map and not a list.", {"anyOf": [BOOLEAN, INTEGER]})),
          refusals=(errors.UNKNOWN_QUEUE,)),
    Route("projects", "Members by `<owner>-<project>`; for system admins.", a_map(NAMES)),
    Route("teamusers", "The other users of the caller's team; for who leads it.", a_map(ref("TeamUser"))),
)  # fmt: skip

OPEN_ROUTES = (
    Route("live", "Whether the process works.", a_word("OK"), credentials=NO_KEY),
    Route("ready", "Whether the process can answer.", READY, credentials=NO_KEY, refusals=STORE),
    Route("openapi.json", "This document.", a_record({"openapi": STRING, "paths": {"type": "object"}}),
          methods=("get",), credentials=NO_KEY),
)  # fmt: skip

BELOW_PREFIX = (*SUBMIT_ROUTES, *LIST_ROUTES, *JOB_ROUTES, *OPEN_ROUTES)
AT_ROOT = OPEN_ROUTES[:2]  # the kubelet asks without the prefix
