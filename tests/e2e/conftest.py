"""
The installation under test, and jobs on it that are taken away whatever happens.

Without a cluster everything here is skipped, loudly; with KNS_E2E_REQUIRED=1, as `make test` sets it, that is a
failure.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.jobs import KEEPER, JobKeeper
from tests.e2e.portal import Portal
from tests.e2e.site import REQUIRE, NoClusterError, Site, find_site

_HERE = Path(__file__).parent
_LIMIT_S = 600  # for one test with its fixtures; every wait inside has a shorter deadline of its own
_skipped = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and run them after all others: what costs a second fails before what costs minutes."""
    ours = {item: None for item in items if _HERE in item.path.parents}
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(_LIMIT_S))
    items[:] = [item for item in items if item not in ours] + list(ours)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if reason := config.stash.get(_skipped, ""):
        terminalreporter.section(
            "end-to-end tests were SKIPPED: nothing was proven on a cluster", yellow=True, bold=True
        )
        terminalreporter.line(reason)


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(find_site())
        except NoClusterError as error:
            if os.environ.get(REQUIRE) == "1":
                pytest.fail(f"{REQUIRE}=1, and there is {error}", pytrace=False)
            pytestconfig.stash[_skipped] = str(error)
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="session")
def portal(site: Site) -> Iterator[Portal]:
    """kns as user1 sees it."""
    portal = Portal(site.url, site.user)
    yield portal
    portal.close()


@pytest.fixture(scope="session")
def other(site: Site) -> Iterator[Portal]:
    """kns as user2 sees it, of the same team as user1."""
    portal = Portal(site.url, site.other)
    yield portal
    portal.close()


@pytest.fixture(scope="session")
def payer(site: Site) -> Iterator[Portal]:
    """kns as the team's leader sees it."""
    portal = Portal(site.url, site.payer)
    yield portal
    portal.close()


@pytest.fixture(scope="session")
def admin(site: Site) -> Iterator[Portal]:
    """kns as the administrator sees it."""
    portal = Portal(site.url, site.admin)
    yield portal
    portal.close()


@pytest.fixture(scope="session")
def _keeper(pytestconfig: pytest.Config, site: Site, portal: Portal) -> Iterator[JobKeeper]:
    keeper = JobKeeper(site, portal)
    pytestconfig.stash[KEEPER] = keeper
    yield keeper
    keeper.close()


@pytest.fixture
def jobs(_keeper: JobKeeper) -> Iterator[JobKeeper]:
    """Jobs of one test."""
    mark = _keeper.mark
    yield _keeper
    _keeper.release(since=mark)


@pytest.fixture(scope="module")
def module_jobs(_keeper: JobKeeper) -> Iterator[JobKeeper]:
    """Jobs that the tests of one file share."""
    mark = _keeper.mark
    yield _keeper
    _keeper.release(since=mark)
