"""A prepared state as the Job prints it, with a few rows in the forms that Kubernetes stores."""

import base64
import gzip
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime

from kns.objects.prepared_state import PreparedState, read_log

MADE = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
IMAGE = "ghcr.io/loft-sh/kubernetes:v1.36.0"
PROGRAMS = "22387600 107004066 96002210"
SCHEMA = (
    """CREATE TABLE kine
    (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
    create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB)""",
    "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
)


def encode_seconds(moment: datetime) -> bytes:
    """A varint, written down by the rule of protobuf and not by the code under test."""
    number, text = int(moment.timestamp()), bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        text.append(low | (0x80 if number else 0))
        if not number:
            return bytes(text)


def an_object(name: str, uid: str, made: datetime = MADE) -> bytes:
    """The stored form of an object: protobuf, with its uid and twice its time."""
    time = b"\x08" + encode_seconds(made) + b"\x10\x00"
    return (
        b"k8s\x00\n\x0f\n\x02v1\x12"
        + name.encode()
        + b"*$"
        + uid.encode()
        + b"2\x008\x00B\x08"
        + time
        + b'"\x08'
        + time
    )


def uid(number: int) -> str:
    return f"6bdf3fe5-66de-443f-9fe7-{number:012x}"


ROWS: dict[str, bytes] = {
    "/registry/namespaces/default": an_object("default", uid(1)),
    "/registry/namespaces/kube-system": an_object("kube-system", uid(2)),
    "/registry/serviceaccounts/default/default": an_object("default", uid(3)),
    "/registry/clusterroles/cluster-admin": an_object("cluster-admin", uid(4)),
    "/registry/clusterroles/admin": an_object("admin", uid(5)),
    "/registry/clusterrolebindings/cluster-admin": an_object("cluster-admin", uid(6)),
    "/registry/priorityclasses/system-cluster-critical": an_object("system-cluster-critical", uid(7)),
    "/registry/apiregistration.k8s.io/apiservices/v1.apps": (
        f'{{"metadata":{{"uid":"{uid(8)}","creationTimestamp":"2026-05-01T12:00:00Z"}}}}\n'.encode()
    ),
}
OTHERS: dict[str, bytes] = {  # what a start also writes, and belongs to one cluster
    "/registry/configmaps/default/kube-root-ca.crt": b"-----BEGIN CERTIFICATE-----",
    "/registry/secrets/default/token": b"eyJhbGciOi",
    "/registry/leases/kube-system/apiserver-x": b"lease",
    "/registry/health": b"{}",
}


def a_database(rows: Mapping[str, bytes], *, gone: tuple[str, ...] = ()) -> bytes:
    """A database of kine: each key was written twice, and those of `gone` were deleted afterwards."""
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in SCHEMA:
            database.execute(statement)
        for key, value in rows.items():
            for before, content in ((0, b"old"), (1, value)):
                _write(database, key, content, deleted=0, before=before)
        for key in gone:
            _write(database, key, rows[key], deleted=1, before=2)
        database.commit()
        return bytes(database.serialize())


def _write(database: sqlite3.Connection, key: str, value: bytes, *, deleted: int, before: int) -> None:
    database.execute("INSERT INTO kine VALUES (NULL, ?, 1, ?, 0, ?, 0, ?, NULL)", (key, deleted, before, value))


def a_log(database: bytes | None = None) -> str:
    """What the Job prints."""
    content = base64.encodebytes(gzip.compress(database or a_database({**ROWS, **OTHERS}))).decode()
    return f"programs: {PROGRAMS}\n-----BEGIN STATE-----\n{content}-----END STATE-----\n"


def a_state() -> PreparedState:
    return read_log(a_log(), image=IMAGE, image_id="sha256:1", now=MADE)
