"""The testbed's own programs, stopped and started as its operator would: `python3 -m testbed stop PART`."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from demo.target import ROOT
from tests.e2e.waiting import PATIENCE

_LIMIT_S = 150 * PATIENCE  # longer than the testbed's own deadline for a part


def restart_part(name: str) -> None:
    """Restart a part. It serves again on return."""
    _testbed("restart", name)


@contextlib.contextmanager
def without_part(name: str) -> Iterator[None]:
    """Stop one of the cluster's programs while the block runs. It serves again afterwards, whatever happens."""
    _testbed("stop", name)
    try:
        yield
    finally:
        _testbed("start", name)


def _testbed(*arguments: str) -> None:
    command = [sys.executable, "-m", "testbed", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    assert done.returncode == 0, f"testbed {' '.join(arguments)}: {done.stdout}{done.stderr}"
