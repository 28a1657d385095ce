"""
The prepared state: what the database of a virtual cluster contains when its API server has just started.

A first start of an API server writes some 200 objects: namespaces, roles, priorities. Another second passes until the
controller manager has made the first ServiceAccounts. kns lets one API server do this per Kubernetes version, without a
tenant (`kns.objects.prepare_job`), and keeps the rows. Each job gets a database with these rows, in which every uid is
new and every time is the job's own.

The rows are those of kine (table `kine`): a key as in etcd, and the object in its stored form, mostly protobuf. Uids
and times have a fixed length there, so replacing them changes no other byte.
"""

import base64
import gzip
import json
import re
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from kns.model import names
from kns.model.errors import InvalidInputError

FORMAT = "1"  # of the ConfigMap; a state of another format is made again
STATE_FILE, _PROGRAMS_FILE = "state.db.gz", "programs"
STATE_FILES = (STATE_FILE, _PROGRAMS_FILE)

# Only these are kept: what every API server and controller manager makes, and nothing that is secret or belongs to one
# cluster. What is missing is made at the start, as in an empty database.
_PREFIXES = tuple(
    f"/registry/{kind}/"
    for kind in (
        "apiregistration.k8s.io",
        "clusterrolebindings",
        "clusterroles",
        "flowschemas",
        "namespaces",
        "priorityclasses",
        "prioritylevelconfigurations",
        "rolebindings",
        "roles",
        "serviceaccounts",
        "servicecidrs",
    )
)
# Without one of these the start is not complete.
_REQUIRED = frozenset(
    f"/registry/{key}"
    for key in (
        "namespaces/default",
        "namespaces/kube-system",
        "serviceaccounts/default/default",
        "clusterroles/cluster-admin",
        "clusterroles/admin",
        "clusterrolebindings/cluster-admin",
        "priorityclasses/system-cluster-critical",
    )
)
_FORBIDDEN = (b"PRIVATE KEY", b"BEGIN CERTIFICATE", b"eyJhbGciOi")  # keys, authorities, tokens

_BEGIN, _END = "-----BEGIN STATE-----", "-----END STATE-----"
MAX_ROWS = 2000  # Kubernetes 1.36 has 216
MAX_BYTES = 2 * 1024 * 1024  # of a database, which has 0.3 MiB
_JOURNAL = slice(18, 20)  # of a database's header; 1 stands for no write-ahead log

_UID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# A time in protobuf: field 1, seconds as a varint of five bytes (1978 to 3058); field 2, nanoseconds, 0.
_SECONDS = re.compile(rb"(?<=\x08)[\x80-\xff]{4}[\x01-\x7f](?=\x10\x00)", re.DOTALL)
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # a time in JSON
_STAMP_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_AROUND = timedelta(days=1)  # of `made`: a number that is no time is hardly ever one of that day


@dataclass(frozen=True, slots=True)
class PreparedState:
    """
    `image` is the Kubernetes image that made it, `fingerprint` the sizes of its programs, `image_id` its digest if the
    node reported one. `schema` has the statements that create the tables, `rows` maps keys to stored objects.
    """

    image: str
    image_id: str
    fingerprint: str
    made: datetime
    schema: tuple[str, ...]
    rows: Mapping[str, bytes]


def read_log(text: str, *, image: str, image_id: str, now: datetime) -> PreparedState:
    """
    The state that the container of `kns.objects.prepare_job` printed.

    Raises:
        InvalidInputError: the log has none, or it is not complete, or has something that must not be in it.
    """
    head, _, rest = text.partition(_BEGIN)
    encoded, _, tail = rest.partition(_END)
    if not tail and not text.rstrip().endswith(_END):
        raise InvalidInputError("", f"the log contains no state; it ends with: {text.strip()[-300:]}")
    found = re.search(r"^programs: ([0-9 ]+)$", head, re.MULTILINE)
    if found is None:
        raise InvalidInputError("", "the log does not contain the sizes of the programs")
    schema, rows = _read_database(_unzip(encoded))
    state = PreparedState(image, image_id, found[1], now, schema, rows)
    check_state(state)
    build_database(state, now=now, seed="")
    return state


def check_state(state: PreparedState) -> None:
    """
    Raises:
        InvalidInputError: rows are missing, there are too many, or one must not be shared between clusters.
    """
    if missing := _REQUIRED - state.rows.keys():
        raise InvalidInputError("", f"the state has no {min(missing)}; the API server had not finished its start")
    if len(state.rows) > MAX_ROWS:
        raise InvalidInputError("", f"the state has {len(state.rows)} rows, more than {MAX_ROWS}")
    for key, value in state.rows.items():
        if not key.startswith(_PREFIXES):
            raise InvalidInputError("", f"the state has {key}, which belongs to one cluster")
        if any(secret in value for secret in _FORBIDDEN):
            raise InvalidInputError("", f"the state has a key, a certificate or a token in {key}")


