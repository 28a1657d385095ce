"""The spawn delay: it ends what does not come up, and it does not count what comes after."""

from datetime import datetime
from typing import Any

from tests.e2e.jobs import JobKeeper
from tests.e2e.scheduler import scheduler_settings
from tests.e2e.site import Site

_SHORT_S, _SLACK_S = 6, 4
# Longer than a spawn takes (20 to 25 s), shorter than a spawn and the 25 s of examples/slow together.
_BETWEEN_S = 40


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def test_an_unschedulable_machine_fails_at_the_delay_with_the_pods_own_words(site: Site, jobs: JobKeeper) -> None:
    """The node selector of kns-nowhere matches no node: at the delay the job ends with what the host scheduler says."""
    with scheduler_settings(site.kubectl, JARVICE_KNS_VCLUSTER_SPAWN_DELAY=str(_SHORT_S)):
        job = jobs.submit("hello", machine="kns-nowhere")
        assert job.wait_until_ended() == "COMPLETED WITH ERROR"
        job.wait_until_removed()

    status = job.record()["status"]
    assert _SHORT_S <= _seconds(status["spawnStartTime"], status["endTime"]) <= _SHORT_S + _SLACK_S
    assert status["reason"] == "SpawnDelayPassed"
    assert "startTime" not in status
    entry = job.entry()
    assert (entry["job_exitcode"], entry["job_start_time"]) == (1, 0)
    last = job.output()[-1]
    assert last.startswith(f"the virtual cluster was not running after {_SHORT_S} s: ")
    assert "the control-plane pod is not scheduled: 0/" in last
    assert "didn't match Pod's node affinity/selector" in last


def test_slow_templates_do_not_trip_it(site: Site, jobs: JobKeeper) -> None:
    """Spawn and templates together take longer than the delay, the spawn alone does not: the job serves."""
    with scheduler_settings(site.kubectl, JARVICE_KNS_VCLUSTER_SPAWN_DELAY=str(_BETWEEN_S)):
        job = jobs.submit("slow")
        job.wait_until_serving()

    status: dict[str, Any] = job.record()["status"]
    deployed = job.condition("Deployed")
    assert deployed is not None
    assert deployed["status"] == "True"
    assert _seconds(status["spawnStartTime"], status["startTime"]) < _BETWEEN_S
    assert _seconds(status["spawnStartTime"], deployed["lastTransitionTime"]) > _BETWEEN_S
