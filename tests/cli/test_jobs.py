"""Commands that read jobs: what they print as a table, as data, and which status they end with."""

import json

import pytest
import yaml

from kns.cli.jobs import build_job_table
from kns.cli.logs import list_new_lines
from kns.cli.screen import Screen
from kns.client import ApiKey
from kns.model.errors import UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.model.job.output import CUT, JobOutput
from kns.model.job.usage import Usage
from kns.ports import Kind
from tests.api.client import Api
from tests.builders import JobBuilder, a_catalog, a_command, a_job, an_app, an_appdef
from tests.cli.conftest import URL as SITE
from tests.cli.conftest import Terminal

URL = "https://kns-job-7.jobs.example.org"


def serving() -> JobBuilder:
    return a_job().condition(ConditionType.NAMESPACE_READY, at_s=1).started().exposed()


# --- list


def test_live_jobs_are_listed_and_ended_ones_on_demand(api: Api, terminal: Terminal) -> None:
    api.add(a_job().labelled("mine"))
    api.add(serving().numbered(8))
    api.add(serving().numbered(9).ended())
    api.add(serving().numbered(10).owned_by("user2"))
    assert [job["number"] for job in terminal.read("list")] == [7, 8]
    assert [job["number"] for job in terminal.read("list", "--all")] == [7, 8, 9]
    assert [job["number"] for job in terminal.read("list", "--ended")] == [9]
    assert [job["number"] for job in terminal.read("list", "--all", "-n", "2")] == [8, 9]
    assert [job["number"] for job in terminal.read("list", "--label", "min")] == [7]
    assert [job["number"] for job in terminal.read("list", "--status", "processing")] == [8]
    assert terminal.read("list", "--app", "other") == []


def test_a_team_leader_sees_the_jobs_of_the_team(api: Api, terminal: Terminal) -> None:
    api.add(a_job().labelled("mine"))
    api.add(serving().numbered(8).owned_by("user2").ended())
    terminal.environ |= {"KNS_USERNAME": "lead1", "KNS_APIKEY": "key-lead1"}
    assert [job["user"] for job in terminal.read("list", "--team", "--all")] == ["user1", "user2"]
    assert [job["number"] for job in terminal.read("list", "--team", "--label", "mine")] == [7]


def test_a_list_is_a_table_whose_columns_are_never_cut_in_a_pipe(api: Api, terminal: Terminal) -> None:
    api.add(serving().labelled("a label [bold]that is long[/] " + "x" * 200))
    api.clock.advance(120)
    result = terminal.run("list")
    header, row = result.stdout.splitlines()
    assert header.split() == ["JOB", "STATUS", "STAGE", "APP", "MACHINE", "OWNER", "AGE", "LABEL", "ADDRESS"]
    assert row.startswith("7 ")
    assert "a label [bold]that is long[/] " + "x" * 200 in result.stdout
    assert "2 min" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_what_is_empty_has_no_output_in_a_pipe_and_is_no_failure(api: Api, terminal: Terminal) -> None:
    full = a_catalog()
    api.catalog.catalog = type(full)(users=full.users, machines={}, apps={}, vaults={})
    for args in (("apps",), ("apps", "none"), ("machines",), ("profiles",)):
        result = terminal.run(*args)
        assert (result.exit_code, result.output) == (0, "")
        assert terminal.read(*args) == []


