"""
The two ways from nothing to a page that `bench.start` compares: kns, and the same by hand.

By hand means as the documentation of vcluster shows it: `helm install --wait` with the chart's own values, `kubectl
apply` inside, an Ingress, and a loop until the page answers. The chart's values are changed where the site needs it:
the free image in place of the commercial one, the same Kubernetes version, and no volume, as kns has none by default.
"""

import base64
import contextlib
import itertools
import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bench.accounts import read_accounts, read_url
from bench.errors import BenchError
from bench.visit import LIMIT_S, PAGE_EVERY_S, await_app
from demo.errors import DemoError
from demo.files import write_private
from demo.kubectl import Kubectl
from demo.target import Target
from kns.cli.nested import set_server
from kns.client import ENDED, Client
from kns.model.site import parse_jobs_domain

_JOB_EVERY = 20  # requests for the URL between two for the status
_MEMBER_EVERY_S = 1.0
_CALM_S = 5.0
_HELLO = Path(__file__).resolve().parent.parent / "examples/hello/templates/web.yml"
_CROWDED_CPU = "100m"  # as kns requests; eight of the chart's 200m and their apps do not fit a node with two cores
_TARGET, _TARGET_PORT = "web-x-default-x-{name}", 8080
# What a log line of the control plane's pod says, and what it means. Only the first line of each is used.
_LOG_MARKS = {
    "syncer starts": re.compile("vCluster version"),
    "API server listens": re.compile(r"Serving securely on 127\.0\.0\.1:6443"),
    "proxy listens": re.compile(r"Serving securely on \[::\]:8443"),
}


@dataclass(frozen=True, slots=True)
class Start:
    """
    One start. `total_s` is the time until the page; `marks` has the seconds after the request at which things happened,
    those of Kubernetes with a resolution of one second.
    """

    namespace: str
    total_s: float
    marks: dict[str, float] = field(default_factory=dict)


class Chain(Protocol):
    """One way from nothing to a page. Several starts may run at once, in threads."""

    name: str

    def start(self, *, crowded: bool = False) -> Start:
        """
        Start one cluster, and return when its page answers. `crowded`: many start at once, and must all fit the node.

        Raises:
            BenchError: the page did not answer in time.
        """
        ...

    def end(self, start: Start) -> float:
        """
        End it, and return the seconds until its namespace is gone.

        Raises:
            BenchError: the namespace is still there after the time limit.
        """
        ...

    def clean_up(self) -> None:
        """Remove whatever a failed start left."""
        ...


class KnsChain:
    """A job of kns with the app `hello`."""

    name = "kns"
    _usable_every_s = 0.0  # between two looks at the status; 0: it is not looked at

    def __init__(
        self, client: Callable[[], Client], kubectl: Kubectl, *, ingress_url: str, label: str, machine: str
    ) -> None:
        self._client = client
        self._kubectl = kubectl
        self._ingress_url = ingress_url
        self._label = label
        self._machine = machine

    def start(self, *, crowded: bool = False) -> Start:
        del crowded  # it requests little in any case
        with self._client() as client:
            begun, wall = time.perf_counter(), time.time()
            body = client.build_submission("hello", self._machine, job_label=self._label)
            number = client.submit(body).number
            marks = {"submit answers": time.perf_counter() - begun}
            if self._usable_every_s:
                self._await_usable(client, number, begun)
                marks["virtual cluster usable"] = time.perf_counter() - begun
            url = self._await_url(client, number, begun)
            marks["info answers"] = time.perf_counter() - begun
            await_app(url, self._ingress_url, begun)
            total_s = time.perf_counter() - begun
        namespace = f"kns-job-{number}"
        record = self._kubectl.get("nj", namespace, "--namespace=kns-system")
        self._check(record)
        marks |= read_conditions(record, wall)
        return Start(namespace, total_s, marks | read_pod_marks(self._kubectl, namespace, wall))

    def end(self, start: Start) -> float:
        with self._client() as client:
            begun = time.perf_counter()
            client.terminate(int(start.namespace.removeprefix("kns-job-")))
            _await_gone(self._kubectl, start.namespace, begun)
            return time.perf_counter() - begun

    def clean_up(self) -> None:
        with self._client() as client:
            for number in client.jobs(label=self._label):
                client.terminate(number)

    def _check(self, record: dict[str, Any]) -> None:
        """Whether the job started as this chain says."""

    def _await_usable(self, client: Client, number: int, begun: float) -> None:
        """A job is PROCESSING as soon as the API of its virtual cluster answers."""
        while (job := client.get("status", number=number)[str(number)])["job_status"] == "SUBMITTED":
            if time.perf_counter() - begun > LIMIT_S:
                raise BenchError(f"the virtual cluster of job {number} is not there: {job}")
            time.sleep(self._usable_every_s)

    def _await_url(self, client: Client, number: int, begun: float) -> str:
        for attempt in itertools.count():
            if (info := client.info(number)) is not None:
                return str(info["url"])
            job = client.job(number) if attempt % _JOB_EVERY == 0 else None
            if (job and job["job_status"] in ENDED) or time.perf_counter() - begun > LIMIT_S:
                raise BenchError(f"job {number} did not serve: {job}")
            time.sleep(PAGE_EVERY_S)
        raise AssertionError


