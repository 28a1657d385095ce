"""The host cluster, its readiness and its discovery, over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any, NoReturn

import pytest

from kns.adapters.clock import SystemClock
from kns.adapters.kube import cluster
from kns.adapters.kube.client import CONNECT_TIMEOUT_S, KubeClient
from kns.adapters.kube.cluster import _LIST_TIMEOUT_S, KubeCluster
from kns.adapters.kube.discovery import find_installation_uid, find_service_cidr
from kns.adapters.kube.health import _PROBE_TIMEOUT_S, HostHealth
from kns.adapters.kube.image_volumes import can_mount_images
from kns.adapters.kube.kinds import COPIED, KINDS, WATCHED
from kns.adapters.kube.throttle import Throttle
from kns.adapters.kube.watch import WatchCache
from kns.adapters.recent import OBJECT_AGE_S
from kns.model import names
from kns.model.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TransientError,
    UnavailableError,
)
from kns.model.job.member import read_member
from kns.model.job.output import CUT, MAX_BYTES, MAX_LINES
from kns.ports import MOST_EVENTS, MOST_EVENTS_READ, MOST_WARNINGS, Kind
from tests.adapters.api_server import ApiServer, Object, failure
from tests.adapters.conftest import PODS, keep_whole
from tests.adapters.faulty_server import Answer, Hang
from tests.builders import a_location
from tests.fakes.stores import START, FakeClock
from tests.patience import PATIENCE_S

MINE = {"kns.io/job": "7"}


class Host:
    def __init__(self, client: KubeClient, clock: FakeClock, *, optional: Sequence[Kind] = (Kind.HTTP_ROUTE,)) -> None:
        self.told: list[str] = []
        self.changed = threading.Condition()
        self.cluster = KubeCluster(
            client,
            clock=clock,
            on_change=self._tell,
            throttle=Throttle(1000, burst=1000, clock=clock),
            optional=optional,
        )

    def _tell(self, kind: Kind, namespace: str) -> None:
        with self.changed:
            self.told.append(namespace)
            self.changed.notify_all()

    def wait_for(self, times: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.told) >= times, timeout=PATIENCE_S)


@pytest.fixture
def host(server: ApiServer, client: KubeClient, clock: FakeClock) -> Iterator[Host]:
    stop, host = threading.Event(), Host(client, clock)
    threads = host.cluster.start(stop)
    for _ in host.cluster.caches:
        server.watches.get(timeout=PATIENCE_S)
    yield host
    stop.set()
    server.closing.set()
    server.end_watches()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def an_ingress(**labels: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "kns-job-7", "namespace": "kns-job-7", "labels": labels or MINE},
        "spec": {"rules": []},
    }


def test_what_is_applied_is_observed_at_once(server: ApiServer, host: Host) -> None:
    stored = host.cluster.apply(an_ingress())
    assert host.cluster.observe(Kind.INGRESS, "kns-job-7", "kns-job-7") == stored
    assert host.cluster.observe_job(Kind.INGRESS, a_location(7)) == [stored]
    assert host.cluster.observe_job(Kind.INGRESS, a_location(70)) == []
    sent = server.seen[-1]
    assert (sent.method, sent.headers["content-type"]) == ("PATCH", "application/apply-patch+yaml")
    assert sent.query == {"fieldManager": "kns", "force": "true"}


def _a_role_binding(name: str) -> Object:
    meta = {"name": name, "namespace": "kns-job-7", "labels": MINE}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta}


def test_after_its_own_rights_kns_waits_until_the_api_server_knows_them(server: ApiServer, host: Host) -> None:
    """By reading, so that no write is refused and repeated. Other bindings give kns no rights."""
    server.script("GET", "/secrets/kns-pull", failure(403, "Forbidden"), failure(403, "Forbidden"))
    host.cluster.apply(_a_role_binding("kns-vcluster-syncer"))
    host.cluster.apply(_a_role_binding("kns-scheduler"))
    calls = [(seen.method, seen.path.rpartition("/")[2]) for seen in server.seen if "watch" not in seen.query]
    assert calls[-5:] == [
        ("PATCH", "kns-vcluster-syncer"),
        ("PATCH", "kns-scheduler"),
        *[("GET", "kns-pull")] * 3,
    ]


def test_a_namespace_is_observed_whatever_namespace_is_said(host: Host) -> None:
    meta = {"name": "kns-job-7", "labels": MINE}
    host.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    assert host.cluster.observe(Kind.NAMESPACE, "", "kns-job-7") is not None
    assert host.cluster.observe(Kind.NAMESPACE, "ignored", "kns-job-7") is not None


@pytest.mark.proves("objects", "Nothing is removed that is not the job's")
def test_a_tenants_copy_is_never_ours(server: ApiServer, host: Host) -> None:
    """It may have the label of kns, because tenants control labels."""
    meta = {"name": "web", "namespace": "kns-job-7", "labels": {**MINE, "vcluster.loft.sh/managed-by": "kns-job-7"}}
    server.put("/api/v1", "pods", {"metadata": meta})
    server.put("/api/v1", "pods", {"metadata": {**meta, "name": "kns-init-0", "labels": MINE}})
    host.wait_for(1)
    assert [pod["metadata"]["name"] for pod in host.cluster.observe_job(Kind.POD, a_location(7))] == ["kns-init-0"]


@pytest.mark.proves("security", "pass off its pod as another job's by labels (as anyone who can create a pod could)")
@pytest.mark.parametrize(("namespace", "told"), [("default", []), ("kns-job-8", ["kns-job-8"])])
def test_a_pod_elsewhere_that_carries_the_jobs_labels_is_not_the_jobs(
    server: ApiServer, host: Host, namespace: str, told: list[str]
) -> None:
    """Otherwise anyone who may create a pod could present it as a job's control plane and end the job."""
    own = {"name": "kns-job-7-0", "namespace": "kns-job-7", "labels": MINE}
    server.put("/api/v1", "pods", {"metadata": {**own, "name": "a-stranger", "namespace": namespace}})
    server.put("/api/v1", "pods", {"metadata": own})
    host.wait_for(len(told) + 1)
    assert [pod["metadata"]["name"] for pod in host.cluster.observe_job(Kind.POD, a_location(7))] == ["kns-job-7-0"]
    assert host.told == [*told, "kns-job-7"]


