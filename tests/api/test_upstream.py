"""The upstream-scheduler protocol: its credentials, each of its calls, and a whole job."""

import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.errors import RefusedError, UnavailableError
from kns.model.job.job import DesiredState, JobState, StopReason
from kns.model.job.output import JobOutput
from kns.ports import Kind
from tests.api.client import Api, as_json, assert_refused
from tests.api.test_any_input import VALUES, paths_of, replaced
from tests.builders import a_command, a_job, a_submission, an_appdef

KEY = "up:se:cret"
NAME = "20260105141530-7Q2ZD-hello-user1_s3"
JOB7 = {"name": "20260105141530-00007-hello-user1_s1", "number": 4711, "jobid": "kns-job-7"}
GETS = ["/gc", "/nodes", "/running", "/queued"]
POSTS = [
    "/online", "/submit", "/runstatus", "/exitstatus", "/terminate", "/release", "/events",
    f"/request/{JOB7['name']}/4711/kns-job-7/ping", "/request/pvcls",
]  # fmt: skip
TAKE_ARGS = [path for path in POSTS if path != "/online"]
TAKE_JOB = ["/runstatus", "/exitstatus", "/terminate", "/release", "/events"]


@pytest.fixture
def api() -> Api:
    return Api(server_key=KEY)


def basic(key: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}


def post(api: Api, path: str, args: Any = None) -> httpx.Response:
    data = {} if args is None else {"args": json.dumps(args)}
    return api.call("POST", path, data=data, headers=basic(KEY))


def ask(api: Api, path: str) -> Any:
    answer = api.call("GET", path, headers=basic(KEY))
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def _submission(**changes: Any) -> dict[str, Any]:
    """The body of the public submit without an API key."""
    return {**a_submission(), "user": {"username": "user1"}, **changes}


def submit_args(**changes: Any) -> dict[str, Any]:
    """The arguments that upstream sends. None removes a key."""
    args = {
        "name": NAME,
        "number": 4711,
        "nodes": 1,
        "bearer": "a.b.c",
        "hpc_script": {},
        "submission": _submission(),
        "appdef": an_appdef(),
        **changes,
    }
    return {key: value for key, value in args.items() if value is not None}


# Who may use it


