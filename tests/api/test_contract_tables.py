"""
The contract's tables, row by row: error strings (B.2), when a route is allowed (B.3), statuses (B.4), shapes (B.5).

Rows of other tests are repeated here, so that this file can be compared with the contract.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from kns.model.errors import UnavailableError
from kns.model.job.job import JobState
from kns.ports import Kind
from tests.api.client import Api, assert_refused
from tests.builders import JobBuilder, a_catalog, a_command, a_job, a_submission, an_app, an_appdef

pytestmark = pytest.mark.proves("main", "Every route, error and answer shape, byte for byte")

USER = {"username": "user1", "apikey": "key-user1"}
ADMIN = {"username": "admin1", "apikey": "key-admin1"}
SERVING, ENDED = a_job().exposed(), a_job().exposed().ended()
NOT_RUNNING = "Running job is not found"
MALFORMED = "Missing or Malformed API Syntax"

# --- B.2

# case, job 7, route, parameters, status, error
CASES: list[tuple[str, JobBuilder | None, str, dict[str, Any], int, str]] = [
    ("no credentials", SERVING, "status", {"number": 7}, 400, "Required parameter(s) missing"),
    ("a username without a key", SERVING, "status", {"username": "user1"}, 400, "Required parameter(s) missing"),
    ("another required parameter absent", None, "appdef", USER, 400, "Required parameter(s) missing"),
    ("vault absent", None, "vault", {**USER, "path": "/"}, 400, "Required parameter(s) missing"),
    ("action absent", SERVING, "action", {**USER, "number": 7}, 400, "Required parameter(s) missing"),
    ("a key without a username", SERVING, "status", {"apikey": "key-user1"}, 400, "User required"),
    *((f"no job, {route}", SERVING, route, {**USER, "action": "x"}, 400, "No job specified") for route in (
        "status", "info", "connect", "tail", "output", "metrics", "screenshot", "shutdown", "terminate", "signal",
        "action")),
    ("no job, events", SERVING, "events", ADMIN, 400, "No job specified"),
    ("bad integer: number", SERVING, "status", {**USER, "number": "x"}, 400, "Invalid parameter(s)"),
    ("bad integer: lines", SERVING, "tail", {**USER, "number": 7, "lines": "x"}, 400, "Invalid parameter(s)"),
    ("bad integer: width", SERVING, "screenshot", {**USER, "number": 7, "width": "x"}, 400, "Invalid parameter(s)"),
    ("bad integer: signal", SERVING, "signal", {**USER, "number": 7, "signal": "x"}, 400, "Invalid parameter(s)"),
    ("bad integer: version", None, "apps", {"version": "x"}, 400, "Invalid parameter(s)"),
    ("bad enum: sort", None, "vault", {**USER, "vault": "data", "path": "/", "sort": "x"}, 400, "Invalid parameter(s)"),
    ("unknown action", SERVING, "action", {**USER, "number": 7, "action": "x"}, 400, "Invalid parameter(s)"),
    ("unknown vault", None, "vault", {**USER, "vault": "none", "path": "/"}, 400, "Invalid parameter(s)"),
    ("wrong key", SERVING, "status", {"username": "user1", "apikey": "x", "number": 7}, 401, "Unauthorized"),
    ("events, not an admin", SERVING, "events", {**USER, "number": 7}, 401, "Unauthorized"),
    ("projects, not an admin", None, "projects", USER, 401, "Unauthorized"),
    ("teamusers, not a team admin", None, "teamusers", USER, 401, "Unauthorized"),
    ("unknown job: status", None, "status", {**USER, "number": 7}, 404, "Not Found"),
    *((f"unknown job: {route}", None, route, {**USER, "number": 7}, 404, "Not found") for route in (
        "shutdown", "terminate", "signal")),
    *((f"unknown job: {route}", None, route, {**USER, "number": 7, "action": "x"}, 404, "Job not found") for route in (
        "info", "connect", "tail", "output", "metrics", "screenshot", "action")),
    ("unknown job: events", None, "events", {**ADMIN, "number": 7}, 404, "Job not found"),
    *((f"{state}: {route}", job, route, {**USER, "number": 7, "action": "x"}, 404, NOT_RUNNING)
      for state, job in (("submitted", a_job()), ("ended", ENDED)) for route in (
        "tail", "shutdown", "action", "signal", "connect", "info", "screenshot", "metrics")),
    ("ended: events", ENDED, "events", {**ADMIN, "number": 7}, 404, NOT_RUNNING),
    *((f"too early: {route}", a_job().started(), route, {**USER, "number": 7}, 404, NOT_RUNNING) for route in (
        "info", "connect", "metrics")),
    *((f"not ended: {state}", job, "output", {**USER, "number": 7}, 404, "Job not found")
      for state, job in (("submitted", a_job()), ("deploying", a_job().started()), ("serving", SERVING))),
    ("name and number of two jobs", SERVING, "status", {**USER, "number": 7, "name": "x"}, 404, "Not Found"),
    ("unknown app", None, "appdef", {**USER, "name": "none"}, 404, "Application Not Found"),
    ("named queue", None, "queues", {**USER, "name": "q"}, 404, "Queue not found"),
    ("no screen", SERVING, "screenshot", {**USER, "number": 7}, 404, "Not found"),
    ("no signals", SERVING, "signal", {**USER, "number": 7}, 400, "signal not supported"),
    *((f"the portal's: {route}", SERVING, route, USER, 404, "Not found") for route in (
        "billing", "license", "audit", "history", "pull", "build")),
]  # fmt: skip


@pytest.mark.proves("routes", "The portal's own routes are unknown")
@pytest.mark.proves("wire", "Each published error text belongs to one case")
@pytest.mark.parametrize(("case", "job", "route", "params", "status", "error"), CASES, ids=[row[0] for row in CASES])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_error_has_its_status_and_exact_bytes(
    api: Api,
    method: str,
    case: str,
    job: JobBuilder | None,
    route: str,
    params: dict[str, Any],
    status: int,
    error: str,
) -> None:
    if job is not None:
        api.add(job, output="x\n")
    assert_refused(api.call(method, f"/jarvice/{route}", params=params), status, error)


@pytest.mark.parametrize("route", ["status", "jobs", "apps", "machines", "validate", "vault"])
def test_a_body_that_cannot_be_decoded_is_a_bad_request(api: Api, route: str) -> None:
    assert_refused(api.call("POST", f"/jarvice/{route}", content=b"{"), 400, "Bad Request")


def a_user(name: str, key: str | None = None) -> dict[str, str]:
    return {"username": name, "apikey": key or f"key-{name}"}


SUBMITS: list[tuple[str, bytes | dict[str, Any], int, str]] = [
    ("body missing", b"", 400, MALFORMED),
    ("not JSON", b"app=hello", 400, MALFORMED),
    ("wrong shape", a_submission(machine=None), 400, MALFORMED),
    ("no user and no token", {**a_submission(), "user": None}, 400, MALFORMED),
    ("wrong credentials", {**a_submission(), "user": a_user("user1", "x")}, 401, "Not Authorized"),
    ("account inactive", a_submission(user="idle1"), 401, "Account billing not active"),
    ("unknown app", a_submission(app="none"), 404, "Application Not Found"),
    ("invisible app", a_submission(user="user2", app="secret"), 404, "Application Not Found"),
    ("unknown command", a_submission(application={"command": "Bye"}), 404, "Application Not Found"),
    ("machine", a_submission(machine={"type": "none"}), 400, f"{MALFORMED}: machine.type: no machine 'none'"),
    ("vault", a_submission(vault={"name": "none"}), 400, f"{MALFORMED}: vault.name: user1 has no vault 'none'"),
]  # fmt: skip


@pytest.mark.proves("submit", "A submission without `user` and without a token is malformed")
@pytest.mark.proves("wire", "Each published error text belongs to one case")
@pytest.mark.parametrize(("case", "body", "status", "error"), SUBMITS, ids=[row[0] for row in SUBMITS])
def test_a_submit_that_is_refused(api: Api, case: str, body: bytes | dict[str, Any], status: int, error: str) -> None:
    options: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    assert_refused(api.call("POST", "/jarvice/submit", **options), status, error)
    assert api.jobs.writes == []


def test_an_appdef_in_the_catalogue_that_cannot_be_had_here(api: Api) -> None:
    old = an_appdef(commands={"Hello": a_command(nested={"kubernetes_version": "v1.20"})})
    api.catalog.catalog = a_catalog(apps={"old": an_app(old)})
    answer = api.submit(a_submission(app="old"))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{MALFORMED}: nested_kubernetes.kubernetes_version: ")


def test_a_store_that_failed(api: Api) -> None:
    api.jobs.faults["create"] = UnavailableError("no answer")
    assert_refused(api.submit(a_submission()), 500, "Unable to create Job Submission")


def test_a_user_at_the_limit() -> None:
    api = Api(live_jobs=1)
    api.submit(a_submission())
    assert_refused(api.submit(a_submission()), 429, "Only one active job allowed per VM")


# --- B.3: in which states a route answers 200

STATES: dict[str, JobBuilder] = {
    "submitted": a_job(),
    "spawning": a_job().spawning(),
    "deploying": a_job().started(),
    "serving": SERVING,
    "stopping": SERVING.stopping(),
    "completed": ENDED,
    "failed": a_job().started().ended(JobState.FAILED),
    "terminated": SERVING.ended(JobState.TERMINATED),
    "canceled": a_job().ended(JobState.CANCELED),
}
OVER = {"completed", "failed", "terminated", "canceled"}
RUNNING = {"deploying", "serving", "stopping"}
ALLOWED = {
    "status": STATES.keys(),
    "info": {"serving", "stopping"},
    "connect": {"serving", "stopping"},
    "tail": RUNNING,
    "output": OVER,
    "events": STATES.keys() - OVER,
    "metrics": RUNNING,
    "shutdown": RUNNING,
    "terminate": STATES.keys(),
    "screenshot": set(),
    "signal": set(),
    "action": set(),
}


@pytest.mark.proves("routes", "`tail` and `shutdown` work while the templates run")
@pytest.mark.proves("routes", "`tail` is for a running job, `output` for an ended one")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("route", ALLOWED)
def test_a_route_is_allowed_in_its_states(api: Api, route: str, state: str) -> None:
    api.add(STATES[state], output="x\n")
    api.namespaces.objects[Kind.POD_METRICS, "kns-job-7"] = [{"containers": []}]
    answer = api.get(route, as_user="admin1", number=7, action="x")
    assert (answer.status_code == 200) is (state in ALLOWED[route]), answer.text


# --- B.4


@pytest.mark.parametrize(
    ("builder", "status", "exit_code"),
    [
        (a_job(), "SUBMITTED", 0),
        (a_job().started(), "PROCESSING STARTING", 0),
        (SERVING.stopping(), "PROCESSING STARTING", 0),
        (a_job().ended(JobState.CANCELED), "CANCELED", -9),
        (a_job().spawning().ended(JobState.FAILED), "COMPLETED WITH ERROR", 1),
        (ENDED, "COMPLETED", 0),
        (a_job().started().ended(JobState.FAILED), "COMPLETED WITH ERROR", 1),
        (SERVING.ended(JobState.TERMINATED), "TERMINATED", -15),
    ],
)
def test_a_status_has_its_text_and_exit_code(api: Api, builder: JobBuilder, status: str, exit_code: int) -> None:
    api.add(builder)
    entry = api.get("jobs", all="true").json()["7"]
    assert (entry["job_status"], entry["job_exitcode"]) == (status, exit_code)
    assert entry["job_walltime"] is None or builder.status.job_status.is_ended


# --- B.5: exact JSON types

TEXT, WHOLE, MAYBE_TEXT, FLAG, MAP, NUMBER = (str,), (int,), (str, type(None)), (bool,), (dict,), (int, float)
STATUS_SHAPE: dict[str, tuple[type, ...]] = {
    "job_name": TEXT, "job_status": TEXT, "job_substatus": WHOLE, "job_submit_time": WHOLE, "job_start_time": WHOLE,
    "job_end_time": WHOLE, "job_application": TEXT, "job_command": TEXT, "job_walltime": MAYBE_TEXT,
    "job_project": MAYBE_TEXT,
}  # fmt: skip
JOB_SHAPE = {
    **STATUS_SHAPE,
    "job_number": WHOLE, "job_owner_username": TEXT, "job_payer": TEXT, "job_label": MAYBE_TEXT,
    "job_substatus_text": MAYBE_TEXT, "job_api_submission": MAP, "job_address": MAYBE_TEXT, "job_nodes": TEXT,
    "job_mc_name": TEXT, "job_mc_scale": WHOLE, "job_exitcode": WHOLE, "job_sched_id": WHOLE, "job_sched_job_id": TEXT,
    "job_after": MAYBE_TEXT, "job_price": NUMBER, "job_app_price": NUMBER, "job_app_discount": WHOLE,
    "job_mc_discount": WHOLE, "job_billing_code": WHOLE, "job_billed": FLAG, "job_dashboard_visible": WHOLE,
    "job_stats": MAP,
}  # fmt: skip
STATS_SHAPE = {
    "compute_time": WHOLE, "queue_time": WHOLE, "wall_time": WHOLE, "job_count": WHOLE, "app_cost": NUMBER,
    "compute_cost": NUMBER,
}  # fmt: skip
INFO_SHAPE = {"url": MAYBE_TEXT, "about": MAYBE_TEXT, "help": TEXT, "actions": MAP, "address": TEXT, "password": TEXT}
APP_SHAPE = {
    "id": TEXT, "data": MAP, "price": NUMBER, "owner": NUMBER, "arch": TEXT, "privs": (list,), "src": TEXT,
    "updated": WHOLE, "checkedout": FLAG, "certified": FLAG, "walltime": TEXT, "repo": TEXT,
}  # fmt: skip
METRICS_SHAPE = {"cpu_used": WHOLE, "memory_used": WHOLE, "memory_total": WHOLE}


def assert_shape(entry: dict[str, Any], shape: Mapping[str, tuple[type, ...]]) -> None:
    """Exactly these keys, and each value has exactly one of these types: `True` is not an integer."""
    assert entry.keys() == shape.keys()
    wrong = {key: value for key, value in entry.items() if type(value) not in shape[key]}
    assert wrong == {}


@pytest.mark.proves("shapes", "Entries of `jobs` have the keys of `status` and all others that clients read")
@pytest.mark.parametrize("state", STATES)
def test_shapes_of_a_job_in_every_state(api: Api, state: str) -> None:
    api.add(STATES[state])
    api.clock.advance(77.7)
    assert_shape(api.get("status", number=7).json()["7"], STATUS_SHAPE)
    for answer in (api.get("jobs", all="true"), api.get("teamjobs", completed="true" if state in OVER else "false")):
        entry = answer.json()["7"]
        assert_shape(entry, JOB_SHAPE)
        assert_shape(entry["job_stats"], STATS_SHAPE)
        machine = entry["job_api_submission"]["machine"]
        assert (type(machine["type"]), type(machine["nodes"])) == (str, int)


def test_shapes_of_the_rest(api: Api) -> None:
    api.add(SERVING)
    api.namespaces.objects[Kind.POD_METRICS, "kns-job-7"] = [{"containers": [{"usage": {"cpu": "1", "memory": "1"}}]}]
    assert_shape(api.get("info", number=7).json(), INFO_SHAPE)
    assert_shape(api.get("connect", number=7).json(), {"address": TEXT, "password": TEXT})
    assert_shape(api.get("apps").json()["hello"], APP_SHAPE)
    measured = api.get("metrics", number=7).json()
    assert_shape(measured["summary"], METRICS_SHAPE)
    assert measured["itemized"] == {key: [value] for key, value in measured["summary"].items()}
    assert_shape(api.submit(a_submission()).json(), {"name": TEXT, "number": WHOLE})


def test_shapes_of_a_job_without_a_target(api: Api) -> None:
    api.add(a_job().without_target().exposed(url=None))
    answer = api.get("info", number=7).json()
    assert_shape(answer, INFO_SHAPE)
    assert (answer["url"], answer["address"]) == (None, "")
    assert_refused(api.get("connect", number=7), 404, NOT_RUNNING)
