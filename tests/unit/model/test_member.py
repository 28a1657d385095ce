"""Pool members: what the marks of a namespace mean, whatever is in them."""

from typing import Any

import pytest

from kns.model import names
from kns.model.job.job import JobState, JobStatus
from kns.model.job.member import Marks, build_claim, read_member
from tests.fakes.stores import START

STATUS = JobStatus(job_status=JobState.PROCESSING, start_time=START, control_plane_uid="pod-1")


def a_namespace(marks: Marks, *, name: str = "kns-job-7", number: str = "7", **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": "u7",
            "resourceVersion": "5",
            "creationTimestamp": "2026-01-05T14:15:30Z",
            "labels": {names.JOB_LABEL: number, **marks.labels},
            "annotations": {**marks.annotations, **annotations},
        }
    }


def test_marks_are_read_as_they_were_written() -> None:
    marks = Marks("kns-large.v1.35", "s1", STATUS, "u7")
    member = read_member(a_namespace(marks))
    assert member is not None
    assert (member.number, member.marks, member.created, member.is_free) == (7, marks, START, True)
    assert member.adopted.model_dump() == {"name": "kns-job-7", "uid": "u7"}


def test_a_claimed_member_is_not_free() -> None:
    member = read_member(a_namespace(Marks("any", "s1", STATUS, "u7"), **build_claim("c1", START)))
    assert member is not None
    assert (member.claim, member.claimed, member.is_ready, member.is_free) == ("c1", START, True, False)


@pytest.mark.parametrize("time", ["", "soon", "2026-01-05", "2026-01-05T14:15:30"])
def test_a_claim_without_a_readable_time_is_still_one(time: str) -> None:
    claim = {**build_claim("c1", START), names.POOL_CLAIM_TIME_ANNOTATION: time}
    member = read_member(a_namespace(Marks("any", "s1", STATUS, "u7"), **claim))
    assert member is not None
    assert (member.claim, member.claimed, member.is_free) == ("c1", None, False)


@pytest.mark.parametrize(
    "annotations",
    [
        {names.POOL_READY_ANNOTATION: "u6"},
        {names.POOL_STATUS_ANNOTATION: "{"},
        {names.POOL_STATUS_ANNOTATION: "[]"},
        {names.POOL_STATUS_ANNOTATION: '{"jobStatus": "NOBODY KNOWS"}'},
        {names.POOL_STATUS_ANNOTATION: "[" * 5000},
    ],
    ids=["of another namespace", "no JSON", "no object", "no status", "too deep"],
)
def test_marks_that_cannot_be_believed_make_no_member_ready(annotations: dict[str, str]) -> None:
    member = read_member(a_namespace(Marks("any", "s1", STATUS, "u7"), **annotations))
    assert member is not None
    assert not member.is_ready


@pytest.mark.parametrize(
    "namespace",
    [
        a_namespace(Marks("any", "s1"), name="kns-system"),
        a_namespace(Marks("any", "s1"), number="8"),
        a_namespace(Marks("any", "s1"), **{names.RECORD_UID_ANNOTATION: "u1"}),
        {"metadata": {"name": "kns-job-7", "labels": {names.JOB_LABEL: "7"}}},
        {"metadata": {"name": "kns-job-7"}},
    ],
    ids=["another name", "another number", "of a record", "without the label", "without any"],
)
def test_other_namespaces_are_no_members(namespace: dict[str, Any]) -> None:
    assert read_member(namespace) is None


def test_a_pool_name_that_is_no_label_value_is_made_one() -> None:
    marks = Marks("x" * 70, "s1")
    member = read_member(a_namespace(marks))
    assert member is not None
    assert member.marks.labels == marks.labels