def test_a_tenants_claims_are_found_by_their_namespace(server: ApiServer, host: Host) -> None:
    """Regardless of labels. A claim that is not a copy does not belong to the tenant."""
    copied = {"vcluster.loft.sh/managed-by": "kns-job-7", "kns.io/job": "8"}
    for namespace, labels in (
        ("kns-job-7", copied),
        ("kns-job-7-x", copied),
        ("kns-job-70", copied),
        ("kns-job-7", {}),
    ):
        name = f"{namespace}-{len(labels)}"
        server.put(
            "/api/v1", "persistentvolumeclaims", {"metadata": {"name": name, "namespace": namespace, "labels": labels}}
        )
    host.wait_for(2)
    assert host.told == ["kns-job-7", "kns-job-70"]
    claims = host.cluster.observe_copies(Kind.PERSISTENT_VOLUME_CLAIM, a_location(7))
    assert [claim["metadata"]["name"] for claim in claims] == ["kns-job-7-2"]
    assert host.cluster.observe_copies(Kind.PERSISTENT_VOLUME_CLAIM, a_location(8)) == []


@pytest.mark.proves("security", "fill the host's store, address ranges or pod slots with thousands of small objects")
def test_of_a_tenants_claim_nothing_is_kept_that_it_can_make_large(server: ApiServer, host: Host) -> None:
    """Claims with 256 KiB of annotations each, of all jobs, must fit into memory."""
    copied = {"vcluster.loft.sh/managed-by": "kns-job-7"}
    meta = {"namespace": "kns-job-7", "labels": copied, "annotations": {"a": "x" * 1000}, "managedFields": [{}]}
    for count, name in enumerate(("first", "second"), 1):
        server.put(
            "/api/v1", "persistentvolumeclaims", {"metadata": {**meta, "name": name}, "spec": {"volumeName": "v"}}
        )
        host.wait_for(count)
    claims = host.cluster.observe_copies(Kind.PERSISTENT_VOLUME_CLAIM, a_location(7))
    assert sorted(claim["metadata"]["name"] for claim in claims) == ["first", "second"]
    for claim in claims:
        assert "uid" in claim["metadata"]
        assert not claim["metadata"].keys() & {"annotations", "labels", "managedFields"}
        assert claim["spec"] == {"volumeName": "v", "resources": {"requests": {}}}


def a_tenants_service(name: str, *, ports: int = 1, **labels: str) -> Object:
    copied = {"vcluster.loft.sh/managed-by": "kns-job-7", **labels}
    spec = {"selector": {"app": "web"}, "ports": [{"port": number} for number in range(1, ports + 1)], "clusterIP": "x"}
    return {"metadata": {"name": name, "namespace": "kns-job-7", "labels": copied}, "spec": spec}


@pytest.mark.proves("security", "fill the host's store, address ranges or pod slots with thousands of small objects")
def test_of_a_tenants_service_only_where_it_leads_is_kept(server: ApiServer, host: Host) -> None:
    """A job may have 500 of 64 KiB. One with more ports than any app has is kept without them."""
    server.put("/api/v1", "services", a_tenants_service("small", large="x" * 60))
    server.put("/api/v1", "services", a_tenants_service("large", ports=100))
    host.wait_for(2)
    assert host.told == ["kns-job-7", "kns-job-7"]
    small, large = (host.cluster.observe_copy(Kind.SERVICE, a_location(7), name) for name in ("small", "large"))
    assert small == {
        "metadata": {"name": "small", "namespace": "kns-job-7", "uid": (small or {})["metadata"]["uid"]},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 1}]},
    }
    assert large is not None
    assert large.keys() == {"metadata"}
    assert host.cluster.observe_copy(Kind.SERVICE, a_location(7), "another") is None
    assert host.cluster.observe_copy(Kind.SERVICE, a_location(70), "small") is None
    assert host.cluster.observe(Kind.SERVICE, "kns-job-7", "small") is None


def test_of_own_services_only_the_target_is_kept_whole_and_wakes_its_job(server: ApiServer, host: Host) -> None:
    for name in ("kns-job-7", "kns-target"):
        meta = {"name": name, "namespace": "kns-job-7", "labels": MINE}
        spec = {"selector": {"app": "web"}, "clusterIP": "10.96.0.7"}
        server.put("/api/v1", "services", {"metadata": meta, "spec": spec})
    host.wait_for(1)
    assert host.told == ["kns-job-7"]
    found = [host.cluster.observe(Kind.SERVICE, "kns-job-7", name) or {} for name in ("kns-job-7", "kns-target")]
    assert [each["spec"] for each in found] == [{"clusterIP": "10.96.0.7"}, spec]
    assert host.cluster.observe_copies(Kind.SERVICE, a_location(7)) == []


def test_a_change_wakes_the_job_of_its_namespace(server: ApiServer, host: Host) -> None:
    """The name of the namespace need not contain the job's number, because a job may have adopted it."""
    for namespace in ("kns-job-7", "kns-job-x", "kns-job-12"):
        meta = {"name": f"in-{namespace}", "namespace": namespace, "labels": {"kns.io/job": "7"}}
        server.put("/api/v1", "pods", {"metadata": meta})
    server.put("/api/v1", "namespaces", {"metadata": {"name": "kns-job-20", "labels": {"kns.io/job": "7"}}})
    volume = {"metadata": {"name": "v", "labels": MINE}, "spec": {"claimRef": {"namespace": "kns-job-30"}}}
    server.put("/api/v1", "persistentvolumes", volume)
    host.wait_for(4)
    assert sorted(host.told) == ["kns-job-12", "kns-job-20", "kns-job-30", "kns-job-7"]


