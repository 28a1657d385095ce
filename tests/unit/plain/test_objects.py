"""Builders: what Kubernetes gets, and that it can be read back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.errors import InvalidInputError
from kns.plain import names
from kns.plain.job import (
    Constraint,
    Container,
    Mount,
    PlainJob,
    Port,
    Protocol,
    Resources,
    SecretVariable,
    Variable,
)
from kns.plain.objects import build_job, build_service, escape_references, mark_job, mark_service
from kns.plain.stored import read_stored, unescape_references

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
words = texts.filter(bool)
jobs = st.builds(
    PlainJob,
    name=words,
    user=words,
    container=st.builds(
        Container,
        words,
        st.none() | st.integers(0, 2**31),
        st.none() | st.integers(0, 2**31),
        st.lists(st.integers(0, 9), max_size=2).map(tuple),
    ),
    command=texts,
    args=st.lists(texts, max_size=3).map(tuple),
    environment=st.lists(st.builds(Variable, words, texts), max_size=3).map(tuple),
    secrets=st.lists(st.builds(SecretVariable, words, words, words), max_size=2).map(tuple),
    working_directory=texts,
    host=texts,
    ports=st.lists(
        st.builds(Port, st.integers(1, 65535), st.none() | st.integers(1, 65535), st.sampled_from(Protocol)), max_size=2
    ).map(tuple),
    mounts=st.lists(
        st.builds(Mount, words, st.just({"emptyDir": {}}), st.booleans(), texts, st.just({"a": 1})), max_size=2
    ).map(tuple),
    resources=st.builds(Resources, st.just({"cpu": "1"}), st.just({"cpu": "500m"})),
    constraints=st.lists(st.builds(Constraint, words, texts), max_size=2).map(tuple),
    tags=st.lists(texts, max_size=3).map(tuple),
    queues=st.lists(texts, max_size=1).map(tuple),
    share_process_namespace=st.booleans(),
    extras=st.just({"x": [1]}),
)


def stored(obj: dict[str, Any]) -> PlainJob:
    obj["metadata"] |= {"name": "a-1", "uid": "u"}
    return read_stored(obj).job


@given(jobs)
def test_any_job_is_read_back_as_it_was(job: PlainJob) -> None:
    obj = mark_job(build_job(job, generate_name="a-"), job, cluster="c", generate_name="a-")
    assert stored(obj) == job


@given(texts)
def test_a_container_sees_the_text(text: str) -> None:
    assert unescape_references(escape_references(text)) == text if "$" in text else escape_references(text) == text


@given(words, words)
def test_any_name_makes_a_dns_label(name: str, user: str) -> None:
    made = names.generate_name(name, user) + "x7k2p"
    assert len(made) <= 63
    assert made[0].isalpha()
    assert all(c.isascii() and (c.isdigit() or c.islower() or c == "-") for c in made)


def test_a_job_with_defaults_alone() -> None:
    job = PlainJob(name="a", user="ana", container=Container("i"), mounts=(Mount("/a", {"emptyDir": {}}),))
    assert stored(mark_job(build_job(job, generate_name="a-"), job, cluster="c", generate_name="a-")) == job


def test_a_template_cannot_hide_a_job() -> None:
    """P31: whatever the object says of kns's own labels, and whatever is missing."""
    job = PlainJob(name="a", user="ana", container=Container("i"))
    obj = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": "kube-system",
            "labels": {names.LABEL: "other", "team": "x"},
            "annotations": {names.STORED: "{}", names.ASKED: "kill", "note": "y"},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}},
    }
    marked = mark_job(obj, job, cluster="c", generate_name="ana-a-")
    assert "namespace" not in marked["metadata"]
    assert marked["metadata"]["labels"] == {names.LABEL: "c", names.USER_LABEL: "ana", "team": "x"}
    assert marked["metadata"]["annotations"].keys() == {names.STORED, "note"}
    assert marked["spec"]["template"]["metadata"]["labels"][names.LABEL] == "c"
    assert stored(marked) == job


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "batch/v1", "kind": "Job"},
        {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": []}}}},
        {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": ["x"]}}}},
    ],
)
def test_objects_that_are_no_job(obj: dict[str, Any]) -> None:
    job = PlainJob(name="a", user="ana", container=Container("i"))
    with pytest.raises(InvalidInputError, match=r"job\.tpl"):
        mark_job(obj, job, cluster="c", generate_name="a-")


def test_a_job_that_is_too_large() -> None:
    job = PlainJob(name="a", user="ana", container=Container("i"), args=("x" * 200_000,))
    with pytest.raises(InvalidInputError, match="bytes"):
        mark_job(build_job(job, generate_name="a-"), job, cluster="c", generate_name="a-")


def test_a_service_belongs_to_its_job() -> None:
    job = PlainJob(name="a", user="ana", container=Container("i"), ports=(Port(80), Port(81, 8081)))
    owner = {"metadata": {"name": "a-1", "uid": "u"}}
    service = mark_service(
        build_service(job, job_id="a-1", service="a-1"), cluster="c", service="a-1", job_object=owner
    )
    assert [port["port"] for port in service["spec"]["ports"]] == [80]
    assert service["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "a-1", "uid": "u"}
    ]


@pytest.mark.parametrize(("command", "exe"), [("a", "b"), ("x", "y")])
def test_command_and_exe_exclude_each_other(command: str, exe: str) -> None:
    with pytest.raises(InvalidInputError):
        PlainJob(name="a", user="u", container=Container("i"), command=command, exe=exe)