def build_state_map(state: PreparedState, *, name: str, namespace: str) -> dict[str, Any]:
    """The ConfigMap in kns's namespace that keeps the state."""
    content = {
        "schema": state.schema,
        "rows": {key: base64.b64encode(value).decode() for key, value in state.rows.items()},
    }
    packed = gzip.compress(json.dumps(content, sort_keys=True).encode(), mtime=0)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {names.MANAGED_BY_LABEL: "kns"}},
        "data": {
            "format": FORMAT,
            "image": state.image,
            "imageID": state.image_id,
            "programs": state.fingerprint,
            "made": state.made.astimezone(UTC).isoformat(),
        },
        "binaryData": {"content": base64.b64encode(packed).decode()},
    }


def read_state_map(obj: Mapping[str, Any]) -> PreparedState:
    """
    The state of a ConfigMap.

    Raises:
        InvalidInputError: it has another format, or was changed so that it cannot be used.
    """
    data = obj.get("data") or {}
    if data.get("format") != FORMAT:
        raise InvalidInputError("", f"the state has format {data.get('format')!r}, not {FORMAT!r}")
    try:
        content = json.loads(_unzip(str((obj.get("binaryData") or {})["content"])))
        state = PreparedState(
            image=str(data["image"]),
            image_id=str(data["imageID"]),
            fingerprint=str(data["programs"]),
            made=datetime.fromisoformat(data["made"]),
            schema=tuple(str(each) for each in content["schema"]),
            rows={str(key): base64.b64decode(value, validate=True) for key, value in content["rows"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError("", f"the state cannot be read: {error!r}") from error
    check_state(state)
    return state


def build_database(state: PreparedState, *, now: datetime, seed: str) -> bytes:
    """
    A database of kine with the rows of `state`, as if they had been written one after the other at `now`.

    Each uid is replaced by one that is computed from it and `seed`, so that another seed gives other uids, and the same
    seed the same database.

    Raises:
        InvalidInputError: the rows do not fit the schema.
    """

    def replace_uid(match: re.Match[bytes]) -> bytes:
        digest = sha256(seed.encode() + match[0]).digest()
        return str(UUID(bytes=digest[:16], version=4)).encode()

    with closing(sqlite3.connect(":memory:")) as database:
        try:
            for statement in state.schema:
                database.execute(statement)
            _insert(database, "compact_rev_key", b"")
            for key, value in state.rows.items():
                _insert(database, key, _move_times(_UID.sub(replace_uid, value), state.made, now))
            database.commit()
            return bytes(database.serialize())
        except sqlite3.Error as error:
            raise InvalidInputError("", f"the state's rows do not fit its tables: {error}") from error


def build_state_files(state: PreparedState, database: bytes) -> dict[str, bytes]:
    """The state of one job, which its control plane unpacks (`kns.objects.control_plane`), as `STATE_FILES`."""
    return {STATE_FILE: gzip.compress(database, mtime=0), _PROGRAMS_FILE: state.fingerprint.encode()}


def _insert(database: sqlite3.Connection, key: str, value: bytes) -> None:
    database.execute(
        "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) "
        "VALUES (?, 1, 0, 0, 0, 0, ?, NULL)",
        (key, value),
    )


def _read_database(content: bytes) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """The schema, and the newest value of each key that is kept."""
    if content[_JOURNAL] != b"\x01\x01":
        raise InvalidInputError("", "the database has a write-ahead log")
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.deserialize(content)
            statements = database.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'"
            )
            schema = tuple(str(sql) for (sql,) in statements)
            newest = database.execute("SELECT name, value, deleted, MAX(id) FROM kine GROUP BY name ORDER BY name")
            rows = {
                str(name): bytes(value)
                for name, value, deleted, _ in newest
                if not deleted and str(name).startswith(_PREFIXES)
            }
        except sqlite3.Error as error:
            raise InvalidInputError("", f"the database cannot be read: {error}") from error
    return schema, rows


def _move_times(value: bytes, made: datetime, now: datetime) -> bytes:
    """Every time near `made` becomes `now`."""
    low, high = (int(moment.timestamp()) for moment in (made - _AROUND, made + _AROUND))
    seconds = _encode_varint(int(now.timestamp()))
    stamp = now.astimezone(UTC).strftime(_STAMP_FORMAT).encode()

    def move_seconds(match: re.Match[bytes]) -> bytes:
        return seconds if low <= _decode_varint(match[0]) <= high else match[0]

    def move_stamp(match: re.Match[bytes]) -> bytes:
        try:
            found = datetime.strptime(match[0].decode(), _STAMP_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return match[0]
        return stamp if low <= found.timestamp() <= high else match[0]

    return _STAMP.sub(move_stamp, _SECONDS.sub(move_seconds, value))


def _decode_varint(text: bytes) -> int:
    """
    >>> _decode_varint(_encode_varint(1795858642))
    1795858642
    """
    return sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(text))


def _encode_varint(number: int) -> bytes:
    """Five bytes for every time until the year 3058."""
    text = bytearray()
    while number > 0x7F:
        text.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*text, number])


def _unzip(encoded: str) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=31)  # gzip
        content = unpacker.decompress(base64.b64decode("".join(encoded.split()), validate=True), MAX_BYTES)
    except (ValueError, zlib.error) as error:
        raise InvalidInputError("", f"the state is not base64 of gzip: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise InvalidInputError("", f"the state is cut off, or larger than {MAX_BYTES} bytes")
    return content
