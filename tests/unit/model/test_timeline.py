"""The timeline of a job: which steps it has, when each began and ended, and what a later change of a condition does."""

from datetime import timedelta

import pytest

from kns.model.job.conditions import ConditionType as C
from kns.model.job.conditions import Reason
from kns.model.job.job import JobState
from kns.model.job.timeline import STARTING_STAGES, Step, StepState, build_timeline, find_active
from kns.stages import STAGES
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import START

NOW = START + timedelta(seconds=200)


def starting() -> JobBuilder:
    return a_job().condition(C.NAMESPACE_READY, at_s=1).spawning()


def serving() -> JobBuilder:
    """Namespace at 1 s, virtual cluster at 30 s, prepared at 32 s, deployed at 38 s, exposed at 40 s."""
    return (
        starting()
        .started()
        .condition(C.KEYCLOAK_READY, at_s=30)
        .condition(C.PREPARED, at_s=32)
        .condition(C.DEPLOYED, at_s=38)
        .exposed()
    )


def spans(builder: JobBuilder) -> dict[str, tuple[str, float | None, float | None]]:
    """State of each step, its beginning in seconds after submission, its duration in seconds."""
    return {
        step.name: (
            str(step.state),
            None if step.began is None else (step.began - START).total_seconds(),
            step.seconds(NOW),
        )
        for step in build_timeline(builder.build())
    }


def test_the_stages_are_those_of_the_engine_in_their_order() -> None:
    assert [(each.name, each.kind) for each in STARTING_STAGES] == [(each.name, each.condition) for each in STAGES]


def test_a_new_job_is_at_its_first_step() -> None:
    assert spans(a_job()) == {
        "namespace": ("active", 0, 200),
        "vcluster": ("pending", None, None),
        "prepare": ("pending", None, None),
        "init": ("pending", None, None),
        "ingress": ("pending", None, None),
        "serve": ("pending", None, None),
    }


def test_a_step_begins_when_the_one_before_it_is_done() -> None:
    builder = starting().condition(C.VIRTUAL_CLUSTER_READY, true=False, reason=Reason.SPAWNING, at_s=2)
    assert spans(builder)["namespace"] == ("done", 0, 1)
    assert spans(builder)["vcluster"] == ("active", 1, 199)
    assert spans(builder)["prepare"] == ("pending", None, None)


def test_a_serving_job_has_the_times_of_all_its_steps() -> None:
    assert spans(serving()) == {
        "namespace": ("done", 0, 1),
        "vcluster": ("done", 1, 29),
        "prepare": ("done", 30, 2),
        "init": ("done", 32, 6),
        "ingress": ("done", 38, 2),
        "serve": ("active", 40, 160),
    }


def test_an_ended_job_has_the_time_of_its_drain_and_removal() -> None:
    builder = serving().condition(C.DRAINED, true=False, reason=Reason.GRACE, at_s=90).ended().removed()
    found = spans(builder)
    assert found["serve"] == ("done", 40, 50)
    assert found["drain"] == ("done", 90, 10)
    assert found["remove"] == ("done", 100, 10)


@pytest.mark.parametrize(
    ("state", "word"), [(JobState.FAILED, "failed"), (JobState.CANCELED, "stopped"), (JobState.TERMINATED, "stopped")]
)
def test_a_job_that_never_served_ends_in_the_step_it_was_at(state: JobState, word: str) -> None:
    builder = starting().condition(C.VIRTUAL_CLUSTER_READY, true=False, reason=Reason.SPAWNING, at_s=2).ended(state)
    found = spans(builder)
    assert found["vcluster"] == (word, 1, 99)
    assert list(found) == ["namespace", "vcluster", "remove"]


def test_kept_objects_are_a_skipped_removal() -> None:
    found = spans(serving().ended().condition(C.REMOVED, true=False, reason=Reason.KEPT, at_s=101))
    assert found["remove"] == ("skipped", 100, None)


def test_optional_steps_are_shown_to_jobs_that_ask_for_them() -> None:
    wishes = {"enable_gotty_shell": True, "keycloak": {"redirect_paths": ["/x"]}}
    found = spans(a_job().with_nested(**wishes).with_vault())
    assert {"keycloak", "vault", "shell"} <= set(found)
    assert found["shell"] == ("pending", None, None)


def test_a_step_that_nothing_waits_for_does_not_delay_the_next() -> None:
    """The vault's volume was refused; the job went on."""
    found = spans(serving().with_vault().condition(C.VAULT_READY, true=False, reason=Reason.VAULT_REFUSED, at_s=33))
    assert found["vault"] == ("skipped", None, None)
    assert found["init"] == ("done", 32, 6)


def test_a_time_that_a_later_change_overwrote_is_unknown() -> None:
    """The control plane was away from 60 s to 80 s."""
    builder = serving().condition(C.VIRTUAL_CLUSTER_READY, true=False, reason=Reason.CONTROL_PLANE_UNAVAILABLE, at_s=60)
    assert spans(builder)["vcluster"] == ("active", 1, 199)
    found = spans(builder.condition(C.VIRTUAL_CLUSTER_READY, at_s=80))
    assert found["vcluster"] == ("done", 1, None)
    assert found["prepare"] == ("done", 30, 2), "the next condition has the time"
    assert "keycloak" not in found
    again = spans(builder.condition(C.KEYCLOAK_READY, true=False).condition(C.KEYCLOAK_READY, at_s=81))
    assert again["prepare"] == ("done", None, None)


def test_a_problem_of_a_serving_job_is_an_active_step_before_serving() -> None:
    gone = serving().condition(C.EXPOSED, true=False, reason=Reason.TARGET_GONE, at_s=70)
    steps = build_timeline(gone.build())
    assert [step.name for step in steps if step.state is StepState.ACTIVE] == ["ingress", "serve"]
    active = find_active(steps)
    assert active is not None
    assert active.reason == Reason.TARGET_GONE
    ended = spans(gone.with_status(reason=str(Reason.SHUTDOWN)).ended())
    assert (ended["ingress"][0], ended["serve"][0]) == ("done", "done")


def test_no_step_takes_less_than_no_time() -> None:
    step = Step("x", "x", StepState.DONE, NOW, START)
    assert step.seconds(NOW) == 0
