"""Starts the tests of a portion with ginkgo, in two processes by default, and bounds their time."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import ConformanceError

REPORT = "junit_01.xml"
# After the time limit ginkgo ends the running tests and writes its report. Their cleanup may take this long.
GRACE_S = 120.0
_POLL_S = 0.5
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_SHOWN = re.compile(r"^Ran \d+ of \d+ Specs|^(PASS|FAIL)!")
# No proxy reaches the job's cluster, and no variable of the caller concerns the tests.
_PASSED = ("HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Suite:
    """Where the programs are, and how many processes run tests at the same time."""

    ginkgo: Path
    tests: Path
    kubectl: Path
    processes: int

    def command(self, names: Sequence[str], *, kubeconfig: Path, folder: Path, limit_s: float) -> list[str]:
        """The command line that runs exactly these tests."""
        return [
            *("nice", "-n", "19"),
            str(self.ginkgo),
            f"--procs={self.processes}",
            f"--timeout={limit_s:.0f}s",
            "--no-color",
            "--silence-skips",
            # Otherwise a background child of a test that keeps its output open would hold up the end.
            "--output-interceptor-mode=none",
            *(f"--focus={quote(name)}" for name in names),
            str(self.tests),
            "--",
            "--provider=skeleton",
            f"--kubeconfig={kubeconfig}",
            f"--kubectl-path={self.kubectl}",
            f"--report-dir={folder}",
            f"--e2e-output-dir={folder}",
            "--repo-root=",
        ]

    def run(
        self,
        names: Sequence[str],
        *,
        kubeconfig: Path,
        folder: Path,
        limit_s: float,
        environ: Mapping[str, str],
        say: Callable[[str], None],
    ) -> Path | None:
        """
        Run tests, at the lowest priority. Returns the report; None if ginkgo wrote none. Ctrl-C ends the tests first.

        Raises:
            ConformanceError: ginkgo did not end after the time limit, and was killed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).unlink(missing_ok=True)
        log = folder / "log.txt"
        say(f"{len(names)} tests, at most {limit_s / 60:.0f} min; log: {log}")
        passed = {name: environ[name] for name in _PASSED if name in environ}
        path = f"{self.kubectl.parent}:/usr/local/bin:/usr/bin:/bin"
        with log.open("wb") as out:
            child = subprocess.Popen(
                self.command(names, kubeconfig=kubeconfig, folder=folder, limit_s=limit_s),
                env={**passed, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it is signalled here, so that it is signalled once
            )
            try:
                _wait(child, limit_s + GRACE_S, log)
            except BaseException:
                _stop(child)
                raise
        for line in log.read_text("utf-8", "replace").splitlines():
            if _SHOWN.search(line):
                say(line)
        return folder / REPORT if (folder / REPORT).exists() else None


def quote(name: str) -> str:
    r"""
    A regular expression of Go for exactly this test. ginkgo compares it with the name of the suite and the test's.

    >>> quote("[sig-auth] A (b) works")
    '\\[sig-auth\\] A \\(b\\) works$'
    """
    return _SPECIAL.sub(r"\\\g<0>", name) + "$"


def _wait(child: subprocess.Popen[bytes], limit_s: float, log: Path) -> None:
    deadline = time.monotonic() + limit_s
    while child.poll() is None:
        if time.monotonic() > deadline:
            raise ConformanceError(f"the tests did not end after {limit_s / 60:.0f} min, and were killed; see {log}")
        time.sleep(_POLL_S)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End ginkgo and the tests. The first signal lets them clean up and write the report."""
    try:
        os.killpg(child.pid, signal.SIGTERM)  # SIGINT is ignored in a background job of a shell
        child.wait(GRACE_S)
    except (subprocess.TimeoutExpired, ProcessLookupError):
        pass
    finally:  # also after a second Ctrl-C
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
