"""
A submit over HTTP with a fault at any of its calls to the outside: the client repeats it with the same Idempotency-Key,
and there is one job.
"""

import random
from dataclasses import replace
from typing import Any

import httpx

from tests.api.client import Api
from tests.builders import a_submission
from tests.simulation.faults import FAULTS, Crash, Gate, Plan, Port, WatchedRecords, no_fault
from tests.simulation.lives import ASKED_BY_SUBMIT


def _submit(plan: Plan) -> tuple[Api, httpx.Response]:
    """Submit until there is an answer; a crash gives none."""
    api, gate = Api(live_jobs=1), Gate()  # a repeated submit does not count against the limit
    gate.plan = plan
    records = WatchedRecords("store", api.jobs, gate)
    gate.lag = records.lag
    ports: Any = {"jobs": records, "catalog": Port("catalog", api.catalog, gate)}
    api.ports = replace(api.ports, **ports)
    for _ in range(5):
        try:
            answer = api.submit(a_submission(), idempotency_key="k1")
        except Crash:
            continue
        if answer.status_code == 200:
            gate.plan = no_fault
            return api, answer
        assert answer.status_code == 500
    raise AssertionError("never answered")


def _check(api: Api, answer: httpx.Response) -> None:
    (job,) = api.jobs.list_jobs()
    assert job.spec.accepted is not None
    assert answer.json() == {"name": job.spec.accepted.name, "number": job.spec.accepted.number}
    assert api.submit(a_submission(), idempotency_key="k1").content == answer.content


def test_one_fault_at_any_call_of_a_submit_gives_one_job() -> None:
    calls: list[str] = []
    _check(*_submit(lambda _, call: calls.append(call)))
    assert set(calls) >= ASKED_BY_SUBMIT
    for number, call in enumerate(calls):
        for fault in FAULTS[call].values():
            _check(*_submit(lambda n, _: fault if n == number else None))  # noqa: B023 - used at once


def test_many_faults_in_a_row_give_one_job_too() -> None:
    """Each submit meets three faults, at random calls."""
    chance = random.Random(7)
    for _ in range(100):
        struck = set(chance.sample(range(12), 3))
        _check(*_submit(lambda n, call: chance.choice(list(FAULTS[call].values())) if n in struck else None))  # noqa: B023