def test_what_jobs_request_is_summed_up_by_the_nodes_of_their_machines(server: ApiServer, host: Host) -> None:
    """Of every job and pool member, kns's own pods included. Quotas of others, and those not counted yet, are not."""
    used = {"requests.cpu": "1500m", "requests.memory": "1Gi", "requests.nvidia.com/gpu": "1", "pods": "9"}
    jobs: tuple[tuple[str, str | None, Object], ...] = (
        ("7", "pool=big,spare=", used),
        ("8", "pool=big,spare=", {}),
        ("9", "", used),
        ("10", None, used),
    )
    for number, selector, status in jobs:
        name, labels = f"kns-job-{number}", {"kns.io/job": number}
        annotations = {} if selector is None else {"kns.io/node-selector": selector}
        server.put("/api/v1", "namespaces", {"metadata": {"name": name, "labels": labels, "annotations": annotations}})
        quota = {"metadata": {"name": names.RESOURCE_QUOTA, "namespace": name, "labels": labels}}
        server.put("/api/v1", "resourcequotas", {**quota, **({"status": {"used": status}} if status else {})})
    drain = {"name": names.DRAIN_QUOTA, "namespace": "kns-job-7", "labels": MINE}
    server.put("/api/v1", "resourcequotas", {"metadata": drain, "status": {"used": used}})
    host.wait_for(9)
    gib = Decimal(2**30)
    assert host.cluster.sum_requests() == {
        frozenset({("pool", "big"), ("spare", "")}): (Decimal("1.5"), gib, Decimal(1)),
        frozenset(): (Decimal(3), 2 * gib, Decimal(2)),
    }


def test_reading_what_is_absent_is_none(host: Host) -> None:
    assert host.cluster.read(Kind.SECRET, "kns-job-7", "none") is None
    assert host.cluster.observe(Kind.INGRESS, "kns-job-7", "none") is None


def test_an_object_for_all_jobs_is_one_request_until_it_is_old(server: ApiServer, host: Host, clock: FakeClock) -> None:
    secret = {"metadata": {"name": "jarvice-docker", "namespace": "kns-system"}, "data": {"a": "b"}}
    server.put("/api/v1", "secrets", secret)
    for _ in range(5):
        found = host.cluster.read_shared(Kind.SECRET, "kns-system", "jarvice-docker")
        assert found is not None
        assert found["data"] == {"a": "b"}
    assert server.count("GET", "/secrets/jarvice-docker") == 1
    clock.advance(OBJECT_AGE_S)
    server.script("GET", "/secrets/jarvice-docker", failure(404, "NotFound", "not found"))
    assert host.cluster.read_shared(Kind.SECRET, "kns-system", "jarvice-docker") is None


def test_applying_into_a_namespace_that_went_is_a_refusal(server: ApiServer, host: Host) -> None:
    server.script("PATCH", "/kns-job-7", failure(404, "NotFound", 'namespaces "kns-job-7" not found'))
    with pytest.raises(RefusedError, match=r"apply Ingress kns-job-7/kns-job-7: .* not found"):
        host.cluster.apply(an_ingress())


def test_deleting_is_safe_to_repeat_and_spares_another_of_that_name(server: ApiServer, host: Host) -> None:
    stored = host.cluster.apply(an_ingress())
    assert not host.cluster.delete(Kind.INGRESS, "kns-job-7", "kns-job-7", uid="another")
    assert host.cluster.read(Kind.INGRESS, "kns-job-7", "kns-job-7") == stored
    uid = stored["metadata"]["uid"]
    deleted = [host.cluster.delete(Kind.INGRESS, "kns-job-7", "kns-job-7", uid=uid) for _ in range(2)]
    assert deleted == [True, False]
    assert host.cluster.read(Kind.INGRESS, "kns-job-7", "kns-job-7") is None


def test_pods_are_ended_by_selector_with_grace(server: ApiServer, host: Host) -> None:
    server.put("/api/v1", "pods", {"metadata": {"name": "web", "namespace": "n", "labels": {"a": "b"}}})
    server.put("/api/v1", "pods", {"metadata": {"name": "dns", "namespace": "n"}})
    host.cluster.delete_pods("n", "a=b", grace_s=3)
    assert [pod["metadata"]["name"] for pod in host.cluster.list_objects(Kind.POD, "n")] == ["dns"]
    sent = next(seen for seen in server.seen if seen.method == "DELETE")
    assert (sent.path, sent.query, sent.body) == (
        "/api/v1/namespaces/n/pods",
        {"labelSelector": "a=b"},
        {"gracePeriodSeconds": 3},
    )


def test_a_workload_is_scaled_and_nothing_else_of_it_changes(host: Host, server: ApiServer) -> None:
    labels = {"kns.io/job": "7"}
    meta = {"name": "kns-job-7", "namespace": "kns-job-7", "labels": labels}
    stored = server.put("/apis/apps/v1", "statefulsets", {"metadata": meta, "spec": {"replicas": 1, "template": {}}})
    uid = stored["metadata"]["uid"]
    scaled = host.cluster.scale(Kind.STATEFUL_SET, "kns-job-7", "kns-job-7", 0, uid=uid)
    assert scaled is not None
    assert scaled["spec"] == {"replicas": 0, "template": {}}
    sent = server.seen[-1]
    assert (sent.method, sent.headers["content-type"]) == ("PATCH", "application/merge-patch+json")
    assert sent.body == {"metadata": {"uid": uid}, "spec": {"replicas": 0}}
    assert host.cluster.scale(Kind.STATEFUL_SET, "kns-job-7", "gone", 0, uid=uid) is None
    assert host.cluster.scale(Kind.STATEFUL_SET, "kns-job-7", "kns-job-7", 1, uid="another") is None
    server.script("PATCH", "/kns-job-7", failure(422, "Invalid", "a policy of the site"))
    with pytest.raises(RefusedError, match="a policy of the site"):
        host.cluster.scale(Kind.STATEFUL_SET, "kns-job-7", "kns-job-7", 1, uid=uid)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], False),
        ([{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}], True),
        ([{"status": {"conditions": [{"type": "Ready", "status": "False"}]}}], False),
        ([{"status": {}}], False),
        (
            [{"metadata": {"deletionTimestamp": "x"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}],
            False,
        ),
    ],
)
def test_a_ready_pod_is_looked_for_in_one_page(
    host: Host, server: ApiServer, pods: list[Object], expected: bool
) -> None:
    items = [{"metadata": {}, **pod} for pod in pods]
    server.script("GET", "/pods", Answer(200, json.dumps({"items": items, "metadata": {"continue": "more"}}).encode()))
    assert host.cluster.has_ready_pod("kns-job-7", "app=web") is expected
    seen = [each for each in server.seen if each.path.endswith("/namespaces/kns-job-7/pods")]
    assert [each.query for each in seen] == [
        {"labelSelector": "app=web", "fieldSelector": "status.phase=Running", "limit": "20"}
    ]


