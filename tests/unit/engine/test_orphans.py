"""What may be an orphan, whose it is, and the judgement on it: tables over the pure half of the sweeper."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kns.model import names
from kns.ports import Object
from kns.stages.orphans import Find, Installation, Judgement, Owner, SweptKind, judge
from kns.stages.swept import (
    SWEPT,
    read_client,
    read_namespace,
    read_secret,
    read_volume,
)

pytestmark = pytest.mark.proves(
    "main",
    "Orphans of every kind are removed; unmarked objects and those of other installations stay",
)

US = Installation("kns-system", "uid-of-kns")
RECORD = "uid-of-a-record"
LIVE = ENDED = False  # whether the job was removed
REMOVED = True
EVERY = SWEPT

JUDGEMENTS: list[tuple[str, Sequence[SweptKind], Owner, str | None, bool | None, Judgement]] = [
    ("ours, and its record is gone", EVERY, Owner.US, RECORD, None, Judgement.ORPHAN),
    ("of another installation", EVERY, Owner.OTHERS, RECORD, None, Judgement.KEEP),
    (
        "of another installation, and names a removed record of ours",
        EVERY,
        Owner.OTHERS,
        RECORD,
        REMOVED,
        Judgement.KEEP,
    ),
    ("without a mark of an installation", EVERY, Owner.UNKNOWN, RECORD, None, Judgement.UNMARKED),
    ("without a mark of a record", EVERY, Owner.US, None, None, Judgement.UNMARKED),
    ("without any mark", EVERY, Owner.UNKNOWN, None, None, Judgement.UNMARKED),
    ("of a job that lives", EVERY, Owner.US, RECORD, LIVE, Judgement.KEEP),
    ("of a job that lives, made by an older release", EVERY, Owner.UNKNOWN, RECORD, LIVE, Judgement.KEEP),
    ("of a job that has ended and is being removed", EVERY, Owner.US, RECORD, ENDED, Judgement.KEEP),
    ("left of a removed job", EVERY, Owner.US, RECORD, REMOVED, Judgement.ORPHAN),
    ("left of a removed job, by an older release", EVERY, Owner.UNKNOWN, RECORD, REMOVED, Judgement.ORPHAN),
]


@pytest.mark.parametrize(
    ("kinds", "owner", "record_uid", "removed", "judgement"),
    [row[1:] for row in JUDGEMENTS],
    ids=[row[0] for row in JUDGEMENTS],
)
def test_the_judgement(
    kinds: Sequence[SweptKind], owner: Owner, record_uid: str | None, removed: bool | None, judgement: Judgement
) -> None:
    for kind in kinds:
        find = Find(kind=kind, name="kns-job-7", key="uid-7", owner=owner, record_uid=record_uid)
        assert judge(find, removed=removed) is judgement, kind


@pytest.mark.parametrize(
    ("name", "judgement"),
    [
        ("kns-job-7-tokens", Judgement.KEEP),
        ("kns-job-7-output", Judgement.KEEP),
        ("kns-job-7-inputs", Judgement.ORPHAN),
        ("kns-job-8-inputs", Judgement.KEEP),
    ],
)
def test_only_the_inputs_of_a_removed_job_go_before_its_record(name: str, judgement: Judgement) -> None:
    """Job 7's. The record may say Removed a moment before the job's end could delete them."""
    find = read_secret(an_object(name, owner=an_owner()))
    assert find is not None
    assert judge(find, removed=ENDED) is Judgement.KEEP
    assert judge(find, removed=REMOVED) is judgement


def an_object(
    name: str,
    *,
    managed_by: str | None = "kns",
    job: str | None = "7",
    installation: str | None = US.namespace,
    record_uid: str | None = RECORD,
    owner: Object | None = None,
    **rest: Any,
) -> Object:
    """As kns makes it; None leaves a mark out."""
    labels = {
        names.MANAGED_BY_LABEL: managed_by,
        names.JOB_LABEL: job,
        names.INSTALLATION_LABEL: installation,
    }
    meta = {
        "name": name,
        "uid": f"uid-of-{name}",
        "creationTimestamp": "2026-01-05T14:15:30+00:00",
        "labels": {key: value for key, value in labels.items() if value is not None},
        "annotations": {names.RECORD_UID_ANNOTATION: record_uid} if record_uid else None,
        "ownerReferences": [owner] if owner else None,
    }
    return {"metadata": meta, **rest}


def a_volume(name: str = "kns-job-7-claim", *, namespace: str = "kns-job-7", phase: str = "", **marks: Any) -> Object:
    claim = {"namespace": namespace, "name": "data", "uid": "claim"}
    return an_object(name, spec={"claimRef": claim}, status={"phase": phase}, **marks)


def an_owner(kind: str = "NestedJob", group: str = "kns.io") -> Object:
    return {"apiVersion": f"{group}/v1alpha1", "kind": kind, "name": "kns-job-7", "uid": RECORD}


def a_client(client_id: str = "kns-job-7", **attributes: str) -> Object:
    return {"clientId": client_id, "id": f"id-of-{client_id}", "attributes": attributes}


CLIENT_MARKS = {names.KEYCLOAK_OWNER_ATTRIBUTE: RECORD, names.KEYCLOAK_INSTALLATION_ATTRIBUTE: US.uid}
NO_CANDIDATE = None
READ: list[tuple[str, Callable[[], Find | None], tuple[Owner, str | None] | None]] = [
    ("a job's namespace", lambda: read_namespace(an_object("kns-job-7"), US), (Owner.US, RECORD)),
    (
        "a namespace of another installation",
        lambda: read_namespace(an_object("kns-job-7", installation="other-system"), US),
        (Owner.OTHERS, RECORD),
    ),
    (
        "a namespace without a mark of an installation",
        lambda: read_namespace(an_object("kns-job-7", installation=None), US),
        (Owner.UNKNOWN, RECORD),
    ),
    (
        "a namespace without a mark of a record",
        lambda: read_namespace(an_object("kns-job-7", record_uid=None), US),
        (Owner.US, None),
    ),
    (
        "a namespace that somebody else manages",
        lambda: read_namespace(an_object("kns-job-7", managed_by="helm"), US),
        NO_CANDIDATE,
    ),
    (
        "a namespace without the label of its manager",
        lambda: read_namespace(an_object("kns-job-7", managed_by=None), US),
        NO_CANDIDATE,
    ),
    (
        "a namespace without the label of a job",
        lambda: read_namespace(an_object("kns-job-7", job=None), US),
        NO_CANDIDATE,
    ),
    ("a namespace of another name", lambda: read_namespace(an_object("team-a"), US), NO_CANDIDATE),
    ("a vault's volume", lambda: read_volume(a_volume(), US), (Owner.US, RECORD)),
    (
        "a volume of another installation",
        lambda: read_volume(a_volume(installation="other-system"), US),
        (Owner.OTHERS, RECORD),
    ),
    (
        "a volume without a mark of an installation",
        lambda: read_volume(a_volume(installation=None), US),
        (Owner.UNKNOWN, RECORD),
    ),
    ("a volume without a mark of a record", lambda: read_volume(a_volume(record_uid=None), US), (Owner.US, None)),
    ("a volume without the label of its manager", lambda: read_volume(a_volume(managed_by=None), US), NO_CANDIDATE),
    ("a volume without the label of a job", lambda: read_volume(a_volume(job=None), US), NO_CANDIDATE),
    # A provisioner may copy all labels from a tenant's claim. The tenant cannot choose the volume's name.
    ("a volume with our labels under another name", lambda: read_volume(a_volume("pvc-1"), US), NO_CANDIDATE),
    (
        "a volume that was retained for a job",
        lambda: read_volume(a_volume("pvc-1", phase="Released", managed_by=None, job=None, installation=None), US),
        (Owner.UNKNOWN, None),
    ),
    ("a volume in use", lambda: read_volume(a_volume("pvc-1", phase="Bound", managed_by=None), US), NO_CANDIDATE),
    (
        "a retained volume of another namespace",
        lambda: read_volume(a_volume("pvc-1", phase="Released", namespace="team-a"), US),
        NO_CANDIDATE,
    ),
    ("a volume without a claim", lambda: read_volume(an_object("pvc-1", spec={}), US), NO_CANDIDATE),
    ("a record's Secret", lambda: read_secret(an_object("kns-job-7-tokens", owner=an_owner())), (Owner.US, RECORD)),
    (
        "a record's Secret without our labels",
        lambda: read_secret(an_object("kns-job-7-tokens", managed_by=None, owner=an_owner())),
        (Owner.US, RECORD),
    ),
    ("a Secret without an owner", lambda: read_secret(an_object("kns-job-7-tokens")), (Owner.US, None)),
    (
        "a Secret that a Deployment owns",
        lambda: read_secret(an_object("tls", job=None, owner=an_owner("Deployment", "apps"))),
        NO_CANDIDATE,
    ),
    (
        "a Secret that another group's NestedJob owns",
        lambda: read_secret(an_object("tls", job=None, owner=an_owner(group="example.org"))),
        NO_CANDIDATE,
    ),
    ("somebody else's Secret", lambda: read_secret(an_object("tls", job=None)), NO_CANDIDATE),
    ("a job's client", lambda: read_client(a_client(**CLIENT_MARKS), US), (Owner.US, RECORD)),
    (
        "a client of another installation",
        lambda: read_client(a_client(**{**CLIENT_MARKS, names.KEYCLOAK_INSTALLATION_ATTRIBUTE: "another"}), US),
        (Owner.OTHERS, RECORD),
    ),
    (
        "a client without a mark of an installation",
        lambda: read_client(a_client(**{names.KEYCLOAK_OWNER_ATTRIBUTE: RECORD}), US),
        (Owner.UNKNOWN, RECORD),
    ),
    (
        "a client without a mark of a record",
        lambda: read_client(a_client(**{names.KEYCLOAK_INSTALLATION_ATTRIBUTE: US.uid}), US),
        NO_CANDIDATE,
    ),
    ("a client of another name", lambda: read_client(a_client("portal", **CLIENT_MARKS), US), NO_CANDIDATE),
]


@pytest.mark.parametrize(("read", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_whose_an_object_is(read: Callable[[], Find | None], expected: tuple[Owner, str | None] | None) -> None:
    find = read()
    assert (find and (find.owner, find.record_uid)) == expected


def test_what_deletion_is_bound_to_and_how_old_it_is() -> None:
    """The uid, in Keycloak the id. Keycloak keeps no time of creation."""
    namespace = read_namespace(an_object("kns-job-7"), US)
    client = read_client(a_client(**CLIENT_MARKS), US)
    assert namespace is not None
    assert client is not None
    assert (namespace.key, client.key) == ("uid-of-kns-job-7", "id-of-kns-job-7")


@pytest.mark.parametrize("going", [True, False])
def test_a_deletion_that_was_asked_for_is_seen(going: bool) -> None:
    obj = an_object("kns-job-7")
    if going:
        obj["metadata"]["deletionTimestamp"] = "2026-01-05T14:15:31+00:00"
    find = read_namespace(obj, US)
    assert find is not None
    assert find.terminating is going