@pytest.mark.proves(
    "routes",
    "The protocol of an upstream scheduler is off without a key ([upstream](decisions/0009-upstream-protocol.md))",
)
@pytest.mark.parametrize("path", GETS + POSTS)
def test_without_a_server_key_the_routes_do_not_exist(path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        assert_refused(Api().call(method, path, headers=basic(KEY)), 404, "Not found")


WRONG_KEYS = {
    "no header": {},
    "another password": basic("up:wrong"),
    "half of the password": basic("up:se"),
    "another user": basic("down:se:cret"),
    "nothing": basic(""),
    "no base64": {"authorization": "Basic up:se:cret"},
    "no text": {"authorization": "Basic //79"},
    "another scheme": {"authorization": f"Bearer {base64.b64encode(KEY.encode()).decode()}"},
    "a scheme alone": {"authorization": "Basic"},
    "an account of the catalogue": basic("user1:key-user1"),
}


@pytest.mark.parametrize("sentence", WRONG_KEYS)
def test_wrong_credentials_are_asked_for_again(api: Api, sentence: str) -> None:
    _assert_asked_for_the_key(api, "POST", "/terminate", WRONG_KEYS[sentence])


@pytest.mark.parametrize(("method", "path"), [("GET", path) for path in GETS] + [("POST", path) for path in POSTS])
def test_every_call_asks_for_the_key(api: Api, method: str, path: str) -> None:
    for sentence in ("no header", "another password"):
        _assert_asked_for_the_key(api, method, path, WRONG_KEYS[sentence])


def _assert_asked_for_the_key(api: Api, method: str, path: str, headers: dict[str, str]) -> None:
    api.add(a_job().started())
    answer = api.call(method, path, headers=headers, data={"args": json.dumps(JOB7)})
    assert_refused(answer, 401, "Unauthorized")
    assert answer.headers["www-authenticate"] == 'Basic realm="kns"'
    assert api.jobs.list_jobs()[0].stop_reason is None


def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    headers = {"authorization": basic(KEY)["authorization"].replace("Basic", "BASIC")}
    assert api.call("GET", "/nodes", headers=headers).json() is True


def test_the_server_key_opens_nothing_of_the_public_api(api: Api) -> None:
    assert api.call("GET", "/jarvice/jobs", headers=basic(KEY)).status_code in (400, 401)


@pytest.mark.parametrize("path", GETS)
def test_what_is_read_is_get_only(api: Api, path: str) -> None:
    assert_refused(post(api, path, {}), 405, "Method not allowed")


@pytest.mark.parametrize("path", POSTS)
def test_what_is_asked_with_args_is_post_only(api: Api, path: str) -> None:
    assert_refused(api.call("GET", path, headers=basic(KEY)), 405, "Method not allowed")


# args


NO_OBJECT = ["", "{", "[]", "7", "null", '"x"', "NaN", '{"name": 1e999}', "[" * 10_000]


@pytest.mark.parametrize(
    ("path", "text"), [*(("/terminate", text) for text in NO_OBJECT), *((path, "[]") for path in TAKE_ARGS)]
)
def test_args_that_are_no_json_object_are_refused(api: Api, path: str, text: str) -> None:
    answer = api.call("POST", path, data={"args": text}, headers=basic(KEY))
    assert answer.status_code == 400, answer.text
    assert "args" in answer.json()["error"]
    assert api.jobs.writes == []


@pytest.mark.parametrize("path", TAKE_JOB)
@pytest.mark.parametrize(
    ("args", "key"),
    [
        ({"jobid": 7}, "args.jobid"),
        ({"name": ["x"], "jobid": "kns-job-7"}, "args.name"),
        ({"number": "seven", "jobid": "kns-job-7"}, "args.number"),
        ({"number": 1.5, "jobid": "kns-job-7"}, "args.number"),
    ],
)
def test_a_key_of_a_wrong_type_is_named(api: Api, path: str, args: Any, key: str) -> None:
    answer = post(api, path, args)
    assert (answer.status_code, answer.json()["error"].startswith(f"Invalid parameter(s): {key}")) == (400, True)


@pytest.mark.parametrize("path", [path for path in TAKE_JOB if path != "/release"])
def test_a_job_must_be_named_somehow(api: Api, path: str) -> None:
    assert_refused(post(api, path, {"number": 4711}), 400, "No job specified")


def test_args_may_come_as_json_and_with_keys_that_nobody_knows(api: Api) -> None:
    api.add(a_job().started())
    body = {"args": {**JOB7, "nc": {}, "force": True, "nodes": []}}
    assert api.call("POST", "/terminate", json=body, headers=basic(KEY)).json() is True
    assert api.jobs.list_jobs()[0].stop_reason is StopReason.TERMINATE


FUZZED = Api(server_key=KEY)
FUZZED.add(a_job().exposed())
SUBMIT_PATHS = paths_of(submit_args())
REQUEST = f"/request/{JOB7['name']}/4711/kns-job-7/tail"


def _assert_foreseen(path: str, args: Any) -> None:
    answer = FUZZED.call("POST", path, content=json.dumps({"args": args}), headers=basic(KEY))
    assert answer.status_code in (200, 400, 401, 404, 500), answer.text
    assert answer.headers["content-type"] == "text/plain" or "Internal" not in str(answer.json()), (path, args)


@given(st.sampled_from(SUBMIT_PATHS), VALUES)
def test_a_submit_with_anything_anywhere_is_answered(path: tuple[Any, ...], value: Any) -> None:
    _assert_foreseen("/submit", replaced(submit_args(), path, value))


@given(st.sampled_from([*TAKE_JOB, "/request/pvcls", REQUEST]), st.sampled_from([*JOB7, "qs"]), VALUES)
def test_any_value_of_any_key_is_answered(path: str, key: str, value: Any) -> None:
    _assert_foreseen(path, {**JOB7, key: value})
    _assert_foreseen(path, {**JOB7, "qs": {"lines": value, "path": value}})


# What is read


def test_gc_tells_whether_the_cluster_answers(api: Api) -> None:
    answer = api.call("GET", "/gc", headers=basic(KEY))
    assert (answer.status_code, answer.content) == (200, as_json({"status": "OK"}))
    api.health.ready = False
    answer = api.call("GET", "/gc", headers=basic(KEY))
    assert (answer.status_code, answer.content) == (500, as_json({"status": "BAD"}))


def test_nodes_and_online_are_confirmed(api: Api) -> None:
    assert ask(api, "/nodes") is True
    assert post(api, "/online").json() is True
    assert post(api, "/online", {"host": "n1", "status": False}).json() is True


def test_running_and_queued_list_live_jobs_by_number(api: Api) -> None:
    assert (ask(api, "/running"), ask(api, "/queued")) == ([], [])
    api.add(a_job().numbered(12))
    api.add(a_job().numbered(3).spawning())
    api.add(a_job().numbered(11).started())
    api.add(a_job().numbered(2).exposed().stopping())
    api.add(a_job().numbered(5).started().ended())
    api.add(a_job().numbered(6).not_accepted())
    assert [jobid for _, jobid in ask(api, "/queued")] == ["kns-job-3", "kns-job-12"]
    assert ask(api, "/running") == [
        ["20260105141530-00002-hello-user1_s1", "kns-job-2"],
        ["20260105141530-00011-hello-user1_s1", "kns-job-11"],
    ]


def test_a_store_that_is_not_filled_yet_never_gives_empty_lists(api: Api) -> None:
    api.jobs.faults["list_in_state"] = UnavailableError("the record cache is not filled yet")
    assert_refused(api.call("GET", "/running", headers=basic(KEY)), 503, "not ready")


# submit


def test_submit_stores_a_job_with_upstreams_name_and_our_number(api: Api) -> None:
    answer = post(api, "/submit", submit_args())
    jobid, script = answer.json()
    assert (answer.status_code, jobid) == (200, "kns-job-1")
    assert json.loads(script)["templates"][0]["name"] == "web"
    job = api.jobs.list_jobs()[0]
    assert job.spec.accepted is not None
    assert (job.spec.accepted.name, job.number, job.spec.user) == (NAME, 1, "user1")
    assert job.spec.accepted.image == "registry.example.org/apps/hello:1"
    assert ask(api, "/queued") == [[NAME, "kns-job-1"]]
    assert list(api.get("status", name=NAME).json()) == ["1"]


def test_without_a_name_kns_makes_one(api: Api) -> None:
    post(api, "/submit", submit_args(name=None))
    [[name, jobid]] = ask(api, "/queued")
    assert (name.endswith("-hello-user1_s1"), jobid) == (True, "kns-job-1")


def test_the_appdef_given_replaces_the_catalogues_for_this_job_only(api: Api) -> None:
    nested = {"templates": [{"name": "other", "type": "kustomize", "path": "site"}]}
    appdef = an_appdef(commands={"Other": a_command(nested=nested)})
    submission = _submission(application={"command": "Other"})
    jobid, script = post(api, "/submit", submit_args(appdef=appdef, submission=submission)).json()
    assert (jobid, json.loads(script)["templates"][0]["name"]) == ("kns-job-1", "other")
    assert list(api.get("appdef", name="hello").json()["commands"]) == ["Hello"]
    assert api.submit(a_submission(application={"command": "Other"})).status_code == 404


def test_an_appdef_with_a_key_that_appears_twice_is_refused_like_everywhere(api: Api) -> None:
    args = submit_args(appdef={"name": "x"})
    text = json.dumps(args).replace('"name": "x"', '"name": "x", "name": "y"')
    answer = api.call("POST", "/submit", headers=basic(KEY), data={"args": text})
    assert answer.json()["error"].endswith("appdef.name: appears twice")
    assert api.jobs.list_jobs() == []


def test_without_an_appdef_the_catalogues_counts(api: Api) -> None:
    assert post(api, "/submit", submit_args(appdef=None)).json()[0] == "kns-job-1"


def test_keys_and_tokens_in_a_submission_are_not_stored(api: Api) -> None:
    user = {"username": "user1", "apikey": "not-even-right"}
    post(api, "/submit", submit_args(submission={**a_submission(), "user": user, "bearer": "a.b.c"}))
    stored = str(api.jobs.list_jobs()[0])
    assert "not-even-right" not in stored
    assert "a.b.c" not in stored


def test_a_repeated_submit_gets_the_first_job(api: Api) -> None:
    first, again = (post(api, "/submit", submit_args()).json() for _ in range(2))
    assert first == again
    assert len(api.jobs.list_jobs()) == 1


def test_a_name_of_another_job_is_refused(api: Api) -> None:
    post(api, "/submit", submit_args())
    answer = post(api, "/submit", submit_args(submission=_submission(user={"username": "user2"})))
    assert (answer.status_code, len(api.jobs.list_jobs())) == (500, 1)
    assert f"args.name: {NAME} is the name of another job" in answer.json()["error"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"submission": _submission(app="nowhere")}, "Application Not Found: app: 'nowhere' is not in the catalogue"),
        (
            {"submission": _submission(application={"command": "No"})},
            "Application Not Found: application.command: 'No'",
        ),
        ({"submission": _submission(user={"username": "nobody"})}, "'nobody' is not in the user catalogue"),
        ({"submission": _submission(user={"username": "idle1"})}, "idle1 is not active"),
        ({"submission": _submission(user={})}, "args.submission.user.username: is required"),
        ({"submission": _submission(user=None)}, "args.submission.user.username: is required"),
        ({"submission": _submission(machine={"type": "none"})}, "machine.type: no machine 'none'"),
        ({"submission": _submission(machine=7)}, "args.submission.machine"),
        ({"submission": _submission(filler="x" * 600_000)}, "a job holds at most 524288"),
        ({"appdef": {}}, "args.appdef.name"),
        ({"appdef": an_appdef(commands={})}, "args.appdef.commands"),
    ],
)
def test_what_cannot_be_had_is_500_with_the_reason(api: Api, changes: dict[str, Any], reason: str) -> None:
    answer = post(api, "/submit", submit_args(**changes))
    assert (answer.status_code, reason in answer.json()["error"]) == (500, True), answer.text
    assert api.jobs.writes == []


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "$(id)", "x" * 254, "<b>"])
def test_a_name_that_would_not_fit_a_path_is_refused(api: Api, name: str) -> None:
    answer = post(api, "/submit", submit_args(name=name))
    assert (answer.status_code, "args.name" in answer.json()["error"]) == (400, True)


