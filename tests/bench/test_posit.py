"""What `bench.posit` says of its figures, and where it writes them."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.figures import Figures
from bench.posit import main
from bench.posit_finished import Finished
from bench.posit_report import SECTION, Goals, Result, write_section, write_tables

QUICK = Figures(1.0, 2.0, 3.0, 4.0)
RESULT = Result(
    jobs=200,
    variables=40,
    at_once=50,
    requests={"all jobs": QUICK, "one job": QUICK},
    answer_bytes={"all jobs": 900_000, "one job": 900},
    change_calm=QUICK,
    change_busy=QUICK,
    memory_idle_mib=80.0,
    memory_mib=90.0,
    watches={"jobs": 1, "pods": 1},
    connections=8,
    server="v1.36.3",
    finished=Finished(10_000, 60.0, 160.0, 170.0, 2000.0, 100.0, 5_000_000),
)


def test_all_goals_are_met() -> None:
    assert Goals.of(RESULT).are_met
    assert "10.2 KiB each" in write_tables(RESULT)[-1]


@pytest.mark.parametrize(
    ("missed", "said"),
    [
        (replace(RESULT, requests={"one job": QUICK, "submit": Figures(1, 1, 1001, 1001)}), "1001 ms (submit)"),
        (replace(RESULT, change_busy=Figures(1, 1, 300, 300)), "p99 300 ms"),
        (replace(RESULT, memory_mib=120.0), "120 MiB at most"),
        (replace(RESULT, watches={"jobs": 2, "pods": 1}), "2 of jobs, 1 of pods; 8 connections"),
        (replace(RESULT, watches={}), "; 8 connections"),
    ],
)
def test_a_missed_goal_is_named(missed: Result, said: str) -> None:
    goals = Goals.of(missed)
    assert not goals.are_met
    assert [measured for _, measured, met in goals.rows if not met] == [said]


def test_the_section_of_the_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n\n{SECTION.begin}\n\nold\n\n{SECTION.end}\n\nafter\n")
    for _ in range(2):
        write_section(tmp_path, RESULT)
    text = page.read_text()
    assert text.startswith("before\n\n")
    assert text.endswith("after\n")
    assert text.count("| all jobs | 1 ms | 2 ms | 3 ms | 4 ms | 900 kB |") == 1
    assert "old" not in text


def test_a_page_without_the_section_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("nothing")
    with pytest.raises(ValueError, match="unpack"):
        write_section(tmp_path, RESULT)


def test_without_the_programs_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KNS_KUBE_APISERVER", raising=False)
    assert main([]) == 2
    assert "KNS_KUBE_APISERVER" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["--at-once=1000", "--jobs=0", "--finished=1e9"])
def test_a_typing_error_does_not_overload_the_machine(wrong: str) -> None:
    with pytest.raises(SystemExit):
        main([wrong])
