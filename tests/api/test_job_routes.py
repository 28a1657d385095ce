"""`status`, `jobs`, `info`, `connect`, `tail`, `output`, `shutdown`, `terminate`: answers and errors."""

from typing import Any

import pytest

from kns.model.errors import NotFoundError
from kns.model.job.conditions import ConditionType
from kns.model.job.job import JobState, StopReason, Substatus
from tests.api.client import Api, as_json, assert_refused
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import START

EPOCH = int(START.timestamp())
NAME = "20260105141530-00007-hello-user1_s1"

BAD_JOBS: list[tuple[str, dict[str, Any], int, str]] = [
    ("neither name nor number", {}, 400, "No job specified"),
    ("both empty", {"name": "", "number": ""}, 400, "No job specified"),
    ("a number that is none", {"number": "seven"}, 400, "Invalid parameter(s)"),
    ("a fraction", {"number": "7.0"}, 400, "Invalid parameter(s)"),
    ("a number in other digits", {"number": "\u0667"}, 400, "Invalid parameter(s)"),
    ("a number of 5000 digits", {"number": "9" * 5000}, 400, "Invalid parameter(s)"),
    ("an unknown number", {"number": "8"}, 404, "Not Found"),
    ("a number below all", {"number": "-7"}, 404, "Not Found"),
    ("a number above all", {"number": str(2**63 - 1)}, 404, "Not Found"),
    ("a number beyond 64 bits", {"number": str(2**63)}, 400, "Invalid parameter(s)"),
    ("an unknown name", {"name": "nothing"}, 404, "Not Found"),
    ("name and number of two jobs", {"name": NAME, "number": "5"}, 404, "Not Found"),
    ("a right number with a wrong name", {"name": "nothing", "number": "7"}, 404, "Not Found"),
]


@pytest.mark.parametrize(("sentence", "params", "status", "error"), BAD_JOBS, ids=[row[0] for row in BAD_JOBS])
def test_a_job_that_cannot_be_found(api: Api, sentence: str, params: dict[str, Any], status: int, error: str) -> None:
    api.add(a_job())
    api.add(a_job().numbered(5))
    assert_refused(api.get("status", **params), status, error)


@pytest.mark.parametrize("body", [{"number": True}, {"number": 7.0}, {"number": [7]}, {"name": 7}, {"name": {}}])
def test_a_job_named_by_the_wrong_type_in_json(api: Api, body: dict[str, Any]) -> None:
    api.add(a_job())
    answer = api.call("POST", "/jarvice/status", json={"username": "user1", "apikey": "key-user1", **body})
    assert_refused(answer, 400, "Invalid parameter(s)")


@pytest.mark.proves("routes", "`name` and `number` together must identify one job")
@pytest.mark.parametrize("params", [{"number": "7"}, {"number": "007"}, {"name": NAME}, {"name": NAME, "number": "7"}])
def test_a_job_is_found_by_number_by_name_or_by_both(api: Api, params: dict[str, str]) -> None:
    api.add(a_job())
    assert list(api.get("status", **params).json()) == ["7"]


def test_a_record_that_is_not_accepted_yet_is_shown_nowhere(api: Api) -> None:
    api.add(a_job().not_accepted())
    assert api.get("jobs", all="true").json() == {}
    assert_refused(api.get("status", number=7), 404, "Not Found")


def test_status_of_a_running_job_has_exactly_ten_keys(api: Api) -> None:
    api.add(a_job().exposed())
    assert api.get("status", number=7).content == as_json(
        {
            "7": {
                "job_name": NAME,
                "job_status": "PROCESSING STARTING",
                "job_substatus": 0,
                "job_submit_time": EPOCH,
                "job_start_time": EPOCH + 30,
                "job_end_time": 0,
                "job_application": "hello",
                "job_command": "Hello",
                "job_walltime": None,
                "job_project": None,
            }
        }
    )


