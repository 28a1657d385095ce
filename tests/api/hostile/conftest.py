"""One server per module, which every row must leave unharmed. Log and store are checked after each row."""

import logging
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from kns.adapters.bearer import RealmTokens
from kns.logs import configure_logging
from tests.api.client import Api
from tests.api.hostile.served import Served, serve
from tests.builders import a_job
from tests.tokens import public_pem


@pytest.fixture(scope="module")
def _server() -> Iterator[Served]:
    api = Api(bearer=RealmTokens(public_pem()), failed_logins=10**9, submits=10**9)
    api.add(a_job().exposed(), output="hi\n")
    with serve(api) as served:
        yield served


@pytest.fixture
def served(_server: Served, observed: StringIO, caplog: pytest.LogCaptureFixture) -> Served:
    _server.api.jobs.writes.clear()
    _server.log, _server.libraries = observed, caplog
    return _server


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> StringIO:
    """The complete log of kns, in the form in which it leaves the pod."""
    written = StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    configure_logging(logging.DEBUG)
    caplog.set_level(logging.INFO)
    return written
