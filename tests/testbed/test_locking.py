"""One command at a time changes the machine."""

import os
import pathlib
import threading

import pytest

from testbed import locking, paths
from testbed.errors import TestbedError


@pytest.fixture(autouse=True)
def _cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(paths, "LOCK", tmp_path / "lock")


def test_a_second_command_is_refused_at_once_and_told_whose_turn_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    with locking.exclusive(), pytest.raises(TestbedError, match=r"\(pid 4711\); wait for its end"), locking.exclusive():
        pass


def test_a_patient_command_waits_for_the_end_of_an_interrupted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, over, said = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        with locking.exclusive():
            taken.set()
            over.wait(60)

    def end(line: str) -> None:
        said.append(line)
        over.set()

    monkeypatch.setattr(locking, "say", end)
    other = threading.Thread(target=hold)
    other.start()
    assert taken.wait(60)
    with locking.exclusive(patience_s=60):
        assert said == [f"  another testbed command is running (pid {os.getpid()}); waiting 60 s for its end"]
    other.join(60)


def test_patience_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        locking.exclusive(),
        pytest.raises(TestbedError, match="another testbed command is running"),
        locking.exclusive(patience_s=0.01),
    ):
        pass
    assert "waiting 0 s for its end" in capsys.readouterr().out
