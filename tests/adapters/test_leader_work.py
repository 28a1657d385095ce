"""What the leader runs, as the process builds it at its start, over a small API server."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.server_time import ServerTime
from kns.engine.reconciler import Reconciler, Term
from kns.model.job.idempotency import digest_request
from kns.settings import read_settings
from kns.wiring import leader_work
from kns.wiring.parts import Parts
from tests.adapters.api_server import ApiServer
from tests.builders import a_job
from tests.fakes.stores import START


class _Clock(SystemClock):
    """Its time of day only moves when the test moves it."""

    time_of_day = START

    def now(self) -> datetime:
        return self.time_of_day


YEAR = timedelta(days=365)


@pytest.fixture
def wall() -> _Clock:
    return _Clock()


@pytest.fixture
def year_ahead(client: KubeClient, wall: _Clock) -> datetime:
    """This machine's clock is a year ahead of the host API's, whose time is returned."""
    client.server_time = ServerTime(lambda: time.time() + YEAR.total_seconds())
    now = datetime.now(UTC)
    wall.time_of_day = now + YEAR
    return now


@pytest.fixture
def parts(server: ApiServer, client: KubeClient, wall: _Clock, tmp_path: Path) -> Parts:
    server.put("/api/v1", "namespaces", {"metadata": {"name": "kns-system"}})
    chart = tmp_path / "chart.tgz"
    chart.write_bytes(b"not a chart: nothing is rendered here")
    paths = {"KNS_VCLUSTER_CHART": str(chart), "KNS_HELM": str(tmp_path / "no-helm")}
    settings, _ = read_settings({**paths, "KNS_SERVICE_CIDR": "10.96.0.0/12"})
    return Parts(settings, CatalogDirectory(tmp_path), client, wall)


def test_a_standby_leads_since_it_took_the_lease(parts: Parts, wall: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It builds its work at its start. The time until it leads would otherwise count as an outage of control planes."""
    terms: list[Term] = []

    def build_reconciler(*, term: Term, **others: Any) -> Reconciler:
        terms.append(term)
        return Reconciler(term=term, **others)

    monkeypatch.setattr(leader_work, "Reconciler", build_reconciler)
    work = leader_work.build_leader_work(parts, lambda: None)
    (term,) = terms
    assert term.since() is None
    wall.time_of_day = START + timedelta(days=1)
    stop = threading.Event()
    parts.leader.run(stop, on_start=stop.set, on_loss=lambda: None, on_stop=lambda: work.workers.stop(timeout_s=0))
    assert term.since() == START + timedelta(days=1)


def test_a_leader_with_a_wrong_clock_leads_since_the_host_s_time(year_ahead: datetime, parts: Parts) -> None:
    """When the clock is right again, every limit that counts from the lead would otherwise be a year away."""
    stop = threading.Event()
    parts.leader.run(stop, on_start=stop.set, on_loss=lambda: None, on_stop=lambda: True)
    assert parts.leader.leading_since is not None
    assert abs(parts.leader.leading_since - year_ahead) < YEAR / 2


def test_a_replica_with_a_wrong_clock_makes_no_second_job_of_a_request(
    year_ahead: datetime, parts: Parts, server: ApiServer
) -> None:
    """The host API dates the record, so by this clock the first request was a year ago."""
    server.now = f"{year_ahead:%Y-%m-%dT%H:%M:%SZ}"
    parts.records.cache._list()
    request = digest_request("user1", "key")
    first = parts.records.create(a_job().numbered(7).build().spec, request=request)
    assert parts.records.find_request(request) == first
    assert parts.records.create(a_job().numbered(8).build().spec, request=request) == first
