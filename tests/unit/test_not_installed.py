"""
A checkout that was not installed has no version and reports that.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_what_to_do_in_one_line() -> None:
    command = [sys.executable, "-S", "-m", "kns", "validate", "appdef.json"]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "kns is not installed; `pip install .`" in done.stderr
    assert len(done.stderr.splitlines()) == 1