class PooledChain(KnsChain):
    """The same with a warm pool. A start waits first, unmeasured, until a member is ready."""

    name = "kns, warm pool"
    _usable_every_s = 0.02

    def start(self, *, crowded: bool = False) -> Start:
        self._await_member()
        time.sleep(_CALM_S)  # its last containers have just started
        return super().start(crowded=crowded)

    def claim(self) -> float:
        """
        Take a ready member, and end its job as soon as its API answers. Returns the seconds from the submission until
        then. The job's removal and the making of the next member go on afterwards.

        Raises:
            BenchError: no member became ready in time, the job found none, or its API did not answer.
        """
        self._await_member()
        with self._client() as client:
            begun = time.perf_counter()
            number = client.submit(client.build_submission("hello", self._machine, job_label=self._label)).number
            self._await_usable(client, number, begun)
            usable_s = time.perf_counter() - begun
            client.terminate(number)
        self._check(self._kubectl.get("nj", f"kns-job-{number}", "--namespace=kns-system"))
        return usable_s

    def _await_member(self) -> None:
        begun = time.perf_counter()
        while not self._has_member():
            if time.perf_counter() - begun > LIMIT_S:
                raise BenchError("no member of a warm pool is ready; bring kns up with it: KNS_POOL=any=1 make up")
            time.sleep(_MEMBER_EVERY_S)

    def _has_member(self) -> bool:
        members = self._kubectl.get("namespaces", "--selector=kns.io/pool")["items"]
        annotations = [member["metadata"].get("annotations") or {} for member in members]
        return any("kns.io/pool-ready" in each and "kns.io/pool-claim" not in each for each in annotations)

    def _check(self, record: dict[str, Any]) -> None:
        if not record["spec"]["accepted"].get("adopted"):
            raise BenchError(f"job {record['spec']['accepted']['number']} found no member of its shape in the pool")


KnsChainT = TypeVar("KnsChainT", bound=KnsChain)


def build_kns_chain(
    kind: type[KnsChainT], target: Target, kubectl: Kubectl, environ: Mapping[str, str], *, label: str, machine: str
) -> KnsChainT:
    """The chain of the first account of `environ`."""
    url, (account, *_) = read_url(environ), read_accounts(environ)
    return kind(
        lambda: Client(url, account, use_proxy=False),
        kubectl,
        ingress_url=target.ingress_url,
        label=label,
        machine=machine,
    )


