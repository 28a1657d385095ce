"""
The server that `bench.pages` measures: the real page, API, record cache and HTTP server, over a host that answers from
memory at once. `python -m bench.page_server --jobs 1000 --users 50` prints its port.

Each line on standard input is a number: so many jobs change, one after another.
"""

import argparse
import base64
import gzip
import itertools
import random
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import uvicorn

from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.owned import KubeOutputs, KubeTokens
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.throttle import Throttle
from kns.adapters.sliding_window import SlidingWindow
from kns.api.front_ends import list_front_ends
from kns.http.app import build_app
from kns.http.server import ServerConfig, listen
from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.catalog.catalog import Catalog, parse_catalog
from kns.model.catalog.machine import Machine
from kns.model.errors import NotFoundError, RefusedError
from kns.model.job.conditions import Condition, ConditionType, Reason
from kns.model.job.job import Accepted, JobSpec, JobState, JobStatus, MachineChoice
from kns.model.job.record import build_record, status_to_record
from kns.model.job.tokens import TOKEN_LENGTHS
from kns.model.submit.submission import Terms
from kns.ports import Kind, Object
from kns.service.overview import UsualDurations
from kns.service.ports import Limits, ServicePorts
from kns.web import build_front_end
from kns.web.live import LivePages
from kns.web.site import WebSite

APP = "hello"
_NAMESPACE = "kns-system"
_LINES = 300  # of each job's output
_TARGET = {"service_name": "web", "service_namespace": "default", "service_port": 80}
_NESTED = {"targets": [_TARGET], "templates": [{"name": "web", "type": "kubectl", "path": "web.yml"}]}


class MemoryHost:
    """Answers the calls that the page makes to the host: the list of records, and Secrets of jobs."""

    def __init__(self, records: Sequence[Object]) -> None:
        self._records = records
        self._output = _encode({"log.gz": gzip.compress(b"configmap/part created\n" * _LINES)})
        tokens = {f"random{length}": b"R" * length for length in TOKEN_LENGTHS}
        self._tokens = _encode({"password": b"P" * 16, **tokens})

    def request(self, method: str, path: str, **_options: Any) -> Object:
        if path.endswith("/nestedjobs"):
            return {"metadata": {"resourceVersion": "1"}, "items": list(self._records)}
        if path.endswith("-output"):
            return self._output
        if path.endswith("-tokens"):
            return self._tokens
        raise NotFoundError(f"{method} {path}: 404")

    def stream_lines(self, path: str, **_options: Any) -> Iterator[bytes]:
        raise RefusedError(f"GET {path}: 422, this host streams no lists")


def _encode(data: dict[str, bytes]) -> Object:
    return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


def build_job(number: int, user: str, *, version: int, message: str = "") -> Object:
    """The record of a serving job."""
    now = datetime.now(UTC) - timedelta(minutes=10)
    accepted = Accepted(
        number=number,
        name=f"job-{number}-{APP}-{user}",
        payer=user,
        submit_time=now,
        image="registry.example.org/hello:1",
        command="Hello",
        machine=Machine(mc_name="small", mc_cores=2, mc_ram=4, mc_properties="appkind=kns"),
        nested=NestedKubernetes.model_validate(_NESTED),
        walltime_s=8 * 3600,
    )
    spec = JobSpec(user=user, app=APP, command="Hello", machine=MachineChoice(type="small"), accepted=accepted)
    kinds = (
        ConditionType.NAMESPACE_READY,
        ConditionType.VIRTUAL_CLUSTER_READY,
        ConditionType.PREPARED,
        ConditionType.DEPLOYED,
        ConditionType.EXPOSED,
    )
    conditions = tuple(
        Condition(
            type=kind,
            status="True",
            reason=Reason.OK,
            message=message,
            last_transition_time=now + timedelta(seconds=4 * index),
        )
        for index, kind in enumerate(kinds)
    )
    status = JobStatus(
        job_status=JobState.PROCESSING,
        spawn_start_time=now,
        start_time=now + timedelta(seconds=8),
        url=f"https://kns-job-{number}.jobs.example.org",
        address=f"kns-job-{number}.jobs.example.org",
        conditions=conditions,
    )
    record = build_record(record=names.job_object_name(number), spec=spec, namespace=_NAMESPACE)
    record["metadata"] |= {
        "uid": f"uid-{number}",
        "resourceVersion": str(version),
        "creationTimestamp": now.isoformat(),
    }
    return {**record, "status": status_to_record(status)}