def test_a_store_that_fails_is_500(api: Api) -> None:
    api.jobs.faults["create"] = RefusedError("create NestedJob: 422")
    assert_refused(post(api, "/submit", submit_args()), 500, "Unable to create Job Submission")


# One job


def test_runstatus_gives_the_path_for_requests(api: Api) -> None:
    api.add(a_job().started())
    api.clock.advance(90)
    path = f"{JOB7['name']}/4711/kns-job-7"
    assert post(api, "/runstatus", JOB7).json() == [["kns-job-7"], "00:01:00", path, None]
    assert post(api, "/runstatus", {"jobid": "kns-job-7"}).json()[2] == f"{JOB7['name']}/7/kns-job-7"


UNKNOWN = [
    {"name": "x", "number": 1, "jobid": "kns-job-8"},
    {"name": "another-name", "number": 1, "jobid": "kns-job-7"},  # the jobid belongs to a job with another name
    {"name": "x", "jobid": None},
    {"jobid": "7"},
    {"jobid": "kns-job-07"},
    {"jobid": "kns-job-" + "9" * 40},
    {"jobid": "kns-job-7; rm"},
]


@pytest.mark.parametrize("args", UNKNOWN)
def test_an_unknown_job(api: Api, args: dict[str, Any]) -> None:
    api.add(a_job().started())
    assert post(api, "/runstatus", args).json() == [None, None, None, None]
    code, elapsed, [output, line] = post(api, "/exitstatus", args).json()
    assert (code, elapsed, output, line) == (-9, "00:00:00", "", "<< termination state: UNKNOWN >>")
    assert post(api, "/terminate", args).json() is True
    assert post(api, "/release", args).json() is True
    assert_refused(post(api, "/events", args), 404, "Job not found")
    assert api.jobs.list_jobs()[0].stop_reason is None


