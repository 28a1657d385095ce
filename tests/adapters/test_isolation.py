"""Calls into virtual clusters: a slow one delays only its own job."""

import json
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from kns.adapters.kube import isolation
from kns.adapters.kube.client import Bounds
from kns.adapters.kube.isolation import IsolatedVirtualClusters
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.model.errors import RefusedError, UnavailableError
from kns.ports import Kind, Object, VirtualClusters
from tests.adapters.api_server import ApiServer
from tests.adapters.conftest import kubeconfig_for
from tests.fakes.stores import FakeClock
from tests.fakes.vcluster import FakeVirtualClusters
from tests.patience import PATIENCE_S

A_CONFIG_MAP: Object = {"kind": "ConfigMap", "metadata": {"name": "kns-job", "namespace": "default"}}


class Stalling(FakeVirtualClusters):
    """Calls for a namespace that begins with `slow` last until `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.began: list[str] = []
        self._lock = threading.Lock()

    def is_ready(self, namespace: str, kubeconfig: str) -> bool:
        self._stall(namespace)
        return super().is_ready(namespace, kubeconfig)

    def apply(self, namespace: str, kubeconfig: str, objects: Sequence[Object]) -> None:
        self._stall(namespace)
        super().apply(namespace, kubeconfig, objects)

    def find_namespaces(
        self, namespace: str, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]
    ) -> frozenset[str]:
        self._stall(namespace)
        return super().find_namespaces(namespace, kubeconfig, kind, name, namespaces)

    def _stall(self, namespace: str) -> None:
        with self._lock:
            self.began.append(namespace)
        if namespace.startswith("slow"):
            assert self.go_on.wait(30)


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    one = Stalling()
    yield one
    one.go_on.set()


def isolate(inner: VirtualClusters, clock: FakeClock | None = None, *, threads: int = 32) -> IsolatedVirtualClusters:
    return IsolatedVirtualClusters(inner, clock=clock or FakeClock(), threads=threads, patience_s=0.05)


def be_patient(isolated: IsolatedVirtualClusters) -> IsolatedVirtualClusters:
    """For calls that are answered: on a busy machine their thread may begin late."""
    isolated._patience_s = PATIENCE_S
    return isolated


def settle(isolated: IsolatedVirtualClusters) -> None:
    """Wait until every call has ended."""
    for call in list(isolated._calls.values()):
        call.result.exception(timeout=30)


@pytest.mark.proves("security", "answer kns slowly or never from the job's own API")
def test_eight_stalling_clusters_delay_nobody_else(stalling: Stalling) -> None:
    """Eight is the number of workers. The workers come back at once, and another job's call is answered."""
    isolated = isolate(stalling)
    with ThreadPoolExecutor(8) as workers:
        answers = list(workers.map(lambda number: isolated.is_ready(f"slow {number}", "{}"), range(8)))
        assert answers == [False] * 8
        assert not stalling.go_on.is_set()
        assert be_patient(isolated).is_ready("quick", "{}")


def test_a_job_has_one_call_at_a_time(stalling: Stalling) -> None:
    isolated = isolate(stalling)
    for _ in range(5):
        assert not isolated.is_ready("slow", "{}")
        with pytest.raises(UnavailableError):
            isolated.apply("slow", "{}", [A_CONFIG_MAP])
    assert stalling.began == ["slow"]


@pytest.mark.proves("security", "answer kns slowly or never from the job's own API")
def test_a_job_whose_certificates_change_all_the_time_has_one_call_at_a_time(stalling: Stalling) -> None:
    """The kubeconfig is made from a Secret that the tenant can write. Another job's call finds a free thread."""
    isolated = isolate(stalling, threads=2)
    assert [isolated.is_ready("slow", f"{{}}{version}") for version in range(4)] == [False] * 4
    assert be_patient(isolated).is_ready("quick", "{}")
    assert stalling.began == ["slow", "quick"]


def test_a_slow_answer_is_collected_although_each_look_asks_first_whether_the_cluster_listens(
    stalling: Stalling,
) -> None:
    isolated = isolate(stalling)
    assert be_patient(isolated).listens("slow", "https://10.96.0.7:443")
    isolated._patience_s = 0.05
    assert not isolated.is_ready("slow", "{}")
    assert isolated.listens("slow", "https://10.96.0.7:443")  # while it runs
    assert not isolated.is_ready("slow", "{}")
    stalling.go_on.set()
    settle(isolated)
    assert isolated.listens("slow", "https://10.96.0.7:443")  # and when it has ended
    assert be_patient(isolated).is_ready("slow", "{}")
    assert stalling.asked == ["{}"]