STATES: list[tuple[str, JobBuilder, dict[str, Any]]] = [
    ("just submitted", a_job(),
     {"job_status": "SUBMITTED", "job_substatus": 0, "job_start_time": 0, "job_end_time": 0, "job_walltime": None}),
    ("spawning", a_job().spawning(), {"job_status": "SUBMITTED", "job_substatus": 1002, "job_start_time": 0}),
    ("deploying", a_job().started(), {"job_status": "PROCESSING STARTING", "job_substatus": 1004}),
    ("shutting down", a_job().exposed().stopping(), {"job_status": "PROCESSING STARTING", "job_walltime": None}),
    ("completed", a_job().exposed().ended(),
     {"job_status": "COMPLETED", "job_end_time": EPOCH + 100, "job_walltime": "00:01:10"}),
    ("ended after more than a day", a_job().exposed().ended(at_s=30 + 90061), {"job_walltime": "25:01:01"}),
    ("canceled before the start", a_job().spawning().ended(JobState.CANCELED),
     {"job_status": "CANCELED", "job_start_time": 0, "job_walltime": "00:00:00"}),
    ("failed", a_job().started().ended(JobState.FAILED), {"job_status": "COMPLETED WITH ERROR"}),
    ("of a project", a_job().with_spec(project="alpha"), {"job_project": "alpha"}),
]  # fmt: skip


@pytest.mark.proves("statuses", "The walltime of a job that never started is `00:00:00`")
@pytest.mark.parametrize(("sentence", "builder", "expected"), STATES, ids=[row[0] for row in STATES])
def test_status_tells_what_the_record_says(
    api: Api, sentence: str, builder: JobBuilder, expected: dict[str, Any]
) -> None:
    api.add(builder)
    entry = api.get("status", number=7).json()["7"]
    assert expected == {key: entry[key] for key in expected}


@pytest.mark.proves("shapes", "Prices are 0")
@pytest.mark.proves("shapes", "Entries of `jobs` have the keys of `status` and all others that clients read")
def test_jobs_has_all_keys_of_status_and_the_rest(api: Api) -> None:
    api.add(a_job().labelled("demo").exposed())
    api.clock.advance(90)
    entry = api.get("jobs").json()["7"]
    status = api.get("status", number=7).json()["7"]
    assert entry == {
        **status,
        "job_number": 7,
        "job_owner_username": "user1",
        "job_payer": "payer1",
        "job_label": "demo",
        "job_substatus_text": None,
        "job_api_submission": {
            "app": "hello",
            "application": {"command": "Hello", "parameters": {}},
            "machine": {"type": "kns-small", "nodes": 1},
            "user": {"username": "user1"},
        },
        "job_address": "kns-job-7.jobs.example.org",
        "job_nodes": "",
        "job_mc_name": "kns-small",
        "job_mc_scale": 1,
        "job_exitcode": 0,
        "job_sched_id": 1,
        "job_sched_job_id": "kns-job-7",
        "job_after": None,
        "job_price": 0,
        "job_app_price": 0,
        "job_app_discount": 0,
        "job_mc_discount": 0,
        "job_billing_code": 0,
        "job_billed": False,
        "job_dashboard_visible": 1,
        "job_stats": {
            "compute_time": 60,
            "queue_time": 30,
            "wall_time": 60,
            "job_count": 1,
            "app_cost": 0,
            "compute_cost": 0,
        },
    }


def test_numbers_of_a_job_entry_are_real_integers(api: Api) -> None:
    api.add(a_job().started().ended(JobState.TERMINATED, at_s=77.9))
    entry = api.get("jobs", completed="true").json()["7"]
    integers = [value for key, value in {**entry, **entry["job_stats"]}.items() if isinstance(value, int | float)]
    assert {type(value) for value in integers} == {int, bool}
    assert (entry["job_exitcode"], entry["job_stats"]["wall_time"]) == (-15, 47)


def test_a_job_that_never_started_has_waited_until_its_end(api: Api) -> None:
    api.add(a_job().ended(JobState.CANCELED, at_s=12))
    api.clock.advance(500)
    stats = api.get("jobs", completed="true").json()["7"]["job_stats"]
    assert (stats["queue_time"], stats["compute_time"]) == (12, 0)


