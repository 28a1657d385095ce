"""Waking the syncer for pods that wait: the adapter and its fake keep the same promises."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kns.adapters.kube.client import Bounds
from kns.adapters.kube.virtual import PODS_PER_PAGE, KubeVirtualClusters
from kns.model.errors import TransientError
from kns.model.names import RETRIED_ANNOTATION
from kns.ports import VirtualClusters
from tests.adapters.api_server import ApiServer, failure
from tests.adapters.conftest import kubeconfig_for
from tests.adapters.faulty_server import Answer
from tests.fakes.vcluster import FakeVirtualClusters

PATIENT = Bounds(max_bytes=512 * 1024, total_s=60.0)  # the machine of the tests may be busy


class Subject:
    """A virtual cluster of either kind."""

    def __init__(self, port: VirtualClusters, kubeconfig: str, server: ApiServer | None) -> None:
        self.port, self.kubeconfig, self.server = port, kubeconfig, server

    def add_pod(self, namespace: str, name: str, *, created: str = "", node: str = "", phase: str = "Pending") -> None:
        if self.server is None:
            assert isinstance(self.port, FakeVirtualClusters)
            self.port.add_pod(namespace, name, created=created, node=node, phase=phase)
            return
        self.server.now = created
        meta = {"namespace": namespace, "name": name, "annotations": {"a": "b"}}
        spec = {"nodeName": node} if node else {}
        self.server.put("/api/v1", "pods", {"metadata": meta, "spec": spec, "status": {"phase": phase}})

    def retry(self, mark: str, page: str = "") -> str:
        return self.port.retry_pods("kns-job-7", self.kubeconfig, mark, page)

    def mark_of(self, namespace: str, name: str) -> str | None:
        found: Any
        if self.server is None:
            assert isinstance(self.port, FakeVirtualClusters)
            found = self.port.objects["Pod", namespace, name]
        else:
            found = self.server.find("/api/v1", "pods", namespace, name)
        mark: str | None = found["metadata"].get("annotations", {}).get(RETRIED_ANNOTATION)
        return mark

    @property
    def order(self) -> list[str]:
        """The pods in the order in which they were changed."""
        if self.server is None:
            assert isinstance(self.port, FakeVirtualClusters)
            return self.port.retried
        changed = [seen.path.split("/") for seen in self.server.seen if seen.method == "PATCH"]
        return [f"{parts[4]}/{parts[6]}" for parts in changed]


@pytest.fixture(params=["fake", "adapter"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "fake":
        yield Subject(FakeVirtualClusters(), "", None)
        return
    server = ApiServer()
    yield Subject(KubeVirtualClusters(PATIENT), json.dumps(kubeconfig_for(server.url)), server)
    server.close()


def test_pods_without_a_node_are_woken_the_oldest_first(subject: Subject) -> None:
    """In all namespaces. A pod that has a node or has ended does not wait."""
    subject.add_pod("default", "a-young", created="2026-01-05T14:17:00Z")
    subject.add_pod("default", "placed", node="node-1")
    subject.add_pod("default", "ended", phase="Failed")
    subject.add_pod("lab", "old", created="2026-01-05T14:15:00Z")
    subject.add_pod("default", "z-middle", created="2026-01-05T14:16:00Z")
    assert subject.retry("now") == ""
    assert subject.order == ["lab/old", "default/z-middle", "default/a-young"]
    assert [subject.mark_of("default", name) for name in ("a-young", "placed", "ended")] == ["now", None, None]


def test_each_round_changes_a_pod_again(subject: Subject) -> None:
    """A patch without a change would wake nobody."""
    subject.add_pod("default", "web")
    subject.retry("first")
    subject.retry("second")
    assert subject.mark_of("default", "web") == "second"


def test_a_call_costs_one_page_however_many_pods_wait(subject: Subject) -> None:
    for number in range(2 * PODS_PER_PAGE + 1):
        subject.add_pod("default", f"pod-{number:05d}")
    pages, page = [], ""
    for _ in range(3):
        page = subject.retry("now", page)
        pages.append((len(subject.order), page != ""))
    assert pages == [(PODS_PER_PAGE, True), (2 * PODS_PER_PAGE, True), (2 * PODS_PER_PAGE + 1, False)]


def test_nothing_waits(subject: Subject) -> None:
    assert (subject.retry("now"), subject.order) == ("", [])


REFUSALS: dict[str, Callable[[], Answer]] = {
    "gone": lambda: failure(404, "NotFound"),
    "a webhook of the tenant": lambda: failure(400, "BadRequest", "denied the request"),
    "a policy of the tenant": lambda: failure(422, "Invalid"),
    "changed meanwhile": lambda: failure(409, "Conflict"),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_pod_that_cannot_be_changed_keeps_no_other_waiting(server: ApiServer, answer: Callable[[], Answer]) -> None:
    subject = Subject(KubeVirtualClusters(PATIENT), json.dumps(kubeconfig_for(server.url)), server)
    subject.add_pod("default", "one", created="2026-01-05T14:15:00Z")
    subject.add_pod("default", "two", created="2026-01-05T14:16:00Z")
    server.script("PATCH", "/one", answer())
    assert subject.retry("now") == ""
    assert (subject.mark_of("default", "one"), subject.mark_of("default", "two")) == (None, "now")


def test_a_token_that_has_expired_ends_the_list(server: ApiServer) -> None:
    subject = Subject(KubeVirtualClusters(PATIENT), json.dumps(kubeconfig_for(server.url)), server)
    server.script("GET", "/pods", failure(410, "Expired"))
    assert subject.retry("now", "50") == ""


def test_a_server_that_sends_more_than_a_page_gets_one_page_of_requests(server: ApiServer) -> None:
    """And a token that is longer than any real one is not kept."""
    meta = {"continue": "x" * 100_000}
    items = [{"metadata": {"namespace": "default", "name": f"pod-{n}"}} for n in range(10 * PODS_PER_PAGE)]
    server.script("GET", "/pods", Answer(200, {"metadata": meta, "items": items}))
    subject = Subject(KubeVirtualClusters(PATIENT), json.dumps(kubeconfig_for(server.url)), server)
    assert subject.retry("now") == ""
    assert len(subject.order) == PODS_PER_PAGE


def test_metadata_that_a_tenant_made_large_is_not_read(server: ApiServer) -> None:
    subject = Subject(
        KubeVirtualClusters(Bounds(max_bytes=10_000, total_s=5.0)), json.dumps(kubeconfig_for(server.url)), server
    )
    meta = {"namespace": "default", "name": "web", "annotations": {"a": "x" * 20_000}}
    server.put("/api/v1", "pods", {"metadata": meta, "spec": {}, "status": {"phase": "Pending"}})
    with pytest.raises(TransientError, match="larger than 10000 bytes"):
        subject.retry("now")


ONE = {"metadata": {"namespace": "default", "name": "one"}}


@pytest.mark.parametrize(
    "body",
    [
        [],
        "no",
        {},
        {"items": {"a": 1}, "metadata": {}},
        {"items": ["one"], "metadata": {}},
        {"items": [{"metadata": []}], "metadata": {}},
        {"items": [{"metadata": {"name": "one"}}], "metadata": {}},
        {"items": [ONE], "metadata": "no"},
        {"items": [ONE]},
    ],
    ids=str,
)
def test_an_answer_that_is_no_list_is_no_answer(server: ApiServer, body: object) -> None:
    """The tenant chooses it. Anything else than an error that can be retried would stop the whole job."""
    server.script("GET", "/pods", Answer(200, body))
    with pytest.raises(TransientError):
        KubeVirtualClusters(PATIENT).retry_pods("kns-job-7", json.dumps(kubeconfig_for(server.url)), "now", "")
    assert server.count("PATCH") == 0


@pytest.mark.parametrize("token", [7, ["x"], "\ud800", "x" * 5000], ids=["number", "list", "surrogate", "long"])
def test_a_token_that_cannot_be_sent_back_is_none(server: ApiServer, token: object) -> None:
    server.script("GET", "/pods", Answer(200, {"items": [], "metadata": {"continue": token}}))
    port = KubeVirtualClusters(PATIENT)
    assert port.retry_pods("kns-job-7", json.dumps(kubeconfig_for(server.url)), "now", "") == ""