def test_a_job_whose_jobid_was_lost_is_found_by_name(api: Api) -> None:
    api.add(a_job().started())
    assert post(api, "/terminate", {"name": JOB7["name"], "number": 4711, "jobid": None}).json() is True
    assert api.jobs.list_jobs()[0].stop_reason is StopReason.TERMINATE


@pytest.mark.parametrize(
    ("state", "code"),
    [(JobState.COMPLETED, 0), (JobState.FAILED, 1), (JobState.TERMINATED, -15), (JobState.CANCELED, -9)],
)
def test_exitstatus_of_each_end(api: Api, state: JobState, code: int) -> None:
    """Whether its objects have been removed or not."""
    for job in (a_job().started().ended(state), a_job().started().ended(state).removed()):
        api.add(job, output="a\nb\n")
        expected = [code, "00:01:10", ["a\nb\n", f"<< termination state: {state} >>"]]
        assert post(api, "/exitstatus", JOB7).json() == expected


def test_exitstatus_gives_the_reason_of_the_end(api: Api) -> None:
    api.add(a_job().ended(JobState.FAILED).with_status(message="no node has room"))
    code, elapsed, [_, line] = post(api, "/exitstatus", JOB7).json()
    assert (code, elapsed, line) == (1, "00:00:00", "<< termination state: COMPLETED WITH ERROR: no node has room >>")


