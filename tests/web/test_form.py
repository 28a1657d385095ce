"""The form of an app: its fields, what it submits, and how a refusal is shown."""

from dataclasses import replace
from typing import Any

import pytest

from kns.model.errors import UnavailableError
from kns.model.job.job import Job, MachineChoice, VaultChoice
from kns.web.catalog import MAX_KEPT
from kns.web.fields import MAX_FILE_BYTES, Field, build_fields
from kns.web.site import PREFIX, SESSION_S
from tests.builders import a_catalog, a_command, a_job, an_app, an_appdef
from tests.web.states import APPS, PARAMETERS
from tests.web.ui import Ui, read_page

FORMS = f"{PREFIX}/apps/forms"
FILLED = {"p:title": "Mine", "machine": "kns-small"}


@pytest.fixture
def ui() -> Ui:
    ui = Ui()
    ui.api.catalog.catalog = a_catalog(apps=APPS)
    return ui


def fields_of(**parameters: Any) -> dict[str, Field]:
    app = a_catalog(apps={"x": an_app(an_appdef(commands={"Run": a_command(parameters=parameters)}))}).apps["x"]
    return {field.name: field for field in build_fields(app.data.commands["Run"], {})}


def submitted(ui: Ui, **fill: str | None) -> Job:
    browser = ui.browser("user1")
    answer = browser.send(browser.get(FORMS), FORMS, fill={**FILLED, **fill})
    assert answer.status_code == 303, answer.text
    number = int(answer.headers["location"].rpartition("/")[2])
    job = ui.api.jobs.find(number)
    assert job is not None
    return job


KINDS = [
    ({"type": "STR", "value": "x"}, {"kind": "text", "value": "x"}),
    ({"type": "STR", "value": "a\nb"}, {"kind": "lines", "value": "a\nb"}),
    ({"type": "INT", "min": 1, "max": 9, "value": "3"}, {"kind": "number", "low": "1", "high": "9", "step": "1"}),
    ({"type": "RANGE", "min": 1, "step": 2}, {"kind": "number", "step": "2", "hint": "1, 3, 5 and so on, at least 1."}),
    ({"type": "FLOAT", "precision": 2, "max": 1.5}, {"kind": "number", "step": "any", "high": "1.5"}),
    ({"type": "BOOL", "value": "true", "required": True}, {"kind": "checkbox", "checked": True, "required": False}),
    (
        {"type": "selection", "values": ["a", "b"], "required": True},
        {"kind": "select", "options": ("a", "b"), "value": "a"},
    ),
    ({"type": "selection", "values": ["a"]}, {"options": ("", "a"), "value": "a"}),
    ({"type": "FILE", "filter": "*.csv"}, {"kind": "text", "hint": "The path of a file in your vault, like *.csv."}),
    ({"type": "UPLOAD", "target": "x", "size": 10}, {"kind": "file", "hint": "A file, at most 10 bytes."}),
]


@pytest.mark.parametrize(("parameter", "expected"), KINDS, ids=lambda each: str(each)[:60])
def test_a_parameter_becomes_a_field(parameter: dict[str, Any], expected: dict[str, Any]) -> None:
    field = fields_of(x=parameter)["p:x"]
    assert {key: getattr(field, key) for key in expected} == expected


def test_a_condition_is_said_in_words() -> None:
    fields = fields_of(
        on={"type": "BOOL", "name": "Debug"}, off={"type": "BOOL"}, x={"type": "INT", "if": "on", "ifnot": ["off"]}
    )
    assert fields["p:x"].condition == "Used only if “Debug” is on and “off” is off."
    assert (fields["p:x"].needs, fields["p:x"].needs_not) == (("p:on",), ("p:off",))


def test_a_constant_has_no_field() -> None:
    assert list(fields_of(fixed={"type": "CONST", "value": "x"})) == []


