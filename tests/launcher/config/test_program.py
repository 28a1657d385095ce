"""The real program, started as the Launcher starts it, without a cluster."""

import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kns.launcher.frames import FrameReader
from kns.launcher.templates.folder import read_defaults

NO_CLUSTER = "http://127.0.0.1:9"  # the discard port: refused at once
LIMIT_S = 60


class Folder:
    """Configuration, scratch and log folder of one program."""

    def __init__(self, folder: Path) -> None:
        self.scratch, self.logs, self.launcher = folder / "scratch", folder / "log", folder / "launcher.conf"
        self.conf = folder / "launcher.kubernetes.conf"
        self.write("")

    def write(self, more: str) -> None:
        self.conf.write_text(
            f"api-url={NO_CLUSTER}\nauth-token=a.b.c\nscratch-path={self.scratch}\nlogging-dir={self.logs}\n{more}"
        )

    def argv(self, *arguments: str) -> Sequence[str]:
        own = [f"--launcher-config-file={self.launcher}", f"--config-file={self.conf}", "--unprivileged=1"]
        return [sys.executable, "-m", "kns.launcher.program", *own, *arguments]

    def run(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.argv(*arguments), input=data, capture_output=True, timeout=LIMIT_S, check=False)

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.logs / "rstudio-kubernetes-launcher.log").read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_t02_generate_and_validate(folder: Folder) -> None:
    done = folder.run("--generate-templates")
    assert (done.returncode, done.stderr) == (0, b"")
    assert {path.name: path.read_text() for path in folder.scratch.iterdir()} == read_defaults()

    done = folder.run("--validate-templates", "--scratch-path", str(folder.scratch))

    assert (done.returncode, done.stdout) == (0, f"The templates in {folder.scratch} are valid.\n".encode())


def test_p32_problems_go_to_stderr_and_nothing_to_the_launcher(folder: Folder) -> None:
    folder.write("fetch-limit=x\napi-ur=1\n")

    done = folder.run()

    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        f"rstudio-kubernetes-launcher: {folder.conf}:5: fetch-limit: must be a whole number from 1 to 100000, not 'x'",
        f"rstudio-kubernetes-launcher: {folder.conf}:6: api-ur: is not a setting; did you mean api-url?",
    ]


def test_p04_p05_only_frames_reach_the_launcher_and_the_rest_a_file(folder: Folder) -> None:
    folder.write("log-level=DEBUG\nheartbeat-interval-seconds=1\nverify-ssl-certs=0\n")

    done = folder.run()

    assert done.returncode == 0
    frames = [json.loads(frame) for frame in FrameReader(max_bytes=1 << 20).feed(done.stdout)]
    assert frames[:1] == [{"messageType": 0, "requestId": 0, "responseId": 0}]
    assert "plugin_started" in [line["event"] for line in folder.log()]
    assert folder.scratch.is_dir()


HANGING = """
import ctypes, os, sys
from kns.launcher.config import credentials, groups
from kns.launcher.program import run

ask, fifo = sys.argv.pop(1), sys.argv.pop(1)
free, locked = ctypes.CDLL(None, use_errno=True), ctypes.PyDLL(None)
getpwnam = credentials.pwd.getpwnam


def hang(library):
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    poll = (ctypes.c_int * 2)(fd, 1)  # a struct pollfd that waits for input
    library.poll(poll, 1, -1)
    os.close(fd)


def find(user):
    hang(free)
    return getpwnam(user)


class Library:
    def getgrouplist(self, *given):
        hang(free)
        return free.getgrouplist(*given)


if ask == "user":
    credentials.pwd.getpwnam = find
else:  # the functions of Python hold the interpreter's lock, as `PyDLL` does
    groups._LIBRARY = Library()
    os.getgrouplist = lambda *_: hang(locked) or []
    os.initgroups = lambda *_: hang(locked)
run()
"""


class Hanging:
    """A program whose directory service hangs at the start until `answer`. It sends a heartbeat each second."""

    def __init__(self, folder: Folder, fifo: Path, ask: str) -> None:
        os.mkfifo(fifo)
        self._answers = os.open(fifo, os.O_RDWR)
        more = () if os.geteuid() else ("--unprivileged=0",)
        argv = [sys.executable, "-c", HANGING, ask, str(fifo), *folder.argv(*more)[3:]]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_for_heartbeats(self, count: int) -> None:
        assert self.process.stdout is not None
        reader, beats = FrameReader(max_bytes=1 << 20), 0
        while beats < count:
            assert select.select([self.process.stdout], [], [], LIMIT_S)[0]
            data = os.read(self.process.stdout.fileno(), 4096)
            assert data, "the program ended"
            beats += len(list(reader.feed(data)))

    def answer(self) -> None:
        """Each call that asks for users waits for the fifo's content."""
        os.write(self._answers, b"x")

    def end(self) -> None:
        os.close(self._answers)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def hang(folder: Folder, tmp_path: Path) -> Iterator[Callable[[str], Hanging]]:
    started: list[Hanging] = []

    def start(ask: str) -> Hanging:
        started.append(Hanging(folder, tmp_path / "directory", ask))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.parametrize("ask", ["user", "groups"])
