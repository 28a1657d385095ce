"""The measurement of sleep and wake, against scripted answers: what it times, and that no job stays."""

import httpx
import pytest

from bench import wake
from bench.errors import BenchError
from bench.wake import Result, build_tables, measure
from kns.client import ApiKey, Client, ClientError


class _Site:
    """kns and a page. A job that is asked to sleep is asleep at the second look; the third visit meets the app."""

    def __init__(self, *, refuses: bool = False, leads_to_app: bool = False) -> None:
        self.calls: list[str] = []
        self.said: list[str] = []
        self._visits = 0
        self._refuses = refuses
        self._leads_to_app = leads_to_app
        self._looks = 0
        self._sleeps = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = request.url.path.rpartition("/")[2]
        self.calls.append(route)
        if route == "submit":
            return httpx.Response(200, json={"name": "n", "number": 7})
        if route == "info":
            return httpx.Response(200, json={"url": "http://job"})
        if route == "sleep":
            if self._refuses:
                return httpx.Response(409, json={"error": "its cluster has no volume"})
            self._sleeps, self._looks = True, 0
            return httpx.Response(200, json={"number": 7})
        if route == "terminate":
            return httpx.Response(200, json={})
        assert route == "jobs"
        self._looks += 1
        text = "asleep" if self._sleeps and self._looks > 1 else ""
        job = {"job_status": "PROCESSING STARTING", "job_substatus_text": text}
        return httpx.Response(200, json={"7": job})

    def visit(self, _url: str, _ingress: str) -> tuple[int, bytes]:
        self._visits += 1
        if self._sleeps and self._visits % 3 and not self._leads_to_app:
            return 503, b"waking"
        self._sleeps = False
        return 200, b"Hello"


def _measure(site: _Site, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, str]:
    """Two rounds. Returns the error as well."""
    monkeypatch.setattr(wake, "_CALM_S", 0.0)
    monkeypatch.setattr(wake, "PAGE_EVERY_S", 0.0)
    monkeypatch.setattr(wake, "visit", site.visit)
    monkeypatch.setattr("bench.visit.PAGE_EVERY_S", 0.0)
    monkeypatch.setattr("bench.visit.visit", site.visit)
    client, result = Client("http://kns", ApiKey("user1", "key-1"), transport=httpx.MockTransport(site)), Result(2)
    try:
        measure(client, "http://ingress", result, machine="kns-small", say=site.said.append)
    except (ClientError, BenchError) as error:
        return result, str(error)
    return result, ""


def test_it_times_each_sleep_and_each_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    site = _Site()
    result, error = _measure(site, monkeypatch)
    assert (error, result.is_whole) == ("", True)
    assert (len(result.asleep_s), len(result.awake_s)) == (2, 2)
    assert site.calls.count("sleep") == 2
    assert site.calls[-1] == "terminate"
    assert site.said[0].startswith("round 1: asleep after ")
    (table,) = build_tables(result)
    assert [row.name for row in table.rows] == ["asleep", "the app's page"]


def test_a_job_that_cannot_sleep_ends_it_and_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    site = _Site(refuses=True)
    result, error = _measure(site, monkeypatch)
    assert not result.is_whole
    assert "its cluster has no volume" in error
    assert site.calls[-1] == "terminate"


def test_a_visit_that_meets_the_app_at_once_is_no_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the address still led to the app, whose pods are about to end."""
    site = _Site(leads_to_app=True)
    result, error = _measure(site, monkeypatch)
    assert "the job was not asleep: the first visit of http://job got 200" in error
    assert result.awake_s == []
