"""
A replica's memory does not depend on what clients send: measured with the real caches, in a process of its own.

The records are of the worst allowed kind: submission and parameters of 4 KiB that cannot be compressed, in the shapes
that need the most memory when parsed, and as many usage reports as a status holds. KNS_CACHED_RECORDS sets the number
of retained records (`make test-deep`: 10 000); there is one live record for every ten.
"""

import json
import os
import random
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kns.model.appdef.parameters import ParameterValue
from kns.model.job.inputs import split_inputs
from kns.model.job.record import spec_to_record, status_to_record
from kns.model.job.slim import RECORD_BYTES, measure, slim_submission
from kns.model.job.usage import MAX_REPORTS, Usage
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import START
from tests.patience import PATIENCE_S

RETAINED = int(os.environ.get("KNS_CACHED_RECORDS", "1000"))
LIVE = RETAINED // 10
MOST_BYTES = 200 * 1024 * 1024  # of one replica with 10 000 retained records; the Deployment's request is above it
MOST_PER_RECORD_BYTES = 11 * 1024  # (MOST_BYTES - 85 MiB of imports) / 11 000 records
_USERS = 20
_Record = dict[str, Any]


def _noise(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits + "+/-_.:,;!$%&()=?", k=count))


@cache
def _build_pattern(seed: int, *, live: bool) -> _Record:
    rng = random.Random(seed)
    body = {
        "app": "hello",
        "machine": {"type": "kns-small", "nodes": 1},
        "hpc": {_noise(rng, 3): 0 for _ in range(60)},
        "licenses": _noise(rng, 1000),
        "jobsub": _noise(rng, 730),
        "junk": [{"": 0}] * 20_000,
    }
    given = {f"p{index}": _noise(rng, 60) for index in range(24)}
    job: JobBuilder = a_job().owned_by(f"user{seed}").started().exposed()
    settled = [ParameterValue(key=key, type="STR", value=value) for key, value in given.items()]
    job = job.with_accepted(parameters=settled).with_spec(parameters=given, submission=slim_submission(body))
    sums = ("core_seconds", "gib_seconds", "gpu_seconds", "scratch_gib_seconds")
    reports = tuple(
        Usage(
            time=START + timedelta(hours=hour),
            seconds=3600.0 * hour,
            **{key: round(rng.random() * 1e6, 3) for key in sums},
        )
        for hour in range(MAX_REPORTS)
    )
    job = job.with_status(usage_reports=reports, usage=reports[-1])
    built = (job if live else job.ended().removed()).build()
    spec, _ = split_inputs(built.spec)
    return {"spec": spec_to_record(spec), "status": status_to_record(built.status)}


def build_worst(number: int, *, live: bool) -> _Record:
    pattern = _build_pattern(number % _USERS, live=live)
    spec = pattern["spec"]
    name = f"20260105141530-{number:05d}-hello-{spec['user']}_s1"
    meta = {
        "name": f"kns-job-{number}",
        "namespace": "kns",
        "uid": f"00000000-0000-0000-0000-{number:012d}",
        "resourceVersion": str(number),
        "generation": 1,
        "creationTimestamp": "2026-01-05T14:15:30Z",
        "labels": {"kns.io/job": str(number), "kns.io/public-name": name, "kns.io/user": spec["user"]},
        "finalizers": ["kns.io/cleanup"],
        "managedFields": [{"fieldsV1": {f"f:{index}": {} for index in range(100)}}],
    }
    accepted = {**spec["accepted"], "number": number, "name": name}
    return {**pattern, "metadata": meta, "spec": {**spec, "accepted": accepted}}


def test_the_records_of_this_test_are_of_the_worst_kind() -> None:
    spec = build_worst(7, live=True)["spec"]
    assert 0.95 * RECORD_BYTES < measure(spec["submission"]) + measure(spec["parameters"]) <= RECORD_BYTES
    assert 0.85 * RECORD_BYTES < measure(spec["accepted"]["parameters"]) <= RECORD_BYTES
    assert "inputs" not in spec["accepted"]


class _Handler(BaseHTTPRequestHandler):
    """Lists records that it makes meanwhile, in pages or as a stream; a watch is silent."""

    protocol_version = "HTTP/1.1"
    closing = threading.Event()
    streams_lists = False

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "sendInitialEvents" in query:
            if self.streams_lists:
                self._stream()
            else:
                self.send_error(422)
            return
        if "watch" in query:
            self.closing.wait()
            self.close_connection = True
            return
        start, limit = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
        end = min(start + limit, RETAINED + LIVE)
        meta = {"resourceVersion": str(RETAINED + LIVE + 1)} | ({"continue": str(end)} if end < RETAINED + LIVE else {})
        items = [build_worst(number + 1, live=number >= RETAINED) for number in range(start, end)]
        data = json.dumps({"metadata": meta, "items": items}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        for number in range(RETAINED + LIVE):
            self._send_event("ADDED", build_worst(number + 1, live=number >= RETAINED))
        end = {"resourceVersion": str(RETAINED + LIVE + 1), "annotations": {"k8s.io/initial-events-end": "true"}}
        self._send_event("BOOKMARK", {"metadata": end})

    def _send_event(self, kind: str, obj: dict[str, Any]) -> None:
        self.wfile.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture(params=[False, True], ids=["in pages", "as a stream"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    _Handler.streams_lists = request.param
    _Handler.closing.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    _Handler.closing.set()
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE_S)


@pytest.mark.proves("security", "fill the memory of the replicas with what records keep")
def test_a_replica_with_many_records_of_the_worst_kind_stays_small(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.memory", url], check=True, capture_output=True, text=True, timeout=900
    )
    seen = json.loads(done.stdout.splitlines()[-1])  # log lines are before it
    sys.stdout.write(f"{seen}\n")
    assert (seen["records"], seen["live"], seen["shown"]) == (RETAINED + LIVE, LIVE, RETAINED // _USERS)
    per_record = (seen["after_bytes"] - seen["before_bytes"]) / seen["records"]
    # A fixed part for buffers and pages in flight, which a small number of records does not spread.
    assert per_record <= MOST_PER_RECORD_BYTES + 8 * 1024 * 1024 / seen["records"]
    if RETAINED >= 10_000:
        assert max(seen["loaded_bytes"], seen["after_bytes"]) <= MOST_BYTES
