"""`kns submit`, `stop`, `terminate`: what is stored, what a repeated request does, and how mistakes are reported."""

import base64
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kns.cli.submit import _naming
from kns.model.catalog.catalog import parse_catalog
from kns.model.job.job import JobState
from tests.api.client import Api
from tests.builders import JobBuilder, a_catalog, a_command, a_job, an_app, an_appdef, catalog_files
from tests.cli.conftest import Terminal
from tests.fakes.room import MemoryRoom, a_node
from tests.fakes.stores import StaticCatalog

PARAMETERS: dict[str, Any] = {
    "cpus": {"type": "INT", "name": "CPUs", "description": "How many.", "min": 1, "max": 8, "value": 2},
    "title": {"type": "STR", "name": "Title", "required": True},
    "data": {"type": "UPLOAD", "name": "Data", "target": "data.bin"},
    "mode": {"type": "selection", "values": ["fast", "slow"]},
    "fixed": {"type": "CONST", "value": "x"},
}


LAB = an_app(an_appdef(name="Lab", commands={"Run": a_command(parameters=PARAMETERS)}, machines=["kns-large"]))


@pytest.fixture
def api() -> Api:
    return Api(catalog=StaticCatalog(a_catalog(apps={"lab": LAB})))


def test_a_job_is_submitted_and_its_number_printed(api: Api, terminal: Terminal) -> None:
    result = terminal.run("submit", "hello", "-m", "kns-small", "--nodes", "2", "--label", "mine", "-t", "01:00:00")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "1\n", "")
    job = api.jobs.find(1)
    assert job is not None
    assert (job.spec.user, job.spec.machine.type, job.spec.machine.nodes) == ("user1", "kns-small", 2)
    assert (job.spec.label, job.spec.walltime) == ("mine", "01:00:00")


def test_parameters_and_files_reach_the_job(api: Api, terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"\x00\xff")
    result = terminal.run(
        "submit", "lab", "-p", "title=a=b", "-p", "cpus=4", "--upload", f"data={tmp_path / 'd'}", "-o", "json"
    )
    assert result.exit_code == 0, result.output
    job = api.jobs.find(json.loads(result.stdout)["number"])
    assert job is not None
    assert job.spec.accepted is not None
    assert job.spec.parameters == {"title": "a=b", "cpus": "4", "data": base64.b64encode(b"\x00\xff").decode()}
    assert {each.key: each.value for each in job.spec.accepted.parameters}["cpus"] == 4


def test_without_a_machine_it_is_the_first_of_the_catalogue_that_the_app_admits(api: Api, terminal: Terminal) -> None:
    """As on the page. A smaller one behind it may be for something else, such as a test or a pool of its own."""
    tiny = {"mc_cores": 1, "mc_ram": 1, "mc_properties": "appkind=kns,example.org/no-such-node=true"}
    files = catalog_files(apps={"lab": LAB})
    files["machines.json"] = {"plain": {"mc_cores": 1, "mc_ram": 1}, **files["machines.json"], "kns-a-tiny": tiny}
    api.catalog.catalog = parse_catalog(files)
    terminal.run("submit", "hello")
    terminal.run("submit", "lab", "-p", "title=x")
    assert [job.spec.machine.type for job in api.jobs.list_jobs()] == ["kns-small", "kns-large"]
    assert terminal.read("app", "hello")["machines"]["Hello"] == ["kns-small", "kns-large", "kns-a-tiny"]
    assert [each["machine"] for each in terminal.read("machines")] == ["kns-small", "kns-large", "kns-a-tiny"]


def test_a_command_that_is_no_text_is_named_before_a_machine_is_chosen(terminal: Terminal) -> None:
    text = '{"app": "lab", "application": {"command": ["a"]}}'
    assert terminal.refuse(2, "submit", "-f", "-", text=text) == "the file's application.command must be a text"


def test_options_win_over_the_file_which_may_be_standard_input(api: Api, terminal: Terminal) -> None:
    body = {"app": "lab", "application": {"parameters": {"title": "t", "cpus": 1}}, "machine": {"type": "kns-large"}}
    result = terminal.run("submit", "-f", "-", "-p", "cpus=3", text=json.dumps(body))
    assert result.exit_code == 0, result.output
    assert api.jobs.list_jobs()[0].spec.parameters == {"title": "t", "cpus": "3"}
    text = "app: hello\nmachine: {type: kns-small}\nuser: {username: other, apikey: x}\n"
    assert terminal.run("submit", "-f", "-", text=text).exit_code == 0
    assert api.jobs.list_jobs()[1].spec.user == "user1"