def build_catalog(users: Sequence[str]) -> Catalog:
    return parse_catalog(build_catalog_files(users))


def build_catalog_files(users: Sequence[str]) -> dict[str, Any]:
    """The decoded content of each file of a catalogue with one app and one machine."""
    command = {"path": "/x", "name": "Hello", "description": "", "parameters": {}, "nested_kubernetes": _NESTED}
    appdef = {
        "name": "Hello",
        "description": "",
        "author": "",
        "licensed": True,
        "appdefversion": 2,
        "classifications": [],
        "machines": ["*"],
        "vault-types": ["NONE"],
        "commands": {"Hello": command},
        "image": {"type": "image/png", "data": ""},
    }
    return {
        "users.json": {name: {"apikey": f"key-{name}"} for name in users},
        "machines.json": {"small": {"mc_cores": 2, "mc_ram": 4, "mc_properties": "appkind=kns"}},
        f"apps/{APP}.json": {"repo": "registry.example.org/hello:1", "data": appdef},
    }


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The ports that have one answer."""

    catalog: Catalog
    keys: tuple[str, ...]

    def current(self) -> Catalog:
        return self.catalog

    def read(self) -> tuple[str, ...]:
        return self.keys

    def is_ready(self) -> bool:
        return True

    def watch_ages(self) -> Mapping[str, float | None]:
        return {}

    def list_objects(self, _kind: Kind, _namespace: str, _selector: str = "") -> Sequence[Object]:
        return ()

    def list_events(self, _namespace: str) -> Sequence[Object]:
        return ()

    def list_warnings(self, _namespace: str) -> Sequence[Object]:
        return ()


class PageServer:
    """The server and its records."""

    def __init__(self, *, jobs: int, users: int) -> None:
        self._owners = {number: f"user{number % users}" for number in range(1, jobs + 1)}
        self._versions = itertools.count(jobs + 1)
        host = MemoryHost([build_job(number, user, version=number) for number, user in self._owners.items()])
        client, clock = cast(KubeClient, host), SystemClock()
        self._records = KubeRecords(client, namespace=_NAMESPACE, clock=clock)
        self._records.cache._list()
        throttle = Throttle(1000, burst=1000, clock=clock)
        outputs = KubeOutputs(client, namespace=_NAMESPACE, throttle=throttle)
        fixed = _Fixed(build_catalog([f"user{number}" for number in range(users)]), (secrets.token_urlsafe(48),))
        ports = ServicePorts(
            jobs=self._records,
            outputs=outputs,
            tokens=KubeTokens(client, namespace=_NAMESPACE),
            catalog=fixed,
            health=fixed,
            clock=clock,
            terms=Terms(supported_versions=("v1.36",)),
            rng=random.SystemRandom(),
            namespaces=fixed,
            limits=Limits(
                failed_logins=SlidingWindow(10, clock=clock),
                submits=SlidingWindow(60, clock=clock),
                lookups=SlidingWindow(60, clock=clock),
            ),
        )
        self._pages = LivePages(
            read_job=self._records.get, read_mark=lambda job: outputs.read(job, recent=True).log_time
        )
        site = WebSite(keys=fixed, live=self._pages, usual=UsualDurations(clock))
        self._app = build_app(ports, (*list_front_ends(server_key=None), build_front_end(site)), version="bench")

    def change(self, count: int) -> None:
        """A new version of so many records, as the watch would store it."""
        for _ in range(count):
            number = random.choice(list(self._owners))
            record = build_job(number, self._owners[number], version=next(self._versions), message=secrets.token_hex(4))
            self._records.cache.put(record)
            self._pages.wake(record["metadata"]["name"])

    def run(self) -> None:
        """Serve until standard input ends."""
        listener = listen("127.0.0.1", 0)
        config = ServerConfig(self._app, host="127.0.0.1", port=0, trusted_proxies="127.0.0.1", request_limit_s=30)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        print(listener.getsockname()[1], flush=True)
        for line in sys.stdin:
            self.change(int(line))
        self._pages.close()
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--users", type=int, default=50)
    given = parser.parse_args()
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    PageServer(jobs=given.jobs, users=given.users).run()