@pytest.mark.proves("page", "The form of an app submits each type of parameter as the API takes it, defaults included")
def test_what_the_form_has_is_what_the_job_gets(ui: Ui) -> None:
    job = submitted(
        ui, **{"label": "a label", "project": "alpha", "walltime": "01:00:00", "nodes": "2", "vault": "data"}
    )
    assert job.spec.accepted is not None
    values = {value.key: value.value for value in job.spec.accepted.parameters}
    assert values == {
        "title": "Mine",
        "text": "first line\nsecond line",
        "size": 4,
        "odd": 3,
        "share": 0.5,
        "debug": False,
        "kind": "s",
        "fixed": "2",
    }
    spec = job.spec
    assert (spec.label, spec.project, spec.walltime, spec.machine.nodes) == ("a label", "alpha", "01:00:00", 2)
    assert spec.vault is not None
    assert spec.vault.name == "data"


def test_a_box_that_is_on_by_default_can_be_turned_off(ui: Ui) -> None:
    command = a_command(parameters={"on": {"type": "BOOL", "value": True}})
    ui.api.catalog.catalog = a_catalog(apps={"forms": an_app(an_appdef(commands={"Run": command}))})
    assert submitted(ui, **{"p:on": None, "p:title": None}).spec.parameters == {"on": False}


@pytest.mark.parametrize(
    ("of_command", "of_app", "said"),
    [
        (None, None, "Empty: no limit."),
        ("01:00:00", "02:00:00", "Empty: the app’s default, 01:00:00."),
        (None, "02:00:00", "Empty: the app’s default, 02:00:00."),
    ],
)
def test_the_form_says_what_an_empty_walltime_does(
    ui: Ui, of_command: str | None, of_app: str | None, said: str
) -> None:
    """On a new form, on one that repeats a job, and on one that was refused. The job has the walltime that it says."""
    command = a_command(walltime=of_command) if of_command else a_command()
    data = an_appdef(commands={"Run": command}, **({"walltime": of_app} if of_app else {}))
    ui.api.catalog.catalog = a_catalog(apps={"forms": an_app(data)})
    browser = ui.browser("user1")
    page = browser.get(FORMS)
    assert said in page.text
    answer = browser.send(page, FORMS, fill={"walltime": ""})
    job = ui.api.jobs.find(int(answer.headers["location"].rpartition("/")[2]))
    assert job is not None
    assert job.walltime_s == (None if said == "Empty: no limit." else 3600 if of_command else 7200)
    assert said in browser.get(f"{FORMS}?again={job.number}").text
    assert said in browser.send(browser.get(FORMS), FORMS, fill={"walltime": "soon"}).text


def test_a_file_is_uploaded(ui: Ui) -> None:
    browser = ui.browser("user1")
    page = browser.get(FORMS)
    answer = browser.send(page, FORMS, fill=FILLED, files={"p:upload": ("mine.ini", b"[a]\nb=1\n")})
    assert answer.status_code == 303, answer.text
    job = ui.api.jobs.find(int(answer.headers["location"].rpartition("/")[2]))
    assert job is not None
    assert job.spec.parameters["upload"] == "W2FdCmI9MQo="


def test_a_file_that_is_too_large_is_refused_at_its_field(ui: Ui) -> None:
    browser = ui.browser("user1")
    answer = browser.send(browser.get(FORMS), FORMS, fill=FILLED, files={"p:upload": ("mine.ini", b"x" * 1001)})
    assert answer.status_code == 400
    assert "Settings file: has 1001 bytes, at most 1000 are allowed" in answer.text


def test_a_field_for_a_file_says_how_large_it_may_be() -> None:
    for size, most in ((10, 10), (10**9, MAX_FILE_BYTES)):
        field = fields_of(x={"type": "UPLOAD", "target": "x", "size": size})["p:x"]
        assert (field.most, field.hint) == (most, f"A file, at most {most} bytes.")


