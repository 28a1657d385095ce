"""The job around the tests, against scripted answers of kns and kubectl: it is always terminated."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance import job
from conformance.errors import ConformanceError
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.target import Target, choose_target
from kns.client import ApiKey, Client
from kns.model.job.location import Location

ENVIRON = {"KNS_URL": "http://kns", "KNS_USERNAME": "user1", "KNS_APIKEY": "key"}


class _Kns:
    """kns with one job, whose namespace `removed` says is gone at once after its termination."""

    def __init__(self) -> None:
        self.state = "PROCESSING STARTING"
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.is_live = False
        self.loses_the_answer = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = request.url.path.removeprefix("/jarvice/")
        if route not in ("jobs", "info"):
            self.calls.append(route)
        if route == "submit":
            self.bodies.append(json.loads(request.content))
            self.is_live = True
            if self.loses_the_answer:
                raise httpx.ReadError("lost")
            return httpx.Response(200, json={"name": "n", "number": 7})
        if route == "terminate":
            self.is_live = False
            return httpx.Response(200, json={})
        if route == "info":
            return httpx.Response(200, json={"url": "http://job"})
        if route == "output":
            return httpx.Response(200, text="why")
        jobs = {"7": {"job_status": self.state, "job_substatus_text": ""}} if self.is_live else {}
        return httpx.Response(200, json=jobs)


@pytest.fixture
def kns(monkeypatch: pytest.MonkeyPatch) -> _Kns:
    fake = _Kns()
    account = ApiKey("user1", "key")
    monkeypatch.setattr(job, "_client", lambda _: Client("http://kns", account, transport=httpx.MockTransport(fake)))
    monkeypatch.setattr(job, "read_admin_kubeconfig", lambda _, place: f"kubeconfig of {place.namespace}")
    monkeypatch.setattr(Kubectl, "find", lambda *_: None)
    ready = {"items": [{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}
    monkeypatch.setattr(Kubectl, "get", lambda *_: ready)
    return fake


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return dataclasses.replace(choose_target({}), state=tmp_path)


def _run(target: Target, said: list[str]) -> Any:
    return job.run_job(target, ENVIRON, machine="kns-huge", label="conformance-1", say=said.append)


def test_the_job_is_removed_after_the_tests(kns: _Kns, target: Target) -> None:
    said: list[str] = []
    with _run(target, said) as file:
        assert file.read_text() == "kubeconfig of kns-job-7"
        assert file.stat().st_mode & 0o777 == 0o600
    assert kns.bodies[0]["app"] == "conformance"
    assert kns.bodies[0]["job_label"] == "conformance-1"
    assert kns.calls == ["submit", "terminate"]
    assert not file.exists()
    assert said[-1] == "job 7 is removed"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConformanceError])
def test_the_job_is_removed_after_an_interruption(kns: _Kns, target: Target, error: type[BaseException]) -> None:
    def run() -> None:
        with _run(target, []):
            raise error

    with pytest.raises(error):
        run()
    assert kns.calls == ["submit", "terminate"]


def test_a_job_whose_answer_was_lost_is_removed(kns: _Kns, target: Target) -> None:
    kns.loses_the_answer = True
    with pytest.raises(Exception, match="no response"), _run(target, []):
        raise AssertionError("no job")
    assert kns.calls == ["submit", "terminate"]


def test_a_job_that_ends_early_is_an_error_with_its_output(kns: _Kns, target: Target) -> None:
    kns.state = "COMPLETED WITH ERROR"
    with pytest.raises(ConformanceError, match="why"), _run(target, []):
        raise AssertionError("no job")


def test_a_namespace_that_stays_is_an_error(kns: _Kns, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kubectl, "find", lambda *_: {"kind": "Namespace"})
    monkeypatch.setattr(job, "END_S", 0.0)
    with pytest.raises(DemoError, match="removal of namespace kns-job-7"), _run(target, []):
        pass


def test_without_an_account_it_says_where_to_get_one() -> None:
    with pytest.raises(ConformanceError, match="KNS_USERNAME is not set"):
        job._client({})


def test_the_kubeconfig_is_that_of_the_job(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    asked: list[Location] = []
    monkeypatch.setattr(job, "read_admin_kubeconfig", lambda _, place: asked.append(place))
    with pytest.raises(ConformanceError, match="kns-job-9"):
        job._read_kubeconfig(Kubectl.of(target), 9)
    assert asked == [Location(9, "kns-job-9")]
