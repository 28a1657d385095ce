"""What is free of each machine: shown if the site knows it, and nothing about it otherwise."""

import re
from collections.abc import Callable

import pytest

from kns.web.site import PREFIX
from tests.api.client import Api
from tests.fakes.room import MemoryRoom, a_node
from tests.web.ui import Ui

MACHINES, FORM = f"{PREFIX}/machines", f"{PREFIX}/apps/hello"


def rows_of(ui: Ui) -> dict[str, list[str]]:
    """The cells of each machine's row."""
    text = ui.browser("user1").get(MACHINES).text
    rows = re.findall(r"<tr>(.*?)</tr>", text.partition("<tbody>")[2], re.DOTALL)
    found = [re.findall("<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    cells = [[re.sub("<.*?>", " ", cell).strip() for cell in row] for row in found]
    return {each[0]: each[1:] for each in cells}


@pytest.mark.proves("page", "The page shows how many more jobs of each machine find room, if the site lets kns know it")
def test_each_machine_says_what_is_free() -> None:
    ui = Ui(Api(room=MemoryRoom(nodes=[a_node(cpu="3")], selectors={frozenset()})))
    rows = rows_of(ui)
    assert rows["kns-small"][4] == "for 1 job"
    assert rows["kns-large"][4] == "unknown", "its nodes were not looked at yet"
    assert rows["kns-classic"][4] == "", "it runs no jobs of this page"
    text = ui.browser("user1").get(FORM).text
    assert "kns-small: 2 cores, 4 GiB; free now: 1</option>" in text
    assert "kns-large: 8 cores, 32 GiB</option>" in text
    assert 'aria-describedby="machine-help"' in text


@pytest.mark.parametrize(("cpu", "words"), [("0", "no room"), ("8", "for 3 jobs")])
def test_the_number_is_in_words(cpu: str, words: str) -> None:
    ui = Ui(Api(room=MemoryRoom(nodes=[a_node(cpu=cpu)])))
    assert rows_of(ui)["kns-small"][4] == words


SILENT: dict[str, Callable[[], Api]] = {
    "the site does not show it": Api,
    "kns lacks the right": lambda: Api(room=MemoryRoom(is_refused=True)),
}


@pytest.mark.parametrize("case", SILENT)
def test_nothing_is_said_about_what_is_not_known(case: str) -> None:
    browser = Ui(SILENT[case]()).browser("user1")
    for path in (MACHINES, FORM):
        text = browser.get(path).text
        assert "ree now" not in text
        assert "unknown" not in text
        assert "machine-help" not in text


def test_a_refused_machine_has_its_help_and_its_refusal() -> None:
    ui = Ui(Api(room=MemoryRoom(nodes=[a_node()])))
    browser = ui.browser("user1")
    answer = browser.send(browser.get(FORM), FORM, fill={"machine": "nothing"})
    assert answer.status_code == 400
    assert 'name="machine" required aria-describedby="machine-help refused" aria-invalid="true"' in answer.text