def test_a_dry_run_prints_the_submission_without_credentials_and_stores_nothing(api: Api, terminal: Terminal) -> None:
    body = terminal.read("submit", "hello", "--dry-run", "--vault", "data")
    assert body == {
        "app": "hello",
        "application": {"parameters": {}},
        "machine": {"type": "kns-small"},
        "vault": {"name": "data"},
    }
    assert api.jobs.list_jobs() == []


@pytest.mark.parametrize("lost_as", [0, 502, 503, 504])
def test_a_lost_answer_starts_no_second_job(api: Api, terminal: Terminal, lost_as: int) -> None:
    terminal.bridge.lose, terminal.bridge.lost_as = 1, lost_as
    terminal.steps = [lambda: None]
    result = terminal.run("submit", "hello", "-m", "kns-small")
    assert (result.exit_code, result.stdout) == (0, "1\n")
    assert len(api.jobs.list_jobs()) == 1


@pytest.mark.parametrize("lost_as", [0, 504])
def test_a_submission_that_may_have_succeeded_says_so(api: Api, terminal: Terminal, lost_as: int) -> None:
    """Whoever takes it for one that failed submits a second job."""
    terminal.bridge.lose, terminal.bridge.lost_as = 3, lost_as
    terminal.steps = [lambda: None] * 2
    line = terminal.refuse(6, "submit", "hello", "-m", "kns-small")
    assert line.endswith("; the job may exist all the same, see `kns list`")
    assert len(api.jobs.list_jobs()) == 1


def test_the_same_key_gets_the_same_job(api: Api, terminal: Terminal) -> None:
    for _ in range(2):
        assert terminal.run("submit", "hello", "-m", "kns-small", "--idempotency-key", "k").stdout == "1\n"


def _advance(api: Api, number: int, builder: JobBuilder) -> None:
    """Give the stored job the status of the built one."""
    job = api.jobs.find(number)
    assert job is not None
    api.jobs.add(replace(job, status=builder.build().status))
    api.tokens.ensure(job)


def test_submit_with_wait_follows_the_job_and_ends_as_it_does(api: Api, terminal: Terminal) -> None:
    terminal.steps = [lambda: _advance(api, 1, a_job().exposed())]
    result = terminal.run("submit", "hello", "-m", "kns-small", "--wait")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "https://kns-job-7.jobs.example.org")
    terminal.steps = [lambda: _advance(api, 2, a_job().ended(JobState.FAILED).with_status(message="why"))]
    result = terminal.run("submit", "hello", "-m", "kns-small", "--wait")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "job 2 ended COMPLETED WITH ERROR: why")


WRONG_SHAPES = [
    (("--nodes", "20000"), "", "machine.nodes: "),
    (("--label", "x" * 256), "", "job_label: "),
    (("-f", "-"), "application: {walltime: 3600}", "application.walltime: "),
    (("-f", "-"), "vault: data", "vault: "),
]


@pytest.mark.parametrize(("options", "text", "key"), WRONG_SHAPES, ids=[row[2] for row in WRONG_SHAPES])
def test_a_value_of_a_wrong_shape_is_named(terminal: Terminal, options: tuple[str, ...], text: str, key: str) -> None:
    line = terminal.refuse(5, "submit", "hello", "-m", "kns-small", *options, text=text)
    assert line.startswith(f"refused: {key}")


def test_the_end_of_a_pipe_ends_the_command_and_not_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError), _naming(7):
        raise BrokenPipeError
    assert capsys.readouterr().err == "kns: job 7 goes on; end it with `kns terminate 7`\n"


