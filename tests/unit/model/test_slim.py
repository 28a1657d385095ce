"""What a record keeps of a submission, whatever a client sends; and what lies beside it."""

import random
import string
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.appdef.parameters import ParameterValue
from kns.model.errors import InvalidInputError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.inputs import MAX_PACKED_BYTES, inline_inputs, split_inputs, unpack_inputs
from kns.model.job.job import JobSpec
from kns.model.job.packed import _samples, pack_job, read_packed, unpack_job
from kns.model.job.slim import MAX_ITEMS, RECORD_BYTES, VALUE_BYTES, measure, slim_submission
from tests.builders import JobBuilder, a_job

KEYS = ["app", "application", "machine", "vault", "user", "job_label", "identity", "hpc", "jobsub", "licenses", "junk"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=2000),
    lambda inner: st.lists(inner, max_size=100) | st.dictionaries(st.text(max_size=50), inner, max_size=100),
    max_leaves=200,
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=11))
def test_no_submission_is_stored_in_more_than_its_bound(body: dict[str, Any]) -> None:
    slim = slim_submission(body)
    assert measure(slim) <= RECORD_BYTES
    assert slim_submission(slim) == slim
    assert "junk" not in slim


DROPPED: list[tuple[str, dict[str, Any]]] = [
    ("an unknown key", {"junk": [{"": 0}] * 9}),
    ("an unknown key of an object", {"machine": {"type": "m", "junk": 1}}),
    ("a text that is too long", {"licenses": "x" * (VALUE_BYTES + 1)}),
    ("an object in an object", {"hpc": {"a": {"b": 1}}}),
    ("a long list", {"hpc": [0] * (MAX_ITEMS + 1)}),
    ("a large object", {"hpc": {f"{number}": 0 for number in range(MAX_ITEMS + 1)}}),
    ("an integer that Kubernetes cannot store", {"test_comment": 2**63}),
    ("a text for an object", {"vault": "", "application": "", "identity": "x", "hpc": [1]}),
    ("a value of another type", {"staging": "yes", "licenses": 5, "checkedout": 1}),
    ("a value of another type in an object", {"vault": {"name": None, "readonly": "yes", "objects": "x"}}),
    ("a key", {"user": {"username": "u", "apikey": "k"}}),
    ("the password of a vault", {"vault": {"name": "v", "password": "p"}}),
    ("a secret in an object of the client's own", {"hpc": {"password": "p", "a": 1}}),
    ("parameters", {"application": {"command": "c", "parameters": {"a": 1}}}),
]
KEPT: dict[str, dict[str, Any]] = {
    "an unknown key of an object": {"machine": {"type": "m"}},
    "a value of another type in an object": {"vault": {"name": None}},
    "a key": {"user": {"username": "u"}},
    "the password of a vault": {"vault": {"name": "v"}},
    "a secret in an object of the client's own": {"hpc": {"a": 1}},
    "parameters": {"application": {"command": "c"}},
}


@pytest.mark.parametrize(("sentence", "body"), DROPPED, ids=[row[0] for row in DROPPED])
def test_what_is_left_out(sentence: str, body: dict[str, Any]) -> None:
    assert slim_submission({"app": "a", **body}) == {"app": "a", **KEPT.get(sentence, {})}


def test_every_documented_key_is_kept() -> None:
    body = {
        "app": "lab",
        "application": {
            "command": "c",
            "walltime": "08:00:00",
            "geometry": "1904x841",
            "ipaddr": "",
            "nosubmit": False,
        },
        "machine": {"type": "m", "nodes": 1},
        "vault": {"name": "v", "readonly": False, "force": True, "objects": ["a", "b"], "bucket": "b"},
        "user": {"username": "ana"},
        "job_label": None,
        "job_project": "p",
        "job_priority": "normal",
        "identity": {"username": "ana", "group": "g", "uid": 1, "gid": 2},
        "licenses": "l",
        "queue": "q",
        "hpc": {"queue": "q", "slots": 4},
        "jobsub": "s",
        "publicIP": False,
        "gen_sshkey": True,
        "nopasssubt": "x",
        "staging": False,
        "checkedout": False,
        "test_comment": "t",
    }
    assert slim_submission(body) == body