def test_the_largest_file_fits_into_a_job(ui: Ui) -> None:
    command = a_command(parameters={"upload": {"type": "UPLOAD", "target": "x"}})
    ui.api.catalog.catalog = a_catalog(apps={"forms": an_app(an_appdef(commands={"Run": command}))})
    browser = ui.browser("user1")
    files = {"p:upload": ("large", b"x" * MAX_FILE_BYTES)}
    assert browser.send(browser.get(FORMS), FORMS, files=files).status_code == 303


REFUSED = [
    ({"p:size": "11"}, "Size: must be at most 10", "p:size"),
    ({"p:odd": "4"}, "Odd number: must be 1 plus a multiple of 2", "p:odd"),
    ({"p:kind": "huge"}, "Kind: must be one of", "p:kind"),
    ({"walltime": "soon"}, "Walltime: ", "walltime"),
    ({"machine": "nothing"}, "Machine: no machine", "machine"),
    ({"nodes": "5"}, "Nodes: ", "nodes"),
    ({"project": "beta"}, "Project: ", "project"),
]


@pytest.mark.parametrize(("fill", "text", "field"), REFUSED, ids=lambda each: str(each)[:40])
def test_a_refusal_is_shown_at_its_field_and_nothing_is_lost(
    ui: Ui, fill: dict[str, str], text: str, field: str
) -> None:
    browser = ui.browser("user1")
    answer = browser.send(browser.get(FORMS), FORMS, fill={**FILLED, "label": "kept", **fill})
    assert answer.status_code == 400
    assert text in answer.text
    (form,) = [each for each in read_page(answer).forms if each.action == FORMS]
    assert (form.fields["p:title"], form.fields["label"]) == ("Mine", "kept")
    assert 'aria-invalid="true"' in answer.text
    assert ui.api.jobs.list_jobs() == []


def test_a_form_that_is_sent_twice_makes_one_job(ui: Ui) -> None:
    browser = ui.browser("user1")
    page = browser.get(FORMS)
    first, second = (browser.send(page, FORMS, fill=FILLED).headers["location"] for _ in range(2))
    assert first == second
    assert browser.send(browser.get(FORMS), FORMS, fill=FILLED).headers["location"] != first


def test_a_form_that_was_changed_makes_another_job(ui: Ui) -> None:
    """A browser shows the sent form again when its user goes back, and nobody says if a change there is dropped."""
    browser = ui.browser("user1")
    page = browser.get(FORMS)
    first = browser.send(page, FORMS, fill={**FILLED, "p:size": "4"}).headers["location"]
    files = {"p:upload": ("mine.ini", b"x")}
    for change in ({"fill": {**FILLED, "p:size": "7"}}, {"fill": {**FILLED, "p:size": "4"}, "files": files}):
        assert browser.send(page, FORMS, **change).headers["location"] != first
    assert sorted(job.spec.parameters["size"] for job in ui.api.jobs.list_jobs()) == ["4", "4", "7"]


def test_a_job_can_be_submitted_again_with_its_parameters(ui: Ui) -> None:
    first = submitted(ui, **{"p:size": "7", "p:debug": "on", "p:level": "2", "label": "again"})
    browser = ui.browser("user1")
    page = browser.get(f"{FORMS}?again={first.number}")
    answer = browser.send(page, FORMS)
    second = ui.api.jobs.find(int(answer.headers["location"].rpartition("/")[2]))
    assert second is not None
    assert second.number != first.number
    assert second.spec.parameters == first.spec.parameters
    assert second.spec.label == "again"