@pytest.mark.parametrize(
    ("answer", "log"),
    [
        (Answer(200, b"one\ntwo \xff\n"), "one\ntwo \ufffd\n"),
        (Answer(200, b""), ""),
        (failure(400, "BadRequest", 'container "init" in pod "p" is waiting to start'), None),
        (failure(404, "NotFound", 'pods "p" not found'), None),
    ],
    ids=["text of any bytes", "nothing yet", "waiting to start", "pod gone"],
)
def test_a_log(server: ApiServer, host: Host, answer: Answer, log: str | None) -> None:
    server.script("GET", "/log", answer)
    assert host.cluster.pod_log("n", "p", "init") == log


@pytest.mark.proves(
    "output",
    "The last 10000 lines of output are kept, and fewer if the log exceeds 2 MiB or does not compress, because "
    "many may read it at the same time; if something was cut, the first line says so",
)
@pytest.mark.parametrize(("count", "first"), [(MAX_LINES, "0"), (MAX_LINES + 1, CUT)])
def test_of_a_long_log_the_last_lines_and_that_there_are_more(
    server: ApiServer, host: Host, count: int, first: str
) -> None:
    server.script("GET", "/log", Answer(200, "".join(f"{number}\n" for number in range(count)).encode()))
    lines = (host.cluster.pod_log("n", "p", "init") or "").splitlines()
    assert (lines[0], lines[1], lines[-1], len(lines)) == (first, "1", str(count - 1), count)
    (asked,) = (seen for seen in server.seen if seen.path.endswith("/log"))
    assert asked.query["tailLines"] == str(MAX_LINES + 1)


@pytest.mark.parametrize(
    ("answer", "log"),
    [
        (Answer(200, b"one\ntwo \xff"), "one\ntwo \ufffd"),
        (failure(400, "BadRequest", 'container "init" in pod "p" is waiting to start'), None),
        (failure(404, "NotFound", 'pods "p" not found'), None),
    ],
    ids=["text of any bytes", "waiting to start", "pod gone"],
)
def test_the_start_of_a_log(server: ApiServer, host: Host, answer: Answer, log: str | None) -> None:
    """With `tailLines`, the kubelet would begin further down."""
    server.script("GET", "/log", answer)
    assert host.cluster.pod_log_start("n", "p", "init", limit_bytes=9) == log
    (asked,) = (seen for seen in server.seen if seen.path.endswith("/log"))
    assert asked.query == {"container": "init", "limitBytes": "9"}


class LogOf:
    """The kubelet's answer for a log with these lines: the last `tailLines`, of which the first `limitBytes`."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.asked: list[int] = []

    def __call__(self, path: str, *, query: dict[str, str], read_timeout_s: float) -> bytes:
        del path, read_timeout_s
        self.asked.append(int(query["tailLines"]))
        text = "".join(f"{line}\n" for line in self.lines[-int(query["tailLines"]) :])
        return text.encode()[: int(query["limitBytes"])]


@pytest.mark.proves(
    "output",
    "The last 10000 lines of output are kept, and fewer if the log exceeds 2 MiB or does not compress, because "
    "many may read it at the same time; if something was cut, the first line says so",
)
@pytest.mark.parametrize("width", [250, 1_000, 4_000, 60_000])
def test_of_long_lines_almost_two_mebibytes_are_read(
    host: Host, monkeypatch: pytest.MonkeyPatch, client: KubeClient, width: int
) -> None:
    log = LogOf([f"{number:06d}".ljust(width, "x") for number in range(12_000_000 // width)])
    monkeypatch.setattr(client, "read_bytes", log)
    text = host.cluster.pod_log("n", "p", "init") or ""
    lines = text.splitlines()
    assert lines[0] == CUT
    assert lines[1:] == log.lines[-len(lines) + 1 :]
    assert 0.85 * MAX_BYTES < len(text) <= MAX_BYTES
    assert len(log.asked) <= 3


def test_of_lines_that_grow_the_newest_are_read(
    host: Host, monkeypatch: pytest.MonkeyPatch, client: KubeClient
) -> None:
    """Short lines fill the first answers, and huge ones follow."""
    log = LogOf(["x"] * 9_000 + ["y" * 300_000] * 12)
    monkeypatch.setattr(client, "read_bytes", log)
    lines = (host.cluster.pod_log("n", "p", "init") or "").splitlines()
    assert lines[-1] == "y" * 300_000
    assert len(log.asked) <= 15


def test_a_log_that_may_not_be_read_is_an_error(server: ApiServer, host: Host) -> None:
    server.script("GET", "/log", failure(403, "Forbidden", 'pods "p" is forbidden: User "x" cannot get resource'))
    with pytest.raises(ForbiddenError):
        host.cluster.pod_log("n", "p", "init")


def test_a_log_that_nobody_answers_is_given_up_early(
    server: ApiServer, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet of a lost node never answers, and a worker waits. The limit is its own, not that of all calls."""
    monkeypatch.setattr(cluster, "_LOG_TIMEOUT_S", 0.05)
    server.script("GET", "/log", Hang())
    with pytest.raises(UnavailableError, match="ReadTimeoutError"):
        host.cluster.pod_log("n", "p", "init")


# --- health


def synced(client: KubeClient, clock: FakeClock) -> WatchCache[Object]:
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    cache._list()
    return cache


def test_not_ready_before_the_records_are_read(client: KubeClient, clock: FakeClock) -> None:
    assert not HostHealth(client, WatchCache(client, PODS, clock=clock, keep=keep_whole), clock=clock).is_ready()


@pytest.mark.proves("routes", "`live` reports on the process; `ready` also on records and host, with the version")
def test_an_answer_counts_for_thirty_seconds(server: ApiServer, client: KubeClient, clock: FakeClock) -> None:
    """
    Probes within ten seconds of a response cause no call. After thirty seconds without one, the replica is not ready.
    """
    health = HostHealth(client, synced(client, clock), clock=clock)
    assert health.is_ready()
    clock.advance(9)
    assert health.is_ready()
    assert server.count("GET", "/readyz") == 1
    server.script("GET", "/readyz", *[failure(500, "InternalError")] * 3)
    clock.advance(20)
    assert health.is_ready()
    clock.advance(2)
    assert not health.is_ready()
    assert not health.is_ready()
    assert health.is_ready()
    assert server.count("GET", "/readyz") == 5