def test_of_too_many_values_the_largest_go_first() -> None:
    keys = ("licenses", "queue", "jobsub", "test_comment", "job_label")
    body = {"app": "a", **dict.fromkeys(keys, "x" * 1000)}
    slim = slim_submission(body)
    assert slim["app"] == "a"
    assert len(slim) == 5


# --- inputs


def with_values(given: dict[str, Any], *, target: str | None = None) -> JobSpec:
    values = [
        ParameterValue(key=key, type="UPLOAD" if target else "STR", value=None if target else value, target=target)
        for key, value in given.items()
    ]
    return a_job().with_accepted(parameters=values).with_spec(parameters=given).build().spec


def test_small_parameters_stay_in_the_record() -> None:
    spec = with_values({"a": "x" * 500, "b": 2})
    assert split_inputs(spec) == (spec, None)
    assert inline_inputs(spec).uploads == {"a": "x" * 500, "b": 2}


SPLIT: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a long text", {"a": "x" * 2000, "b": 2}, ["a"]),
    ("many texts that do not fit together", {f"p{number}": "x" * 900 for number in range(6)}, ["p4", "p5"]),
    ("values that are not scalars", {"a": [{"": 0}] * 9, "b": 2}, ["a"]),
]


@pytest.mark.parametrize(("sentence", "given", "large"), SPLIT, ids=[row[0] for row in SPLIT])
def test_the_other_parameters_go_beside_it(sentence: str, given: dict[str, Any], large: list[str]) -> None:
    spec = with_values({key: value for key, value in given.items() if not isinstance(value, list)})
    spec = spec.model_copy(update={"parameters": given})
    stored, packed = split_inputs(spec)
    assert packed is not None
    assert stored.accepted is not None
    assert stored.accepted.inputs is not None
    assert stored.accepted.parameters == []
    assert stored.accepted.inputs.keys == large
    assert stored.parameters == {key: value for key, value in given.items() if key not in large}
    assert spec.accepted is not None
    read = unpack_inputs(packed, digest=stored.accepted.inputs.digest, what="Secret x")
    assert list(read.parameters) == spec.accepted.parameters


def test_an_upload_comes_back_as_it_was_sent() -> None:
    stored, packed = split_inputs(with_values({"file": "QUJD" * 1000}, target="x"))
    assert packed is not None
    assert stored.accepted is not None
    assert stored.accepted.inputs is not None
    read = unpack_inputs(packed, digest=stored.accepted.inputs.digest, what="Secret x")
    assert read.uploads == {"file": "QUJD" * 1000}
    assert read.parameters[0].target == "x"


@pytest.mark.proves("security", "fill the memory of the replicas with what records keep")
@given(st.dictionaries(st.text(max_size=20), JSON, max_size=20))
def test_no_parameters_make_a_record_large(given: dict[str, Any]) -> None:
    spec = a_job().with_spec(parameters=given).build().spec
    stored, _ = split_inputs(spec)
    assert measure(stored.submission) + measure(stored.parameters) <= RECORD_BYTES
    assert stored.accepted is not None
    keys = stored.accepted.inputs.keys if stored.accepted.inputs else []
    assert measure(keys) <= RECORD_BYTES
    assert set(keys).isdisjoint(stored.parameters)


@pytest.mark.parametrize("change", [b"", b"x", b"\0" * 20])
def test_changed_inputs_are_refused(change: bytes) -> None:
    _, packed = split_inputs(with_values({"a": "x" * 2000}))
    assert packed is not None
    with pytest.raises(InvalidInputError, match=r"Secret x: was changed since the job was accepted"):
        unpack_inputs(packed + b"!" + change, digest="0" * 64, what="Secret x")


def test_inputs_that_no_secret_holds_are_refused() -> None:
    noise = "".join(random.Random(1).choices(string.ascii_letters, k=1_200_000))
    with pytest.raises(InvalidInputError, match=f"a job holds {MAX_PACKED_BYTES}"):
        split_inputs(with_values({"a": noise}))


# --- packed jobs

JOBS: dict[str, JobBuilder] = {
    "not accepted": a_job().not_accepted(),
    "submitted": a_job(),
    "serving": a_job().started().exposed().with_spec(parameters={"ä": "ö"}),
    "stopping": a_job().started().stopping(),
    "ended": a_job().started().exposed().ended(),
    "deleted": a_job().started().ended().deleted(),
}