@pytest.mark.proves(
    "statuses",
    "The substatus has the published numbers and texts; it says what a job waits for, so a step that finishes at "
    'once is not shown, and a job that still waits for its target is "deploying"',
)
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, None),
        (1001, "preparing namespace"),
        (1002, "starting virtual cluster"),
        (1003, "preparing virtual cluster"),
        (1004, "deploying application"),
        (1005, "removing"),
    ],
)
def test_the_substatus_has_a_text(api: Api, number: int, text: str | None) -> None:
    api.add(a_job().with_status(substatus=Substatus(number)))
    entry = api.get("jobs").json()["7"]
    assert (entry["job_substatus"], entry["job_substatus_text"]) == (number, text)


@pytest.mark.proves("security", "find keys in logs or records")
def test_no_key_is_shown_even_if_somebody_wrote_one_into_a_record(api: Api) -> None:
    api.add(a_job().with_spec(submission={"user": {"username": "user1", "apikey": "key-user1"}, "machine": None}))
    answer = api.get("jobs")
    assert b"key-user1" not in answer.content
    assert answer.json()["7"]["job_api_submission"]["machine"] == {"type": "kns-small", "nodes": 1}


@pytest.mark.parametrize("application", [{"command": "Hello"}, {"command": "Hello", "parameters": {"a": 1}}])
def test_a_submission_shows_the_parameters_wherever_the_record_has_them(api: Api, application: dict[str, Any]) -> None:
    """Records of older versions have the parameters twice."""
    api.add(a_job().with_spec(parameters={"a": 1}, submission={"app": "hello", "application": application}))
    entry = api.get("jobs").json()["7"]
    assert entry["job_api_submission"]["application"] == {"command": "Hello", "parameters": {"a": 1}}


def test_the_billing_code_is_the_one_of_the_submit(api: Api) -> None:
    api.add(a_job().with_accepted(billing_code=42))
    assert api.get("jobs").json()["7"]["job_billing_code"] == 42


def _fill(api: Api) -> None:
    api.add(a_job().numbered(1).labelled("red apple"))
    api.add(a_job().numbered(2).labelled("red").started())
    api.add(a_job().numbered(3).ended(JobState.CANCELED))
    api.add(a_job().numbered(4).labelled("apple").started().ended())
    api.add(a_job().numbered(10).started())
    api.add(a_job().numbered(5).owned_by("user2"))


@pytest.mark.proves("routes", "`jobs` takes `label`, `exactmatch` and `all`")
@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({}, ["1", "2", "10"]),
        ({"completed": "false"}, ["1", "2", "10"]),
        ({"completed": "true"}, ["3", "4"]),
        ({"all": "true"}, ["1", "2", "3", "4", "10"]),
        ({"all": "true", "completed": "true"}, ["1", "2", "3", "4", "10"]),
        ({"label": "red"}, ["1", "2"]),
        ({"label": "red", "exactmatch": "true"}, ["2"]),
        ({"label": "apple", "all": "true"}, ["1", "4"]),
        ({"label": "Red"}, []),
        ({"label": ""}, ["1", "2", "10"]),
        ({"exactmatch": "true"}, ["1", "2", "10"]),
    ],
)
def test_jobs_are_the_callers_own_filtered(api: Api, params: dict[str, str], numbers: list[str]) -> None:
    _fill(api)
    assert list(api.get("jobs", **params).json()) == numbers


@pytest.mark.parametrize(("caller", "numbers"), [("user2", ["5"]), ("payer1", []), ("admin1", [])])
def test_jobs_are_own_jobs_even_for_those_who_may_see_more(api: Api, caller: str, numbers: list[str]) -> None:
    _fill(api)
    assert list(api.get("jobs", as_user=caller).json()) == numbers


@pytest.mark.proves("routes", "The newest 1000 ended jobs are listed")
def test_of_ended_jobs_the_newest_thousand_are_listed(api: Api) -> None:
    for number in range(1, 1004):
        api.add(a_job().numbered(number).ended(JobState.CANCELED))
    numbers = list(api.get("jobs", completed="true").json())
    assert (len(numbers), numbers[0], numbers[-1]) == (1000, "4", "1003")