def test_an_answer_to_another_kubeconfig_is_not_taken(stalling: Stalling) -> None:
    """After the cluster has got new certificates, kns asks with these."""
    isolated = isolate(stalling)
    assert not isolated.is_ready("slow", "{}")
    stalling.go_on.set()
    settle(isolated)
    assert be_patient(isolated).is_ready("slow", "{} ")
    assert stalling.asked == ["{}", "{} "]


def test_a_later_reconcile_collects_the_result(stalling: Stalling) -> None:
    """The call is not made again, so a slow but honest API makes progress."""
    isolated = isolate(stalling)
    with pytest.raises(UnavailableError):
        isolated.apply("slow", "{}", [A_CONFIG_MAP])
    stalling.go_on.set()
    settle(isolated)
    be_patient(isolated).apply("slow", "{}", [A_CONFIG_MAP])
    assert stalling.began == ["slow"]
    assert stalling.objects.keys() == {("ConfigMap", "default", "kns-job")}


def test_an_error_reaches_the_reconcile_and_the_next_call_is_new(stalling: Stalling) -> None:
    isolated = be_patient(isolate(stalling))
    stalling.fault = RefusedError("webhook says no")
    with pytest.raises(RefusedError, match="webhook says no"):
        isolated.apply("quick", "{}", [A_CONFIG_MAP])
    stalling.fault = None
    isolated.apply("quick", "{}", [A_CONFIG_MAP])
    assert isolated.find_namespaces("quick", "{}", Kind.CONFIG_MAP, "kns-job", {"default", "lab"}) == {"default"}


def test_the_result_of_another_call_is_never_taken_for_this_one(stalling: Stalling) -> None:
    isolated = isolate(stalling)
    assert not isolated.is_ready("slow", "{}")
    stalling.go_on.set()
    settle(isolated)
    assert be_patient(isolated).find_namespaces("slow", "{}", Kind.CONFIG_MAP, "kns-job", {"default"}) == frozenset()
    assert stalling.began == ["slow", "slow"]


def test_a_call_that_ends_during_the_wait_of_another_is_not_its_result(
    stalling: Stalling, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolated = isolate(stalling)
    assert not isolated.is_ready("slow", "{}")

    def end_and_wait(calls: list[Future[object]], timeout: float) -> None:
        del timeout
        stalling.go_on.set()
        wait(calls, timeout=30)

    monkeypatch.setattr(isolation, "wait", end_and_wait)
    with pytest.raises(UnavailableError, match="an earlier call"):
        isolated.find_namespaces("slow", "{}", Kind.CONFIG_MAP, "kns-job", {"default"})


def test_results_that_nobody_collects_are_dropped(stalling: Stalling) -> None:
    """Their job has ended meanwhile."""
    clock = FakeClock()
    isolated = isolate(stalling, clock)
    for number in range(20):
        assert not isolated.is_ready(f"slow {number}", "{}")
    stalling.go_on.set()
    settle(isolated)
    clock.advance(91)
    assert be_patient(isolated).is_ready("quick", "{}")
    assert isolated._calls == {}


def test_no_request_starts_without_the_lead(server: ApiServer) -> None:
    """A call may have waited for a thread, or be in the middle of several requests."""
    answers = iter([True, False])
    virtual = KubeVirtualClusters(may_work=lambda: next(answers))
    second = {"kind": "Secret", "metadata": {"name": "kns-job", "namespace": "default"}}
    with pytest.raises(UnavailableError, match="no longer the leader"):
        virtual.apply("kns-job-7", json.dumps(kubeconfig_for(server.url)), [A_CONFIG_MAP, second])
    assert [request.method for request in server.seen] == ["PATCH"]


def test_a_call_of_many_requests_has_one_limit(server: ApiServer) -> None:
    virtual = KubeVirtualClusters(Bounds(max_bytes=65536, total_s=0.0))
    with pytest.raises(UnavailableError, match="the requests before took"):
        virtual.apply("kns-job-7", json.dumps(kubeconfig_for(server.url)), [A_CONFIG_MAP])
    assert server.seen == []


def test_only_the_named_namespaces_are_asked_for_and_only_for_metadata(server: ApiServer) -> None:
    for namespace in ("lab", *(f"tenant-{number}" for number in range(50))):
        server.put("/api/v1", "secrets", {"metadata": {"name": "kns-job", "namespace": namespace}})
    virtual = KubeVirtualClusters()
    kubeconfig = json.dumps(kubeconfig_for(server.url))
    assert virtual.find_namespaces("kns-job-7", kubeconfig, Kind.SECRET, "kns-job", {"lab", "later"}) == {"lab"}
    assert [request.path for request in server.seen] == [
        "/api/v1/namespaces/lab/secrets/kns-job",
        "/api/v1/namespaces/later/secrets/kns-job",
    ]
    assert all("PartialObjectMetadata" in request.headers["accept"] for request in server.seen)
