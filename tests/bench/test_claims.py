"""The measurement of claims, against scripted answers: what it times, and that no job stays."""

from typing import Any

import httpx
import pytest

from bench import claims
from bench.chains import PooledChain
from bench.claims import Result, build_table, measure
from bench.errors import BenchError
from kns.client import ApiKey, Client


class _Site:
    """kns and the host. Each job is usable at the second look. The third, if `misses`, found no member."""

    def __init__(self, *, misses: bool = False) -> None:
        self.live: set[int] = set()
        self.looks = 0
        self._misses = misses
        self._count = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = request.url.path.rpartition("/")[2]
        if route == "submit":
            self._count += 1
            self.live.add(self._count)
            self.looks = 0
            return httpx.Response(200, json={"name": "n", "number": self._count})
        if route == "terminate":
            self.live.discard(int(request.url.params["number"]))
            return httpx.Response(200, json={})
        status = "SUBMITTED"
        if route == "status":
            self.looks += 1
            status = "SUBMITTED" if self.looks < 2 else "PROCESSING STARTING"
        return httpx.Response(200, json={str(number): {"job_status": status} for number in self.live})

    def get(self, what: str, *_: str) -> Any:
        if what == "namespaces":
            ready, busy = {"kns.io/pool-ready": "x"}, {"kns.io/pool-ready": "x", "kns.io/pool-claim": "x"}
            return {"items": [{"metadata": {"annotations": each}} for each in (busy, ready)]}
        adopted = None if self._misses and self._count == 3 else "kns-job-1"
        return {"spec": {"accepted": {"number": self._count, "adopted": adopted}}}


def _measure(site: _Site, wanted: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, list[str]]:
    monkeypatch.setattr("bench.chains.time.sleep", lambda _: None)
    transport = httpx.MockTransport(site)
    chain = PooledChain(
        lambda: Client("http://kns", ApiKey("user1", "key-1"), transport=transport),
        site,  # type: ignore[arg-type]  # one of its methods
        ingress_url="http://ingress",
        label="bench-1",
        machine="kns-small",
    )
    result, said = Result(wanted), list[str]()
    try:
        measure(chain, result, say=said.append)
    except BenchError as error:
        said.append(str(error))
    return result, said


def test_it_times_each_claim_until_its_api_answers_and_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    site = _Site()
    result, said = _measure(site, 11, monkeypatch)
    assert (len(result.usable_s), result.is_whole) == (11, True)
    assert site.looks == 2
    assert not site.live
    assert [line.split(",")[0] for line in said] == ["10 of 11 claims", "11 of 11 claims"]


def test_a_job_that_found_no_member_ends_it_and_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    site = _Site(misses=True)
    result, said = _measure(site, 5, monkeypatch)
    assert (len(result.usable_s), result.is_whole) == (2, False)
    assert said == ["job 3 found no member of its shape in the pool"]
    assert not site.live


def test_the_table_has_the_percentiles() -> None:
    result = Result(100, [number / 1000 for number in range(1, 101)])
    assert build_table(result).text().splitlines() == [
        "| virtual cluster usable, 100 claims | kns, warm pool |",
        "| --- | --- |",
        "| p50 | 50.0 ms |",
        "| p90 | 90.0 ms |",
        "| p99 | 99.0 ms |",
        "| longest | 100.0 ms |",
    ]


def test_nothing_is_measured_without_claims(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        claims.main(["--claims", "0"], {})
    assert "'0' is not a number from 1 to 1000" in capsys.readouterr().err
