"""
Puts the runner on the path, as its image does, and provides what it meets there: a fake `kubectl` and a plan
file.

The fake is a real program on PATH; its calls and its responses are in files beside it.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

IMAGE_DIR = Path(__file__).resolve().parents[3] / "init-image"
sys.path.insert(0, str(IMAGE_DIR))

from runner.app import conclude, run_plan  # noqa: E402  # only now it is on the path
from runner.output import Output  # noqa: E402
from runner.shutdown import Shutdown  # noqa: E402

_FAKE_KUBECTL = """#!{python} -SE
import json, pathlib, sys
home = pathlib.Path({home!r})
arguments = [a for a in sys.argv[1:] if not a.startswith("--request-timeout")]
verb = " ".join(arguments[:2]) if arguments[0] == "get" else arguments[0]
if "--server-side" in arguments:
    verb = "record" if "--field-manager=kns-init" in arguments else "apply server-side"
stdin = sys.stdin.read() if "-" in arguments else ""
with (home / "calls").open("a") as calls:
    calls.write(json.dumps([verb, arguments, stdin]) + "\\n")
answers = home / verb
replies = json.loads(answers.read_text()) if answers.exists() else []
code, stdout, stderr = replies.pop(0) if replies else [0, "", ""]
answers.write_text(json.dumps(replies))
sys.stdout.write(stdout)
sys.stderr.write(stderr)
configmap = home / "configmap"
if code == 0 and verb == "record":
    configmap.write_text(stdin)
if code == 0 and verb == "get configmap" and configmap.exists():
    sys.stdout.write(configmap.read_text())
sys.exit(code)
"""


@dataclass(frozen=True)
class FakeKubectl:
    """
    The responses of the fake, and the calls that it received.

    Verbs: `get serviceaccount`, `get configmap`, `record`, `apply`, `apply server-side`.
    """

    home: Path

    def answer(self, verb: str, *replies: tuple[int, str, str]) -> None:
        """The next answers to a verb: exit code, stdout, stderr; then it succeeds and says nothing."""
        (self.home / verb).write_text(json.dumps(replies))

    def calls(self, verb: str) -> list[tuple[list[str], str]]:
        """Arguments and standard input of each call."""
        log = self.home / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(arguments, stdin) for seen, arguments, stdin in map(json.loads, lines) if seen == verb]

    def recorded(self) -> dict[str, str]:
        """The data of the progress ConfigMap."""
        data: dict[str, str] = json.loads((self.home / "configmap").read_text())["data"]
        return data


@dataclass
class Sleeper:
    """A clock that only its own pauses move: `slowness` times as far as they ask for."""

    pauses: list[float] = field(default_factory=list)
    slowness: float = 1

    def clock(self) -> float:
        """Seconds slept so far."""
        return sum(self.pauses) * self.slowness

    def pause(self, seconds: float) -> None:
        """Note the pause."""
        self.pauses.append(seconds)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """A fake kubectl that is found first."""
    home = tmp_path / "kubectl-home"
    home.mkdir()
    program = home / "kubectl"
    program.write_text(_FAKE_KUBECTL.format(python=sys.executable, home=str(home)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    return FakeKubectl(home)


@pytest.fixture
def sleeper() -> Sleeper:
    """A clock that does not wait."""
    return Sleeper()


@pytest.fixture
def a_step() -> Callable[..., dict[str, Any]]:
    """A plan entry; `script=` gives a custom one."""

    def build(name: str = "web", script: str | None = None, **changes: Any) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": name,
            "type": "kubectl",
            "path": "web.yml",
            "retries": 0,
            "retrySleepSeconds": 15,
        }
        if script is not None:
            entry |= {"type": "custom", "cmd": base64.b64encode(script.encode()).decode()}
            del entry["path"]
        return entry | changes

    return build


@pytest.fixture
def write_plan(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    """Write a plan with these entries, and the folders it needs: `templates` and `work` beside it."""

    def write(steps: Sequence[dict[str, Any]]) -> Path:
        templates = tmp_path / "templates"
        templates.mkdir(exist_ok=True)
        (tmp_path / "work").mkdir(exist_ok=True)
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps({"version": 1, "templatesDir": str(templates), "steps": list(steps)}))
        return plan

    return write


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    lines: list[str]
    message: dict[str, object]


@pytest.fixture
def run(tmp_path: Path, kubectl: FakeKubectl, sleeper: Sleeper) -> Callable[[Path], Ended]:
    """Run a plan file to its end."""

    def run_it(plan: Path) -> Ended:
        sink = io.BytesIO()
        log = tmp_path / "termination-log"
        code = conclude(
            lambda output: run_plan(
                plan,
                environ={"KNS_WORK_DIR": str(tmp_path / "work")},
                output=output,
                shutdown=Shutdown(),
                pause=sleeper.pause,
                clock=sleeper.clock,
            ),
            output=Output(sink, clock=sleeper.clock),
            termination_log=log,
        )
        return Ended(code, sink.getvalue().decode().splitlines(), json.loads(log.read_text()))

    return run_it
