"""One part of the testbed stopped and started, with a program of the test's own in its place."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterator

import pytest

from testbed import api, cluster, machine, parts, paths, processes, teardown
from testbed.cli import main
from testbed.errors import TestbedError

_SLEEPS = "import time; time.sleep(600)"


def _sleeper(name: str, folder: pathlib.Path) -> parts.Part:
    return parts.Part(name, "-", lambda: [sys.executable, "-c", _SLEEPS, str(folder / name)], lambda: None)


@pytest.fixture(autouse=True)
def _testbed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A testbed of two sleepers in the place of etcd and kubelet, wherever and as whomever the test runs."""
    for name in ("CACHE", "STATE", "LOGS", "PIDS", "CONFIG", "CNI_CONF"):
        monkeypatch.setattr(paths, name, tmp_path)
    monkeypatch.setattr(paths, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(parts, "BY_NAME", {name: _sleeper(name, tmp_path) for name in ("etcd", "kubelet")})
    monkeypatch.setattr(machine, "require_root", lambda: None)
    monkeypatch.setattr(api, "require_bridge", lambda: None)
    monkeypatch.setattr(processes, "raise_interrupts", lambda: None)  # pytest's own handlers stay
    yield
    processes.stop_all(list(parts.live_parts().values()), grace_s=5)


def _pids() -> dict[str, int]:
    return {name: identity.pid for name, identity in parts.live_parts().items()}


def test_one_part_is_stopped_and_started_and_the_others_run_on(capsys: pytest.CaptureFixture[str]) -> None:
    for part in parts.BY_NAME.values():
        parts.ensure_running(part, lambda _: None)
    before = _pids()
    assert main(["stop", "etcd"]) == 0
    assert _pids() == {"kubelet": before["kubelet"]}
    assert main(["stop", "etcd"]) == 0
    assert "not running" in capsys.readouterr().out
    assert main(["start", "etcd"]) == 0
    assert _pids().keys() == before.keys()
    assert main(["restart", "kubelet"]) == 0
    assert _pids()["kubelet"] != before["kubelet"]


def test_a_part_whose_flags_changed_is_restarted() -> None:
    """Otherwise a checkout with another flag would go on with a program that does not have it."""
    part = parts.BY_NAME["etcd"]
    for expected in ("ready", "already running"):
        assert parts.ensure_running(part, lambda _: None) == expected
    before = _pids()["etcd"]
    other = dataclasses.replace(part, argv=lambda: [*part.argv(), "--audit-log-path=/a"])
    assert "its flags changed" in parts.ensure_running(other, lambda _: None)
    assert processes.argv_of(_pids()["etcd"])[-1] == "--audit-log-path=/a"
    assert processes.identify(before) is None


def test_a_part_that_cannot_be_stopped_gets_no_second_one_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would use one port and one folder of data."""
    part = parts.BY_NAME["etcd"]
    parts.ensure_running(part, lambda _: None)
    other = dataclasses.replace(part, argv=lambda: [*part.argv(), "--audit-log-path=/a"])
    with monkeypatch.context() as stuck:
        stuck.setattr(processes, "stop_all", lambda identities, **_: list(identities))
        stuck.setattr(processes, "start", lambda *_, **__: pytest.fail("started beside the other one"))
        with pytest.raises(TestbedError, match=r"etcd \(pid [0-9]+\) survived SIGKILL"):
            parts.ensure_running(other, lambda _: None)


def test_the_files_of_the_flags_exist_before_a_part_is_started(tmp_path: pathlib.Path) -> None:
    """A cluster of an older checkout does not have them."""
    parts.ensure_running(parts.BY_NAME["kubelet"], lambda _: None)
    assert main(["start", "etcd"]) == 0
    assert list(tmp_path.glob("audit-policy-*.yaml"))


def test_nothing_is_started_without_a_cluster() -> None:
    with pytest.raises(TestbedError, match="there is no cluster"):
        cluster.start_part("etcd")


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["stop", "kubelets"])
    assert "kube-apiserver" in capsys.readouterr().err


def test_every_part_has_a_grace() -> None:
    assert {part.name for part in (*parts.PARTS, *parts.ON_REQUEST)} == set(teardown.GRACES_S)
