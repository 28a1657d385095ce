"""Service `kns-target` after a change by hand, on a real API server: what kns applies puts it back."""

from collections.abc import Callable
from typing import Any

import pytest

from kns.model import names
from kns.model.appdef.appdef import Target
from kns.model.job.location import Location
from kns.objects.drift import stamp
from kns.objects.namespace import build_role_binding
from kns.objects.target import blocks_apply, build_target_service, is_target_service
from tests.builders import a_location
from tests.fakes.host import a_copy
from tests.policies.api_server import ApiServer
from tests.policies.conftest import JOB

NAMESPACE = "target-by-hand"
PATH = f"/api/v1/namespaces/{NAMESPACE}/services"
SERVICE = f"{PATH}/kns-target"
Change = Callable[[dict[str, Any]], None]


def _lead_elsewhere(spec: dict[str, Any]) -> None:
    for key in ("clusterIP", "clusterIPs", "internalTrafficPolicy"):
        spec.pop(key, None)
    spec.update(type="ExternalName", externalName="example.org")


CHANGES: dict[str, Change] = {
    "an ExternalName": _lead_elsewhere,
    "a wider selector": lambda spec: spec["selector"].update(a="b"),
    "another selector": lambda spec: spec.update(selector={"app": "other"}),
    "the port leads elsewhere": lambda spec: spec["ports"][0].update(targetPort=1),
    "the port has another number": lambda spec: spec["ports"][0].update(port=81),
    "the port has another name": lambda spec: spec["ports"][0].update(name="https"),
    "pods that are not ready": lambda spec: spec.update(publishNotReadyAddresses=True),
    "one pod for each client": lambda spec: spec.update(sessionAffinity="ClientIP"),
    "only pods of the node": lambda spec: spec.update(internalTrafficPolicy="Local"),
}


@pytest.fixture(scope="module", autouse=True)
def _namespace(api: ApiServer) -> None:
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})


def put_back(api: ApiServer, wanted: dict[str, Any], *, path: str = SERVICE, user: str = "") -> dict[str, Any]:
    """As the stage does it."""
    found = api.call("GET", path)
    assert not is_target_service(found, wanted)
    if blocks_apply(found):
        api.call("DELETE", path, user=user)
    api.apply(path, wanted, user=user)
    stored: dict[str, Any] = api.call("GET", path)
    return stored


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_by_hand_is_noticed_and_put_back(api: ApiServer, change: Change) -> None:
    target = Target(service_name="web", service_namespace="default", service_port=8080)
    built = build_target_service(a_location(), target, a_copy("kns-job-7"))
    wanted = stamp({**built, "metadata": {**built["metadata"], "namespace": NAMESPACE}})
    api.apply(SERVICE, wanted)
    before = api.call("GET", SERVICE)
    assert is_target_service(before, wanted)
    changed = api.call("GET", SERVICE)
    change(changed["spec"])
    api.call("PUT", SERVICE, changed)
    after = put_back(api, wanted)
    assert is_target_service(after, wanted)
    addresses = ("clusterIP", "clusterIPs")
    kept = {key: value for key, value in after["spec"].items() if key not in addresses}
    assert kept == {key: value for key, value in before["spec"].items() if key not in addresses}
    api.call("DELETE", SERVICE)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_rights_of_kns_suffice_to_put_it_back(api: ApiServer, change: Change) -> None:
    """With the real role in the namespace of a job, and the policy that limits kns's own account."""
    labels = {"metadata": {"labels": {names.INSTALLATION_LABEL: "kns-system"}}}
    api.call("PATCH", f"/api/v1/namespaces/{JOB}", labels, content_type="application/merge-patch+json")
    binding = build_role_binding(Location(7, JOB), service_account="kns-sa", system_namespace="kns-system")
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{JOB}/rolebindings"
    api.apply(f"{bindings}/{binding['metadata']['name']}", binding)
    target = Target(service_name="web", service_namespace="default", service_port=8080)
    wanted = stamp(build_target_service(Location(7, JOB), target, a_copy(JOB)))
    path, user = f"/api/v1/namespaces/{JOB}/services/kns-target", "system:serviceaccount:kns-system:kns-sa"
    api.apply(path, wanted, user=user)
    changed = api.call("GET", path)
    change(changed["spec"])
    api.call("PUT", path, changed)
    assert is_target_service(put_back(api, wanted, path=path, user=user), wanted)
    api.call("DELETE", path)
