"""
A job's quota as the host has counted it.

The API server adds what it admits. Kubernetes's quota controller counts anew when an object ends, and otherwise every
five minutes; what it counted from a cache that was behind the API server stays until then. So an object that was just
admitted may be missing in the count, and more than the quota allows be admitted.
"""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from kns.model.reading.quantity import parse_quantity
from tests.e2e.jobs import TrialJob
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_COUNT_S = 330.0  # longer than the five minutes
_ANEW_S = 15.0  # between objects that end only so that the controller counts anew


def await_count(site: Site, job: TrialJob, check: Callable[[dict[str, Decimal], dict[str, Decimal]], None]) -> None:
    """Wait until `check` accepts the use and the limits, by resource. It raises NotYetError as long as it does not."""
    anew = time.monotonic() + _ANEW_S

    def probe() -> None:
        nonlocal anew
        if time.monotonic() > anew:
            anew = time.monotonic() + _ANEW_S
            _end_an_object(site, job)
        status = site.kubectl.get("resourcequota", "kns-quota", f"--namespace={job.namespace}")["status"]
        check(_parse(status["used"]), _parse(status["hard"]))

    job.wait_for(probe, timeout_s=_COUNT_S, what="a quota that has counted")


def await_used_up(site: Site, job: TrialJob, resource: str, *, but: str = "0") -> None:
    """Wait until the quota has no more than `but` left of the resource, so that it refuses whatever asks for more."""

    def check(used: dict[str, Decimal], hard: dict[str, Decimal]) -> None:
        if hard[resource] - used[resource] > parse_quantity(but):
            raise NotYetError(f"{resource}: {used[resource]} of {hard[resource]}")

    await_count(site, job, check)


def _parse(amounts: dict[str, Any]) -> dict[str, Decimal]:
    return {name: parse_quantity(amount) for name, amount in amounts.items()}


def _end_an_object(site: Site, job: TrialJob) -> None:
    name = ("configmap", "kns-e2e-count-anew", f"--namespace={job.namespace}")
    site.kubectl.run("delete", *name, "--ignore-not-found")  # of a try that failed half-way
    site.kubectl.run("create", *name)
    site.kubectl.run("delete", *name, "--ignore-not-found")
