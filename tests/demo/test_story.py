"""
The demo with scripted responses: it follows a job to its page, explains a failure, and terminates an interrupted job.
"""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import install
from demo import page as page_module
from demo import story as story_module
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.leftovers import sort_rows
from demo.screen import Screen
from demo.story import JobFailedError, Story
from demo.target import choose_target
from demo.waiting import wait_until
from kns.cli.nested import set_server
from kns.client import ApiKey, Client

RECORD = {"status": {"reason": "ItemOutOfRetries", "message": "item 2/2 'give up' failed"}}


class _FakeKns:
    """Answers like kns; each call of `jobs` moves the job one state on."""

    def __init__(self, *states: tuple[str, str | None], log: list[str]) -> None:
        self._states = list(states)
        self._log = log
        self.calls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = request.url.path.removeprefix("/jarvice/")
        self.calls.append(route)
        status, stage = self._states[0]
        if route == "jobs":
            if len(self._states) > 1:
                self._states.pop(0)
            entry = {"job_status": status, "job_substatus_text": stage, "job_exitcode": 1}
            return httpx.Response(200, json={"7": entry})
        if route == "info" and stage is None and status == "PROCESSING STARTING":
            return httpx.Response(200, json={"url": "http://kns-job-7.jobs.localhost"})
        if route in ("tail", "output"):
            return httpx.Response(200, text="".join(f"{line}\n" for line in self._log))
        if route == "submit":
            return httpx.Response(200, json={"name": "n", "number": 7})
        if route in ("shutdown", "terminate"):
            return httpx.Response(200, json={"status": "done"})
        return httpx.Response(404, json={"error": "Running job is not found"})


class _FakeKubectl(Kubectl):
    def __init__(self) -> None:
        super().__init__(Path("/nowhere/kubectl"), "", use_proxy=False)

    def get(self, *arguments: str) -> Any:
        assert arguments[0] == "nj"
        return {"items": [RECORD]}


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def story() -> Story:
    return Story(choose_target({}), Screen(), app="hello", machine="kns-small", keep=False)


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://kns", ApiKey("user1", "k"), transport=httpx.MockTransport(answer))


