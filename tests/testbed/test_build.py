"""The programs are built from one module, with our stubs in place of packages that the testbed never runs."""

import pathlib
import threading

import pytest

from testbed import background, binaries, modules, paths
from testbed.errors import TestbedError

MODULES = {"a.io/b", "a.io/b/v2"}


@pytest.fixture
def package(tmp_path: pathlib.Path) -> pathlib.Path:
    """A package of two files, as it is in the copy of a module."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("list.go", "rest.go"):
        (folder / name).write_text("package p // upstream\n", encoding="utf-8")
    return folder


def _stub(tmp_path: pathlib.Path, name: str) -> pathlib.Path:
    stub = tmp_path / name
    stub.write_text("package p // stub\n", encoding="utf-8")
    return stub


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        pytest.param("list.go", {"rest.go"}, id="one file"),
        pytest.param("whole_package.go", set(), id="the whole package"),
        pytest.param("extra_names.go", {"list.go", "rest.go"}, id="a file more"),
    ],
)
def test_a_stub_takes_the_place_that_its_name_says(
    tmp_path: pathlib.Path, package: pathlib.Path, name: str, upstream: set[str]
) -> None:
    modules.lay(_stub(tmp_path, name), package / name)
    texts = {file.name: file.read_text("utf-8") for file in package.iterdir()}
    assert {found for found, text in texts.items() if "upstream" in text} == upstream
    assert [found for found, text in texts.items() if "stub" in text] == [name]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        pytest.param("copy", "gone.go", id="the file is gone"),
        pytest.param("gone", "whole_package.go", id="the package is gone"),
        pytest.param("gone", "extra_names.go", id="the package of a file more is gone"),
    ],
)
def test_a_stub_without_a_counterpart_is_an_error(
    tmp_path: pathlib.Path, package: pathlib.Path, folder: str, name: str
) -> None:
    with pytest.raises(TestbedError, match=f"{name} has no counterpart"):
        modules.lay(_stub(tmp_path, name), package.parent / folder / name)
    assert sorted(file.name for file in package.iterdir()) == ["list.go", "rest.go"]


def test_a_stub_belongs_to_the_longest_module_path() -> None:
    stubs = [pathlib.PurePath(name) for name in ("a.io/b/v2/p/f.go", "a.io/b/p/f.go", "a.io/b/v3/f.go")]
    assert modules.by_module(stubs, MODULES) == {"a.io/b/v2": stubs[:1], "a.io/b": stubs[1:]}


def test_a_stub_of_a_module_that_is_not_required_is_an_error() -> None:
    with pytest.raises(TestbedError, match=r"stub c\.io/d/f\.go belongs to no module"):
        modules.by_module([pathlib.PurePath("c.io/d/f.go")], MODULES)


def test_every_stub_of_ours_belongs_to_a_required_module() -> None:
    required = modules.requirements((paths.GO_MODULE / "go.mod").read_text("utf-8"))
    stubs = [file.relative_to(paths.STUBS) for file in paths.STUBS.rglob("*.go")]
    assert {stub for found in modules.by_module(stubs, required).values() for stub in found} == set(stubs)


@pytest.mark.parametrize("name", ["go/go.mod", "go/go.sum", "stubs/a.io/b/f.go"])
def test_programs_are_built_anew_if_their_source_changes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for file in ("go/go.mod", "go/go.sum", "stubs/a.io/b/f.go"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("before", encoding="utf-8")
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    monkeypatch.setattr(paths, "GO_MODULE", tmp_path / "go")
    monkeypatch.setattr(paths, "STUBS", tmp_path / "stubs")
    before = {binary.name: binaries.stored(binary) for binary in binaries.BINARIES}
    assert before == {binary.name: binaries.stored(binary) for binary in binaries.BINARIES}
    (tmp_path / name).write_text("after", encoding="utf-8")
    assert not set(before.values()) & {binaries.stored(binary) for binary in binaries.BINARIES}


def test_containerd_finds_its_shim_beside_itself() -> None:
    """After a restart it looks nowhere else for the shim of a container that runs already."""
    folders = {binary.name: binaries.stored(binary).parent for binary in binaries.BINARIES}
    assert folders["containerd"] == folders["containerd-shim-runc-v2"]


def test_a_batch_is_all_cgo_or_none() -> None:
    for batch in binaries.batches(binaries.BINARIES):
        assert len({binary.cgo for binary in batch}) == 1


def test_the_result_of_a_task_arrives() -> None:
    with background.Tasks() as tasks:
        assert background.wait(tasks.start("sum", lambda _: 1 + 1), lambda _: None) == 2


def test_the_error_of_a_task_arrives() -> None:
    def fail(_: background.Tick) -> None:
        raise TestbedError("no network")

    with background.Tasks() as tasks, pytest.raises(TestbedError, match="no network"):
        background.wait(tasks.start("download", fail), lambda _: None)


def test_a_task_ends_with_its_command() -> None:
    started = threading.Event()

    def work(tick: background.Tick) -> None:
        while True:
            tick("still at work")
            started.set()

    def run() -> None:
        with background.Tasks() as all_tasks:
            tasks.append(all_tasks.start("endless", work))
            started.wait()
            raise KeyboardInterrupt

    tasks: list[background.Task[None]] = []
    with pytest.raises(KeyboardInterrupt):
        run()
    (task,) = tasks
    assert isinstance(task.exception(), background.CancelledError)
