"""
The running cluster: two replicas of kns, each behind a proxy of its own, and nodes that wait for the API server.

A replica that ends is started again, as kubelet does. That happens in the waits of the tests, which all have a deadline
and print what they saw.
"""

import base64
import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.page_server import APP
from bench.scale_host import SYSTEM, Host, Scheduler, running_host
from bench.scale_jobs import MACHINE, RecordWatch
from bench.scale_nodes import Nodes, Times
from kns.adapters.kube.client import MERGE, KubeClient
from kns.adapters.kube.kinds import RECORDS
from kns.client import ApiKey, Client, ClientError, ResponseError, UnknownJobError
from kns.main import EXIT_LOST
from kns.model import names
from kns.model.errors import NotFoundError, UnavailableError
from tests.loopback.kns import AHEAD
from tests.loopback.proxy import Mode, Proxy
from tests.loopback.trail import Answered, Trail

PATIENCE_S = 600.0  # a silent watch alone takes kns 150 s; a test that passes waits for no deadline
STORE_BYTES = 128 * 2**20  # of etcd
_LOOK_S = 0.1
_RETRY_S = 1.0
_CALM_RENEWALS = 3  # of the Lease, one every two seconds, in which nothing else is written
_CRASHES = ("_crashed", "worker_died", "Traceback")
_SETTINGS = {
    "KNS_PREPARED_STATE": "false",  # a write of its own, now and then
    # The sweeper removes what it takes for an orphan at once, and looks all the time: it must not be wrong.
    "KNS_SWEEP_INTERVAL": "5",
    "KNS_SWEEP_GRACE": "0",
    "KNS_SUBMITS_PER_MINUTE": "1000",
}
_TIMES = Times(control_plane_s=2.0, pod_s=0.5, templates_s=1.0, end_s=0.5)


class PatientClient(KubeClient):
    """
    For the simulated nodes: a request is repeated until the API server answers it, as by the programs of a real node.
    What a first try did whose answer was lost, the nodes find done.
    """

    is_closed = False

    def request(self, method: str, path: str, **options: Any) -> Any:
        while True:
            try:
                return super().request(method, path, **options)
            except UnavailableError:
                if self.is_closed:
                    raise
                time.sleep(_RETRY_S)