def test_stages_and_log_appear_once_each_up_to_the_url(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    kns = _FakeKns(
        ("SUBMITTED", "starting virtual cluster"),
        ("SUBMITTED", "starting virtual cluster"),
        ("PROCESSING STARTING", "deploying application"),
        ("PROCESSING STARTING", None),
        log=["[1/1] web, attempt 1", "service/web created"],
    )
    with _client(kns) as client:
        story._submit(client)
        assert story._wait_for_url(client, _FakeKubectl()) == "http://kns-job-7.jobs.localhost"
    shown = capsys.readouterr().out
    for line in ("SUBMITTED: starting virtual cluster", "deploying application", "| service/web created"):
        assert shown.count(line) == 1
    story.times.stop()
    names = [name for name, _ in story.times.rows()]
    assert names == ["submit", "starting virtual cluster", "deploying application"]


def test_a_failed_job_is_explained(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    kns = _FakeKns(("PROCESSING STARTING", "deploying application"), ("COMPLETED WITH ERROR", None), log=["no retries"])
    with _client(kns) as client:
        story._submit(client)
        with pytest.raises(JobFailedError, match=r"item 2/2 'give up' failed.*kubectl describe nj"):
            story._wait_for_url(client, _FakeKubectl())
    assert "COMPLETED WITH ERROR, exit code 1" in capsys.readouterr().out
    assert story.number is None


def test_a_page_that_does_not_come_leaves_the_job_and_says_where_to_look(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kns = _FakeKns(("PROCESSING STARTING", None), log=[])
    monkeypatch.setattr(install, "up", lambda *_: None)
    monkeypatch.setattr(install, "reach_api", lambda *_: contextlib.nullcontext("http://kns"))
    monkeypatch.setattr(Story, "_client", lambda *_: _client(kns))
    monkeypatch.setattr(page_module, "fetch_page", lambda *_: (404, "404 page not found"))
    monkeypatch.setattr(story_module, "PAGE_S", -1.0)
    with pytest.raises(DemoError, match=r"the page at http://kns-job-7\.jobs\.localhost: .*responds with 404"):
        story.run()
    shown = capsys.readouterr().out
    assert "kubectl get pods,events -n kns-job-7" in shown
    assert "kubectl logs -n kns-job-7 NAME-x-NAMESPACE-x-kns-job-7" in shown
    assert "kubectl patch nj kns-job-7 -n kns-system" in shown
    assert "terminate" not in kns.calls


def test_what_the_jobs_own_cluster_waits_for_is_shown(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image may be pulled for a minute, and the demo would seem to hang."""
    phases = ["Pending", "Running"]

    class Inside(_FakeKubectl):
        def get(self, *arguments: str) -> Any:
            assert arguments == ("pods", "--all-namespaces")
            return {"items": [{"metadata": {"name": "web"}, "status": {"phase": phases.pop(0)}}]}

    monkeypatch.setattr(Kubectl, "run", lambda *_, **__: "")
    monkeypatch.setattr(Story, "_wait_for_url", lambda *_: None)
    monkeypatch.setattr(story_module, "nested_kubectl", lambda *_: contextlib.nullcontext(Inside()))
    story.number = 7
    with _client(_FakeKns(("PROCESSING STARTING", None), log=[])) as client:
        story._follow(client, _FakeKubectl())
    assert "not running: web" in capsys.readouterr().out


def test_an_interrupted_story_terminates_its_job_even_if_it_never_learned_the_number(story: Story) -> None:
    kns = _FakeKns(("SUBMITTED", None), log=[])
    with _client(kns) as client:
        story._take_back(client)
    assert kns.calls == ["jobs", "terminate"]


def test_an_interrupted_story_says_if_it_could_not(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    with _client(lambda _: httpx.Response(500, json={"error": "Internal error"})) as client:
        story._take_back(client)
    assert "could not be terminated" in capsys.readouterr().out


def test_the_page_is_asked_from_the_ingress_under_the_jobs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    real = httpx.Client

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers["host"]))
        return httpx.Response(200, text="page")

    monkeypatch.setattr(httpx, "Client", lambda **_: real(transport=httpx.MockTransport(answer)))
    assert page_module.fetch_page("http://kns-job-7.jobs.localhost/a?b=c", "http://172.30.0.1") == (200, "page")
    assert page_module.fetch_page("https://kns-job-7.jobs.example.org", "") == (200, "page")
    assert seen == [
        ("http://172.30.0.1/a?b=c", "kns-job-7.jobs.localhost"),
        ("https://kns-job-7.jobs.example.org", "kns-job-7.jobs.example.org"),
    ]


def test_leftovers_are_reported_from_what_is_kept_and_from_other_jobs() -> None:
    listed = [
        ("Secret", "kns-system", "kns-job-7-output"),
        ("ConfigMap", "kns-job-7", "kns-init-plan"),
        ("ClusterRole", "", "vc-kns-job-7"),
        ("ClusterRole", "", "vc-kns-job-70"),
        ("ClusterRole", "", "kns-scheduler"),
        ("PersistentVolume", "", "pvc-1"),
    ]
    kept, strays = sort_rows(listed, [("PersistentVolume", "", "pvc-1")], 7)
    assert kept == ["Secret kns-system/kns-job-7-output"]
    assert strays == ["ClusterRole vc-kns-job-7", "ConfigMap kns-job-7/kns-init-plan", "PersistentVolume pvc-1"]


def test_a_kubeconfig_moves_to_another_address_and_keeps_the_rest() -> None:
    original = {
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority-data": "x"}}]
    }
    moved = set_server(json.dumps(original), "https://10.96.0.9:443")
    assert "server: https://10.96.0.9:443" in moved
    assert "certificate-authority-data: x" in moved


def test_waiting_ends_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    said: list[str] = []
    monkeypatch.setattr("demo.waiting.time.monotonic", lambda: float(next(now)))
    with pytest.raises(DemoError, match="the end: not within 3 s; still there"):
        wait_until(lambda: "still there", timeout_s=3, what="the end", say=said.append)
    assert said == ["still there"]