@pytest.mark.parametrize("state", JOBS)
def test_a_packed_job_is_the_same_job(state: str) -> None:
    job = JOBS[state].build()
    assert read_packed(pack_job(job)) == unpack_job(pack_job(job)) == job


def test_a_removed_job_loses_what_only_a_live_one_needs() -> None:
    values = [ParameterValue(key="a", type="STR", value="x")]
    job = a_job().with_accepted(parameters=values, variables=["V"]).started().exposed().ended().removed().build()
    read = read_packed(pack_job(job))
    assert read.spec.accepted is not None
    assert (read.spec.accepted.parameters, read.spec.accepted.variables) == ([], [])
    assert job.spec.accepted is not None
    assert read.spec.accepted.nested != job.spec.accepted.nested
    assert read.status == job.status
    same = {"parameters": [], "variables": [], "nested": job.spec.accepted.nested}
    assert read.spec.accepted.model_copy(update=same) == job.spec.accepted.model_copy(update=same)
    assert (read.spec.submission, read.record, read.uid) == (job.spec.submission, job.record, job.uid)


@pytest.mark.parametrize(
    ("job", "is_retained"),
    [
        (a_job().started(), False),
        (a_job().started().ended(), False),
        (a_job().started().ended().removed(), True),
        (a_job().not_accepted().ended().removed(), True),
        (a_job().started().ended().removed().deleted(), False),
        (replace(a_job().started().ended().removed(), finalizers=()), False),
    ],
    ids=["live", "not removed", "removed", "never accepted", "being deleted", "without the finalizer"],
)
def test_a_packed_job_says_since_when_only_its_record_is_left(job: JobBuilder, is_retained: bool) -> None:
    built = job.build()
    assert pack_job(built).retained_since == (built.status.end_time if is_retained else None)


@pytest.mark.parametrize(
    ("job", "is_removing"),
    [
        (a_job().started(), False),
        (a_job().started().ended(), True),
        (a_job().started().ended().condition(ConditionType.REMOVED, true=False, reason=Reason.REMOVING), True),
        (a_job().started().ended().condition(ConditionType.REMOVED, true=False, reason=Reason.KEPT), False),
        (a_job().started().ended().removed(), False),
    ],
    ids=["live", "ended", "being removed", "kept", "removed"],
)
def test_a_packed_job_says_since_when_it_waits_for_its_removal(job: JobBuilder, is_removing: bool) -> None:
    built = job.build()
    assert pack_job(built).removing_since == (built.status.end_time if is_removing else None)


def test_live_jobs_of_one_app_share_its_appdef() -> None:
    one, other = (pack_job(a_job().numbered(number).build()) for number in (7, 8))
    assert one.nested is other.nested is not None
    different = pack_job(a_job().with_nested(enable_gotty_shell=True).build())
    assert different.nested is not one.nested


def test_a_job_beside_another_needs_little() -> None:
    job = a_job().owned_by("user1").started().exposed()
    pack_job(job.numbered(7).build())
    packed = pack_job(job.numbered(8).build())
    record = zlib.decompressobj(zdict=packed.sample).decompress(packed.data)
    assert len(packed.data) * 3 < len(zlib.compress(record))


def test_jobs_are_readable_whatever_others_came_between() -> None:
    jobs = [a_job().numbered(number).with_spec(parameters={"p": "x" * 400 * number}).build() for number in range(1, 9)]
    packed = [pack_job(job) for job in jobs]
    assert [read_packed(each).spec.parameters for each in packed] == [job.spec.parameters for job in jobs]
    assert len(_samples) < 10


def test_the_submission_of_an_earlier_release_is_cut_when_it_is_read() -> None:
    body = {"app": "hello", "junk": [{"": 0}] * 10_000}
    packed = pack_job(a_job().with_spec(submission=body).build())
    assert len(packed.data) < 2000
    assert read_packed(packed).spec.submission == {"app": "hello"}


def test_a_salvaged_job_stays_marked() -> None:
    job = replace(a_job().build(), read_error="spec.machine: must be a JSON object")
    assert read_packed(pack_job(job)) == job
