"""The form of an app: its fields, what it submits, and how a refusal is shown."""

from typing import Any

import pytest

from kns.model.job.job import Job
from kns.web.fields import Field, build_fields
from kns.web.site import PREFIX
from tests.builders import a_catalog, a_command, a_job, an_app, an_appdef
from tests.web.states import APPS
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
    assert "user1 has 1 live jobs, which is the limit" in answer.text


def test_a_form_in_another_charset_is_refused(ui: Ui) -> None:
    browser = ui.browser("user1")
    answer = browser.post(
        FORMS, content=b"form_token=\xff", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