def test_heartbeats_go_on_while_the_directory_service_hangs_at_the_start(
    folder: Folder, hang: Callable[[str], Hanging], ask: str
) -> None:
    """The Launcher kills a plugin that misses three."""
    folder.write("heartbeat-interval-seconds=1\nserver-user=root\n")
    hanging = hang(ask)
    hanging.wait_for_heartbeats(3)
    assert not folder.scratch.exists(), "the start waits for the directory service"
    hanging.answer()
    _, said = hanging.process.communicate(timeout=LIMIT_S)
    assert (hanging.process.returncode, said) == (0, b"")


def test_a_reload_during_the_start_waits_for_its_end(folder: Folder, hang: Callable[[str], Hanging]) -> None:
    folder.write("heartbeat-interval-seconds=1\nserver-user=root\nuse-templating=1\nlog-level=INFO\n")
    hanging = hang("user")
    hanging.wait_for_heartbeats(1)
    hanging.process.send_signal(signal.SIGHUP)
    hanging.wait_for_heartbeats(2)
    hanging.answer()
    wait_for(folder, "templates_reloaded")


def test_a_full_disk_of_the_log_ends_nothing(folder: Folder) -> None:
    """The threads that follow the cluster log why they must try again; an error there would end them for good."""
    folder.logs.mkdir()
    (folder.logs / "rstudio-kubernetes-launcher.log").symlink_to("/dev/full")
    folder.write("log-level=DEBUG\nheartbeat-interval-seconds=0\n")
    info = json.dumps({"messageType": 9, "requestId": 7, "username": "ana"}).encode()
    process = subprocess.Popen(folder.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for body in (b"[", info):
            process.stdin.write(struct.pack(">I", len(body)) + body)
            process.stdin.flush()
            (length,) = struct.unpack(">I", process.stdout.read(4))
            answer = json.loads(process.stdout.read(length))
        assert (answer["messageType"], answer["requestId"]) == (8, 7)
        _, said = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, said) == (0, b"")
    finally:
        process.kill()
        process.wait()


def test_p04_a_scratch_folder_that_cannot_be_made_stops_the_start(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder.scratch = tmp_path / "file" / "scratch"
    folder.write("")

    done = folder.run()

    assert done.returncode == 1
    assert f"scratch-path: {folder.scratch} cannot be used: Not a directory" in done.stderr.decode()


def test_t01_t07_the_templates_of_the_running_program(folder: Folder) -> None:
    folder.write("use-templating=1\nlog-level=INFO\nheartbeat-interval-seconds=1\n")
    process = subprocess.Popen(folder.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.read(4) == struct.pack(">I", len(b'{"messageType":0,"requestId":0,"responseId":0}'))
        wait_for(folder, "plugin_started")
        assert sorted(path.name for path in folder.scratch.glob("*.tpl")) == ["job.tpl", "service.tpl"]

        process.send_signal(signal.SIGHUP)
        wait_for(folder, "templates_reloaded")
        (folder.scratch / "job.tpl").write_text("# Version: 9\n")
        process.send_signal(signal.SIGHUP)
        wait_for(folder, "templates_kept")

        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def wait_for(folder: Folder, event: str) -> None:
    """Follow the log file until it has the event."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-F", str(folder.logs / "rstudio-kubernetes-launcher.log")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as tail:  # fmt: skip
        assert tail.stdout is not None
        try:
            for line in tail.stdout:
                if json.loads(line)["event"] == event:
                    return
        finally:
            tail.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
def test_p01_root_is_given_up(folder: Folder, tmp_path: Path) -> None:
    """The user `nobody` exists everywhere. Its files are its own."""
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    folder.write("server-user=nobody\n")

    done = folder.run("--unprivileged=0")

    assert done.returncode == 0, done.stderr
    assert folder.scratch.owner() == "nobody"
    assert (folder.logs / "rstudio-kubernetes-launcher.log").owner() == "nobody"
    assert folder.scratch.stat().st_mode & 0o777 == 0o755