def test_exitstatus_of_a_live_job_is_a_failed_call(api: Api) -> None:
    api.add(a_job().started().stopping(StopReason.TERMINATE))
    assert_refused(post(api, "/exitstatus", JOB7), 500, "Job has not ended")


def test_terminate_asks_for_the_end_and_leaves_an_ended_job(api: Api) -> None:
    api.add(a_job())
    assert post(api, "/terminate", {**JOB7, "force": False, "nodes": ["a"]}).json() is True
    job = api.jobs.list_jobs()[0]
    assert (job.spec.desired_state, job.stop_reason) == (DesiredState.STOPPED, StopReason.TERMINATE)
    api.add(a_job().ended())
    api.jobs.writes.clear()
    assert post(api, "/terminate", JOB7).json() is True
    assert api.jobs.writes == []


def test_a_terminate_that_could_not_be_stored_is_no_success(api: Api) -> None:
    api.add(a_job())
    api.jobs.faults["request_stop"] = UnavailableError("the API server does not answer")
    assert_refused(post(api, "/terminate", JOB7), 503, "not ready")


def test_events_are_lines_oldest_first(api: Api) -> None:
    api.add(a_job().started())
    api.namespaces.objects[Kind.EVENT, "kns-job-7"] = [
        {"lastTimestamp": "2026-01-05T14:16:30Z", "type": "Warning", "reason": "FailedMount",
                 "message": "no such\nvolume", "involvedObject": {"kind": "Pod", "name": "web"}},
        {"eventTime": "2026-01-05T14:16:00.123456Z", "lastTimestamp": None, "type": "Normal",
                  "reason": "Scheduled", "message": "to n1", "involvedObject": {"kind": "Pod", "name": "web"}},
    ]  # fmt: skip
    api.namespaces.objects[Kind.EVENT, "kns-job-8"] = [{"reason": "NotOurs"}]
    answer = post(api, "/events", JOB7)
    assert answer.headers["content-type"] == "text/plain"
    assert answer.text == (
        "2026-01-05T14:16:00Z Normal Scheduled Pod/web: to n1\n"
        "2026-01-05T14:16:30Z Warning FailedMount Pod/web: no such volume\n"
    )


def test_events_of_an_ended_job_are_gone(api: Api) -> None:
    api.add(a_job().ended())
    assert_refused(post(api, "/events", JOB7), 404, "Running job is not found")


# request


def request(api: Api, method: str, qs: Any = None, *, path: str = f"{JOB7['name']}/4711/kns-job-7") -> httpx.Response:
    return post(api, f"/request/{path}{method}", {"qs": qs or {}})


@pytest.mark.parametrize("method", ["/ping", "/", ""])
def test_ping(api: Api, method: str) -> None:
    api.add(a_job())
    answer = request(api, method)
    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})


@pytest.mark.parametrize(
    ("method", "answer", "reason"),
    [
        ("/shutdown", {"status": "shutdown requested"}, StopReason.SHUTDOWN),
        ("/abort", {"status": "terminated"}, StopReason.TERMINATE),
    ],
)
def test_shutdown_and_abort(api: Api, method: str, answer: Any, reason: StopReason) -> None:
    api.add(a_job().started())
    assert request(api, method).json() == answer
    assert api.jobs.list_jobs()[0].stop_reason is reason


def test_shutdown_is_for_running_jobs_and_abort_for_all(api: Api) -> None:
    api.add(a_job())
    assert_refused(request(api, "/shutdown"), 404, "Running job is not found")
    assert request(api, "/abort").status_code == 200


