"""
The jobs' HTTPRoutes before the real API server with the schemas of the Gateway API, and before a real controller.

KNS_GATEWAY_CRDS names the folder with the CRDs of the standard channel (config/crd/standard of the Go module
sigs.k8s.io/gateway-api); KNS_TRAEFIK is a traefik that contains the provider kubernetesgateway.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.model import names
from kns.model.job.location import Location
from kns.model.site import GatewayRef, JobAddress
from kns.objects.gateway import build_http_route, explain_refusal, is_answered
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer, RefusedError, run_beside
from tests.policies.conftest import JOB
from tests.ports import find_ports

GROUP = "/apis/gateway.networking.k8s.io/v1"
ROUTES = f"{GROUP}/namespaces/{JOB}/httproutes"
LOCATION = Location(7, JOB)
ADDRESS = JobAddress(host="kns-job-7.jobs.example.org", path="/", url="https://kns-job-7.jobs.example.org")


@pytest.fixture(scope="module")
def gateways(api: ApiServer) -> ApiServer:
    """The API server with the kinds of the Gateway API."""
    folder = Path(os.environ.get("KNS_GATEWAY_CRDS") or "/nowhere")
    if not folder.is_dir():
        pytest.skip("NOT TESTED against the Gateway API's schemas: set KNS_GATEWAY_CRDS")
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted(folder.glob("*.yaml")):
        for crd in yaml.safe_load_all(file.read_text()):
            if crd and crd["kind"] == "CustomResourceDefinition":
                api.apply(f"{path}/{crd['metadata']['name']}", crd)
    _await(lambda: _serves_routes(api), "HTTPRoutes")
    return api


@pytest.fixture(scope="module")
def traefik(gateways: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A controller with two Gateways' worth of listeners: `jobs` admits namespaces of jobs, `own` only its own."""
    program = shutil.which(os.environ.get("KNS_TRAEFIK") or "")
    if program is None:
        pytest.skip("NOT TESTED against a real controller: set KNS_TRAEFIK")
    folder = tmp_path_factory.mktemp("traefik")
    (port,) = find_ports(1)
    _make_gateway(gateways, port)
    argv = [
        program,
        f"--entrypoints.web.address=127.0.0.1:{port}",
        "--providers.kubernetesgateway=true",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
    ]
    environment = {"KUBECONFIG": str(gateways.kubeconfig), "HOME": str(folder)}
    with run_beside(folder / "traefik.log", *argv, environment=environment):
        yield gateways


def test_the_schema_takes_a_route_unchanged(gateways: ApiServer) -> None:
    wanted = _build("schema", GatewayRef("default", "public", "jobs"))
    stored = gateways.apply(f"{ROUTES}/schema", wanted)
    assert stored["spec"]["parentRefs"] == wanted["spec"]["parentRefs"]
    assert stored["spec"]["hostnames"] == wanted["spec"]["hostnames"]
    gateways.call("DELETE", f"{ROUTES}/schema")


REFUSED = {
    "a listener that admits no namespace of a job": ("own", ADDRESS, "admit namespaces with the label kns.io/job"),
    "a host that is not the listener's": (
        "jobs",
        JobAddress(host="elsewhere.example.net", path="/", url=""),
        "admits the host elsewhere.example.net",
    ),
    "a listener that is not there": ("none", ADDRESS, "has no listener for the route"),
}


def test_a_controller_serves_the_route_of_a_job(traefik: ApiServer) -> None:
    gateway = GatewayRef("default", "public", "jobs")
    _make_target(traefik)
    route = _answered(traefik, "served", gateway, ADDRESS)
    assert explain_refusal(route, gateway) is None


@pytest.mark.parametrize(("listener", "address", "says"), REFUSED.values(), ids=REFUSED)
def test_a_controllers_refusal_is_put_in_words(
    traefik: ApiServer, listener: str, address: JobAddress, says: str
) -> None:
    gateway = GatewayRef("default", "public", listener)
    _make_target(traefik)
    route = _answered(traefik, f"refused-{listener}", gateway, address)
    assert says in str(explain_refusal(route, gateway))


def test_a_gateway_that_is_not_there_gives_no_answer(traefik: ApiServer) -> None:
    """A later route's answer shows that the controller has looked."""
    gateway = GatewayRef("default", "none")
    traefik.apply(f"{ROUTES}/silent", _build("silent", gateway))
    _answered(traefik, "later", GatewayRef("default", "public", "own"), ADDRESS)
    assert not is_answered(traefik.call("GET", f"{ROUTES}/silent"), gateway)


def _build(name: str, gateway: GatewayRef, address: JobAddress = ADDRESS) -> dict[str, Any]:
    return build_http_route(LOCATION, name=name, address=address, service=names.TARGET, port=80, gateway=gateway)


def _answered(api: ApiServer, name: str, gateway: GatewayRef, address: JobAddress) -> dict[str, Any]:
    api.apply(f"{ROUTES}/{name}", _build(name, gateway, address))

    def answer() -> dict[str, Any] | None:
        route: dict[str, Any] = api.call("GET", f"{ROUTES}/{name}")
        return route if is_answered(route, gateway) else None

    found: dict[str, Any] = _await(answer, f"an answer to route {name}")
    return found


def _make_gateway(api: ApiServer, port: int) -> None:
    class_spec = {"controllerName": "traefik.io/gateway-controller"}
    meta = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "traefik"}}
    api.apply(f"{GROUP}/gatewayclasses/traefik", {**meta, "spec": class_spec})
    selector = {"matchExpressions": [{"key": names.JOB_LABEL, "operator": "Exists"}]}
    listener = {"protocol": "HTTP", "port": port}
    jobs = {"namespaces": {"from": "Selector", "selector": selector}}
    listeners = [
        {"name": "jobs", **listener, "hostname": "*.jobs.example.org", "allowedRoutes": jobs},
        {"name": "own", **listener, "hostname": "*.jobs.example.com"},
    ]
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public", "namespace": "default"},
        "spec": {"gatewayClassName": "traefik", "listeners": listeners},
    }
    api.apply(f"{GROUP}/namespaces/default/gateways/public", gateway)


def _make_target(api: ApiServer) -> None:
    """The Service with an empty EndpointSlice, which the controllers that do not run here would make."""
    meta = {"name": names.TARGET, "namespace": JOB}
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    api.apply(f"/api/v1/namespaces/{JOB}/services/{names.TARGET}", service)
    labels = {"kubernetes.io/service-name": names.TARGET}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": names.TARGET, "namespace": JOB, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [],
    }
    api.apply(f"/apis/discovery.k8s.io/v1/namespaces/{JOB}/endpointslices/{names.TARGET}", endpoints)


def _serves_routes(api: ApiServer) -> bool:
    try:
        api.call("GET", ROUTES)
    except RefusedError:
        return False
    return True


def _await(look: Any, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {what} after {PATIENCE_S} s")
