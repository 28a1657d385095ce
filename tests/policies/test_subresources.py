"""Subresources on a real API server: of what the policy looks at, kns writes none."""

import time
from typing import Any

import pytest

from kns.model.job.record import build_record
from tests.builders import a_job
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer, RefusedError, make_namespace_with_all_rights

NAMESPACE = "kns-subresources"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:kns-sa"
RECORDS = f"/apis/kns.io/v1alpha1/namespaces/{NAMESPACE}/nestedjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@pytest.fixture(scope="module")
def installed(records_api: ApiServer) -> ApiServer:
    """An account of that name with every right in its namespace, so that only the policy refuses."""
    api = records_api
    make_namespace_with_all_rights(api, NAMESPACE)
    api.call("POST", RECORDS, build_record(record="one", spec=a_job().build().spec, namespace=NAMESPACE))
    deadline = time.monotonic() + PATIENCE_S  # the authoriser follows within a moment
    while refusal(api, "PATCH", f"{RECORDS}/one", {"metadata": {"labels": {"a": "b"}}}):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return api


def refusal(api: ApiServer, method: str, path: str, body: dict[str, Any] | None = None) -> str:
    """Why kns's account may not do that; "" if it may. Nothing is stored."""
    try:
        merge = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        api.call(method, f"{path}?dryRun=All", body, user=ACCOUNT, **merge)
    except RefusedError as error:
        return str(error)
    return ""


def test_kns_writes_the_status_of_its_records(installed: ApiServer) -> None:
    """The policy does not look at statuses, of which a cluster writes many; the role decides."""
    assert refusal(installed, "PATCH", f"{RECORDS}/one/status", {"status": {"message": "runs"}}) == ""


def test_kns_writes_no_other_subresource(installed: ApiServer) -> None:
    pod = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "one", "image": "one"}]}}
    installed.call("POST", PODS, pod)
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    installed.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "kns-sa"}})
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}
    for path, body in ((f"{accounts}/kns-sa/token", token), (f"{PODS}/one/eviction", eviction)):
        assert "the only subresource that kns writes is" in refusal(installed, "POST", path, body), path
