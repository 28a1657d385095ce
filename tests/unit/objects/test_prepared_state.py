"""The prepared state: what is kept of a first start, and how each job gets its own."""

import base64
import gzip
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.errors import InvalidInputError
from kns.objects.prepared_state import (
    MAX_BYTES,
    MAX_ROWS,
    build_database,
    build_state_files,
    build_state_map,
    check_state,
    read_log,
    read_state_map,
)
from tests.states import IMAGE, MADE, OTHERS, PROGRAMS, ROWS, a_database, a_log, a_state, an_object, encode_seconds, uid

NOW = datetime(2027, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
_UID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _rows(database: bytes) -> dict[str, bytes]:
    with closing(sqlite3.connect(":memory:")) as opened:
        opened.deserialize(database)
        return dict(opened.execute("SELECT name, value FROM kine ORDER BY id"))


def _built(seed: str = "record-1", now: datetime = NOW) -> dict[str, bytes]:
    return _rows(build_database(a_state(), now=now, seed=seed))


def test_only_what_every_cluster_has_is_kept_in_its_newest_form() -> None:
    state = a_state()
    assert state.rows == ROWS
    assert (state.image, state.image_id, state.fingerprint, state.made) == (IMAGE, "sha256:1", PROGRAMS, MADE)


def test_what_was_deleted_is_not_kept() -> None:
    key = "/registry/apiregistration.k8s.io/apiservices/v1.apps"
    log = a_log(a_database(ROWS, gone=(key,)))
    assert key not in read_log(log, image=IMAGE, image_id="", now=MADE).rows


@pytest.mark.proves("security", "read keys, tokens or certificates of another job")
@pytest.mark.parametrize("secret", [b"BEGIN EC PRIVATE KEY", b"BEGIN CERTIFICATE", b"eyJhbGciOiJFUzI1NiJ9"])
def test_a_state_with_a_secret_is_refused(secret: bytes) -> None:
    rows = {**ROWS, "/registry/clusterroles/edit": b"k8s\x00" + secret}
    with pytest.raises(InvalidInputError, match="a key, a certificate or a token in /registry/clusterroles/edit"):
        read_log(a_log(a_database(rows)), image=IMAGE, image_id="", now=MADE)


@pytest.mark.proves("security", "read keys, tokens or certificates of another job")
@pytest.mark.parametrize("key", OTHERS)
def test_a_stored_state_with_objects_of_one_cluster_is_refused(key: str) -> None:
    state = replace(a_state(), rows={**ROWS, key: b"value"})
    with pytest.raises(InvalidInputError, match="belongs to one cluster"):
        check_state(state)


def test_a_state_with_too_many_rows_is_refused() -> None:
    """An API server of another release may store much more, and each job would begin with it."""
    state = replace(a_state(), rows={**ROWS, **{f"/registry/clusterroles/{n}": b"x" for n in range(MAX_ROWS)}})
    with pytest.raises(InvalidInputError, match="rows, more than 2000"):
        check_state(state)


@pytest.mark.parametrize("key", [key for key in ROWS if "apiregistration" not in key])
def test_a_start_that_had_not_finished_is_refused(key: str) -> None:
    rows = {name: value for name, value in ROWS.items() if name != key}
    with pytest.raises(InvalidInputError, match=f"the state has no {key}"):
        read_log(a_log(a_database(rows)), image=IMAGE, image_id="", now=MADE)


BROKEN: dict[str, tuple[str, str]] = {
    "no state": ("kine: no space left on device", "contains no state; it ends with: kine: no space left on device"),
    "cut off": (a_log()[:-60], "contains no state"),
    "no sizes": (a_log().partition("\n")[2], "sizes of the programs"),
    "not base64": (a_log().replace("H4sI", "?4sI"), "not base64 of gzip"),
    "not gzip": (a_log().replace("H4sI", "AAAA"), "not base64 of gzip"),
    "a write-ahead log": (
        a_log(a_database(ROWS)[:18] + b"\x02\x02" + a_database(ROWS)[20:]),
        "has a write-ahead log",
    ),
    "no database": (a_log(b"\x00" * 18 + b"\x01\x01" + b"\x00" * 4096), "cannot be read"),
    "a bomb": (a_log(b"\x00" * (MAX_BYTES + 1)), "larger than"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_log_that_has_no_whole_state_is_refused(name: str) -> None:
    text, message = BROKEN[name]
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        read_log(text, image=IMAGE, image_id="", now=MADE)


@given(st.text())
def test_any_other_log_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_log(text, image=IMAGE, image_id="", now=MADE)


def test_a_job_s_rows_differ_only_in_uids_and_times() -> None:
    built = _built()
    assert list(built) == ["compact_rev_key", *sorted(ROWS)]
    for key, value in ROWS.items():
        assert len(built[key]) == len(value)
    uids = {found for value in built.values() for found in _UID.findall(value)}
    assert len(uids) == len(ROWS)
    assert not uids & {uid(number).encode() for number in range(20)}
    (found,) = _UID.findall(built["/registry/namespaces/default"])
    assert built["/registry/namespaces/default"] == an_object("default", found.decode(), NOW)
    assert (
        b'"creationTimestamp":"2027-03-04T05:06:07Z"' in built["/registry/apiregistration.k8s.io/apiservices/v1.apps"]
    )


def test_one_object_has_one_uid_wherever_it_is_named() -> None:
    """An owner, for example."""
    rows = {**ROWS, "/registry/roles/a": an_object("a", uid(1)), "/registry/roles/b": an_object("b", uid(1))}
    built = _rows(build_database(replace(a_state(), rows=rows), now=NOW, seed="x"))
    assert _UID.findall(built["/registry/roles/a"]) == _UID.findall(built["/registry/roles/b"])


def test_two_jobs_share_no_uid_and_one_job_gets_the_same_again() -> None:
    """The second try of an interrupted start must not change what the control plane may have read."""

    def uids(seed: str) -> set[bytes]:
        return {found for value in _built(seed).values() for found in _UID.findall(value)}

    assert not uids("record-1") & uids("record-2")
    assert build_database(a_state(), now=NOW, seed="x") == build_database(a_state(), now=NOW, seed="x")


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_a_time_of_another_day_is_no_time_of_the_start(moment: datetime) -> None:
    """A number that looks like a time stays."""
    if abs((moment - MADE).total_seconds()) < 2 * 86400:
        return
    rows = {**ROWS, "/registry/roles/a": an_object("a", uid(30), moment)}
    built = _rows(build_database(replace(a_state(), rows=rows), now=NOW, seed="x"))
    assert built["/registry/roles/a"].count(encode_seconds(moment)) == 2


def test_the_stored_state_is_read_as_it_was() -> None:
    stored = build_state_map(a_state(), name="kns-state-v1.36.0", namespace="kns-system")
    assert stored["metadata"]["name"] == "kns-state-v1.36.0"
    assert read_state_map(stored) == a_state()


def _damaged(**changes: Any) -> dict[str, Any]:
    stored = build_state_map(a_state(), name="n", namespace="kns-system")
    return {**stored, **{key: {**stored[key], **value} for key, value in changes.items()}}


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"data": {"format": "1"}},
        _damaged(data={"format": "0"}),
        _damaged(data={"made": "yesterday"}),
        _damaged(binaryData={"content": "AAAA"}),
        _damaged(binaryData={"content": base64.b64encode(gzip.compress(b"[]")).decode()}),
        _damaged(binaryData={"content": base64.b64encode(gzip.compress(b'{"schema": [], "rows": {"a": 1}}')).decode()}),
        _damaged(binaryData={"content": base64.b64encode(gzip.compress(b'{"schema": [], "rows": {}}')).decode()}),
    ],
)
def test_a_stored_state_that_somebody_changed_is_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        read_state_map(damaged)


def test_a_schema_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="do not fit its tables"):
        build_database(replace(a_state(), schema=("CREATE TABLE kine (id INTEGER)",)), now=NOW, seed="x")


def test_the_control_plane_gets_database_and_sizes() -> None:
    database = build_database(a_state(), now=NOW, seed="x")
    files = build_state_files(a_state(), database)
    assert files["programs"] == PROGRAMS.encode()
    assert gzip.decompress(files["state.db.gz"]) == database