@pytest.mark.proves("routes", "`info` has six keys")
def test_info_has_six_keys(api: Api) -> None:
    api.add(a_job().exposed())
    answer = api.get("info", number=7).json()
    help_html = answer.pop("help")
    assert answer == {
        "url": "https://kns-job-7.jobs.example.org",
        "about": None,
        "actions": {},
        "address": "kns-job-7.jobs.example.org",
        "password": "P" * 16,
    }
    assert help_html == (
        '<h3>Urls</h3>\n<p><a href="https://kns-job-7.jobs.example.org">https://kns-job-7.jobs.example.org</a></p>\n'
        f"<h3>Credentials</h3>\n<p>user: <code>user1</code><br>password: <code>{'P' * 16}</code></p>\n"
    )


@pytest.mark.parametrize("ready", [True, False])
def test_help_tells_of_the_shell_once_it_serves(api: Api, ready: bool) -> None:
    """The address is the job's own, whatever the command's URL is."""
    job = a_job().with_accepted(url="/lab").exposed().condition(ConditionType.SHELL_READY, true=ready)
    api.add(job)
    help_html = api.get("info", number=7).json()["help"]
    url = "https://kns-job-7.jobs.example.org/gotty-shell"
    assert (f'shell: <a href="{url}">{url}</a>' in help_html) is ready
    assert ("shell" in help_html) is ready


@pytest.mark.proves("appdef", "A command's `url` may be a path behind the job's URL")
@pytest.mark.parametrize(
    ("sentence", "override", "url"),
    [
        ("a path is put after the job's URL", "/lab?token=%RANDOM32%",
         "https://kns-job-7.jobs.example.org/lab?token=R32xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("anything else is taken as written", "https://%PUBLICADDR%%BASEURL%lab?u=%NIMBIXUSER%&j=%JOBNAME%",
         f"https://kns-job-7.jobs.example.org/lab?u=user1&j={NAME}"),
        ("an unknown placeholder stays", "%CONNECTURL%/%20x%FOO%?p=%NIMBIXPASSWD%",
         f"https://kns-job-7.jobs.example.org/%20x%FOO%?p={'P' * 16}"),
    ],
)  # fmt: skip
def test_a_command_may_choose_its_url(api: Api, sentence: str, override: str, url: str) -> None:
    api.add(a_job().with_accepted(url=override).exposed())
    assert api.get("info", number=7).json()["url"] == url


@pytest.mark.proves("security", "markup, script or placeholders in the help page")
@pytest.mark.proves(
    "appdef",
    "`/etc/NAE/help.html` of the image follows kns's own help ([help page](decisions/0011-help-page.md))",
)
def test_help_escapes_whatever_it_shows(api: Api) -> None:
    script = "javascript:alert('<b>&\"</b>')"
    api.add(a_job().with_accepted(url=script).exposed())
    answer = api.get("info", number=7).json()
    assert answer["url"] == script
    assert "<b>" not in answer["help"]
    assert "href" not in answer["help"]
    assert "javascript:alert(&#x27;&lt;b&gt;&amp;&quot;&lt;/b&gt;&#x27;)" in answer["help"]


@pytest.mark.proves(
    "routes",
    "A job with a target is interactive unless its command says otherwise; a job without one has no `connect`",
)
def test_a_job_without_target_has_no_url_and_no_connect(api: Api) -> None:
    api.add(a_job().without_target().exposed(url=None))
    answer = api.get("info", number=7).json()
    assert (answer["url"], answer["address"], answer["password"]) == (None, "", "P" * 16)
    assert "Urls" not in answer["help"]
    assert_refused(api.get("connect", number=7), 404, "Running job is not found")


def test_connect_gives_address_and_password(api: Api) -> None:
    api.add(a_job().exposed())
    assert api.get("connect", number=7).content == as_json(
        {"address": "kns-job-7.jobs.example.org", "password": "P" * 16}
    )


def test_connect_respects_an_app_that_is_not_interactive(api: Api) -> None:
    api.add(a_job().with_accepted(connectable=False).exposed())
    assert api.get("info", number=7).status_code == 200
    assert_refused(api.get("connect", number=7), 404, "Running job is not found")


LINES = "".join(f"line {i}\n" for i in range(1, 151))