def test_never_answered_is_not_ready(server: ApiServer, client: KubeClient, clock: FakeClock) -> None:
    server.script("GET", "/readyz", failure(500, "InternalError"))
    assert not HostHealth(client, synced(client, clock), clock=clock).is_ready()


def test_ready_knows_the_age_of_each_watch(client: KubeClient, clock: FakeClock) -> None:
    """Of one that never had data it says so: an optional kind that the host does not have."""
    never: WatchCache[Object] = WatchCache(client, KINDS[Kind.HTTP_ROUTE], clock=clock, keep=keep_whole)
    health = HostHealth(client, synced(client, clock), clock=clock, others=[never])
    clock.advance(7.04)
    assert health.watch_ages() == {"pods": 7.0, "httproutes": None}


@pytest.mark.proves("wire", "Timeouts of host calls keep an answer within 20 s, and a probe within 3 s")
def test_many_who_ask_a_silent_host_wait_for_one_question(
    server: ApiServer, client: KubeClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes must end within 3 s, however many there are."""
    assert 2 * _PROBE_TIMEOUT_S < 3
    monkeypatch.setattr("kns.adapters.kube.health._PROBE_TIMEOUT_S", 2.0)
    server.script("GET", "/readyz", *[Hang()] * 4)
    health = HostHealth(client, synced(client, clock), clock=SystemClock())
    together = threading.Barrier(4)

    def probe(_number: int) -> bool:
        together.wait(PATIENCE_S)
        return health.is_ready()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(probe, range(4))) == [False] * 4
    assert server.count("GET", "/readyz") == 1


# --- discovery


def test_the_host_tells_its_range_of_cluster_addresses(server: ApiServer, client: KubeClient) -> None:
    cidrs = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00::/108"]}}
    server.put("/apis/networking.k8s.io/v1", "servicecidrs", cidrs)
    assert find_service_cidr(client) == "10.96.0.0/16,fd00::/108"


@pytest.mark.parametrize("answer", [None, Answer(200, {"spec": {}}), failure(403, "Forbidden", "cannot")])
def test_or_it_does_not(server: ApiServer, client: KubeClient, answer: Answer | None) -> None:
    if answer is not None:
        server.script("GET", "/kubernetes", answer)
    assert find_service_cidr(client) == ""


@pytest.mark.parametrize("ask", [find_service_cidr, can_mount_images])
def test_a_host_that_does_not_answer_now_tells_nothing_wrong(
    server: ApiServer, client: KubeClient, ask: Callable[[KubeClient], object]
) -> None:
    """What the answer is for is decided once in the life of a process, so the process must not go on without it."""
    for path in ("/kubernetes", "/version"):
        server.script("GET", path, *[failure(503, "ServiceUnavailable", "etcd is not ready")] * 9)
    with pytest.raises(TransientError):
        ask(client)


@pytest.mark.parametrize(
    ("answer", "can"),
    [
        (Answer(200, {"major": "1", "minor": "36"}), True),
        (Answer(200, {"major": "1", "minor": "36+"}), True),
        (Answer(200, {"major": "1", "minor": "35"}), False),
        (Answer(200, {"major": "1"}), False),
        (Answer(200, {"major": "", "minor": "x"}), False),
        (failure(403, "Forbidden", "cannot"), False),
    ],
)
def test_the_version_tells_whether_pods_can_mount_images(
    server: ApiServer, client: KubeClient, answer: Answer, can: bool
) -> None:
    server.script("GET", "/version", answer)
    assert can_mount_images(client) is can


def test_pod_metrics_are_asked_of_the_metrics_api(host: Host, server: ApiServer) -> None:
    usage = {"metadata": {"name": "web", "namespace": "kns-job-7"}, "containers": []}
    server.put("/apis/metrics.k8s.io/v1beta1", "pods", usage)
    (found,) = host.cluster.list_objects(Kind.POD_METRICS, "kns-job-7")
    assert found["containers"] == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(404, b"404 page not found\n"), NotFoundError), (failure(403, "Forbidden"), ForbiddenError),
     (failure(503, "ServiceUnavailable"), UnavailableError)],
)  # fmt: skip
def test_a_host_without_metrics_or_rights_is_distinguished_from_one_that_is_away(
    host: Host, server: ApiServer, answer: Answer, error: type[Exception]
) -> None:
    server.script("GET", "/pods", answer)
    with pytest.raises(error):
        host.cluster.list_objects(Kind.POD_METRICS, "kns-job-7")


@pytest.mark.proves("wire", "Timeouts of host calls keep an answer within 20 s, and a probe within 3 s")
def test_a_list_that_gets_no_answer_ends_in_time_for_an_http_answer(
    host: Host, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _LIST_TIMEOUT_S + CONNECT_TIMEOUT_S < 20
    monkeypatch.setattr("kns.adapters.kube.cluster._LIST_TIMEOUT_S", 0.05)
    server.script("GET", "/events", Hang())
    with pytest.raises(UnavailableError, match="no answer"):
        host.cluster.list_events("kns-job-7")


@pytest.mark.parametrize(("about", "selector"), [("", {}), ("web", {"fieldSelector": "involvedObject.name=web"})])
def test_events_are_asked_for_in_a_bounded_number(
    server: ApiServer, host: Host, about: str, selector: dict[str, str]
) -> None:
    """A tenant may cause any number of them. Parsed whole, they filled the memory of the leader."""
    event = {"metadata": {"name": "web.1", "annotations": {"x": "y" * 1000}}, "reason": "FailedCreate"}
    server.script("GET", "/events", Answer(body={"items": [event]}))
    (kept,) = host.cluster.list_events("kns-job-7", about)
    asked = next(seen for seen in reversed(server.seen) if seen.path.endswith("/events"))
    assert asked.query == {"limit": str(MOST_EVENTS), **selector}
    assert kept["metadata"] == {"name": "web.1"}


def put_events(server: ApiServer, count: int) -> None:
    """Each is a second newer than those before it in the order of the names."""
    for number in range(count):
        meta = {"name": f"web-{number:05}", "namespace": "a"}
        time = (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
        server.put("/api/v1", "events", {"metadata": meta, "type": "Warning", "lastTimestamp": time})


@pytest.mark.proves("routes", "`events` and `explain` show the newest events, whatever their names")
def test_of_many_events_the_newest_are_kept(server: ApiServer, host: Host) -> None:
    """The API server lists them in the order of their names."""
    put_events(server, 1200)
    for found, most in (
        (host.cluster.list_events("a"), MOST_EVENTS),
        (host.cluster.list_warnings("a"), MOST_WARNINGS),
    ):
        names = sorted(event["metadata"]["name"] for event in found)
        assert (len(names), names[0], names[-1]) == (most, f"web-{1200 - most:05}", "web-01199")


@pytest.mark.parametrize(("page_s", "pages"), [(0.1, MOST_EVENTS_READ // MOST_EVENTS), (3.0, 3), (9.0, 1)])
def test_pages_of_events_end(
    host: Host, client: KubeClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, page_s: float, pages: int
) -> None:
    """A tenant may cause any number of them, and an HTTP answer waits for this."""
    timeouts = []

    def answer(method: str, path: str, *, query: dict[str, str], read_timeout_s: float) -> Object:
        timeouts.append(read_timeout_s)
        clock.advance(page_s)
        return {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": query.get("continue", "first")}}]}

    monkeypatch.setattr(client, "request", answer)
    assert len(host.cluster.list_events("a")) == len(timeouts) == pages
    assert timeouts == pytest.approx([_LIST_TIMEOUT_S - page_s * number for number in range(pages)])


def test_a_page_of_events_that_does_not_come_leaves_those_before(
    host: Host, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(method: str, path: str, *, query: dict[str, str], read_timeout_s: float) -> Object:
        if "continue" in query:
            raise UnavailableError("no answer")
        return {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "first"}}]}

    monkeypatch.setattr(client, "request", answer)
    assert [event["metadata"]["name"] for event in host.cluster.list_events("a")] == ["first"]


def test_metadata_is_all_that_is_read_of_a_secret(host: Host, server: ApiServer) -> None:
    """There are many records and outputs, and their contents are not needed here."""
    assert list(host.cluster.list_metadata(Kind.SECRET, "kns")) == []
    labels = {"app.kubernetes.io/managed-by": "kns"}
    for name, own in (("kns-job-7-tokens", labels), ("other", {})):
        meta = {"name": name, "namespace": "kns", "labels": own}
        server.put("/api/v1", "secrets", {"metadata": meta, "data": {"password": "czNjcjN0"}})
    (found,) = host.cluster.list_metadata(Kind.SECRET, "kns", "app.kubernetes.io/managed-by=kns")
    assert (found["metadata"]["name"], set(found)) == ("kns-job-7-tokens", {"metadata"})
    assert server.seen[-1].query["resourceVersion"] == "0"


def test_metadata_of_a_tenants_pods_comes_in_pages_and_without_its_texts(host: Host, server: ApiServer) -> None:
    """A pod may have 256 KiB of annotations, and all pods are listed when a job ends."""
    for number in range(120):
        meta = {"name": f"pod-{number:03}", "namespace": "a", "annotations": {"a": "x" * 1000}, "labels": {"b": "c"}}
        server.put("/api/v1", "pods", {"metadata": meta, "spec": {"nodeName": "node"}})
    found = host.cluster.list_metadata(Kind.POD, "a")
    assert len(found) == 120
    assert all(set(pod) == {"metadata"} and not {"annotations", "labels"} & set(pod["metadata"]) for pod in found)
    pages = [seen for seen in server.seen if seen.path.endswith("/namespaces/a/pods")]
    assert [page.query.get("limit") for page in pages] == ["50"] * 3
    assert all("as=PartialObjectMetadataList" in page.headers["accept"] for page in pages)


def test_an_installation_is_its_namespaces_uid(server: ApiServer, client: KubeClient) -> None:
    with pytest.raises(NotFoundError):
        find_installation_uid(client, "kns-system")
    stored = server.put("/api/v1", "namespaces", {"metadata": {"name": "kns-system"}})
    assert find_installation_uid(client, "kns-system") == stored["metadata"]["uid"]


def test_ingresses_are_found_by_host_and_path(host: Host) -> None:
    def rule(host_name: str, *paths: str) -> Object:
        return {"host": host_name, "http": {"paths": [{"path": path} for path in paths]}}

    for number, rules in ((7, [rule("a.example.org", "/", "/shell")]), (8, [rule("b.example.org", "/")])):
        meta = {"name": f"kns-job-{number}", "namespace": f"kns-job-{number}", "labels": {"kns.io/job": str(number)}}
        ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": {"rules": rules}}
        host.cluster.apply(ingress)
    found = host.cluster.observe_routes_at("a.example.org", "/shell")
    assert [ingress["metadata"]["name"] for ingress in found] == ["kns-job-7"]
    assert not host.cluster.observe_routes_at("b.example.org", "/shell")


@pytest.mark.proves("security", "fill the memory of kns with objects of their own that have the labels of kns")
@pytest.mark.proves("security", "keep the address of a job from it by an Ingress with the labels of kns")
def test_of_other_namespaces_nothing_is_held(server: ApiServer, host: Host) -> None:
    """Whoever has a namespace can give every label, and other vclusters of the host mark their copies, too."""
    rule = {"host": "kns-job-8.example.org", "http": {"paths": [{"path": "/"}]}}
    spec = {"rules": [rule], "claimRef": {"namespace": "kns-job-7"}}
    marks = [*((kind, "kns.io/job") for kind in (*WATCHED, Kind.HTTP_ROUTE))]
    marks += [(kind, "vcluster.loft.sh/managed-by") for kind in COPIED]
    for kind, label in marks:
        row = KINDS[kind]
        for namespace, name in (("team", "theirs"), ("kns-job-7", names.TARGET)):  # each cache tells of the second
            if row.namespaced:
                meta = {"name": name, "namespace": namespace, "labels": {label: "8"}}
                server.put(row.prefix, row.plural, {"metadata": meta, "spec": spec})
            else:  # a Namespace, or a volume, whose provisioner copies labels to it
                meta = {"name": "theirs" if namespace == "team" else namespace, "labels": {label: "8"}}
                claim = {"claimRef": {"namespace": namespace}}
                server.put(row.prefix, row.plural, {"metadata": meta, "spec": {**spec, **claim}})
    host.wait_for(len(host.cluster.caches))
    for cache in host.cluster.caches:
        assert "theirs" not in [kept["metadata"]["name"] for kept in cache.all_objects()]
    assert "team" not in host.told
    found = host.cluster.observe_routes_at("kns-job-8.example.org", "/")
    assert {route["metadata"]["namespace"] for route in found} == {"kns-job-7"}


def test_nothing_that_a_reconcile_observes_walks_all_objects(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 10 000 jobs a walk over all pods took 67 ms of each reconcile."""
    meta = {"name": "one", "namespace": "kns-job-7", "labels": MINE}
    host.cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta})

    def refuse(_cache: WatchCache[Object]) -> NoReturn:
        raise AssertionError("walked all objects")

    monkeypatch.setattr(WatchCache, "all_objects", refuse)
    location = a_location(7)
    for cache in host.cluster.caches:
        monkeypatch.setattr(cache, "_objects", _Unwalkable(cache._objects))
    for kind in WATCHED:
        host.cluster.observe(kind, "kns-job-7", "one")
        host.cluster.observe_job(kind, location)
    for kind in COPIED:
        host.cluster.observe_copies(kind, location)
        host.cluster.observe_copy(kind, location, "one")
    host.cluster.observe_routes_at("a.example.org", "/")


