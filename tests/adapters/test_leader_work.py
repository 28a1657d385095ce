"""What the leader runs, as the process builds it at its start, over a small API server."""

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import KubeClient
from kns.engine.reconciler import Reconciler, Term
from kns.settings import read_settings
from kns.wiring import leader_work
from kns.wiring.parts import Parts
from tests.adapters.api_server import ApiServer
from tests.fakes.stores import START


class _Clock(SystemClock):
    """Its time of day only moves when the test moves it."""

    time_of_day = START

    def now(self) -> datetime:
        return self.time_of_day


@pytest.fixture
def wall() -> _Clock:
    return _Clock()


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
