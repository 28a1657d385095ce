"""The start of kns with faults: each on its own line on stderr, exit status 2, no secret."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from kns.engine.queue import WorkQueue
from kns.main import EXIT_UNUSABLE, LONGEST_STOP_S, _Process, join_all, run
from kns.settings import list_names
from tests.builders import catalog_files
from tests.fakes.stores import FakeClock
from tests.ports import find_ports

SECRET = "s3cr3t-key"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (name for names in list_names() for name in names):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _keep_switch_interval() -> Iterator[None]:
    """`run` sets it for the whole process, and the tests that follow would switch threads ten times as often."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def write_catalog(folder: Path, files: Mapping[str, object]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(data))
    return folder


@pytest.mark.proves(
    "settings",
    "An empty variable counts as unset; all errors are reported together, by name, without values, with exit status 2",
)
def test_settings_catalogue_helm_and_chart_are_reported_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KNS_WORKERS", "none")
    monkeypatch.setenv("JARVICE_KNS_KEEP_VCLUSTERS", "perhaps")
    monkeypatch.setenv("KNS_CATALOG_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("KNS_HELM", str(tmp_path / "no-helm"))
    monkeypatch.setenv("KNS_VCLUSTER_CHART", str(tmp_path / "no-chart"))
    assert run() == EXIT_UNUSABLE == 2
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == [
        "JARVICE_KNS_KEEP_VCLUSTERS",
        "KNS_CATALOG_DIR",
        "KNS_HELM",
        "KNS_VCLUSTER_CHART",
        "KNS_WORKERS",
    ]
    assert all(line.startswith("kns: ") for line in lines)


def test_an_invalid_catalogue_names_file_and_key_and_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = catalog_files(users={"user1": {"apikey": SECRET, "projects": SECRET}})
    monkeypatch.setenv("KNS_CATALOG_DIR", str(write_catalog(tmp_path, files)))
    assert run() == 2
    told = capsys.readouterr().err
    assert "kns: KNS_CATALOG_DIR: users.json: user1.projects: " in told
    assert SECRET not in told


@pytest.mark.proves("settings", "`JARVICE_K8S_ADMIN_CONF` is a kubeconfig of the host")
def test_no_way_to_the_host_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Everything is valid except the kubeconfig."""
    (tmp_path / "kubeconfig").write_text("{}")
    (tmp_path / "chart.tgz").write_text("")
    monkeypatch.setenv("KNS_CATALOG_DIR", str(write_catalog(tmp_path / "catalog", catalog_files())))
    monkeypatch.setenv("KNS_HELM", "sh")
    monkeypatch.setenv("KNS_VCLUSTER_CHART", str(tmp_path / "chart.tgz"))
    monkeypatch.setenv("JARVICE_K8S_ADMIN_CONF", str(tmp_path / "kubeconfig"))
    assert run() == 2
    told = capsys.readouterr().err
    assert told.startswith(
        f"kns: JARVICE_K8S_ADMIN_CONF: cannot reach the host cluster by kubeconfig {tmp_path}/kubeconfig: "
    )


def _make_environment(folder: Path) -> dict[str, str]:
    """The environment of a kns on free ports of loopback: all is in order, but the host does not answer."""
    api, http, metrics = find_ports(3)
    (folder / "kubeconfig").write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{api}"}}}}]
users: [{{name: c, user: {{token: t}}}}]
contexts: [{{name: c, context: {{cluster: c, user: c}}}}]
"""
    )
    (folder / "chart.tgz").write_text("")
    return {
        "PATH": os.environ["PATH"],
        "KNS_CATALOG_DIR": str(write_catalog(folder / "catalog", catalog_files())),
        "KNS_HELM": "sh",
        "KNS_VCLUSTER_CHART": str(folder / "chart.tgz"),
        "JARVICE_K8S_ADMIN_CONF": str(folder / "kubeconfig"),
        "JARVICE_KNS_DEFAULT_STORAGE_CLASS": "fast",
        "KNS_HTTP_HOST": "127.0.0.1",
        "KNS_HTTP_PORT": str(http),
        "KNS_METRICS_PORT": str(metrics),
        "KNS_REQUEST_LIMIT": "1",
    }


