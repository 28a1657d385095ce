"""The warm pool on a real API server: what kns's own account may do with members, and that one claim wins."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.connect import connect
from kns.adapters.kube.throttle import Throttle
from kns.model import names
from kns.model.errors import ConflictError
from kns.model.job.job import JobStatus
from kns.model.job.member import Marks, Member, build_claim
from kns.objects.namespace import build_namespace
from kns.ports import Kind
from tests.builders import a_job
from tests.fakes.stores import START, FakeClock
from tests.policies.api_server import ApiServer, RefusedError
from tests.policies.conftest import MANIFESTS

ACCOUNT = "system:serviceaccount:kns-system:kns-sa"
OTHER = "system:serviceaccount:kns-two:kns-sa"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
NAMESPACES = "/api/v1/namespaces"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
_ENFORCED_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def _rights(api: ApiServer) -> None:
    """The real role for the account of this installation and of another one, and the policy in force."""
    for path in MANIFESTS.glob("rbac-*.yaml"):
        for obj in yaml.safe_load_all(path.read_text()):
            if obj["kind"] == "ClusterRoleBinding":
                api.apply(f"{BINDINGS}/{obj['metadata']['name']}", obj)
                obj["metadata"]["name"] += "-two"
                obj["subjects"][0]["namespace"] = "kns-two"
                api.apply(f"{BINDINGS}/{obj['metadata']['name']}", obj)
    deadline = time.monotonic() + _ENFORCED_S
    for account in (ACCOUNT, OTHER):
        while True:
            try:
                api.call("POST", f"{NAMESPACES}?dryRun=All", {"metadata": {"name": "evil"}}, user=account)
                said = "admitted"
            except RefusedError as error:
                said = str(error)
            if "kns writes only namespaces kns-job-NUMBER" in said:
                break
            assert time.monotonic() < deadline, said
            time.sleep(0.2)


@pytest.fixture
def cluster(api: ApiServer) -> Iterator[KubeCluster]:
    client: KubeClient = connect(api.kubeconfig)
    yield KubeCluster(
        client, clock=FakeClock(), on_change=lambda *_: None, throttle=Throttle(1000, burst=1000, clock=FakeClock())
    )
    client.close()


def a_namespace(number: int, marks: Marks | None, *, installation: str = "kns-system") -> dict[str, Any]:
    job = a_job().numbered(number).build()
    assert job.spec.accepted is not None
    return build_namespace(job.spec, job.spec.accepted, record_uid="u1", installation=installation, member=marks)


def make(api: ApiServer, number: int, *, installation: str = "kns-system", user: str = ACCOUNT) -> dict[str, Any]:
    """A ready member, made and marked as the leader does it."""
    marks = Marks("any", "s1")
    path = f"{NAMESPACES}/kns-job-{number}?fieldManager=kns&force=true"
    made = api.call("PATCH", path, a_namespace(number, marks, installation=installation), user=user, content_type=APPLY)
    ready = Marks("any", "s1", JobStatus(start_time=START), made["metadata"]["uid"])
    body = a_namespace(number, ready, installation=installation)
    body["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    found: dict[str, Any] = api.call("PATCH", path, body, user=user, content_type=APPLY)
    return found


def claim(api: ApiServer, found: dict[str, Any], *, user: str = ACCOUNT) -> Any:
    meta = found["metadata"]
    body = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
    body["metadata"]["annotations"] = build_claim("c1", START)
    return api.call("PATCH", f"{NAMESPACES}/{meta['name']}", body, user=user, content_type=MERGE)


def test_kns_makes_claims_and_discards_members_with_the_rights_that_it_has(api: ApiServer) -> None:
    found = make(api, 101)
    claimed = claim(api, found)["metadata"]
    assert claimed["annotations"][names.POOL_CLAIM_ANNOTATION] == "c1"
    stale = {"uid": claimed["uid"], "resourceVersion": found["metadata"]["resourceVersion"]}
    with pytest.raises(RefusedError) as conflict:
        api.call("DELETE", f"{NAMESPACES}/kns-job-101", {"preconditions": stale}, user=ACCOUNT)
    assert conflict.value.status == 409
    current = {"uid": claimed["uid"], "resourceVersion": claimed["resourceVersion"]}
    api.call("DELETE", f"{NAMESPACES}/kns-job-101", {"preconditions": current}, user=ACCOUNT)


def test_an_installation_touches_no_member_of_another_one(api: ApiServer) -> None:
    found = make(api, 102)
    with pytest.raises(RefusedError, match="kns writes only namespaces"):
        claim(api, found, user=OTHER)
    with pytest.raises(RefusedError, match="kns writes only namespaces"):
        api.call("DELETE", f"{NAMESPACES}/kns-job-102", user=OTHER)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("pool-1", {"kns.io/job": "1"}),
        ("kns-job-103", {"kns.io/job": "104"}),
        ("kns-job-103", {"kns.io/job": "103", "kns.io/installation": "kns-two"}),
    ],
    ids=["another name", "another number", "another installation"],
)
def test_the_marks_of_a_member_open_no_other_namespace(api: ApiServer, name: str, labels: dict[str, str]) -> None:
    body = a_namespace(103, Marks("any", "s1"))
    body["metadata"] = {**body["metadata"], "name": name, "labels": {**body["metadata"]["labels"], **labels}}
    with pytest.raises(RefusedError, match="kns writes only namespaces"):
        api.call("PATCH", f"{NAMESPACES}/{name}?fieldManager=kns", body, user=ACCOUNT, content_type=APPLY)


@pytest.mark.proves("security", "get a virtual cluster of the warm pool that another job has or had")
def test_one_of_two_claims_of_a_version_wins(api: ApiServer, cluster: KubeCluster) -> None:
    make(api, 105)
    cluster._caches[Kind.NAMESPACE]._list()
    (member,) = [each for each in cluster.observe_free_members("kns-system", "s1") if each.number == 105]
    cluster.claim(member, build_claim("c1", START))
    with pytest.raises(ConflictError):
        cluster.claim(member, build_claim("c2", START))
    late = a_namespace(105, member.marks)
    late["metadata"]["resourceVersion"] = member.version
    with pytest.raises(ConflictError):
        cluster.apply(late)
    cluster.delete(Kind.NAMESPACE, "", member.namespace, uid=member.uid, version=member.version)
    (claimed,) = [each for each in cluster.observe_members("kns-system") if each.number == 105]
    assert (claimed.claim, claimed.terminating) == ("c1", False)


def test_the_job_that_takes_a_member_over_leaves_only_the_mark_of_its_claim(
    api: ApiServer, cluster: KubeCluster
) -> None:
    """Apply drops what the pool applied; a claim is a patch and stays, as the origin of the namespace."""
    claim(api, make(api, 106))
    taken = cluster.apply(a_namespace(106, None))["metadata"]
    cold = cluster.apply(a_namespace(107, None))["metadata"]
    marks = {names.POOL_CLAIM_ANNOTATION, names.POOL_CLAIM_TIME_ANNOTATION}
    assert taken["annotations"].keys() - marks == cold["annotations"].keys()
    assert taken["labels"].keys() == cold["labels"].keys()
    cluster._caches[Kind.NAMESPACE]._list()
    assert _find(cluster, 106) is None


def _find(cluster: KubeCluster, number: int) -> Member | None:
    return next((each for each in cluster.observe_members("kns-system") if each.number == number), None)