class HandChain:
    """
    A virtual cluster by hand. `prefix` begins the names of its namespaces, so that they can be found.
    """

    name = "by hand"

    def __init__(
        self, helm: str, chart: Path, kubectl: Kubectl, target: Target, *, ingress_url: str, prefix: str
    ) -> None:
        self._helm = helm
        self._chart = chart
        self._kubectl = kubectl
        self._program = target.kubectl
        self._kubeconfig = target.kubeconfig
        self._ingress_url = ingress_url
        self._ingress_class = target.ingress_class
        self._domain = parse_jobs_domain(target.jobs_domain).host
        self._prefix = prefix
        self._numbers = 0
        self._lock = threading.Lock()

    def start(self, *, crowded: bool = False) -> Start:
        with self._lock:
            self._numbers += 1
            name = f"{self._prefix}-{self._numbers}"
        begun, wall = time.perf_counter(), time.time()
        self._kubectl.run("create", "namespace", name)
        self._install(name, crowded=crowded)
        installed_s = time.perf_counter() - begun
        with self._inside(name) as inside:
            _retry(lambda: inside.run("apply", "--filename", str(_HELLO)), begun)
            applied_s = time.perf_counter() - begun
            host = f"{name}.{self._domain}"
            self._kubectl.run("apply", "--filename=-", stdin=json.dumps(self._build_ingress(name, host)))
            await_app(f"http://{host}", self._ingress_url, begun)
            total_s = time.perf_counter() - begun
        marks = {"helm --wait returns": installed_s, "templates applied": applied_s}
        return Start(name, total_s, marks | read_pod_marks(self._kubectl, name, wall))

    def end(self, start: Start) -> float:
        begun = time.perf_counter()
        self._kubectl.run("delete", "namespace", start.namespace, "--wait", timeout_s=LIMIT_S)
        return time.perf_counter() - begun

    def clean_up(self) -> None:
        for item in self._kubectl.get("namespaces")["items"]:
            if item["metadata"]["name"].startswith(f"{self._prefix}-"):
                self._kubectl.run("delete", "namespace", item["metadata"]["name"], "--wait=false")

    def _build_ingress(self, name: str, host: str) -> dict[str, Any]:
        backend = {"service": {"name": _TARGET.format(name=name), "port": {"number": _TARGET_PORT}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "hello", "namespace": name},
            "spec": {
                **({"ingressClassName": self._ingress_class} if self._ingress_class else {}),
                "rules": [{"host": host, "http": {"paths": [path]}}],
            },
        }

    def _install(self, name: str, *, crowded: bool) -> None:
        resources = {"resources": {"requests": {"cpu": _CROWDED_CPU}}} if crowded else {}
        image = {"registry": "ghcr.io", "repository": "loft-sh/vcluster-oss", "tag": "0.36.1"}
        values = {
            "controlPlane": {
                "statefulSet": {"image": image, "persistence": {"volumeClaim": {"enabled": False}}, **resources},
                "distro": {"k8s": {"version": "v1.36.3"}},
            },
            "telemetry": {"enabled": False},
        }
        argv = [self._helm, "install", name, str(self._chart), "--namespace", name, "--values=-", "--wait"]
        environ = {"KUBECONFIG": self._kubeconfig, "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            argv, input=json.dumps(values), env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"helm install {name}: {done.stderr.strip()[-500:]}")

    @contextlib.contextmanager
    def _inside(self, name: str) -> Iterator[Kubectl]:
        """kubectl in the virtual cluster, through the ClusterIP of its Service."""
        secret = _retry(lambda: self._kubectl.get("secret", f"vc-{name}", f"--namespace={name}"), time.perf_counter())
        service = self._kubectl.get("service", name, f"--namespace={name}")
        config = base64.b64decode(secret["data"]["config"]).decode()
        with tempfile.TemporaryDirectory(prefix="kns-bench-") as folder:
            file = Path(folder) / "kubeconfig"
            write_private(file, set_server(config, f"https://{service['spec']['clusterIP']}:443"))
            yield Kubectl(self._program, str(file), use_proxy=False)


def read_conditions(record: dict[str, Any], wall: float) -> dict[str, float]:
    """When each condition of a record became true, in seconds after `wall`."""
    conditions = (record.get("status") or {}).get("conditions") or ()
    return {
        f"condition {each['type']}": _since(each["lastTransitionTime"], wall)
        for each in conditions
        if each["status"] == "True"
    }


def read_pod_marks(kubectl: Kubectl, namespace: str, wall: float) -> dict[str, float]:
    """What the control plane's pod says about its start."""
    selector = f"--selector=app=vcluster,release={namespace}"
    pods = kubectl.get("pods", f"--namespace={namespace}", selector)["items"]
    if not pods:
        return {}
    pod = pods[0]
    marks = {"pod created": _since(pod["metadata"]["creationTimestamp"], wall)}
    for condition in pod["status"]["conditions"]:
        if condition["status"] == "True" and condition["type"] in (
            "PodScheduled",
            "PodReadyToStartContainers",
            "Ready",
        ):
            marks[f"pod {condition['type']}"] = _since(condition["lastTransitionTime"], wall)
    for status in pod["status"].get("initContainerStatuses", ()):
        if ended := status["state"].get("terminated"):
            marks[f"init {status['name']} done"] = _since(ended["finishedAt"], wall)
    options = ("--all-containers", "--timestamps", "--tail=-1", "--max-log-requests=10")
    log = kubectl.run("logs", pod["metadata"]["name"], f"--namespace={namespace}", *options)
    return marks | read_log_marks(log, wall)


def read_log_marks(log: str, wall: float) -> dict[str, float]:
    """
    The marks in the log of a control plane, in seconds after `wall`.

    >>> read_log_marks('2026-01-01T00:00:03.5Z {"msg":"vCluster version"}', 1767225600.0)
    {'syncer starts': 3.5}
    """
    found: dict[str, float] = {}
    for line in log.splitlines():
        stamp, _, text = line.partition(" ")
        for mark, pattern in _LOG_MARKS.items():
            if mark not in found and pattern.search(text):
                found[mark] = _since(stamp, wall)
    return found


def _since(stamp: str, wall: float) -> float:
    cut = re.sub(r"(\.\d{6})\d+", r"\1", stamp)  # nanoseconds
    return round(datetime.fromisoformat(cut).timestamp() - wall, 2)


def _await_gone(kubectl: Kubectl, namespace: str, begun: float) -> None:
    while kubectl.find("namespace", namespace) is not None:
        if time.perf_counter() - begun > LIMIT_S:
            raise BenchError(f"namespace {namespace} is not removed after {LIMIT_S:.0f} s")
        time.sleep(PAGE_EVERY_S)


def _retry(call: Callable[[], Any], begun: float) -> Any:
    """A call that fails until the virtual cluster is complete."""
    while True:
        try:
            return call()
        except DemoError:
            if time.perf_counter() - begun > LIMIT_S:
                raise
            time.sleep(PAGE_EVERY_S)
