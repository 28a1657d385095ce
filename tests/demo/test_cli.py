"""
The demo's command line: what it passes on, and what it shows.
"""

import contextlib
import dataclasses
import signal
from pathlib import Path

import pytest

from demo import cli
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.screen import Screen
from demo.target import choose_target


def _program(folder: Path, script: str) -> Kubectl:
    file = folder / "kubectl"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return Kubectl(file, "/nowhere/config", use_proxy=False)


def test_nested_hands_everything_to_kubectl_and_ends_as_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    inside, asked = _program(tmp_path, 'echo "$KUBECONFIG $*"; exit 3'), []

    def open_cluster(_target: object, number: int) -> contextlib.AbstractContextManager[Kubectl]:
        asked.append(number)
        return contextlib.nullcontext(inside)

    monkeypatch.setattr(cli, "nested_kubectl", open_cluster)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own stay
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert cli.main(["nested", "7", "get", "pods", "-A", "--output=wide"]) == 3
    assert capfd.readouterr().out == "/nowhere/config get pods -A --output=wide\n"
    assert asked == [7]


def test_without_kubectl_it_says_how_to_get_one() -> None:
    with pytest.raises(DemoError, match="make up"):
        Kubectl(Path("/nowhere/kubectl"), "", use_proxy=False).hand_over("version")


def test_status_shows_live_jobs_and_counts_the_ended_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(
        tmp_path,
        """case "$*" in
*custom-columns*)
    echo "hello-by-hand   <none>"
    echo "kns-job-1       COMPLETED WITH ERROR"
    echo "kns-job-2       PROCESSING STARTING"
    echo "kns-job-3       COMPLETED" ;;
*) echo "asked: $*" ;;
esac""",
    )
    target = dataclasses.replace(choose_target({}), kubectl=tmp_path / "kubectl")
    cli._show_status(target, Screen())
    shown = capsys.readouterr().out
    assert "asked: get nj hello-by-hand kns-job-2 --namespace=kns-system" in shown
    assert "2 live jobs; 2 records of ended jobs, not shown" in shown
    assert "kns-job-1" not in shown
