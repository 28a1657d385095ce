"""A sleeping job on a real API server: what kns's account may write for it, and what a job's account may not."""

from typing import Any

import pytest
import yaml

from kns.model import names
from kns.model.job.location import Location
from kns.objects.namespace import build_role_binding
from kns.objects.wake import build_wake_service, build_wake_slice, is_wake_slice
from tests.policies.api_server import ApiServer, RefusedError, await_refusal
from tests.policies.conftest import JOB, MANIFESTS

ACCOUNT = "system:serviceaccount:kns-system:kns-sa"
SYNCER = f"system:serviceaccount:{JOB}:vc-{JOB}"
LOCATION = Location(7, JOB)
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{JOB}/endpointslices"
WAKE = f"{SLICES}/{names.WAKE}"
SETS = f"/apis/apps/v1/namespaces/{JOB}/statefulsets"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module", autouse=True)
def _rights(api: ApiServer) -> None:
    """The real roles for the account, bound as kns binds them, and a namespace that belongs to its installation."""
    labels = {"metadata": {"labels": {names.INSTALLATION_LABEL: "kns-system"}}}
    api.call("PATCH", f"/api/v1/namespaces/{JOB}", labels, content_type=MERGE)
    for path in MANIFESTS.glob("rbac-*.yaml"):
        for obj in yaml.safe_load_all(path.read_text()):
            if obj["kind"] == "ClusterRoleBinding":
                api.apply(f"{BINDINGS}/{obj['metadata']['name']}", obj)
    binding = build_role_binding(LOCATION, service_account="kns-sa", system_namespace="kns-system")
    folder = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{JOB}/rolebindings"
    api.apply(f"{folder}/{binding['metadata']['name']}", binding)
    other = build_wake_slice(LOCATION, ["10.0.0.1"], 8080)
    other["metadata"]["name"] = "other"
    await_refusal(lambda: api.call("POST", f"{SLICES}?dryRun=All", other, user=ACCOUNT), "another EndpointSlice")


def test_kns_leads_the_address_to_its_own_pods_and_reads_it_back(api: ApiServer) -> None:
    for addresses in (["10.0.0.1", "10.0.0.2"], ["10.0.0.3"]):
        wanted = build_wake_slice(LOCATION, addresses, 8080)
        api.apply(WAKE, wanted, user=ACCOUNT)
        assert is_wake_slice(api.call("GET", WAKE, user=ACCOUNT), wanted)
    assert not is_wake_slice(api.call("GET", WAKE), build_wake_slice(LOCATION, ["10.0.0.5"], 8080))
    service = build_wake_service(LOCATION)
    stored = api.apply(f"/api/v1/namespaces/{JOB}/services/{names.WAKE}", service, user=ACCOUNT)
    assert "selector" not in stored["spec"]


def _change(**meta: Any) -> dict[str, Any]:
    found = build_wake_slice(LOCATION, ["10.0.0.66"], 80)
    found["metadata"] |= meta
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        _change(name="other"),
        _change(labels={names.SERVICE_NAME_LABEL: names.TARGET}),
        _change(labels={}),
        {**_change(), "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
        {**_change(), "ports": []},
    ],
    ids=["another name", "of another Service", "of none", "another port", "no port"],
)
def test_kns_writes_no_other_endpoints(api: ApiServer, wrong: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="only endpoints that kns writes"):
        api.call("POST", f"{SLICES}?dryRun=All", wrong, user=ACCOUNT)


@pytest.mark.proves("security", "lead the ingress controller to another job by its own endpoints")
def test_a_jobs_account_changes_none_of_it(api: ApiServer) -> None:
    api.apply(WAKE, build_wake_slice(LOCATION, ["10.0.0.1"], 8080))
    mine = build_wake_slice(LOCATION, ["10.0.0.66"], 8080)
    with pytest.raises(RefusedError, match=r"belongs to kns|by Kubernetes and kns alone"):
        api.apply(WAKE, mine, user=SYNCER)
    mine["metadata"]["name"] = f"x-x-default-x-{JOB}"
    with pytest.raises(RefusedError, match="by Kubernetes and kns alone"):
        api.apply(f"{SLICES}/{mine['metadata']['name']}", mine, user=SYNCER)


def test_kns_scales_a_control_plane_and_keeps_everything_else(api: ApiServer) -> None:
    labels = {"app": "vcluster"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    spec = {"replicas": 1, "serviceName": "a", "selector": {"matchLabels": labels}, "template": template}
    path = f"{SETS}/sleeper"  # others' tests have one of the job's name
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "sleeper"}, "spec": spec}
    stored = api.apply(path, body, user=ACCOUNT)
    for replicas in (0, 1):
        change = {"metadata": {"uid": stored["metadata"]["uid"]}, "spec": {"replicas": replicas}}
        scaled = api.call("PATCH", f"{path}?fieldManager=kns", change, user=ACCOUNT, content_type=MERGE)
        assert scaled["spec"] == {**stored["spec"], "replicas": replicas}
    change["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(RefusedError):
        api.call("PATCH", f"{path}?fieldManager=kns", change, user=ACCOUNT, content_type=MERGE)