@pytest.mark.parametrize("output", ["table", "json"])
def test_submit_with_wait_that_ends_before_the_job_names_it(api: Api, terminal: Terminal, output: str) -> None:
    """A script knows the number from nowhere else."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    def terminate() -> None:
        signal.raise_signal(signal.SIGTERM)

    def leave() -> None:
        terminal.bridge.unreachable = "/kns/job"

    def revoke() -> None:
        terminal.bridge.other = lambda _: httpx.Response(401, json={"error": "no"})

    for number, (status, steps) in enumerate(
        [(7, [lambda: None] * 9), (130, [interrupt]), (143, [terminate]), (6, [leave, *[lambda: None] * 22]),
         (3, [revoke])], start=1
    ):  # fmt: skip
        terminal.bridge.unreachable, terminal.bridge.other, terminal.steps = "", None, list(steps)
        timeout = ("--timeout", "5") if status == 7 else ()
        result = terminal.run("submit", "hello", "-m", "kns-small", "--wait", *timeout, "-o", output)
        assert result.exit_code == status
        (line,) = result.stderr.splitlines()
        assert line.startswith("kns: ")
        assert line.endswith(f"job {number} goes on; end it with `kns terminate {number}`")
        assert result.stdout == "" or output == "table"


def test_submit_with_wait_does_not_offer_to_end_a_job_whose_record_is_deleted(api: Api, terminal: Terminal) -> None:
    def delete() -> None:
        (job,) = api.jobs.list_jobs()
        api.jobs.set_finalizer(job, present=False)
        api.jobs.delete(job)

    terminal.steps = [delete]
    result = terminal.run("submit", "hello", "-m", "kns-small", "--wait")
    assert (result.exit_code, "goes on" in result.stderr) == (4, False)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ((), 2, "which app? name it"),
        (("nothing",), 4, "there is no app nothing"),
        (("nothing", "-m", "kns-small"), 4, "there is no such app or command"),
        (("lab", "-c", "No", "-m", "kns-large"), 4, "there is no such app or command"),
        (("lab",), 5, "refused: application.parameters.title"),
        (("hello", "-m", "huge"), 5, "refused: machine.type: no machine 'huge'"),
        (("hello", "-p", "x"), 2, "--param x: write KEY=VALUE"),
        (("hello", "--upload", "x=/nowhere"), 2, "--upload x: cannot read /nowhere: No such file"),
        (("hello", "--upload", "x=/dev/zero"), 2, "--upload x: cannot read /dev/zero: it has more than 4194304 bytes"),
        (("-f", "/nowhere"), 2, "cannot read /nowhere: No such file or directory"),
        (("-f", "/dev/zero"), 2, "cannot read /dev/zero: it has more than 4194304 bytes"),
        (("hello", "-t", "1h"), 5, "refused: application.walltime"),
    ],
)
def test_a_mistake_is_one_sentence(terminal: Terminal, args: tuple[str, ...], status: int, words: str) -> None:
    assert terminal.refuse(status, "submit", *args).startswith(words)


@pytest.mark.parametrize("text", ["[1]", "{", "a: [", '{"app": "hello", "machine": 3}'])
def test_a_file_that_is_no_submission_is_refused(terminal: Terminal, text: str) -> None:
    terminal.refuse(2, "submit", "-f", "-", text=text)


def _read_parameters(terminal: Terminal, text: str) -> dict[str, Any]:
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    body = f"app: hello\nmachine: {{type: kns-small}}\napplication:\n  parameters:\n{lines}"
    result = terminal.run("submit", "-f", "-", "--dry-run", "-o", "json", text=body)
    assert result.exit_code == 0, result.output
    parameters: dict[str, Any] = json.loads(result.stdout)["application"]["parameters"]
    return parameters


@pytest.mark.parametrize(
    "text",
    [
        *("2026-01-31", "2026-01-31T10:00:00Z", "12:00:00", "0123", "0x1f", "0o17", "0b1", "1_000", "+5", "1.10"),
        *("1e3", "1e400", ".5", "5.", ".nan", ".inf", "-0", "no", "on", "Yes", "True", "NULL", "=", "NaN"),
    ],
)
def test_a_text_of_yaml_stays_as_it_is_written(terminal: Terminal, text: str) -> None:
    assert _read_parameters(terminal, f"x: {text}") == {"x": text}


def test_a_value_of_yaml_has_the_type_that_json_has(terminal: Terminal) -> None:
    text = "a: 5\nb: -1.5\nc: true\nd: false\ne: null\nf:\ng: ~\nh: '5'\ni: [1, {j: x}]\n2: y\nk: !!str 7"
    assert _read_parameters(terminal, text) == {
        **{"a": 5, "b": -1.5, "c": True, "d": False, "e": None, "f": None, "g": None, "h": "5"},
        **{"i": [1, {"j": "x"}], "2": "y", "k": "7"},
    }
    assert _read_parameters(terminal, "a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}


BOMB = "".join(["a: &a0 [x]\n", *(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))])


def test_a_byte_order_mark_changes_nothing(terminal: Terminal) -> None:
    """Windows editors write it. Without its removal JSON would be read as YAML."""
    text = '{"app": "hello", "machine": {"type": "kns-small"}, "application": {"parameters": {"x": 1.10, "y": 1e3}}}'
    result = terminal.run("submit", "-f", "-", "--dry-run", "-o", "json", text=b"\xef\xbb\xbf" + text.encode())
    assert json.loads(result.stdout)["application"]["parameters"] == {"x": 1.1, "y": 1000.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"app": "hello", "application": {"parameters": {"x": NaN}}}', "-: application.parameters.x: is not a JSON "),
        ('{"app": "hello", "application": {"parameters": {"x": "\\ud800"}}}', "-: application.parameters.x: has half"),
        ('app: hello\nx: ["\\ud800"]', "-: x[0]: has half of a surrogate pair"),
        ("app: hello\nx: 123456789012345678901", "-: x: is a larger number than 64 bits hold"),
        ('{"app": "hello", "app": "lab"}', "-: app: appears twice"),
        ("app: hello\nx: !!timestamp 2026-01-31", "- is neither JSON nor YAML: could not determine a constructor"),
        ("app: hello\nx: !!bool maybe", "- is neither JSON nor YAML: could not determine a constructor"),
        ("app: hello\nx: {y: 1, z: 2, y: 3}", "- is neither JSON nor YAML: y: appears twice in"),
        (BOMB, "- is neither JSON nor YAML: with its aliases it has more than 4194304 characters in"),
        ("&a [*a]", "- is neither JSON nor YAML: an alias is inside of what it stands for in"),
        ("a: &a {<<: *a, x: 1, x: 2}", "- is neither JSON nor YAML: an alias is inside of what it stands for in"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_key_path(terminal: Terminal, text: str, words: str) -> None:
    assert terminal.refuse(2, "submit", "-f", "-", text=text).startswith(words)
    assert terminal.bridge.seen == []


@pytest.mark.parametrize("key", ["schlüssel", "", "a\nb", "k" * 256])
def test_an_idempotency_key_that_no_header_has_is_refused_before_anything_is_sent(terminal: Terminal, key: str) -> None:
    line = terminal.refuse(2, "submit", "hello", "-m", "kns-small", "--idempotency-key", key)
    assert line == "--idempotency-key must be 1 to 255 printable ASCII characters"
    assert terminal.bridge.seen == []


# --- stop, terminate


def test_stop_shuts_a_running_job_down_and_cancels_one_that_has_not_started(api: Api, terminal: Terminal) -> None:
    api.add(a_job().exposed())
    api.add(a_job().numbered(8))
    result = terminal.run("stop", "7", "8")
    assert (result.exit_code, result.output) == (0, "")
    assert [str(job.stop_reason) for job in api.jobs.list_jobs()] == ["Shutdown", "Terminate"]


def test_terminate_ends_a_job_at_once_and_leaves_an_ended_one(api: Api, terminal: Terminal) -> None:
    api.add(a_job().exposed())
    api.add(a_job().numbered(8).exposed().ended())
    assert terminal.run("terminate", "7", "8").exit_code == 0
    assert [str(job.stop_reason) for job in api.jobs.list_jobs()] == ["Terminate", "None"]


def test_stop_with_wait_returns_when_everything_is_removed(api: Api, terminal: Terminal) -> None:
    api.add(a_job().exposed())
    terminal.steps = [lambda: api.add(a_job().exposed().ended()), lambda: api.add(a_job().exposed().ended().removed())]
    assert terminal.run("stop", "7", "--wait").exit_code == 0
    assert terminal.steps == []


def test_an_error_with_one_job_keeps_no_other_from_its_end(api: Api, terminal: Terminal) -> None:
    """Each error is a line that names the job, and the first one is the status."""
    api.add(a_job().numbered(8).exposed())
    api.add(a_job().numbered(9))
    result = terminal.run("stop", "99", "8", "98", "9", "-o", "json")
    assert (result.exit_code, result.stdout) == (4, "")
    assert [line.split(",")[0] for line in result.stderr.splitlines()] == [
        f"kns: job {job}: there is no such job" for job in (99, 98)
    ]
    assert [str(job.stop_reason) for job in api.jobs.list_jobs()] == ["Shutdown", "Terminate"]
    terminal.steps = [lambda: api.add(a_job().numbered(8).exposed().ended().removed())]
    result = terminal.run("stop", "99", "8", "--wait")
    assert (result.exit_code, len(result.stderr.splitlines()), terminal.steps) == (4, 1, [])


def test_what_would_be_the_same_with_each_job_is_tried_once(api: Api, terminal: Terminal) -> None:
    """Without an answer each try takes seconds, and a wrong key counts as a failed login each time."""
    api.add(a_job().numbered(8).exposed())
    api.add(a_job().numbered(9))
    terminal.bridge.unreachable = "/jarvice/shutdown"
    assert terminal.run("stop", "8", "9").exit_code == 6
    assert [request.url.path for request in terminal.bridge.seen].count("/jarvice/shutdown") <= 1
    terminal.bridge.unreachable = ""
    terminal.bridge.seen.clear()
    terminal.environ["KNS_APIKEY"] = "wrong"
    result = terminal.run("stop", "8", "9")
    assert (result.exit_code, len(terminal.bridge.seen)) == (3, 1)
    assert [str(job.stop_reason) for job in api.jobs.list_jobs()] == ["None", "None"]


def test_a_job_that_ends_just_before_the_request_has_ended(api: Api, terminal: Terminal) -> None:
    api.add(a_job().exposed())

    def end(answer: Any) -> Any:
        api.add(a_job().exposed().ended())
        return answer

    terminal.bridge.change = end
    result = terminal.run("stop", "7")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [request.url.path for request in terminal.bridge.seen] == ["/kns/job", "/jarvice/shutdown", "/kns/job"]


def test_a_job_that_lives_although_it_is_not_running_is_refused(api: Api, terminal: Terminal) -> None:
    api.add(a_job())
    terminal.bridge.change = lambda answer: {**answer, "status": JobState.PROCESSING} if "steps" in answer else answer
    assert terminal.refuse(5, "stop", "7").startswith("the job is not running")


def test_the_timeout_of_stop_is_for_all_jobs_together(api: Api, terminal: Terminal) -> None:
    for number in (7, 8, 9):
        api.add(a_job().numbered(number).exposed())
    begun = api.clock.monotonic()

    def remove() -> None:
        api.add(a_job().numbered(7).exposed().ended().removed())

    terminal.steps = [lambda: None, lambda: None, remove, *[lambda: None] * 20]
    assert terminal.refuse(7, "stop", "7", "8", "9", "--wait", "--timeout", "5") == (
        "gave up after 5 s; not done yet: job 8, 9"
    )
    assert api.clock.monotonic() - begun == pytest.approx(5)


def add_title(api: Api) -> None:
    command = a_command(parameters={"title": {"type": "STR", "name": "Title"}})
    api.catalog.catalog = a_catalog(apps={"hello": an_app(an_appdef(commands={"Hello": command}))})


def test_a_job_is_submitted_again_with_what_it_had(api: Api, terminal: Terminal) -> None:
    add_title(api)
    first = ("submit", "hello", "-m", "kns-small", "-t", "01:00:00", "-l", "mine", "-p", "title=one")
    number = terminal.run(*first).stdout.strip()
    again = terminal.run("submit", "--again", number, "-p", "title=two").stdout.strip()
    specs = [api.jobs.find(int(each)) for each in (number, again)]
    old, new = (job.spec for job in specs if job is not None)
    assert (new.app, new.machine, new.label) == (old.app, old.machine, old.label)
    assert [job.walltime_s for job in specs if job is not None] == [3600, 3600]
    assert (old.parameters["title"], new.parameters["title"]) == ("one", "two")
    assert "user" not in terminal.read("submit", "--again", number, "--dry-run")


def test_what_kns_has_not_kept_must_be_given_again(api: Api, terminal: Terminal) -> None:
    add_title(api)
    number = terminal.run("submit", "hello", "-m", "kns-small", "-p", f"title={'x' * 5000}").stdout.strip()
    line = terminal.refuse(2, "submit", "--again", number)
    assert line == "kns has not kept title of that job; give it again with --param or --upload"
    assert terminal.run("submit", "--again", number, "-p", "title=short").exit_code == 0


def test_only_an_own_job_is_submitted_again(api: Api, terminal: Terminal) -> None:
    api.add(a_job().owned_by("user3", payer="user3"))
    assert terminal.refuse(4, "submit", "--again", "7").startswith("you have no job 7")
    assert terminal.refuse(2, "submit", "--again", "7", "-f", "-") == "give --file or --again, not both"


def test_a_walltime_is_extended_by_or_to_a_time(api: Api, terminal: Terminal) -> None:
    api.add(a_job().with_accepted(walltime_s=3600).exposed())
    assert terminal.run("extend", "7", "--by", "00:30:00").stdout == "01:30:00\n"
    assert terminal.run("extend", "7", "--to", "02:00:00").stdout == "02:00:00\n"
    assert terminal.read("extend", "7", "--to", "02:00:00") == {"number": 7, "walltime_seconds": 7200}
    assert terminal.refuse(2, "extend", "7") == "how long? give --by or --to"
    assert terminal.refuse(2, "extend", "7", "--by", "1h") == "--by: '1h' is not HH:MM:SS"
    assert terminal.refuse(5, "extend", "7", "--to", "01:00:00").endswith("job 7 has 02:00:00; give a longer one")


def test_nobody_ends_somebody_elses_job(api: Api, terminal: Terminal) -> None:
    api.add(a_job().owned_by("user3", payer="user3").exposed())
    for command in ("stop", "terminate"):
        assert "there is no such job, or it is not yours" in terminal.refuse(4, command, "7")


# --- apps, app, machines


def test_apps_are_listed_and_searched(terminal: Terminal) -> None:
    assert [app["app"] for app in terminal.read("apps")] == ["hello", "lab", "secret"]
    assert [app["app"] for app in terminal.read("apps", "LAB")] == ["lab"]
    assert "Says hello from its own cluster." in terminal.run("apps").stdout


def test_an_app_is_shown_with_what_its_parameters_allow(terminal: Terminal) -> None:
    shown = terminal.run("app", "lab").stdout
    rows = {line.split()[0]: line for line in shown.splitlines() if line.split()}
    assert "INT" in rows["cpus"]
    assert "1 to 8" in rows["cpus"]
    assert "How many." in rows["cpus"]
    assert "yes" in rows["title"]
    assert "fast, slow" in rows["mode"]
    assert "fixed" not in rows, "a constant is not for users"
    assert "kns-large" in rows["Machines"]
    assert terminal.read("app", "lab")["machines"] == {"Run": ["kns-large"]}
    assert terminal.refuse(4, "app", "none").startswith("there is no app none")


def test_machines_that_run_no_nested_jobs_are_left_out(terminal: Terminal) -> None:
    found = terminal.read("machines")
    assert [(each["machine"], each["cores"], each["memory_gib"]) for each in found] == [
        ("kns-small", 2, 4),
        ("kns-large", 8, 32),
    ]
    assert "kns-small" in terminal.run("machines").stdout


def test_machines_show_what_is_free_if_the_site_knows_it(api: Api, terminal: Terminal) -> None:
    assert "FREE" not in terminal.run("machines").stdout
    assert [each["free"] for each in terminal.read("machines")] == [None, None]
    api.ports = replace(api.ports, room=MemoryRoom(nodes=[a_node()]))
    small, large = (line.split() for line in terminal.run("machines").stdout.splitlines()[1:])
    assert (small[0], small[-1], large[0], large[-1]) == ("kns-small", "3", "kns-large", "1")
    assert [each["free"] for each in terminal.read("machines")] == [3, None]


def test_a_kns_that_is_too_old_to_know_what_is_free_lists_its_machines(terminal: Terminal) -> None:
    terminal.bridge.missing = "/kns/free"
    assert [each["machine"] for each in terminal.read("machines")] == ["kns-small", "kns-large"]