@pytest.mark.parametrize(("route", "builder"), [("tail", a_job().started()), ("output", a_job().started().ended())])
@pytest.mark.parametrize(
    ("params", "first", "count"),
    [({}, "line 51", 100), ({"lines": "0"}, "line 1", 150), ({"lines": "2"}, "line 149", 2),
     ({"lines": "999"}, "line 1", 150), ({"lines": ""}, "line 51", 100)],
)  # fmt: skip
def test_the_last_lines_of_the_output(
    api: Api, route: str, builder: JobBuilder, params: dict[str, str], first: str, count: int
) -> None:
    api.add(builder, output=LINES)
    answer = api.get(route, number=7, **params)
    lines = answer.text.splitlines()
    assert (answer.status_code, lines[0], len(lines), lines[-1]) == (200, first, count, "line 150")


@pytest.mark.parametrize(("route", "builder"), [("tail", a_job().started()), ("output", a_job().started().ended())])
def test_nothing_but_a_newline_ends_a_line(api: Api, route: str, builder: JobBuilder) -> None:
    api.add(builder, output="first\na\rb\fc\vd\x1ce\x85f\u2028g\r\n\nlast")
    assert api.get(route, number=7, lines="3").content == "a\rb\fc\vd\x1ce\x85f\u2028g\r\n\nlast\n".encode()


@pytest.mark.parametrize("lines", ["-1", "ten", "1.5", "0x10", " 5", "true"])
@pytest.mark.parametrize(("route", "builder"), [("tail", a_job().started()), ("output", a_job().started().ended())])
def test_lines_must_be_a_number_from_zero_up(api: Api, route: str, builder: JobBuilder, lines: str) -> None:
    api.add(builder, output=LINES)
    assert_refused(api.get(route, number=7, lines=lines), 400, "Invalid parameter(s)")


def test_tail_without_output_is_empty_text(api: Api) -> None:
    api.add(a_job().started())
    answer = api.get("tail", number=7)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "text/plain")


@pytest.mark.parametrize("builder", [a_job(), a_job().started().ended()])
def test_a_shutdown_that_is_refused_changes_nothing(api: Api, builder: JobBuilder) -> None:
    job = api.add(builder)
    assert_refused(api.get("shutdown", number=7), 404, "Running job is not found")
    assert api.jobs.get(job.record) == job


def test_shutdown_writes_the_wish_and_says_so_as_often_as_asked(api: Api) -> None:
    job = api.add(a_job().started())
    for _ in range(2):
        assert api.get("shutdown", number=7).content == as_json({"status": "shutdown requested"})
    stored = api.jobs.get(job.record)
    assert stored is not None
    assert stored.stop_reason is StopReason.SHUTDOWN
    assert api.jobs.writes == ["add kns-job-7", "request_stop kns-job-7"]


@pytest.mark.proves("routes", "`terminate` accepts a job in any state and leaves an ended one unchanged")
@pytest.mark.parametrize("builder", [a_job(), a_job().spawning(), a_job().started(), a_job().started().stopping()])
def test_terminate_takes_any_live_job(api: Api, builder: JobBuilder) -> None:
    job = api.add(builder)
    assert api.get("terminate", number=7).content == as_json({"status": "terminated"})
    stored = api.jobs.get(job.record)
    assert stored is not None
    assert stored.stop_reason is StopReason.TERMINATE


@pytest.mark.proves("statuses", "If both shutdown and terminate are requested, `terminate` decides the final status")
def test_shutdown_never_softens_a_terminate(api: Api) -> None:
    job = api.add(a_job().started().stopping(StopReason.TERMINATE))
    assert api.get("shutdown", number=7).status_code == 200
    assert api.jobs.get(job.record) == job


@pytest.mark.proves("routes", "`terminate` accepts a job in any state and leaves an ended one unchanged")
def test_terminate_of_an_ended_job_changes_nothing(api: Api) -> None:
    job = api.add(a_job().started().ended())
    assert api.get("terminate", number=7).content == as_json({"status": "terminated"})
    assert api.jobs.get(job.record) == job


def test_a_job_purged_in_between_is_unknown(api: Api) -> None:
    api.add(a_job().started())
    api.jobs.faults["request_stop"] = NotFoundError("patch NestedJob kns-job-7: 404")
    assert_refused(api.get("terminate", number=7), 404, "Not found")
