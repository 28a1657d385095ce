"""Service `kns-target` after a change by hand, on a real API server: what kns applies puts it back."""

from collections.abc import Callable
from typing import Any

import pytest

from kns.model.appdef.appdef import Target
from kns.objects.drift import stamp
from kns.objects.target import blocks_apply, build_target_service, is_target_service
from tests.builders import a_location
from tests.fakes.host import a_copy
from tests.policies.api_server import ApiServer

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


def put_back(api: ApiServer, wanted: dict[str, Any]) -> dict[str, Any]:
    """As the stage does it."""
    found = api.call("GET", SERVICE)
    assert not is_target_service(found, wanted)
    if blocks_apply(found):
        api.call("DELETE", SERVICE)
    api.apply(SERVICE, wanted)
    stored: dict[str, Any] = api.call("GET", SERVICE)
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