class _OneRound(threading.Event):
    """Ends a loop at its first pause."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_a_host_without_an_optional_kind_keeps_nobody_waiting(
    server: ApiServer, client: KubeClient, clock: FakeClock
) -> None:
    """Its cache is never filled and says why. The caches that a start waits for are those of the other kinds."""
    cluster = Host(client, clock).cluster
    (routes,) = (cache for cache in cluster.caches if cache.kind == "httproutes")
    assert routes not in cluster.required_caches
    assert len(cluster.required_caches) == len(WATCHED) + len(COPIED)
    assert len({cache.kind for cache in cluster.caches}) == len(cluster.caches)  # the names in metrics
    server.script("GET", "/httproutes", failure(404, "NotFound", "the server could not find the resource"))
    routes.run(_OneRound())
    with pytest.raises(UnavailableError, match=r"cache of httproutes is not filled yet: GET .*could not find"):
        cluster.observe(Kind.HTTP_ROUTE, "kns-job-7", "kns-job-7")


ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "kns-job-7", "namespace": "kns-job-7", "labels": MINE},
    "spec": {"hostnames": ["a.example.org"], "rules": [{"matches": [{"path": {"value": "/7"}}]}]},
}


@pytest.fixture
def without_gateway(
    server: ApiServer, client: KubeClient, clock: FakeClock
) -> Iterator[Callable[[], tuple[Host, threading.Thread]]]:
    """Starts the watches of a site whose settings need no optional kind. Returns the thread of HTTPRoutes, too."""
    stop, threads = threading.Event(), dict[str, threading.Thread]()

    def start() -> tuple[Host, threading.Thread]:
        host = Host(client, clock, optional=())
        threads.update({thread.name: thread for thread in host.cluster.start(stop)})
        for _ in host.cluster.caches:
            server.watches.get(timeout=PATIENCE_S)
        return host, threads["watch-httproutes"]

    yield start
    stop.set()
    server.closing.set()
    server.end_watches()
    for thread in threads.values():
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_routes_from_the_time_of_a_gateway_are_watched(
    server: ApiServer, without_gateway: Callable[[], tuple[Host, threading.Thread]]
) -> None:
    """Nothing waits for them and no probe asks for their age, because most hosts do not have the kind."""
    server.put("/apis/gateway.networking.k8s.io/v1", "httproutes", ROUTE)
    host, _thread = without_gateway()
    server.watches.get(timeout=PATIENCE_S)
    host.wait_for(1)
    assert host.told == ["kns-job-7"]
    found = host.cluster.observe(Kind.HTTP_ROUTE, "kns-job-7", "kns-job-7")
    assert found is not None
    assert found["spec"] == ROUTE["spec"]
    assert len(host.cluster.observe_routes_at("a.example.org", "/7")) == 1
    assert "httproutes" not in [cache.kind for cache in host.cluster.caches]
    host.cluster.apply({**ROUTE, "spec": {"hostnames": ["b.example.org"]}})
    changed = host.cluster.observe(Kind.HTTP_ROUTE, "kns-job-7", "kns-job-7")
    assert changed is not None
    assert changed["spec"]["hostnames"] == ["b.example.org"]


def test_a_host_without_the_gateway_api_is_asked_once_whether_there_are_routes(
    server: ApiServer, without_gateway: Callable[[], tuple[Host, threading.Thread]]
) -> None:
    server.script("GET", "/httproutes", failure(404, "NotFound"))
    host, thread = without_gateway()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert server.count("GET", "/httproutes") == 1
    assert host.cluster.observe(Kind.HTTP_ROUTE, "kns-job-7", "kns-job-7") is None
    assert not host.cluster.observe_routes_at("a.example.org", "/7")


def test_a_host_that_does_not_say_whether_there_are_routes_is_asked_again(
    server: ApiServer,
    without_gateway: Callable[[], tuple[Host, threading.Thread]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An API server that has just started may refuse everything. It is reported once."""
    monkeypatch.setattr("kns.adapters.kube.cluster._FORMER_RETRY_S", 0.0)
    server.put("/apis/gateway.networking.k8s.io/v1", "httproutes", ROUTE)
    server.script("GET", "/httproutes", failure(403, "Forbidden"), failure(500, "InternalError"))
    host, _thread = without_gateway()
    server.watches.get(timeout=PATIENCE_S)
    host.wait_for(1)
    assert host.cluster.observe(Kind.HTTP_ROUTE, "kns-job-7", "kns-job-7") is not None
    assert capsys.readouterr().out.count("kind_not_watched") == 1