def test_info_has_upstreams_four_keys(api: Api) -> None:
    api.add(a_job().started())
    assert_refused(request(api, "/info"), 404, "Running job is not found")
    api.add(a_job().exposed())
    info = request(api, "/info").json()
    assert set(info) == {"about", "help", "url", "actions"}
    assert info["url"] == "https://kns-job-7.jobs.example.org"


def test_connect(api: Api) -> None:
    api.add(a_job().exposed())
    assert request(api, "/connect").json() == {"address": "kns-job-7.jobs.example.org", "password": "P" * 16}


@pytest.mark.parametrize(
    ("qs", "text"),
    [
        ({}, "1\n2\n3\n"),
        ({"lines": ["2"]}, "2\n3\n"),
        ({"lines": []}, "1\n2\n3\n"),
        ({"lines": "1", "username": ["x"]}, "3\n"),
        ({"lines": ["0"]}, "1\n2\n3\n"),
    ],
)
def test_tail(api: Api, qs: Any, text: str) -> None:
    api.add(a_job().started(), output="1\n2\n3\n")
    answer = request(api, "/tail", qs)
    assert (answer.headers["content-type"], answer.text) == ("text/plain", text)


@pytest.mark.parametrize("lines", [["-1"], ["many"], [[1]]])
def test_tail_of_no_number_of_lines(api: Api, lines: Any) -> None:
    api.add(a_job().started())
    assert_refused(request(api, "/tail", {"lines": lines}), 400, "Invalid parameter(s)")


def test_a_nested_job_has_no_screen(api: Api) -> None:
    api.add(a_job().exposed())
    assert_refused(request(api, "/screenshot"), 404, "Not found")


@pytest.mark.parametrize("path", ["x", "x/y", "//kns-job-7", "a/1/kns-job-7/ping/more", "a/1/kns-job-7/dance", ""])
def test_a_bad_path(api: Api, path: str) -> None:
    assert_refused(post(api, f"/request/{path}", {"qs": {}}), 400, "Bad Request")


@pytest.mark.parametrize("method", ["/ping", "/shutdown", "/abort", "/connect", "/info", "/tail", "/screenshot"])
def test_a_request_about_an_unknown_job(api: Api, method: str) -> None:
    api.add(a_job().started())
    answer = request(api, method, path="other/1/kns-job-7")
    assert_refused(answer, 404, "Job not found")


def test_pvcls_lists_nothing_and_wants_a_path(api: Api) -> None:
    answer = post(api, "/request/pvcls", {"qs": {"path": ["/"], "details": ["true"]}})
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, "text/plain", "")
    assert_refused(post(api, "/request/pvcls", {"qs": {}}), 401, "Unauthorized")


# A whole life


def test_the_life_of_a_job_as_upstream_sees_it(api: Api) -> None:
    jobid = post(api, "/submit", submit_args()).json()[0]
    job = {"name": NAME, "number": 4711, "jobid": jobid}
    assert (ask(api, "/queued"), ask(api, "/running")) == ([[NAME, jobid]], [])

    running = a_job().exposed(url="https://kns-job-1.jobs.example.org")
    api.jobs.write_status(api.jobs.list_jobs()[0], running.status)
    api.tokens.ensure(api.jobs.list_jobs()[0])
    api.outputs.write(api.jobs.list_jobs()[0], JobOutput(log="[1/1] web, attempt 1\n"))
    assert (ask(api, "/queued"), ask(api, "/running")) == ([], [[NAME, jobid]])
    path = post(api, "/runstatus", job).json()[2]
    assert post(api, f"/request/{path}/tail", {"qs": {}}).text == "[1/1] web, attempt 1\n"
    assert post(api, f"/request/{path}/info", {"qs": {}}).json()["url"] == "https://kns-job-1.jobs.example.org"
    assert post(api, f"/request/{path}/shutdown", {"qs": {}}).status_code == 200
    assert api.jobs.list_jobs()[0].stop_reason is StopReason.SHUTDOWN

    api.jobs.write_status(api.jobs.list_jobs()[0], running.ended(JobState.COMPLETED).status)
    assert (ask(api, "/queued"), ask(api, "/running")) == ([], [])
    code, elapsed, [output, line] = post(api, "/exitstatus", job).json()
    assert (code, elapsed, output) == (0, "00:01:10", "[1/1] web, attempt 1\n")
    assert line == "<< termination state: COMPLETED >>"