@pytest.fixture
def away(tmp_path: Path) -> dict[str, str]:
    return _make_environment(tmp_path)


@dataclass(frozen=True)
class Running:
    """`http` waits until kns listens."""

    http: httpx.Client
    metrics_port: int


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A kns in a process of its own, which stops in order on SIGTERM."""
    environ = _make_environment(tmp_path_factory.mktemp("running"))
    patient = httpx.HTTPTransport(retries=8)  # with growing pauses, a minute in all
    with (
        subprocess.Popen([sys.executable, "-m", "kns"], env=environ, stdout=subprocess.DEVNULL) as process,
        httpx.Client(transport=patient, base_url=f"http://127.0.0.1:{environ['KNS_HTTP_PORT']}", timeout=60) as client,
    ):
        try:
            yield Running(client, int(environ["KNS_METRICS_PORT"]))
        finally:
            process.terminate()
        assert process.wait(60) == 0


def test_a_host_that_is_away_does_not_keep_kns_from_starting(running: Running) -> None:
    """
    A replica that starts while the host API is down answers `/live` and waits. Kubernetes would only restart it, with
    longer and longer pauses.
    """
    assert running.http.get("/live").status_code == 200
    assert running.http.get("/ready").status_code == 503


@pytest.mark.proves("security", "the same on the metrics port")
def test_metrics_are_on_a_port_of_their_own_with_the_same_patience(running: Running) -> None:
    """A client that connects there and sends nothing is disconnected, as on the other port."""
    assert running.http.get("/live").status_code == 200
    told = running.http.get(f"http://127.0.0.1:{running.metrics_port}/metrics")
    assert told.status_code == 200
    assert told.headers["content-type"].startswith("text/plain")
    assert "\nkns_leader 0.0\n" in told.text
    assert "\nkns_jobs_live NaN\n" in told.text
    assert "\nkns_removal_oldest_seconds NaN\n" in told.text
    with socket.create_connection(("127.0.0.1", running.metrics_port), timeout=60) as silent:
        assert silent.recv(1000).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("variable", ["KNS_HTTP_PORT", "KNS_METRICS_PORT"])
def test_a_port_that_is_taken_is_reported(away: dict[str, str], variable: str) -> None:
    with socket.create_server(("127.0.0.1", int(away[variable]))):
        ended = subprocess.run(
            [sys.executable, "-m", "kns"], env=away, capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == EXIT_UNUSABLE
    assert ended.stderr.startswith(f"kns: {variable}: cannot listen on {away[variable]}: Address already in use")


def test_a_leader_queues_every_record_before_a_worker_starts() -> None:
    """A worker that runs already would be given the records twice that it is done with."""
    queue, seen = WorkQueue(clock=FakeClock(), rng=random.Random(1)), list[int]()
    process = object.__new__(_Process)
    parts: Any = SimpleNamespace(queue=queue, records=SimpleNamespace(list_records=lambda: ["a", "b"]))
    work: Any = SimpleNamespace(start=lambda: seen.append(queue.depth))
    process._parts = parts
    process._start_work(work)
    assert seen == [2]


class _Stuck:
    """A thread that does not end while somebody waits for it."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.waited_s: float | None = None

    def join(self, timeout_s: float) -> None:
        self.waited_s = timeout_s
        self._clock.advance(timeout_s)


def test_all_threads_of_a_stop_have_one_deadline_within_the_pods_grace_period() -> None:
    """Otherwise Kubernetes kills the process before it has written its last line, and its status is 137."""
    clock = FakeClock()
    began, threads = clock.monotonic(), [_Stuck(clock) for _ in range(3)]
    stuck: Any = threads
    join_all(stuck, clock=clock)
    assert [thread.waited_s for thread in threads] == [LONGEST_STOP_S, 0, 0]
    assert clock.monotonic() - began == LONGEST_STOP_S
    manifest = Path(__file__).parents[3] / "manifests" / "deployment.yaml"
    pod = next(each for each in yaml.safe_load_all(manifest.read_text()) if each["kind"] == "Deployment")["spec"][
        "template"
    ]["spec"]
    (container,) = pod["containers"]
    before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before_s + LONGEST_STOP_S < pod["terminationGracePeriodSeconds"]