def test_httproutes_are_found_by_host_and_path(host: Host) -> None:
    match = {"path": {"type": "PathPrefix", "value": "/7"}}
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "kns-job-7", "namespace": "kns-job-7", "labels": MINE},
        "spec": {"hostnames": ["a.example.org"], "rules": [{"matches": [match]}]},
    }
    host.cluster.apply(route)
    assert [found["kind"] for found in host.cluster.observe_routes_at("a.example.org", "/7")] == ["HTTPRoute"]
    assert not host.cluster.observe_routes_at("a.example.org", "/")


class _Unwalkable(dict[Any, Any]):
    def __iter__(self) -> NoReturn:
        raise AssertionError("walked all objects")

    values = items = keys = __iter__  # a walk by any of them is the same walk


def test_warnings_are_asked_for_in_a_bounded_number(server: ApiServer, host: Host) -> None:
    """The API server selects and counts them, so the answer's size does not depend on what happens in the namespace."""
    server.script("GET", "/events", Answer(body={"items": None}))
    assert host.cluster.list_warnings("kns-job-7") == []
    asked = next(seen for seen in reversed(server.seen) if seen.path.endswith("/events"))
    assert asked.path == "/api/v1/namespaces/kns-job-7/events"
    assert asked.query == {"fieldSelector": "type=Warning", "limit": str(MOST_EVENTS)}


