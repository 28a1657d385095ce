"""What holds in every life of a job, and the warnings in the output about requests that kns cannot fulfil."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from kns.model.job.job import TRANSITIONS, Job, JobState, JobStatus, StopReason, Substatus, VaultChoice
from tests.builders import WEB_TARGET, JobBuilder
from tests.flow.conftest import Simulation

TIMES = ("spawn_start_time", "start_time", "end_time")


def _served_and(reason: StopReason) -> Callable[[Simulation], None]:
    def live(sim: Simulation) -> None:
        sim.run(until="serving")
        sim.store.request_stop(sim.job, reason)

    return live


def _shut_down_and_terminated(sim: Simulation) -> None:
    _served_and(StopReason.SHUTDOWN)(sim)
    sim.run(until="draining")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)


def _shut_down_while_it_deploys(sim: Simulation) -> None:
    sim.host.init_exit = None
    sim.live_until(lambda: sim.job.status.substatus is Substatus.DEPLOYING)
    assert sim.job.status.job_status is JobState.PROCESSING
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)


def _canceled(sim: Simulation) -> None:
    sim.run(until="wait")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)


def _never_scheduled(sim: Simulation) -> None:
    sim.configure(spawn_delay_s=5)
    sim.host.schedulable = False


def _out_of_retries(sim: Simulation) -> None:
    sim.host.init_exit = {"exitCode": 1, "message": ""}


LIVES: dict[str, tuple[Callable[[Simulation], None], JobState, int]] = {
    "shut down": (_served_and(StopReason.SHUTDOWN), JobState.COMPLETED, 0),
    "shut down while it deploys": (_shut_down_while_it_deploys, JobState.COMPLETED, 0),
    "terminated": (_served_and(StopReason.TERMINATE), JobState.TERMINATED, -15),
    "terminated during a shutdown": (_shut_down_and_terminated, JobState.TERMINATED, -15),
    "walltime": (_served_and(StopReason.WALLTIME), JobState.TERMINATED, -15),
    "terminated before the start": (_canceled, JobState.CANCELED, -9),
    "no room on the host": (_never_scheduled, JobState.FAILED, 1),
    "templates that fail": (_out_of_retries, JobState.FAILED, 1),
}


@pytest.mark.proves(
    "statuses",
    "A failed start is `COMPLETED WITH ERROR` and 1; an exceeded walltime is `TERMINATED` and -15",
)
@pytest.mark.proves(
    "statuses",
    "Only the listed transitions happen, an ended job stays ended, and times are set once",
)
@pytest.mark.proves(
    "statuses",
    "A job runs (`PROCESSING STARTING`) as soon as its virtual cluster runs, before the templates",
)
@pytest.mark.proves("routes", "`tail` and `shutdown` work while the templates run")
@pytest.mark.parametrize("life", LIVES)
def test_statuses_move_along_the_table_and_times_are_set_once(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, life: str
) -> None:
    written: list[JobStatus] = []
    write = sim.store.write_status

    def watched(record: Job, status: JobStatus) -> None:
        written.append(status)
        write(record, status)

    monkeypatch.setattr(sim.store, "write_status", watched)
    live, state, code = LIVES[life]
    sim.submit(job)
    live(sim)
    sim.run(until="retained")

    for before, after in pairwise([JobStatus(), *written]):
        assert after.job_status in TRANSITIONS[before.job_status] | {before.job_status}
        for name in TIMES:
            assert getattr(before, name) in (None, getattr(after, name)), name
    assert (sim.job.status.job_status, sim.job.status.exit_code) == (state, code)
    assert (sim.job.status.start_time is None) is (state is JobState.CANCELED or life == "no room on the host")


@pytest.mark.proves(
    "statuses",
    "The substatus has the published numbers and texts; it says what a job waits for, so a step that finishes at "
    'once is not shown, and a job that still waits for its target is "deploying"',
)
def test_what_a_job_is_busy_with_is_told_in_this_order(sim: Simulation, job: JobBuilder) -> None:
    """The portal shows these numbers. Stages that are done within one reconcile do not appear."""
    seen: list[int] = []
    sim.submit(job)
    for until in ("serving", "retained"):
        sim.run(until=until, meanwhile=lambda: seen.append(int(sim.job.status.substatus)))
        seen.append(int(sim.job.status.substatus))
        if until == "serving":
            assert seen[-1] == Substatus.NONE
            sim.store.request_stop(sim.job, StopReason.TERMINATE)
    told = [after for before, after in pairwise([-1, *seen]) if after != before]
    assert [number for number in told if number] == [1002, 1004, 1005]
    assert told[-1] == 0


@pytest.mark.proves(
    "appdef",
    "If there are several targets, the first is exposed; the output has a line about that, and one about a vault "
    "that is not storage",
)
@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (lambda job: job.with_nested(targets=[WEB_TARGET, WEB_TARGET]), "only the first is exposed"),
        (lambda job: job.with_spec(vault=VaultChoice(name="ephemeral")), "'ephemeral'"),
    ],
    ids=["several targets", "a vault that is no storage"],
)
def test_a_wish_that_is_not_granted_is_one_line_of_the_output(
    sim: Simulation, job: JobBuilder, wish: Callable[[JobBuilder], JobBuilder], words: str
) -> None:
    """The job runs nevertheless."""
    sim.submit(wish(job))
    sim.run(until="serving")
    warnings = [line for line in sim.outputs.read(sim.job).lines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert words in warnings[0]
