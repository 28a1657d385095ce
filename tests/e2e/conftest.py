"""
The installation under test, and jobs on it that are removed whatever happens.

Without a cluster every test here is skipped, and the summary says so; with KNS_E2E_REQUIRED=1, which `make test` sets,
a missing cluster is a failure.

How the tests share the cluster, and how several workers run them side by side: docs/testing.md.
"""

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.e2e.cluster_lock import ClusterLock
from tests.e2e.jobs import JobKeeper, TrialJob, add_keeper
from tests.e2e.portal import Portal
from tests.e2e.scheduler import Settings
from tests.e2e.site import REQUIRE, NoClusterError, Site, find_site
from tests.e2e.waiting import PATIENCE

_HERE = Path(__file__).parent
_LIMIT_S = 600 * PATIENCE  # for one test with its fixtures; every wait inside has a shorter deadline of its own
_NO_CLUSTER = "no cluster: "
_lock = pytest.StashKey[ClusterLock]()
_settings = pytest.StashKey[Settings]()

# Files whose tests share the cluster, in groups. One worker runs a group: its files share a job, or would disturb each
# other. Long groups come before short ones, so that no worker is left with a long one at the end.
_SHARED = (
    ("test_replicas", "test_sweeper", "test_keycloak"),  # address single replicas of kns, or restart them
    ("test_ingress",),
    ("test_hello", "test_preflight", "test_nodes"),  # compare all objects of the host, or change some outside of jobs
    ("test_storage",),
    ("test_isolation", "test_shell"),  # share one job with a web shell
    ("test_examples",),
    ("test_serving_job",),
    ("test_jarvice_client",),
    ("test_applied_by_hand",),
    ("test_templates",),
    ("test_faults_job",),
    ("test_limits",),
    ("test_rights",),
    ("test_bearer_and_team",),
    ("test_posit", "test_posit_nested"),
)
# Files whose tests need the cluster alone: one group, which runs last. Those that change settings follow each other,
# because the usual settings are restored only before a test that needs them. The last file ends the cluster.
_ALONE = (
    "test_settings",
    "test_pool",
    "test_sleep",
    "test_pod_security",
    "test_ingress_address",
    "test_gateway",
    "test_bad_input",
    "test_upgrade",
    "test_restart",
    "test_faults_host",
    "test_faults_scheduler",
    "test_faults_vcluster",
    "test_zz_down",
)
_PLACE = {file: (index, place) for index, group in enumerate((*_SHARED, _ALONE)) for place, file in enumerate(group)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Mark and order the end-to-end tests.

    They come after all other tests, so that what takes a second fails before what takes minutes.
    """
    ours = {item: None for item in items if _HERE in item.path.parents}
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(_LIMIT_S))
    ordered = sorted(ours, key=lambda item: (_is_alone(item), _PLACE.get(item.path.stem, (len(_SHARED), -1))))
    items[:] = [item for item in items if item not in ours] + ordered


class _GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist carries no types
    """
    Gives each worker one group after the other, in the order of collection.

    By the files' names: the marks `xdist_group` do not reach the controller under pytest 9.2 and pytest-xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        stem = Path(nodeid.partition("::")[0]).stem
        return str(_PLACE[stem][0]) if stem in _PLACE else stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return _GroupScheduling(config, log) if config.getoption("dist") == "loadgroup" else None


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _changes_settings(item: pytest.Item | None) -> bool:
    return "settings" in getattr(item, "fixturenames", ())


def pytest_sessionstart(session: pytest.Session) -> None:
    worker: dict[str, str] | None = getattr(session.config, "workerinput", None)
    if worker is not None:  # otherwise one process runs all tests, one after the other
        file = Path(tempfile.gettempdir()) / f"kns-e2e-{worker['testrunuid']}.lock"
        session.config.stash[_lock] = ClusterLock(file)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (lock := session.config.stash.get(_lock, None)) is not None:
        lock.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-timeout: waiting for the others is not the test's time
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, bool, bool]:
    """Hold the cluster's lock, shared or alone, from a worker's first test of that kind to its last."""
    lock = item.config.stash.get(_lock, None)
    if lock is None:
        return (yield)
    lock.acquire(alone=_is_alone(item))
    try:
        return (yield)
    finally:
        if nextitem is None or _is_alone(nextitem) != _is_alone(item):
            lock.release()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it in a section of its own if there was no cluster."""
    reasons = {
        str(report.longrepr[2])
        for report in terminalreporter.getreports("skipped")
        if "e2e" in report.keywords and isinstance(report.longrepr, tuple)
    }
    if missing := sorted(reason for reason in reasons if _NO_CLUSTER in reason):
        terminalreporter.section(
            "end-to-end tests were SKIPPED: nothing was proven on a cluster", yellow=True, bold=True
        )
        terminalreporter.line(missing[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Restore the usual settings, unless the next test changes them as well."""
    try:
        return (yield)
    finally:
        settings = item.config.stash.get(_settings, None)
        if settings is not None and not _changes_settings(nextitem):
            settings.restore()


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(find_site())
        except NoClusterError as error:
            if os.environ.get(REQUIRE) == "1":
                pytest.fail(f"{REQUIRE}=1, but there is {error}", pytrace=False)
            pytest.skip(f"{_NO_CLUSTER}{error}")
        yield found


@pytest.fixture(scope="session")
def portal(site: Site) -> Iterator[Portal]:
    """kns as user1 sees it."""
    with contextlib.closing(Portal(site.url, site.user)) as portal:
        yield portal


@pytest.fixture(scope="session")
def other(site: Site) -> Iterator[Portal]:
    """kns as user2 sees it, who is in user1's team."""
    with contextlib.closing(Portal(site.url, site.other)) as portal:
        yield portal


@pytest.fixture(scope="session")
def payer(site: Site) -> Iterator[Portal]:
    """kns as the team's leader sees it."""
    with contextlib.closing(Portal(site.url, site.payer)) as portal:
        yield portal


@pytest.fixture(scope="session")
def admin(site: Site) -> Iterator[Portal]:
    """kns as the administrator sees it."""
    with contextlib.closing(Portal(site.url, site.admin)) as portal:
        yield portal


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config, site: Site) -> Settings:
    """
    The scheduler's settings, for tests that change them.

    A test that changes them while others run (one without the mark `alone`) must choose variables that do not concern
    the others.
    """
    settings = pytestconfig.stash[_settings] = Settings(site.kubectl)
    return settings


@pytest.fixture(scope="session")
def _keeper(pytestconfig: pytest.Config, site: Site, portal: Portal) -> Iterator[JobKeeper]:
    keeper = add_keeper(pytestconfig, JobKeeper(site, portal))
    yield keeper
    keeper.close()


@pytest.fixture(scope="session")
def web_shell(pytestconfig: pytest.Config, site: Site, portal: Portal) -> Iterator[TrialJob]:
    """A serving job with a web shell, for all tests of the group `web-shell`; the last of them ends it."""
    keeper = add_keeper(pytestconfig, JobKeeper(site, portal))
    job = keeper.submit("web-shell")
    job.wait_until_serving()
    yield job
    keeper.release(since=0)


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
