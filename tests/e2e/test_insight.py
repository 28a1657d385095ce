"""What a live job uses and what befalls it, as the host itself measures and tells it; and the sums that stay."""

import re
from typing import Any

from tests.e2e.jobs import JobKeeper
from tests.e2e.portal import Portal
from tests.e2e.waiting import NotYetError

_MEASURED_S = 150.0  # metrics-server measures a pod after some 30 s, and kns may remember an answer for 15
_COUNTED_S = 150.0  # what is requested is looked at once a minute, unless the site says otherwise
_SMALL_KIB = 4 * 1024 * 1024  # memory of machine kns-small
_EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (Normal|Warning) \w+ \w+/[\w.-]+: .*")


def test_use_and_events_of_a_job_are_those_of_the_host(portal: Portal, admin: Portal, jobs: JobKeeper) -> None:
    job = jobs.submit("hello")
    job.wait_until_serving()

    def measure() -> dict[str, Any]:
        answer = portal.ask("metrics", number=job.number)
        if answer.status_code != 200:
            raise NotYetError(f"{answer.status_code}: {answer.text.strip()}")
        return dict(answer.json())

    found = job.wait_for(measure, timeout_s=_MEASURED_S, what="metrics")
    summary = found["summary"]
    assert found["itemized"] == {key: [value] for key, value in summary.items()}
    assert summary["memory_total"] == _SMALL_KIB
    assert 0 < summary["memory_used"] < _SMALL_KIB
    assert 0 <= summary["cpu_used"] <= 100

    lines = admin.get("events", number=job.number).splitlines()
    assert [line for line in lines if not _EVENT.fullmatch(line)] == []
    assert lines == sorted(lines, key=lambda line: line.partition(" ")[0])
    assert any(f" Normal Scheduled Pod/{job.namespace}-" in line for line in lines), lines

    def count() -> None:
        usage = job.record()["status"]["usage"]
        if not (usage["cores"] > 0 and usage["gib"] > 0):
            raise NotYetError(f"{usage}")

    job.wait_for(count, timeout_s=_COUNTED_S, what="usage")
    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    status = job.record()["status"]
    last = status["usageReports"][-1]
    assert last["time"] == status["endTime"]
    assert last["seconds"] > 0
    assert last["coreSeconds"] > 0
    assert last["gibSeconds"] > 0
