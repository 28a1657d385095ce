"""Sums of requested resources over time."""

from datetime import timedelta

import pytest

from kns.model.appdef.resources import COREDNS, INIT, SYNCER
from kns.model.job.usage import Usage, next_usage, read_rates
from kns.model.reading.quantity import add_quantities
from tests.fakes.stores import START


def used(cores: str, memory: str, gpus: str = "0", scratch: str = "0", *, deploying: bool = False) -> dict[str, str]:
    """The used part of the quota if the tenant's pods have these requests."""
    own = (SYNCER, COREDNS, INIT) if deploying else (SYNCER, COREDNS)
    return {
        "requests.cpu": add_quantities(cores, *(pod["requests"]["cpu"] for pod in own)),
        "requests.memory": add_quantities(memory, *(pod["requests"]["memory"] for pod in own)),
        "requests.nvidia.com/gpu": gpus,
        "requests.ephemeral-storage": add_quantities(scratch, *(pod["requests"]["ephemeral-storage"] for pod in own)),
    }


@pytest.mark.parametrize(
    ("count", "deploying", "rates"),
    [
        (used("1500m", "2Gi", "3", "10Gi"), False, (1.5, 2.0, 3.0, 10.0)),
        (used("0", "0", deploying=True), True, (0.0, 0.0, 0.0, 0.0)),
        ({}, False, (0.0, 0.0, 0.0, 0.0)),  # the quota has no usage yet
        ({"requests.cpu": "10m"}, False, (0.0, 0.0, 0.0, 0.0)),  # the quota of an earlier release
    ],
)
def test_kns_own_pods_are_not_the_tenants(count: dict[str, str], deploying: bool, rates: tuple[float, ...]) -> None:
    assert read_rates(count, deploying=deploying) == rates


def test_a_sum_is_exact_between_changes() -> None:
    usage = Usage(time=START, cores=2, gib=4, gpus=1, scratch_gib=8).at(START + timedelta(seconds=100))
    assert (usage.seconds, usage.core_seconds, usage.gib_seconds, usage.gpu_seconds) == (100, 200, 400, 100)
    assert usage.scratch_gib_seconds == 800


def test_a_clock_that_went_back_takes_nothing_away() -> None:
    usage = Usage(time=START, cores=2, core_seconds=50).at(START - timedelta(seconds=100))
    assert (usage.time, usage.core_seconds) == (START, 50)


def test_nothing_changes_while_the_same_is_requested() -> None:
    usage = Usage(time=START, cores=2)
    assert next_usage(usage, (2, 0, 0, 0), now=START + timedelta(hours=1), interval_s=60) == (usage, None)


def test_a_change_counts_once_per_interval() -> None:
    usage = Usage(time=START, cores=2)
    assert next_usage(usage, (1, 0, 0, 0), now=START + timedelta(seconds=20), interval_s=60) == (usage, 40)
    changed, requeue_after_s = next_usage(usage, (1, 0, 0, 0), now=START + timedelta(seconds=60), interval_s=60)
    assert (changed.core_seconds, changed.rates, requeue_after_s) == (120, (1, 0, 0, 0), None)