@pytest.mark.parametrize("size", [8, 1000], ids=["in the record", "beside the record"])
def test_a_form_that_repeats_a_job_names_the_files_and_long_texts_that_it_lacks(ui: Ui, size: int) -> None:
    browser = ui.browser("user1")
    files = {"p:upload": ("mine.ini", b"x" * size)}
    fill = {**FILLED, "p:text": "long " * 1000 if size > 8 else "short"}
    answer = browser.send(browser.get(FORMS), FORMS, fill=fill, files=files)
    number = answer.headers["location"].rpartition("/")[2]
    job = ui.api.jobs.find(int(number))
    assert job is not None
    assert ("upload" in job.spec.parameters) is (size == 8)
    page = browser.get(f"{FORMS}?again={number}").text
    names = "<bdi>Configuration</bdi>, <bdi>Settings file</bdi>." if size > 8 else "<bdi>Settings file</bdi>."
    assert f"Fill these in again: {names}" in page


def test_a_form_that_repeats_all_of_a_job_says_nothing_of_files(ui: Ui) -> None:
    number = submitted(ui).number
    assert "Fill these in again" not in ui.browser("user1").get(f"{FORMS}?again={number}").text


def test_a_form_that_repeats_a_job_names_the_choices_that_are_gone(ui: Ui) -> None:
    """A browser chooses the first machine and the first value in their place, and the job would be another one."""
    number = submitted(ui, **{"p:kind": "large"}).number
    said = "is no longer offered here"
    browser = ui.browser("user1")
    assert said not in browser.get(f"{FORMS}?again={number}").text
    kind = {"type": "selection", "name": "Kind", "values": ["small"]}
    app = an_app(an_appdef(commands={"Run": a_command(parameters={**PARAMETERS, "kind": kind})}))
    later = a_catalog(apps={"forms": app})
    others = {name: machine for name, machine in later.machines.items() if name != "kns-small"}
    ui.api.catalog.catalog = replace(later, machines=others)
    page = browser.get(f"{FORMS}?again={number}").text
    assert f"What that job had {said}, so check what is chosen: <bdi>Machine</bdi>, <bdi>Kind</bdi>." in page


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"vault": VaultChoice(name="gone")}, "Vault"),
        ({"project": "gone"}, "Project"),
        ({"machine": MachineChoice(type="kns-small", nodes=99)}, "How many machines (it had 99)"),
    ],
)
def test_what_a_user_no_longer_has_is_named(ui: Ui, change: dict[str, Any], label: str) -> None:
    ui.api.add(a_job().with_spec(app="forms", **change).with_accepted(command="Run"))
    assert f"so check what is chosen: <bdi>{label}</bdi>." in ui.browser("user1").get(f"{FORMS}?again=7").text


@pytest.mark.parametrize("is_current", [True, False], ids=["same session", "another session"])
def test_a_command_that_the_app_no_longer_has_starts_nothing(ui: Ui, is_current: bool) -> None:
    """The first command of the app would be another one than its user chose."""
    browser = ui.browser("user1")
    page = browser.get(f"{FORMS}?command=Other")
    command = a_command(name="Erase", parameters=PARAMETERS)
    ui.api.catalog.catalog = a_catalog(apps={"forms": an_app(an_appdef(commands={"Erase": command}))})
    if not is_current:
        browser.cookies.clear()
        browser.sign_in("user1")
    answer = browser.send(page, FORMS, fill={**FILLED, "label": "kept"})
    assert answer.status_code == 400
    assert "The job was not submitted. The app has changed and no longer has the command of this form." in answer.text
    assert ui.api.jobs.list_jobs() == []
    (form,) = [each for each in read_page(answer).forms if each.action == FORMS]
    assert (form.fields["command"], form.fields["p:title"], form.fields["label"]) == ("Erase", "Mine", "kept")
    assert browser.send(answer, FORMS).status_code == 303


def test_a_form_without_a_command_starts_nothing(ui: Ui) -> None:
    browser = ui.browser("user1")
    assert browser.send(browser.get(FORMS), FORMS, fill={**FILLED, "command": None}).status_code == 400
    assert ui.api.jobs.list_jobs() == []


