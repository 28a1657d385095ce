"""
A checkout that was not installed has no version and reports that. A command without its extra names the extra.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_what_to_do_in_one_line() -> None:
    command = [sys.executable, "-S", "-m", "kns", "validate", "appdef.json"]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "kns is not installed; `pip install .`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


NOT_LIGHT = ("kubernetes", "structlog", "prometheus_client", "fastapi", "starlette", "uvicorn", "keycloak", "gotpl")
RUN = (
    "import sys; sys.modules.update(dict.fromkeys({missing})); sys.argv[0] = 'kns'; from kns.__main__ import run; run()"
)
COMMANDS = {
    (): "server",  # the scheduler
    ("preflight",): "server",
    ("prepare",): "server",
    ("render", "hello", "-u", "user1", "-m", "kns-small"): "server",
    ("posit", "preflight"): "posit",
}


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_missing_extra_is_named_in_one_line(args: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", RUN.format(missing=NOT_LIGHT), *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert f"is missing; `pip install '.[{COMMANDS[args]}]'` in a checkout" in done.stderr
    assert len(done.stderr.splitlines()) == 1
