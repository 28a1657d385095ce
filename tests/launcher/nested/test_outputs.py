"""The files of outputs: their size, their mode, and which of them go."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kns.launcher.nested.outputs import CUT, MOST_BYTES, OutputFiles
from kns.model.errors import KnsError


def test_an_output_is_cut_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    outputs = OutputFiles(tmp_path)
    outputs.store("a", iter([b"x" * MOST_BYTES, b"y"]))
    path = tmp_path / "nested-output" / "a"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_size == MOST_BYTES + len(CUT)

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise KnsError("reset")

    with pytest.raises(KnsError):
        outputs.store("b", broken())
    assert not outputs.has("b")
    assert [each.name for each in path.parent.iterdir()] == ["a"]


def test_the_oldest_outputs_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.nested.outputs.MOST_TOTAL_BYTES", 100)
    outputs = OutputFiles(tmp_path)
    for age_s, name in enumerate(("new", "middle", "old")):
        outputs.store(name, [b"x" * 30])
        os.utime(tmp_path / "nested-output" / name, (1000 - age_s, 1000 - age_s))
    outputs.store("now", [b"x" * 40])
    assert sorted(path.name for path in (tmp_path / "nested-output").iterdir()) == ["middle", "new", "now"]
    outputs.store("large", [b"x" * 200])
    assert [path.name for path in (tmp_path / "nested-output").iterdir()] == []


def test_outputs_without_a_job_are_removed_once_they_are_old(tmp_path: Path) -> None:
    """A job that is submitted at this moment may have no record yet in the memory of this process."""
    outputs = OutputFiles(tmp_path, now=lambda: 1100)
    outputs.remove_left({"a"}, older_s=100)
    for name in ("known", "gone", "fresh"):
        outputs.store(name, [b"x"])
        os.utime(tmp_path / "nested-output" / name, (999, 999) if name != "fresh" else (1001, 1001))
    outputs.remove_left({"known"}, older_s=100)
    assert sorted(path.name for path in (tmp_path / "nested-output").iterdir()) == ["fresh", "known"]