def test_a_form_that_repeats_a_job_says_if_it_has_another_command(ui: Ui) -> None:
    number = submitted(ui).number
    browser = ui.browser("user1")
    said = "The app no longer has the command of that job"
    assert said not in browser.get(f"{FORMS}?again={number}").text
    app = an_app(an_appdef(commands={"Erase": a_command(name="Erase")}))
    ui.api.catalog.catalog = a_catalog(apps={"forms": app})
    assert said in browser.get(f"{FORMS}?again={number}").text


def test_the_job_of_another_user_cannot_be_repeated(ui: Ui) -> None:
    ui.api.add(a_job().owned_by("user3", payer="user3").with_spec(app="forms", parameters={"title": "theirs"}))
    answer = ui.browser("user1").get(f"{FORMS}?again=7")
    assert answer.status_code == 404
    assert "theirs" not in answer.text


def test_an_inactive_account_cannot_submit(ui: Ui) -> None:
    browser = ui.browser("idle1")
    page = browser.get(f"{PREFIX}/apps/hello")
    assert "Your account is not active" in page.text
    answer = browser.send(page, f"{PREFIX}/apps/hello", fill={"machine": "kns-small"})
    assert answer.status_code == 403


def test_too_many_live_jobs_are_refused_in_words(ui: Ui) -> None:
    ui.api.add(a_job())
    object.__setattr__(ui.api.ports.limits, "live_jobs", 1)
    browser = ui.browser("user1")
    answer = browser.send(browser.get(FORMS), FORMS, fill=FILLED)
    assert answer.status_code == 429
    assert "The job was not submitted. You have as many live jobs as this site allows. Stop one, then" in answer.text


def assert_unconfirmed(page: str) -> None:
    assert "kns cannot say whether the job was stored" in page
    assert "Submit the same once more in a minute; that makes one job and not two." in page
    assert "<title>Not confirmed: " in page
    assert "not submitted" not in page.lower()
    assert "the host does not answer" not in page


@pytest.mark.parametrize("call", ["find_request", "allot_number", "create"])
def test_nothing_typed_is_lost_while_the_host_is_away(ui: Ui, call: str) -> None:
    """Sent once more, the form makes one job."""
    browser = ui.browser("user1")
    ui.api.jobs.faults[call] = UnavailableError("the host does not answer")
    answer = browser.send(browser.get(FORMS), FORMS, fill={**FILLED, "label": "kept"})
    assert answer.status_code == 503
    assert_unconfirmed(answer.text)
    ui.api.jobs.faults.clear()
    first, second = (browser.send(answer, FORMS).headers["location"] for _ in range(2))
    assert first == second
    (job,) = ui.api.jobs.list_jobs()
    assert (job.spec.label, job.spec.parameters["title"]) == ("kept", "Mine")


