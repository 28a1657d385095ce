"""The clock of this machine, compared with the time in the answers of the host API."""

from datetime import timedelta

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.server_time import MAX_SKEW_S, HostClock, ServerTime
from tests.fakes.stores import FakeClock

AT = {"Date": "Mon, 05 Jan 2026 14:15:30 GMT"}
AT_S = 1_767_622_530.0


@pytest.mark.parametrize(
    ("ahead_s", "trusted"),
    [(0, True), (MAX_SKEW_S, True), (-MAX_SKEW_S, True), (MAX_SKEW_S + 1, False), (-86_400, False)],
)
def test_a_clock_is_trusted_up_to_a_difference(ahead_s: float, trusted: bool) -> None:
    time = ServerTime(lambda: AT_S + ahead_s, lambda: 7.0)
    time.observe(AT)
    assert (time.skew_s, time.is_trusted()) == (ahead_s, trusted)


def test_the_newest_answer_counts() -> None:
    now = [AT_S + 86_400]
    time = ServerTime(lambda: now[0])
    time.observe(AT)
    assert not time.is_trusted()
    now[0] = AT_S
    time.observe(AT)
    assert time.is_trusted()


@pytest.mark.parametrize("jump_s", [86_400, -86_400])
def test_a_jump_is_noticed_before_the_next_answer(jump_s: float) -> None:
    now, passed = [AT_S], [7.0]
    time = ServerTime(lambda: now[0], lambda: passed[0])
    time.observe(AT)
    now[0], passed[0] = AT_S + 3600, 3607.0
    assert (time.skew_s, time.is_trusted()) == (0, True)
    now[0] += jump_s
    assert (time.skew_s, time.is_trusted()) == (jump_s, False)
    now[0] -= jump_s
    assert time.is_trusted()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": "yesterday"},
        {"Date": ""},
        {"Date": "Mon, 05 Jan 2026 14:17:00 +9999999999999999999"},
    ],
)
def test_an_answer_without_a_time_changes_nothing(headers: dict[str, str]) -> None:
    time = ServerTime(lambda: AT_S + 86_400)
    assert time.is_trusted()
    time.observe(headers)
    assert time.is_trusted()
    time.observe(AT)
    time.observe(headers)
    assert not time.is_trusted()


def test_every_answer_is_observed(client: KubeClient) -> None:
    client.server_time = ServerTime(lambda: 0.0)
    client.request("GET", "/readyz")
    assert client.server_time.skew_s < -1e9


@pytest.mark.parametrize(("ahead_s", "shown_s"), [(200, 200), (-200, -200), (86_400, 0), (-40 * 86_400, 0)])
def test_a_wrong_clock_shows_the_time_of_the_host(ahead_s: int, shown_s: int) -> None:
    """A small difference stays, so that time does not jump with each answer."""
    clock = FakeClock()
    right, before = clock.now(), clock.monotonic()
    time = ServerTime(lambda: AT_S + ahead_s, lambda: 7.0)
    time.observe(AT)
    clock.advance(ahead_s)
    assert HostClock(clock, time).now() == right + timedelta(seconds=shown_s)
    assert HostClock(clock, time).monotonic() == before + ahead_s