def test_an_empty_list_has_no_output_in_a_pipe_and_is_no_failure(terminal: Terminal) -> None:
    result = terminal.run("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert terminal.read("list") == []


def test_control_characters_of_others_reach_no_terminal(api: Api, terminal: Terminal) -> None:
    api.add(a_job().labelled("a\x1b]0;title\x07b"))
    assert "a\\x1b]0;title\\x07b" in terminal.run("list").stdout


@pytest.mark.proves("security", "control the terminal of whoever lists jobs, reads output or an app's description")
@pytest.mark.parametrize("output", ["json", "yaml"])
def test_data_has_no_characters_that_control_a_terminal(api: Api, terminal: Terminal, output: str) -> None:
    """Those of C1 work like an escape sequence, and those that change the direction hide what a line says."""
    label = "a\x9b31m\u202eb\x85c\u2028é"
    api.add(a_job().labelled(label))
    shown = terminal.run("list", "-o", output).stdout
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert yaml.safe_load(shown)[0]["label"] == label


@pytest.mark.proves("security", "control the terminal of whoever lists jobs, reads output or an app's description")
def test_what_an_author_wrote_about_an_app_controls_no_terminal(api: Api, terminal: Terminal) -> None:
    evil = "first line\n\x1b]0;title\x07 [bold]second[/]"
    command = a_command(description=evil, parameters={"x": {"type": "STR", "name": "x", "description": evil}})
    appdef = an_appdef(name=evil, description=evil, author=evil, commands={"Run": command})
    api.catalog.catalog = a_catalog(apps={"evil": an_app(appdef)})
    for args in (("app", "evil"), ("apps",), ("apps", "-o", "yaml")):
        shown = terminal.run(*args).stdout
        assert "\x1b" not in shown
        assert "title" in shown
    assert "first line\n\\x1b]0;title\\x07 [bold]second[/]" in terminal.run("app", "evil").stdout


def test_a_watched_list_prints_each_change_until_it_is_interrupted(api: Api, terminal: Terminal) -> None:
    api.add(a_job())

    def interrupt() -> None:
        raise KeyboardInterrupt

    terminal.steps = [lambda: api.add(serving()), lambda: None, lambda: api.add(serving().ended()), interrupt]
    result = terminal.run("list", "-w", "-o", "json")
    assert result.exit_code == 130
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [job["status"] for job in found] == ["SUBMITTED", "PROCESSING STARTING"]
    api.add(serving())
    terminal.steps = [lambda: api.add(serving().ended()), interrupt]
    rows = [line.split("\t") for line in terminal.run("list", "-w").stdout.splitlines()]
    assert rows[0][:2] == ["7", "PROCESSING STARTING"]
    assert rows[1] == ["7", "left the list"]
    terminal.steps = [interrupt]
    api.add(serving())
    (job,) = yaml.safe_load_all(terminal.run("list", "-w", "-o", "yaml").stdout)
    assert job["number"] == 7


def test_a_watched_list_and_followed_logs_survive_a_restart_of_kns(api: Api, terminal: Terminal) -> None:
    """A wrong address, from which nothing ever came, is reported at once."""
    job = api.add(serving(), output="1\n")

    def restart() -> None:
        terminal.bridge.fail = 3

    def end() -> None:
        api.add(serving().ended().with_status(message="over"))
        api.outputs.write(job, JobOutput(log="1\n"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    terminal.steps = [restart, lambda: None, lambda: None, end]
    assert terminal.run("logs", "-f", "7").stdout.splitlines() == ["1", "over"]
    api.add(serving())
    terminal.steps = [restart, lambda: None, lambda: None, lambda: api.add(serving().ended()), interrupt]
    result = terminal.run("list", "-w")
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1] == "7\tleft the list"
    for command in (("logs", "-f", "7"), ("list", "-w")):
        terminal.bridge.fail, terminal.steps = 1, []
        assert "check the address" in terminal.refuse(6, *command)


def test_a_narrow_terminal_leaves_out_columns_and_never_the_number(api: Api, terminal: Terminal) -> None:
    api.add(serving().labelled("Notebook of the seminar"))
    with terminal.session().connect() as client:
        found = {int(number): job for number, job in client.get("jobs").items()}
    screen = Screen()
    heads = {}
    for width in (200, 80):
        screen.out.width = width
        heads[width] = [column.header for column in build_job_table(screen, found, api.clock.now()).columns]
    assert heads[200][0] == "JOB"
    assert "ADDRESS" in heads[200]
    assert heads[80] == ["JOB", "STATUS", "STAGE", "APP", "AGE", "LABEL"]
    screen.out.width = 50
    with screen.out.capture() as shown:
        screen.out.print(build_job_table(screen, found, api.clock.now()))
    assert [line[:3].strip() for line in shown.get().splitlines()] == ["JOB", "7"]
    assert "Not" in shown.get()


# --- show


def test_a_job_is_shown_with_its_timeline_and_how_to_reach_it(api: Api, terminal: Terminal) -> None:
    api.add(serving().with_accepted(walltime_s=3600))
    api.clock.advance(70)
    shown = terminal.run("show", "7").stdout
    for text in ("Status", "PROCESSING STARTING", URL, "PPPPPPPPPPPPPPPP", "1 h", "prepare the namespace", "serve"):
        assert text in shown
    data = terminal.read("show", "kns-job-7")
    assert (data["number"], data["connection"]["url"]) == (7, URL)
    assert [step["name"] for step in data["steps"]][:2] == ["namespace", "vcluster"]


def test_a_job_that_cannot_be_reached_is_shown_without_a_login(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    assert "Password" not in terminal.run("show", "7").stdout
    assert terminal.read("show", "20260105141530-00007-hello-user1_s1")["connection"] is None


def test_output_can_be_yaml_and_the_variable_chooses_it(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    assert yaml.safe_load(terminal.run("show", "7", "-o", "yaml").stdout)["number"] == 7
    terminal.environ["KNS_OUTPUT"] = "yaml"
    assert yaml.safe_load(terminal.run("list").stdout)[0]["number"] == 7
    terminal.environ["KNS_OUTPUT"] = "xml"
    assert terminal.refuse(2, "list") == "KNS_OUTPUT is 'xml'; it must be one of table, json, yaml"


# --- usage, limits, overview


def test_the_usage_of_a_job_is_what_it_uses_and_what_it_requested(api: Api, terminal: Terminal) -> None:
    usage = Usage(time=api.clock.now(), cores=1.5, gib=2, gpus=1)
    api.add(serving().with_status(usage=usage))
    api.clock.advance(3600)
    container = {"usage": {"cpu": "1", "memory": "1Gi"}}
    api.namespaces.objects[Kind.POD_METRICS, "kns-job-7"] = [{"containers": [container]}]
    assert [line.split(maxsplit=2) for line in terminal.run("usage", "7").stdout.splitlines()] == [
        ["CPU", "now", "50 % of the machine"],
        ["Memory", "now", "1.00 of 4.0 GiB"],
        ["Requested", "now", "1.5 cores, 2 GiB, 1 GPUs"],
        ["Requested", "in", "all  1.50 core hours, 2.00 GiB hours, 1.00 GPU hours"],
    ]
    assert terminal.read("usage", "7")["measured"]["cpu_used"] == 50
    api.add(a_job())
    assert terminal.run("usage", "7").stdout == ""
    assert terminal.read("usage", "7") == {"requested": None, "measured": None}


def test_limits_are_ones_own(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    assert terminal.read("limits") == {"live_jobs": 1, "live_jobs_limit": None}
    assert terminal.run("limits").stdout.split() == ["Live", "jobs", "1", "At", "most", "no", "limit"]


def test_an_overview_is_for_administrators_and_escapes_what_others_wrote(api: Api, terminal: Terminal) -> None:
    api.add(serving())
    failed = a_job().numbered(8).owned_by("user3").started().ended(JobState.FAILED)
    api.add(failed.with_status(reason=Reason.INIT_FAILED, message="\x1b]0;title\x07" + "x" * 500))
    assert terminal.refuse(3, "overview") == "user1 is not a system admin"
    terminal.environ |= {"KNS_USERNAME": "admin1", "KNS_APIKEY": "key-admin1"}
    shown = terminal.run("overview").stdout
    for text in ("Who uses what", "user1", "InitFailed", "user3", "Live jobs", "\\x1b]0;title\\x07"):
        assert text in shown
    assert "\x1b" not in shown
    assert "x" * 300 not in shown
    assert terminal.read("overview", "--page", "2")["live"] == []
    api.namespaces.faults[Kind.EVENT] = UnavailableError("no answer")
    result = terminal.run("overview")
    assert (result.exit_code, result.stderr) == (0, "warning: the orphans cannot be read now\n")


# --- explain


def test_an_explanation_is_a_few_sentences(api: Api, terminal: Terminal) -> None:
    api.add(serving())
    quota = {"hard": {"requests.cpu": "2200m"}, "used": {"requests.cpu": "2"}}
    api.namespaces.objects[Kind.RESOURCE_QUOTA, "kns-job-7"] = [{"metadata": {"name": "kns-quota"}, "status": quota}]
    subject = {"kind": "Pod", "name": "web-0-x-default-x-kns-job-7"}
    api.namespaces.objects[Kind.EVENT, "kns-job-7"] = [
        {"type": "Warning", "reason": "BackOff", "message": "restarting", "count": 4, "involvedObject": subject,
         "lastTimestamp": "2026-01-05T14:16:00Z"}
    ]  # fmt: skip
    assert terminal.run("explain", "7").stdout.splitlines() == [
        f"Job 7 serves at {URL}.",
        "It requests 2 of 2.2 cores.",
        "Warning: Pod web-0 in namespace default: BackOff, 4 times: restarting",
        "-> The container or its image fails again and again. Read the pod's log.",
    ]
    assert terminal.read("explain", "7")["standing"] == "serving"


def test_an_explanation_names_the_cause(api: Api, terminal: Terminal) -> None:
    builder = a_job().started().ended(JobState.FAILED).removed()
    api.add(builder.with_status(reason=str(Reason.INIT_FAILED), message="container init: exit code 137"))
    api.clock.advance(160)
    told = terminal.run("explain", "7").stdout.splitlines()
    assert told[0].startswith("Job 7 ended COMPLETED WITH ERROR 1 min ago")
    assert told[1] == "Cause: container init: exit code 137"
    assert told[2].startswith("-> Read the output.")


# --- watch


def test_watch_prints_each_change_and_ends_with_the_url(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    spawning = a_job().condition(ConditionType.NAMESPACE_READY, at_s=1).spawning()
    waiting = spawning.condition(ConditionType.VIRTUAL_CLUSTER_READY, true=False, reason=Reason.SPAWNING, at_s=2)
    terminal.steps = [lambda: api.add(waiting), lambda: None, lambda: api.add(serving())]
    result = terminal.run("watch", "7")
    assert result.exit_code == 0
    told = result.stdout.splitlines()
    assert told[0] == "+0 s  prepare the namespace: active"
    assert told[1] == "+1 s  prepare the namespace: done"
    assert told[-1] == URL
    assert len([line for line in told if "start the virtual cluster: active" in line]) == 1


@pytest.mark.parametrize(
    ("state", "status"),
    [(JobState.COMPLETED, 0), (JobState.FAILED, 1), (JobState.TERMINATED, 8), (JobState.CANCELED, 8)],
)
def test_the_end_of_a_job_is_the_status_of_watch(api: Api, terminal: Terminal, state: JobState, status: int) -> None:
    api.add(serving())
    terminal.steps = [lambda: api.add(serving().ended(state).with_status(message="why"))]
    result = terminal.run("watch", "7", "--until", "ended")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (status, f"job 7 ended {state}: why")


def test_watch_gives_up_after_its_timeout(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    terminal.steps = [lambda: None] * 100
    result = terminal.run("watch", "7", "--timeout", "10")
    assert result.exit_code == 7
    assert result.stderr == "kns: gave up after 10 s; job 7 goes on; end it with `kns terminate 7`\n"


def test_watch_survives_a_restart_of_kns(api: Api, terminal: Terminal) -> None:
    api.add(a_job())

    def restart() -> None:
        terminal.bridge.fail = 3

    terminal.steps = [restart, *[lambda: None] * 3, lambda: api.add(serving())]
    assert terminal.run("watch", "7").exit_code == 0


def test_failed_logins_of_somebody_else_do_not_end_watch(api: Api, terminal: Terminal) -> None:
    """They block the right key too, for a minute, and a script may end a job whose `kns watch` failed."""
    api.add(a_job())

    def guess() -> None:
        with terminal.surroundings.connect(SITE, ApiKey("user1", "wrong")) as client:
            answers = [client.ask("jobs").status_code for _ in range(11)]
        assert answers[-1] == 429

    terminal.steps = [guess, *[lambda: None] * 20, lambda: api.add(serving())]
    assert terminal.run("watch", "7").exit_code == 0


def test_watch_does_not_wait_for_a_job_that_does_not_exist(terminal: Terminal) -> None:
    assert "there is no such job" in terminal.refuse(4, "watch", "7")


def test_watch_as_data_is_the_job_alone(api: Api, terminal: Terminal) -> None:
    api.add(serving())
    assert terminal.read("watch", "7")["number"] == 7


# --- logs


def test_logs_are_the_same_text_before_and_after_the_end(api: Api, terminal: Terminal) -> None:
    api.add(serving(), output="one\ntwo\n")
    assert terminal.run("logs", "7").stdout == "one\ntwo\n"
    assert terminal.run("logs", "7", "-n", "1").stdout == "two\n"
    api.add(serving().ended().with_status(message="the job was shut down"))
    assert terminal.run("logs", "7").stdout.splitlines() == ["one", "two", "the job was shut down"]


def test_a_job_that_has_not_started_has_no_logs(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    result = terminal.run("logs", "7")
    assert (result.exit_code, result.output) == (0, "")


def test_somebody_at_a_terminal_is_told_that_there_is_nothing(
    api: Api, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(Screen, "note", lambda _screen, text: notes.append(text))
    terminal.environ |= {"KNS_USERNAME": "admin1", "KNS_APIKEY": "key-admin1"}
    api.add(a_job())
    api.add(a_job().numbered(8).ended(JobState.CANCELED))
    for args in (("logs", "7"), ("logs", "8"), ("logs", "-f", "8"), ("events", "7")):
        assert terminal.run(*args).stdout == ""
    ended = "the job ended without output"
    assert notes == ["there is no output yet", ended, ended, "its namespace has no events"]


def test_followed_logs_have_each_line_once(api: Api, terminal: Terminal) -> None:
    job = api.add(a_job())

    def grow(text: str) -> None:
        api.add(serving(), output=text)

    def end() -> None:
        api.add(serving().ended().with_status(message="over"))
        api.outputs.write(job, JobOutput(log="1\n2\n3\n"))

    terminal.steps = [lambda: grow("1\n"), lambda: grow("1\n2\n"), lambda: None, end]
    assert terminal.run("logs", "-f", "7").stdout.splitlines() == ["1", "2", "3", "over"]


def test_lines_that_were_cut_meanwhile_are_not_repeated() -> None:
    assert list_new_lines(["a", "b", "c"], [CUT, "c", "d"]) == ["d"]
    assert list_new_lines(["x"] * 3, ["x"] * 5) == ["x", "x"]


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (["a"], ["w", "a", "b"], ["w", "b"]),
        (["a"], ["w", "a"], ["w"]),
        (["v", "a", "a"], ["v", "w", "a", "a", "b"], ["w", "b"]),
        (["w", "a", "b", "c"], [CUT, "w", "c", "d"], ["d"]),
        ([CUT, "w", "c", "d"], [CUT, "w", "d", "e"], ["e"]),
        (["a", "b", "c"], [CUT, "w", "c", "d"], ["w", "d"]),
        (["a", "b", "a", "b"], [CUT, "a", "b", "c"], ["c"]),
        (["p", "q", "r"], [CUT, "r", "s", "q", "r", "t"], ["s", "q", "r", "t"]),
    ],
)
def test_warnings_above_the_lines_repeat_none_of_them(before: list[str], after: list[str], new: list[str]) -> None:
    assert list_new_lines(before, after) == new


def test_followed_logs_have_each_line_once_although_a_warning_comes_above_them(api: Api, terminal: Terminal) -> None:
    job = api.add(serving(), output="1\n2\n")

    def warn() -> None:
        api.outputs.write(job, JobOutput(head="warning\n", log="1\n2\n3\n"))

    def cut() -> None:
        api.add(serving().ended().with_status(message="over"))
        api.outputs.write(job, JobOutput(head="warning\n", log=f"{CUT}\n3\n4\n"))

    terminal.steps = [warn, cut]
    assert terminal.run("logs", "-f", "7").stdout.splitlines() == ["1", "2", "warning", "3", "4", "over"]


# --- events, open, shell


def test_events_are_for_administrators(api: Api, terminal: Terminal) -> None:
    api.add(serving())
    event = {"type": "Normal", "reason": "R", "message": "m", "lastTimestamp": "2026-01-05T14:16:00Z"}
    api.namespaces.objects[Kind.EVENT, "kns-job-7"] = [event]
    assert terminal.refuse(3, "events", "7").startswith("only system administrators may read all events; `kns explain`")
    terminal.environ |= {"KNS_USERNAME": "admin1", "KNS_APIKEY": "key-admin1"}
    assert terminal.run("events", "7").stdout == "2026-01-05T14:16:00Z Normal R -/-: m\n"


def test_open_prints_the_url_and_opens_nothing_without_a_terminal(api: Api, terminal: Terminal) -> None:
    api.add(serving())
    assert terminal.run("open", "7").stdout == f"{URL}\n"
    assert terminal.opened == []
    api.add(a_job())
    line = "job 7 does not serve yet, it is SUBMITTED; `kns watch 7` waits until it does"
    assert terminal.refuse(5, "open", "7") == line
    api.add(serving().ended())
    assert terminal.refuse(5, "open", "7").startswith("job 7 ended COMPLETED")
    api.add(serving().numbered(8).exposed(url=None))
    assert terminal.refuse(5, "open", "8") == "the job has no URL: its app has no target"


def test_shell_prints_the_url_of_the_web_shell(api: Api, terminal: Terminal) -> None:
    api.add(serving())
    assert terminal.refuse(5, "shell", "7").startswith("the job has no web shell")
    api.add(serving().condition(ConditionType.SHELL_READY, at_s=50))
    assert terminal.run("shell", "7").stdout == f"{URL}/gotty-shell\n"
