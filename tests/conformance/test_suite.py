"""Starting ginkgo, against a script in its place: its arguments and environment, the time limit, the report."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from conformance import suite as suite_module
from conformance.errors import ConformanceError
from conformance.suite import Suite, quote
from tests.patience import PATIENCE_S

NAMES = ["[sig-a] one (a|b) [Conformance]", "[sig-a] two*"]


def _suite(folder: Path, script: str) -> Suite:
    ginkgo = folder / "ginkgo"
    ginkgo.write_text(f"#!/bin/bash\n{script}\n")
    ginkgo.chmod(0o755)
    return Suite(ginkgo, folder / "e2e.test", folder / "bin" / "kubectl", processes=2)


def _run(suite: Suite, folder: Path, said: list[str], *, limit_s: float = 60.0) -> Path | None:
    return suite.run(
        NAMES,
        kubeconfig=folder / "kubeconfig",
        folder=folder / "reports",
        limit_s=limit_s,
        environ={"HOME": "/home/x", "HTTPS_PROXY": "http://proxy", "KNS_APIKEY": "secret"},
        say=said.append,
    )


def _await_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_matches_its_test_and_no_longer_name(name: str) -> None:
    assert re.search(quote(name), f"Kubernetes e2e suite {name}")
    assert not re.search(quote(name), f"Kubernetes e2e suite {name} more")


def test_ginkgo_gets_the_tests_and_neither_proxy_nor_credentials(tmp_path: Path) -> None:
    said: list[str] = []
    suite = _suite(tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/args; env >{tmp_path}/env; echo "Ran 2 of 9 Specs"')
    assert _run(suite, tmp_path, said) is None
    arguments = (tmp_path / "args").read_text().splitlines()
    assert [f"--focus={quote(name)}" for name in NAMES] == [arg for arg in arguments if arg.startswith("--focus")]
    assert "--procs=2" in arguments
    assert arguments.index("--") < arguments.index(f"--kubeconfig={tmp_path}/kubeconfig")
    environment = (tmp_path / "env").read_text()
    assert "HOME=/home/x" in environment
    assert f"PATH={tmp_path}/bin:" in environment
    assert "proxy" not in environment
    assert "secret" not in environment
    assert said[-1] == "Ran 2 of 9 Specs"


def test_the_report_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / suite_module.REPORT).write_text("old")
    assert _run(_suite(tmp_path, "true"), tmp_path, []) is None


def test_a_run_with_failures_has_a_report(tmp_path: Path) -> None:
    report = _run(_suite(tmp_path, f"echo x >{tmp_path}/reports/{suite_module.REPORT}; exit 1"), tmp_path, [])
    assert report is not None
    assert report.read_text() == "x\n"


def test_tests_that_do_not_end_are_killed_with_their_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_module, "GRACE_S", 0.5)
    child, real = tmp_path / "child", suite_module._wait
    suite = _suite(tmp_path, f"trap '' TERM\nsleep 1000 & echo $! >{child}.new; mv {child}.new {child}; wait; wait")

    def wait_from_the_child_on(*given: Any) -> None:
        """At the lowest priority a program may need seconds to begin."""
        deadline = time.monotonic() + PATIENCE_S
        while not child.exists():
            assert time.monotonic() < deadline
        real(*given)

    monkeypatch.setattr(suite_module, "_wait", wait_from_the_child_on)
    with pytest.raises(ConformanceError, match="did not end"):
        _run(suite, tmp_path, [], limit_s=0.5)
    _await_gone(int(child.read_text()))


def test_an_interruption_lets_ginkgo_write_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "reports" / suite_module.REPORT
    suite = _suite(
        tmp_path, f"trap 'echo x >{report}; exit 1' TERM\ntouch {tmp_path}/ready; while :; do sleep 0.1; done"
    )

    real = time.sleep

    def interrupt_once(seconds: float) -> None:
        if (tmp_path / "ready").exists():
            monkeypatch.setattr("conformance.suite.time.sleep", real)
            raise KeyboardInterrupt
        real(min(seconds, 0.01))

    monkeypatch.setattr("conformance.suite.time.sleep", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        _run(suite, tmp_path, [])
    assert report.read_text() == "x\n"
