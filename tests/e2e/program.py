"""The real program `kns` against a real kns, as a user's script or a person calls it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from demo.target import ROOT
from kns.cli.exits import Exit
from tests.e2e.site import Site
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
LIMIT_S = 300 * PATIENCE  # the longest command waits for a job to serve
AGAIN_S = 30.0


class Program:
    """Runs `kns` as user1, signed in by variables."""

    def __init__(self, site: Site, folder: Path) -> None:
        left_out = _PROXIES if site.target.is_testbed else frozenset[str]()  # its addresses are on this machine
        self.environ = {
            **{key: value for key, value in os.environ.items() if key.lower() not in left_out and key[:4] != "KNS_"},
            "KNS_URL": site.url,
            "KNS_USERNAME": site.user.username,
            "KNS_APIKEY": site.user.apikey,
            "KNS_CONFIG_DIR": str(folder),
            "KUBECONFIG": site.target.kubeconfig,
            "PATH": f"{site.target.kubectl.parent}:{os.environ['PATH']}",
        }
        self.folder = folder

    def run(self, *args: str, status: int = 0) -> str:
        """Again if there was no answer, which other tests cause that restart kns; but not what begins or ends a job."""

        def answered() -> "subprocess.CompletedProcess[str]":
            done = self._call(*args)
            if done.returncode == Exit.UNREACHABLE != status and args[0] not in ("submit", "stop", "run"):
                raise NotYetError(done.stderr)
            return done

        done = wait_for(answered, timeout_s=AGAIN_S, what=f"kns {args[0]}")
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def _call(self, *args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kns", *args]
        return subprocess.run(
            command, env=self.environ, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )

    @contextmanager
    def start(self, *args: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
        """A command that goes on, and the first line that it prints. It must have ended with the block."""
        # Whoever runs the tests in the background may ignore SIGINT, and programs inherit that.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "kns", *args]
        child = subprocess.Popen(command, env=self.environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait(LIMIT_S)
            child.stdout.close()

    @contextmanager
    def ask(self, *args: str) -> "Iterator[Asked]":
        """A command that asks a person for something. It is killed with the block if it goes on."""
        command = [sys.executable, "-m", "kns", *args]
        child = subprocess.Popen(command, env=self.environ, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        try:
            yield Asked(child, child.stderr)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait(LIMIT_S)
            child.stderr.close()

    def read(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--output", "json"))


@dataclass
class Asked:
    """A command that goes on, and what it says."""

    child: "subprocess.Popen[str]"
    said: IO[str]
    lines: list[str] = field(default_factory=list)

    def read_until(self, text: str) -> str:
        """The first line with that text."""
        watch = threading.Timer(LIMIT_S, self.child.kill)
        watch.start()
        try:
            for line in self.said:
                self.lines.append(line)
                if text in line:
                    return line
        finally:
            watch.cancel()
        raise AssertionError(f"it ended with {self.child.wait(LIMIT_S)} and said {self.lines}")

    def wait(self) -> int:
        """Its exit status."""
        return self.child.wait(LIMIT_S)
