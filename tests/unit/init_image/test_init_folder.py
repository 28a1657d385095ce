"""What a script finds in the templates folder: what the item found, however its earlier attempts ended."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runner.folder import TemplatesFolder

if TYPE_CHECKING:
    from tests.unit.init_image.conftest import Ended

StepBuilder = Callable[..., dict[str, Any]]
PlanWriter = Callable[[Sequence[dict[str, Any]]], Path]
Runner = Callable[[Path], "Ended"]


def _content(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", path.stat().st_mode & 0o777)
        else:
            found[name] = (path.read_bytes() if path.is_file() else b"", path.stat().st_mode & 0o777)
    return found


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """A folder with everything that a template may be."""
    folder = tmp_path / "templates"
    (folder / "charts" / "page").mkdir(parents=True)
    (folder / "charts" / "page" / "Chart.yaml").write_text("name: page\n")
    (folder / "run.sh").write_text("echo\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("run.sh")
    (folder / "dangling").symlink_to("/opt/none")
    (folder / "charts" / "up").symlink_to("..")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        "mkdir clone && touch clone/file",
        "rm -rf charts",
        "echo more >> charts/page/Chart.yaml",
        "echo xxxxx > run.sh; touch -r link run.sh",
        "chmod 600 run.sh",
        "rm link; ln -s dangling link",
        "mkdir -p ro/inner && touch ro/inner/file && chmod 500 ro/inner ro",
        "rm run.sh && mkdir run.sh",
        "mkfifo pipe",
        "rm -rf ./* && touch new",
        "mv charts other; mv other/page charts",
        'rm -rf "$PWD"',
        'rm -rf "$PWD" && touch "$PWD"',
    ],
)
def test_every_change_is_put_back(tmp_path: Path, templates: Path, change: str) -> None:
    """Made, removed, written, renamed; as often as there are attempts."""
    before = _content(templates)
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    for _ in range(2):
        subprocess.run(["bash", "-c", change], cwd=templates, check=True)
        assert _content(templates) != before
        folder.restore()
        assert _content(templates) == before


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path, templates: Path) -> None:
    """What it leads to is not the app's folder, and stays."""
    before = _content(templates)
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    other = tmp_path / "other"
    templates.rename(other)
    (other / "new").touch()
    templates.symlink_to(other)
    folder.restore()
    assert not templates.is_symlink()
    assert _content(templates) == before
    assert (other / "new").exists()


def test_a_link_to_the_unchanged_folder_is_replaced(tmp_path: Path, templates: Path) -> None:
    """Otherwise the next attempt would change what an item moved away."""
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    templates.rename(tmp_path / "other")
    templates.symlink_to(tmp_path / "other")
    folder.restore()
    assert not templates.is_symlink()


def test_a_folder_behind_a_link_is_put_back_where_it_was(tmp_path: Path, templates: Path) -> None:
    """As in the image, where /templates leads into the volume: the link stays."""
    before = _content(templates)
    link = tmp_path / "link"
    link.symlink_to(templates)
    folder = TemplatesFolder(link, spare_dir=tmp_path)
    folder.keep()
    subprocess.run(["rm", "-rf", templates], check=True)
    folder.restore()
    assert link.is_symlink()
    assert _content(templates) == before


@pytest.mark.parametrize("item", [{"script": "#!/bin/bash\necho hi"}, {}])
def test_an_item_that_removed_the_folder_is_named_by_the_next(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, templates: Path, item: dict[str, str]
) -> None:
    """Not the interpreter or kubectl, which are there. No retry brings the folder back."""
    ended = run(write_plan([a_step("one", script='rm -rf "$PWD"'), a_step("two", retries=1, **item)]))
    assert ended.code == 1
    assert f"no retry can change that: this item or one before it removed {templates}" in ended.lines[-1]


def test_each_attempt_prints_the_same_listing(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, templates: Path
) -> None:
    """Three attempts, each of which clones into the folder as the first did."""
    script = "find . | sort | sha256sum; mkdir work-of-item; rm run.sh; echo x >> charts/page/Chart.yaml; exit 1"
    ended = run(write_plan([a_step(script=script, retries=2)]))
    sums = [line for line in ended.lines if line.endswith("  -")]
    assert (len(sums), len(set(sums))) == (3, 1)
    assert not any("File exists" in line for line in ended.lines)
    assert (templates / "work-of-item").is_dir()


def test_what_finished_items_changed_stays(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, templates: Path
) -> None:
    """Later items rely on it, in all of their attempts; of the attempts that failed nothing stays."""
    one = "mkdir clone; [ -e ../again ] || { touch ../again first-try; exit 1; }; touch second-try"
    two = "test -e clone && test -e second-try && ! test -e first-try && rm -r clone; exit 3"
    ended = run(write_plan([a_step("one", script=one, retries=1), a_step("two", script=two, retries=2)]))
    assert ended.lines[-1] == "[2/2] two: attempt 3 failed (exit 3), no retries left"
    assert not (templates / "clone").exists()  # so the third attempt found it too


def test_a_folder_without_change_is_copied_once(tmp_path: Path, templates: Path) -> None:
    """Two hundred items that leave it alone cost one copy."""
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    copy = next(path for path in tmp_path.iterdir() if path.name.startswith(".templates"))
    first = copy.stat().st_ino
    folder.restore()
    folder.keep()
    assert copy.stat().st_ino == first
    folder.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["templates"]


def test_what_an_earlier_item_found_is_never_put_back(tmp_path: Path, templates: Path) -> None:
    """A folder that cannot be kept now is not replaced by its state of before."""
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    templates.rename(tmp_path / "aside")
    with pytest.raises(FileNotFoundError):
        folder.keep()
    (tmp_path / "aside").rename(templates)
    (templates / "made").touch()
    folder.restore()
    assert (templates / "made").exists()


def test_a_folder_that_a_script_closed_is_put_back(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chmod 000` on a folder in it: nobody but root can list it then. The failure is made, as tests may be root."""
    before = _content(templates)
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    (templates / "charts").chmod(0o000)
    with monkeypatch.context() as patch:
        scans = iter([PermissionError(13, "Permission denied"), {}])

        def scan(_folder: Path) -> object:
            if isinstance(found := next(scans), OSError):
                raise found
            return found

        patch.setattr("runner.folder._scan", scan)
        folder.restore()
    assert _content(templates) == before


def test_sockets_and_pipes_are_not_kept(tmp_path: Path, templates: Path) -> None:
    """An earlier item may have left them; no copy can have them."""
    os.mkfifo(templates / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(templates / "socket"))
    folder = TemplatesFolder(templates, spare_dir=tmp_path)
    folder.keep()
    (templates / "new").touch()
    folder.restore()
    assert not {"pipe", "socket", "new"} & {path.name for path in templates.iterdir()}


def test_a_folder_that_cannot_be_copied_is_told(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, templates: Path, tmp_path: Path
) -> None:
    """The item runs all the same; only its retries find what is left."""
    plan = write_plan([a_step(script="mkdir clone || exit 2; exit 1", retries=1)])
    (tmp_path / "work" / ".templates-kept").write_text("in the way")
    ended = run(plan)
    assert any(line.startswith(f"warning: no copy of {templates} can be kept (") for line in ended.lines)
    assert ended.lines[-1] == "[1/1] web: attempt 2 failed (exit 2), no retries left"