def test_a_warning_is_kept_without_what_nobody_reads(server: ApiServer, host: Host) -> None:
    event = {
        "metadata": {"name": "web.1", "managedFields": ["x" * 1000]},
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec"},
        "type": "Warning",
        "reason": "BackOff",
        "message": "again",
        "count": 3,
    }
    server.script("GET", "/events", Answer(body={"items": [event]}))
    (kept,) = host.cluster.list_warnings("kns-job-7")
    assert kept == {**event, "metadata": {"name": "web.1"}, "involvedObject": {"kind": "Pod", "name": "web"}}


def a_member(number: int = 7, *, installation: str = "kns", **annotations: str) -> Object:
    """The namespace of a ready member, whose uid is `uid-of-<number>`."""
    name, uid = f"kns-job-{number}", f"uid-of-{number}"
    labels = {"kns.io/job": str(number), "kns.io/installation": installation, "kns.io/pool": "any"}
    marks = {"kns.io/pool-shape": "s1", "kns.io/pool-ready": uid, "kns.io/pool-status": "{}", **annotations}
    return {"metadata": {"name": name, "uid": uid, "labels": labels, "annotations": marks}}


def test_members_of_the_pool_are_found_by_installation_and_shape(server: ApiServer, host: Host) -> None:
    for namespace in (
        a_member(7),
        a_member(8, installation="other"),
        a_member(9, **{"kns.io/pool-shape": "s2"}),
        a_member(10, **{"kns.io/pool-ready": "uid-of-7"}),
        a_member(11, **{"kns.io/pool-claim": "c1"}),
        a_member(12, **{"kns.io/record-uid": "u1"}),
    ):
        server.put("/api/v1", "namespaces", namespace)
    host.wait_for(6)
    assert [member.number for member in host.cluster.observe_members("kns")] == [7, 9, 10, 11]
    assert [member.number for member in host.cluster.observe_free_members("kns", "s1")] == [7]
    assert host.cluster.observe_free_members("kns", "s3") == []


def test_a_member_is_claimed_once_and_shown_so_at_once(server: ApiServer, host: Host) -> None:
    server.put("/api/v1", "namespaces", a_member())
    host.wait_for(1)
    (member,) = host.cluster.observe_free_members("kns", "s1")
    host.cluster.claim(member, {"kns.io/pool-claim": "c1"})
    sent = server.seen[-1]
    assert (sent.method, sent.headers["content-type"]) == ("PATCH", "application/merge-patch+json")
    assert host.cluster.observe_free_members("kns", "s1") == []
    assert [each.claim for each in host.cluster.observe_members("kns")] == ["c1"]
    with pytest.raises(ConflictError):
        host.cluster.claim(member, {"kns.io/pool-claim": "c2"})


@pytest.mark.proves("faults", "the refill competes with claims and jobs for the API server")
def test_a_claim_does_not_wait_for_the_writes_of_the_leader(server: ApiServer, client: KubeClient) -> None:
    """A client waits for its answer, and the pool's refill may use up the limit of writes."""

    class Exhausted(Throttle):
        def wait(self) -> None:
            raise UnavailableError("no more writes now")

    cluster = KubeCluster(
        client, clock=FakeClock(), on_change=lambda *_: None, throttle=Exhausted(1, burst=1, clock=FakeClock())
    )
    server.put("/api/v1", "namespaces", a_member())
    with pytest.raises(UnavailableError):
        cluster.delete(Kind.NAMESPACE, "", "kns-job-7")
    found = cluster.read(Kind.NAMESPACE, "", "kns-job-7")
    assert found is not None
    member = read_member(found)
    assert member is not None
    cluster.claim(member, {"kns.io/pool-claim": "c1"})
    assert cluster.read(Kind.NAMESPACE, "", "kns-job-7")["metadata"]["annotations"]["kns.io/pool-claim"] == "c1"  # type: ignore[index]


def test_a_member_that_is_gone_or_replaced_is_a_lost_race(server: ApiServer, host: Host) -> None:
    server.put("/api/v1", "namespaces", a_member())
    host.wait_for(1)
    (member,) = host.cluster.observe_free_members("kns", "s1")
    host.cluster.delete(Kind.NAMESPACE, "", "kns-job-7", uid="uid-of-7")
    with pytest.raises(ConflictError):
        host.cluster.claim(member, {"kns.io/pool-claim": "c1"})


def test_what_was_changed_since_it_was_judged_is_neither_deleted_nor_changed(server: ApiServer, host: Host) -> None:
    server.put("/api/v1", "namespaces", a_member())
    host.wait_for(1)
    (member,) = host.cluster.observe_free_members("kns", "s1")
    host.cluster.claim(member, {"kns.io/pool-claim": "c1"})
    assert not host.cluster.delete(Kind.NAMESPACE, "", "kns-job-7", uid=member.uid, version=member.version)
    assert host.cluster.read(Kind.NAMESPACE, "", "kns-job-7") is not None
    meta = {"name": "kns-job-7", "resourceVersion": member.version}
    with pytest.raises(ConflictError):
        host.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
