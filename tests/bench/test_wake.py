"""The measurement of sleep and wake, against scripted answers: what it times, and that no job stays."""

from typing import Any

import httpx
import pytest

from bench import wake
from bench.wake import Result, build_tables, measure
from demo.errors import DemoError
from demo.target import choose_target
from kns.client import ApiKey, Client, ClientError


class _Site:
    """kns and a page. A job that is asked to sleep is asleep at the second look; the third visit meets the app."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.calls: list[str] = []
        self.visits = 0
        self._refuses = refuses
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
        self._looks += 1
        text = "asleep" if self._sleeps and self._looks > 1 else ""
        job = {"job_status": "PROCESSING STARTING", "job_substatus_text": text}
        return httpx.Response(200, json={"7": job})

    def find_problem(self, _url: str, _ingress: str) -> str | None:
        self.visits += 1
        if self._sleeps and self.visits % 3:
            return "the ingress controller responds with 503"
        self._sleeps = False
        return None


def _measure(site: _Site, monkeypatch: pytest.MonkeyPatch, *, rounds: int = 2) -> tuple[Result, list[str]]:
    monkeypatch.setattr(wake, "_CALM_S", 0.0)
    monkeypatch.setattr(wake, "_LOOK_S", 0.0)
    monkeypatch.setattr(wake, "find_page_problem", site.find_problem)
    client: Any = Client("http://kns", ApiKey("user1", "key-1"), transport=httpx.MockTransport(site))
    result, said = Result(rounds), list[str]()
    try:
        measure(client, choose_target({}), result, machine="kns-small", say=said.append)
    except (ClientError, DemoError) as error:
        said.append(str(error))
    return result, said


def test_it_times_each_sleep_and_each_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    site = _Site()
    result, said = _measure(site, monkeypatch)
    assert result.is_whole
    assert (len(result.asleep_s), len(result.awake_s)) == (2, 2)
    assert site.calls.count("sleep") == 2
    assert site.calls[-1] == "terminate"
    assert said[0].startswith("round 1: asleep after ")
    (table,) = build_tables(result)
    assert [row.name for row in table.rows] == ["asleep", "the app's page"]


def test_a_job_that_cannot_sleep_ends_it_and_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    site = _Site(refuses=True)
    result, said = _measure(site, monkeypatch)
    assert not result.is_whole
    assert "its cluster has no volume" in said[-1]
    assert "terminate" in site.calls
