"""
Starts long-lived programs in sessions of their own, records their identity, and stops exactly those.

A pid is not an identity: after a reboot or a wrap-around it may belong to another process. The start time and the
executable are recorded with it, and compared before every signal.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import FrameType

from testbed import paths

PROC = pathlib.Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A recorded process: start_time in clock ticks since boot, exe as the kernel resolves it.
    """

    pid: int
    start_time: int
    exe: str
    boot_id: str


def boot_id() -> str:
    """
    The kernel's id of this boot. Start times are comparable only within one boot.
    """
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def parse_start_time(stat: str) -> int:
    """
    Field 22 of /proc/PID/stat. Fields are counted from the end of the second, which may contain spaces and brackets.

    >>> parse_start_time("7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0")
    4242
    """
    return int(stat.rpartition(")")[2].split()[19])


def identify(pid: int) -> Identity | None:
    """
    The process that has this pid now; None if there is none or it is a zombie.
    """
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        exe = str((PROC / str(pid) / "exe").readlink())
    except OSError:
        return None
    if stat.rpartition(")")[2].split()[0] == "Z":
        return None
    # The kernel marks an executable that was replaced on disk; it is still the same program.
    return Identity(pid, parse_start_time(stat), exe.removesuffix(" (deleted)"), boot_id())


def argv_of(pid: int) -> list[str]:
    """
    The command line of a process; empty if it has ended.
    """
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode("utf-8", "replace").split("\0")[:-1]


def all_pids() -> Iterator[int]:
    """
    The pids of all processes on the machine.
    """
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def pid_file(part: str) -> pathlib.Path:
    """
    The file that records a part's identity.
    """
    return paths.PIDS / f"{part}.json"


def recorded(part: str) -> Identity | None:
    """
    The identity in a part's pid file, whether or not the process still runs.
    """
    try:
        return Identity(**json.loads(pid_file(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running(part: str, argv: Sequence[str]) -> Identity | None:
    """
    The running process of a part: the recorded one if it is still that program, else one with this command line.

    The second case finds a process whose parent was killed before it wrote the record.
    """
    record = recorded(part)
    if record is not None and identify(record.pid) == record:
        return record
    for pid in all_pids():
        if argv_of(pid) == list(argv):
            return identify(pid)
    return None


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_interrupts() -> None:
    """
    Let Ctrl-C, SIGTERM and the end of the terminal raise KeyboardInterrupt, so that a command ends the programs that it
    started: they have sessions of their own, and no such signal reaches them. `nohup` keeps its meaning. Who ignores
    SIGTERM, as a shell does in its own clean-up, wants the command to finish.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        return
    for number in INTERRUPTS:
        # Also for SIGINT, because a shell starts background jobs with SIGINT ignored.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """
    Defer Ctrl-C, SIGTERM and SIGHUP until the block ends, so that no start goes without its record.

    It sets Python handlers, because the started program would inherit a mask of blocked signals.
    """
    arrived: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        arrived.append(signum)

    previous = {number: signal.signal(number, note) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if arrived:
        os.kill(os.getpid(), arrived[0])


def start(part: str, argv: Sequence[str], *, env: Mapping[str, str]) -> Identity:
    """
    Start a part in a session of its own, append its output to its log, and record its identity.
    """
    log = paths.LOGS / f"{part}.log"
    for folder in (paths.LOGS, paths.PIDS):
        folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out, interrupts_deferred():
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            cwd="/",
            start_new_session=True,
        )
        # Popen returns after exec, so exe is already the program's.
        identity = identify(child.pid) or Identity(child.pid, 0, argv[0], boot_id())
        draft = pid_file(part).with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(identity)), encoding="utf-8")
        draft.replace(pid_file(part))
    _children.append(child)
    return identity


# A child that ends while this process runs becomes a zombie; poll() reaps it.
_children: list[subprocess.Popen[bytes]] = []


def is_alive(identity: Identity) -> bool:
    """
    Whether exactly this process still runs.
    """
    for child in _children:
        child.poll()
    return identify(identity.pid) == identity


def _holds_anything(identity: Identity) -> bool:
    """
    Whether the process may still hold ports and files. While a process ends, its first thread can be a zombie without
    an executable although other threads are still in the kernel.
    """
    return is_alive(identity) or has_live_thread(identity.pid, identity.start_time)


def has_live_thread(pid: int, start_time: int) -> bool:
    """
    Whether the process with this pid and start time has a thread that has not ended, even if its first thread has.
    """
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        if parse_start_time(stat) != start_time:
            return False
        threads = [
            (task / "stat").read_text(encoding="utf-8", errors="replace")
            for task in (PROC / str(pid) / "task").iterdir()
        ]
    except OSError:
        return False
    return any(thread.rpartition(")")[2].split()[0] not in "ZX" for thread in threads)


def signal_all(identities: Iterable[Identity], number: signal.Signals) -> None:
    """
    Send a signal to the processes that still have their recorded identity.
    """
    for identity in identities:
        if is_alive(identity):
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, number)


def stop_all(
    identities: Sequence[Identity], *, grace_s: float, tick: Callable[[str], None] = lambda _: None
) -> list[Identity]:
    """
    Send SIGTERM, wait, then send SIGKILL. Returns the processes that survived, which are stuck in the kernel.
    """
    alive = [identity for identity in identities if is_alive(identity)]
    signal_all(alive, signal.SIGTERM)
    left = _wait_gone(alive, grace_s, tick)
    signal_all(left, signal.SIGKILL)
    return _wait_gone(left, 10.0, tick)


def _wait_gone(identities: Sequence[Identity], timeout_s: float, tick: Callable[[str], None]) -> list[Identity]:
    deadline = time.monotonic() + timeout_s
    left = [identity for identity in identities if _holds_anything(identity)]
    while left and time.monotonic() < deadline:
        tick(f"waiting for {', '.join(pathlib.Path(item.exe).name for item in left)}")
        time.sleep(0.05)
        left = [identity for identity in left if _holds_anything(identity)]
    return left