@dataclass
class Replica:
    """One replica of kns. `ends` counts the processes that ended by themselves."""

    name: str
    folder: Path
    kns: Scheduler
    proxy: Proxy
    client: Client
    ends: int = 0
    log: Path = field(default_factory=Path)

    def launch(self) -> None:
        self.log = self.kns.launch()

    @property
    def is_ready(self) -> bool:
        try:
            self.client.check_ready()
        except ClientError:
            return False
        return True

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        with stopped(self.kns.pid):
            yield

    def describe(self) -> str:
        state = f"ended with {self.kns.exit_status}" if not self.kns.is_running else "runs"
        tail = self.log.read_text(errors="replace")[-1500:] if self.log.is_file() else ""
        return f"{self.name}: {state}, {self.ends} ends; the end of its log:\n{tail}"


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process that this test run has started."""
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"\nPPid:\t{os.getpid()}\n" in status, f"{pid} is not a process of this test run:\n{status}"
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)  # not reaped yet, so the number is not another's


@dataclass
class Site:
    host: Host
    watch: RecordWatch
    replicas: Sequence[Replica]
    trail: Trail
    ahead: Path

    # --- waiting

    def wait_for(self, look: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not look():
            self.keep_alive()
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}\n{self.describe()}"
            time.sleep(_LOOK_S)

    def keep_alive(self) -> None:
        for each in self.replicas:
            if (status := each.kns.exit_status) is not None:
                assert status == EXIT_LOST, f"{each.name} must end because it lost its Lease\n{each.describe()}"
                each.ends += 1
                each.kns.stop()
                each.launch()

    def describe(self) -> str:
        return "\n".join(each.describe() for each in self.replicas)

    def settle(self) -> None:
        """Wait until both replicas are ready and one leads."""
        self.wait_for(lambda: all(each.is_ready for each in self.replicas), "both replicas are ready")
        self.wait_for(lambda: self._count_leaders() == 1, "one replica leads")

    def _count_leaders(self) -> int:
        return sum(each.kns.is_leading for each in self.replicas)

    def find_pair(self) -> tuple[Replica, Replica]:
        """The leader and the standby."""
        leader = next(each for each in self.replicas if each.kns.is_leading)
        return leader, next(each for each in self.replicas if each is not leader)

    def set_mode(self, mode: Mode) -> None:
        for each in self.replicas:
            each.proxy.set_mode(mode)

    # --- jobs

    def submit(self, replica: Replica, **application: str) -> int:
        """Submit a job, and repeat that until it is answered."""
        body = replica.client.build_submission(APP, MACHINE, application=application)
        key, found = secrets.token_hex(8), []

        def call() -> bool:
            found.append(replica.client.submit(body, idempotency_key=key).number)
            return True

        self._repeat(call, "a submit is answered")
        return found[0]

    def terminate(self, number: int, replica: Replica) -> None:
        def call() -> bool:
            replica.client.terminate(number)
            return True

        self._repeat(call, f"the end of job {number} is answered")

    def _repeat(self, call: Callable[[], bool], what: str) -> None:
        errors: list[str] = []

        def look() -> bool:
            try:
                return call()
            except UnknownJobError as error:  # the replica's cache is behind
                errors.append(str(error))
            except ClientError as error:
                if isinstance(error, ResponseError) and error.status < 500:
                    raise
                errors.append(str(error))
            return False

        try:
            self.wait_for(look, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast answers: {errors[-3:]}") from error

    def has(self, number: int, what: str) -> bool:
        """Whether a job has been seen so (`RecordWatch`)."""
        failure = self.watch.failure(number)
        assert not failure, f"job {number} ended by itself: {failure}\n{self.describe()}"
        return self.watch.moment(number, what) is not None

    def await_all(self, numbers: Sequence[int], what: str) -> None:
        try:
            self.wait_for(lambda: all(self.has(number, what) for number in numbers), f"{numbers} are {what}")
        except AssertionError as error:
            states = {number: self.read_record(number).get("status") for number in numbers}
            raise AssertionError(f"{error}\n{json.dumps(states, indent=1)}") from error

    def read_record(self, number: int) -> dict[str, Any]:
        records = self.host.client.request("GET", RECORDS.path(SYSTEM))["items"]
        found: dict[str, Any] = next(each for each in records if each["spec"]["accepted"]["number"] == number)
        return found

    def touch(self, number: int) -> None:
        """Make kns look at a job."""
        body = {"metadata": {"annotations": {"example.org/touched": secrets.token_hex(4)}}}
        path = RECORDS.path(SYSTEM, self.read_record(number)["metadata"]["name"])
        self.host.client.request("PATCH", path, body=body, content_type=MERGE)

    def look(self, number: int) -> dict[str, str | None]:
        """The uids of the objects that are made once for a job."""
        name = names.job_object_name(number)
        paths = {
            "namespace": f"/api/v1/namespaces/{name}",
            "control plane": f"/apis/apps/v1/namespaces/{name}/deployments/{name}",
            "certificates": f"/api/v1/namespaces/{name}/secrets/{name}-certs",
            "init job": f"/apis/batch/v1/namespaces/{name}/jobs/{names.INIT_JOB}",
        }
        return {what: self._read_uid(path) for what, path in paths.items()}

    def _read_uid(self, path: str) -> str | None:
        try:
            return str(self.host.client.request("GET", path)["metadata"]["uid"])
        except NotFoundError:
            return None

    def await_nothing_left(self, numbers: Sequence[int]) -> None:
        """No job has a namespace; the sweeper may have to remove one that was created by a request that came late."""
        gone = {names.job_object_name(number) for number in numbers}
        query = {"labelSelector": names.JOB_LABEL}

        def look() -> bool:
            found = self.host.client.request("GET", "/api/v1/namespaces", query=query)["items"]
            return gone.isdisjoint(each["metadata"]["name"] for each in found)

        self.wait_for(look, f"nothing is left of {sorted(gone)}")

    # --- what kns did

    def count_reconciles(self) -> dict[int, int]:
        """By process."""
        return {each.kns.pid: each.kns.count_reconciles() for each in self.replicas}

    def count_since(self, before: dict[int, int]) -> int:
        """The reconciles since `count_reconciles`, without those of processes that have ended since."""
        return sum(count - before.get(pid, 0) for pid, count in self.count_reconciles().items())

    def await_calm(self) -> None:
        """Wait until kns writes nothing but its Lease."""
        since = self.trail.position
        written: list[Answered] = []

        def look() -> bool:
            nonlocal since
            found = list(self.trail.read(since=since))
            others = [each for each in found if not each.is_lease]
            if others:
                written.extend(others)
                since = self.trail.position
                return False
            return len(found) >= _CALM_RENEWALS

        try:
            self.wait_for(look, "kns writes nothing more")
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast writes: {written[-20:]}") from error

    def check_quiet(self, numbers: Sequence[int]) -> None:
        """Make kns look at each job once more. It writes nothing."""
        self.await_calm()
        since, before = self.trail.position, self.count_reconciles()
        for number in numbers:
            self.touch(number)
        self.wait_for(lambda: self.count_since(before) >= len(numbers), f"kns looks at {numbers}")
        assert self.trail.list_accepted(since=since) == []

    def check_logs(self) -> None:
        """No thread met an error that it does not know."""
        for each in self.replicas:
            for log in sorted(each.folder.glob("kns-*.log")):
                lines = [line for line in log.read_text(errors="replace").splitlines() if _is_crash(line)]
                assert not lines, f"{log}:\n" + "\n".join(lines[:5])


def _is_crash(line: str) -> bool:
    return any(sign in line for sign in _CRASHES)


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(running_host(folder, store_bytes=STORE_BYTES))
        ahead = folder / "ahead"
        ahead.write_text("0")
        marks = folder / "marks"
        replicas = []
        for number in (1, 2):
            replica = _make_replica(stack, host, number, {AHEAD: str(ahead), "BENCH_MARKS": str(marks)})
            replicas.append(replica)
        patient = PatientClient(host.client.configuration)
        stack.callback(patient.close)
        marks.mkdir()
        nodes = Nodes(patient, folder, marks, times=_TIMES, seed=1)
        nodes.start()
        stack.callback(nodes.close)
        stack.callback(setattr, patient, "is_closed", True)
        watch = RecordWatch(host.client)
        watch.start()
        stack.callback(watch.close)
        for replica in replicas:
            stack.callback(replica.kns.stop)
            replica.launch()
        site = Site(host, watch, replicas, Trail(host.audit_log), ahead)
        site.settle()
        yield site


def _make_replica(stack: contextlib.ExitStack, host: Host, number: int, settings: dict[str, str]) -> Replica:
    folder = host.folder / f"replica-{number}"
    folder.mkdir()
    config = json.loads(host.kns_kubeconfig.read_text())
    proxy = _make_proxy(folder, config, address=f"127.0.0.{number + 1}")
    stack.callback(proxy.close)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    own = replace(host, folder=folder, kns_kubeconfig=kubeconfig)
    kns = Scheduler(own, users=1, settings={**_SETTINGS, **settings}, module="tests.loopback.kns")
    user = kns.users[0]
    client = Client(kns.url, ApiKey(user, f"key-{user}"), use_proxy=False, keep_connections=False)
    stack.callback(client.close)
    return Replica(f"replica {number}", folder, kns, proxy, client)


def _make_proxy(folder: Path, config: dict[str, Any], *, address: str) -> Proxy:
    """A proxy to the cluster of a kubeconfig, which leads to the proxy afterwards."""
    cluster = config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    proxy = Proxy(folder, port=urlsplit(cluster["server"]).port or 0, authority=authority, address=address)
    cluster["server"] = f"https://127.0.0.1:{proxy.port}"
    cluster["certificate-authority-data"] = base64.b64encode(proxy.authority.read_bytes()).decode()
    return proxy