@pytest.mark.parametrize("between", ["nothing", "an emptied field", "too often", "a mistake", "another session"])
def test_a_job_whose_storing_was_not_confirmed_is_not_made_twice(
    ui: Ui, between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host stored it, but neither that answer nor the next look arrived. Whatever the next form meets keeps it."""
    create = ui.api.jobs.create

    def create_unheard(*given: Any, **options: Any) -> Job:
        create(*given, **options)
        raise UnavailableError("the host does not answer")

    monkeypatch.setattr(ui.api.jobs, "create", create_unheard)
    browser = ui.browser("user1")
    page = browser.send(browser.get(FORMS), FORMS, fill=FILLED)
    assert_unconfirmed(page.text)
    monkeypatch.undo()
    if between == "too often":
        assert any(ui.api.ports.limits.submits.take("user1") for _ in range(1000))
        page = browser.send(page, FORMS)
        assert page.status_code == 429
        ui.api.clock.advance(60)
    if between == "a mistake":
        page = browser.send(page, FORMS, fill={"nodes": "many"})
        assert page.status_code == 400
    if between == "another session":
        browser.cookies.clear()
        browser.sign_in("user1")
        page = browser.send(page, FORMS)
        assert page.status_code == 403
    changed = {"p:title": "a default again"} if between == "an emptied field" else {}
    answer = browser.send(page, FORMS, fill={"nodes": "1", **changed})
    assert answer.headers["location"] == f"{PREFIX}/jobs/1"
    assert len(ui.api.jobs.list_jobs()) == 1


def test_a_form_in_another_charset_is_refused(ui: Ui) -> None:
    browser = ui.browser("user1")
    answer = browser.post(
        FORMS, content=b"form_token=\xff", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400


# --- a session that ended while the form was filled in

TYPED = {**FILLED, "p:title": 'Hours of "work" <b>', "p:text": "one\ntwo", "p:debug": "on", "label": "kept"}


@pytest.mark.proves("page", "What was typed into a form is not lost if the session ended meanwhile")
def test_what_was_typed_is_kept_while_its_author_signs_in_again(ui: Ui) -> None:
    browser = ui.browser("user1")
    form = browser.get(FORMS)
    ui.keys.keys = ("another key of this installation",)
    ended = browser.send(form, FORMS, fill=TYPED)
    assert ended.status_code == 401
    assert "What you filled in is kept in this page" in ended.text
    again = browser.send(ended, FORMS)
    assert again.status_code == 401, "nothing is done before the sign-in"
    browser.sign_in("user1")
    back = browser.send(ended, FORMS)
    assert back.status_code == 403
    assert "You signed in again" in back.text
    assert ui.api.jobs.list_jobs() == [], "a form of another session does nothing"
    (filled,) = [each for each in read_page(back).forms if each.action == FORMS]
    assert {key: filled.fields[key] for key in TYPED} == TYPED
    answer = browser.send(back, FORMS)
    job = ui.api.jobs.find(int(answer.headers["location"].rpartition("/")[2]))
    assert job is not None
    assert (job.spec.label, job.spec.parameters["title"]) == ("kept", TYPED["p:title"])


def test_what_was_typed_is_kept_when_the_time_of_a_session_is_over(ui: Ui) -> None:
    """The browser still has the cookie then: without one, nobody could tell its owner from a stranger."""
    browser = ui.browser("user1")
    form = browser.get(FORMS)
    ui.api.clock.advance(SESSION_S + 1)
    browser.grow_older(SESSION_S + 1)
    assert browser.get(f"{PREFIX}/jobs").headers["location"] == "/ui/sign-in?to=%2Fui%2Fjobs&ended=1"
    ended = browser.send(form, FORMS, fill=TYPED)
    assert ended.status_code == 401
    assert "What you filled in is kept in this page" in ended.text


@pytest.mark.proves("security", "fill in a victim's form, by a form of another site that meets a session that ended")
def test_a_form_of_another_site_is_not_shown_again(ui: Ui) -> None:
    """It would fill in a form that looks like the visitor's own."""
    browser = ui.browser("user1")
    form = browser.get(FORMS)
    for fill in ({}, {"form_token": "x"}):
        answer = browser.send(form, FORMS, fill={**TYPED, **fill}, headers={"Sec-Fetch-Site": "same-site"})
        assert answer.status_code == 403
        assert "Hours of" not in answer.text
    ui.keys.keys = ("another key of this installation",)
    answer = browser.send(form, FORMS, fill=TYPED, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "Hours of" not in answer.text


def test_a_form_that_is_too_large_to_be_kept_leads_to_the_sign_in(ui: Ui) -> None:
    """Anybody can send such a request, and the answer has all of it."""
    browser = ui.browser("user1")
    form = browser.get(FORMS)
    ui.keys.keys = ("another key of this installation",)
    answer = browser.send(form, FORMS, fill={**TYPED, "p:text": '"' * (MAX_KEPT + 1)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in?to=%2Fui%2Fapps%2Fforms&ended=1")
    nobody = ui.browser().post(FORMS, data=TYPED)
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/ui/sign-in?to=%2Fui%2Fapps%2Fforms")
