"""How large an object may be that an account of a job writes, asked of a real API server."""

from typing import Any

import pytest

from tests.policies.api_server import ApiServer, RefusedError
from tests.policies.conftest import JOB
from tests.policies.test_job_policies import (
    COPY,
    SYNCER,
    _enforced,  # noqa: F401 - the fixture waits for the policies
    a_container,
    as_controller,
    build,
    build_pod,
    build_service,
    build_workload,
    path,
    with_meta,
)

SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{JOB}/endpointslices"
NEW_EVENTS = f"/apis/events.k8s.io/v1/namespaces/{JOB}/events"


def with_env(containers: int, values: int, size: int) -> dict[str, Any]:
    env = [{"name": f"A{number}", "value": "x" * size} for number in range(values)]
    return build_pod(COPY, containers=[{**a_container({}), "name": f"c{n}", "env": env} for n in range(containers)])


def with_services(services: int, containers: int) -> dict[str, Any]:
    """What vcluster writes into the containers for the service links of these Services."""
    env = []
    for number in range(services):
        name = f"SERVICE_OF_THE_APP_{number}"
        port = f"{name}_PORT_8080_TCP"
        for key in (f"{name}_SERVICE_HOST", f"{name}_SERVICE_PORT", f"{name}_PORT", port):
            env.append({"name": key, "value": "tcp://10.96.100.100:8080"})
        env.extend({"name": f"{port}_{part}", "value": "10.96.100.100"} for part in ("PROTO", "PORT", "ADDR"))
    return build_pod(COPY, containers=[{**a_container({}), "name": f"c{n}", "env": env} for n in range(containers)])


def build_endpoints(addresses: int, *, ports: int = 1, hostname: int = 0) -> dict[str, Any]:
    def at(number: int) -> dict[str, Any]:
        name = {"hostname": f"h{number}".ljust(hostname, "x")} if hostname else {}
        return {"ip": f"11.0.{number // 256}.{number % 256}", **name}

    listening = [{"name": f"p{number}", "port": 80 + number} for number in range(ports)]
    return build("Endpoints", COPY, subsets=[{"addresses": [at(n) for n in range(addresses)], "ports": listening}])


def build_slice(ports: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": COPY, "namespace": JOB},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["11.0.0.1"]}],
        "ports": [{"name": f"p{number}", "port": 80 + number} for number in range(ports)],
    }


def build_event(message: int, **fields: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "name": COPY, "namespace": JOB}
    return build("Event", "one", involvedObject=about, message="x" * message, **fields)


def build_new_event(note: int) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "one", "namespace": JOB},
        "eventTime": "2026-11-28T10:00:00.000000Z",
        "reportingController": "vcluster",
        "reportingInstance": "vcluster-0",
        "action": "Sync",
        "reason": "Synced",
        "type": "Normal",
        "note": "x" * note,
        "regarding": {"kind": "Pod", "name": COPY, "namespace": JOB},
    }


def annotated(obj: dict[str, Any], size: int) -> dict[str, Any]:
    return with_meta(obj, annotations={"a": "x" * size})


TOO_LARGE: dict[str, tuple[str, dict[str, Any], str]] = {
    "a pod of 1.2 MB": (path("pods"), with_env(1, 10, 120_000), "at most 524288 bytes"),
    "a pod with many containers": (path("pods"), with_env(10, 10, 6_000), "enableServiceLinks: false"),
    "a pod with 250 KiB of annotations and 400 KiB else": (
        path("pods"),
        annotated(with_env(1, 4, 100_000), 250_000),
        "of these 250001 in annotations",
    ),
    "a Service with 250 KiB of annotations": (
        path("services"),
        annotated(build_service(COPY), 256_000),
        "at most 65536 bytes",
    ),
    "a ConfigMap with data and annotations": (
        path("configmaps"),
        annotated(build("ConfigMap", COPY, data={"a": "x" * 250_000}), 240_000),
        "use kubectl apply --server-side",
    ),
    "owners in a ConfigMap": (
        path("configmaps"),
        with_meta(
            build("ConfigMap", COPY, data={"a": "x" * 200_000}),
            ownerReferences=[
                {"apiVersion": "v1", "kind": "Pod", "name": "x" * 200, "uid": str(number)} for number in range(1000)
            ],
        ),
        "at most 327680 bytes",
    ),
    "endpoints of 600 kB": (path("endpoints"), build_endpoints(6_000, hostname=60), "at most 65536 bytes"),
    "endpoints with 1001 addresses": (path("endpoints"), build_endpoints(1001), "these have 1001 and 1"),
    "endpoints with 101 ports": (path("endpoints"), build_endpoints(1, ports=101), "these have 1 and 101"),
    "a slice with 101 ports": (SLICES, build_slice(101), "these have 1 and 101"),
    "an Event of 900 kB": (path("events"), build_event(900_000), "at most 8192 bytes"),
    "an Event with 2049 bytes of message": (path("events"), build_event(2049), "has at most 2048 bytes"),
    "an Event with a long name of its source": (
        path("events"),
        build_event(1, source={"component": "x" * 9000}),
        "at most 8192 bytes",
    ),
}


@pytest.mark.proves("security", "fill the host's store with large objects of any kind")
@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_large_object_is_refused_whatever_its_kind(api: ApiServer, name: str) -> None:
    collection, body, message = TOO_LARGE[name]
    with pytest.raises(RefusedError, match=r"denied request") as caught:
        api.call("POST", collection + "?dryRun=All", body, user=SYNCER)
    assert message in str(caught.value)


USUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "a ConfigMap of 256 KiB": (path("configmaps"), build("ConfigMap", COPY, data={"a": "\n" * 262_144})),
    "a ConfigMap of 140 KiB that kubectl applied": (
        path("configmaps"),
        annotated(build("ConfigMap", COPY, data={"a": "x" * 140_000}), 145_000),
    ),
    "a Secret of a Helm release": (path("secrets"), build("Secret", COPY, data={"release": "eHh4" * 60_000})),
    "a pod with the links of 85 Services in five containers": (path("pods"), with_services(85, 5)),
    "a pod with 200 KiB of annotations": (path("pods"), annotated(build_pod(COPY), 200_000)),
    "a Service with 60 ports": (
        path("services"),
        build_service(COPY, ports=[{"name": f"p{n}", "port": 80 + n} for n in range(60)]),
    ),
    "endpoints with 1000 addresses": (path("endpoints"), build_endpoints(1000)),
    "a slice with 100 ports": (SLICES, build_slice(100)),
    "an Event with a message of 1 KiB": (path("events"), build_event(1024)),
    "an Event of the new kind": (NEW_EVENTS, build_new_event(1024)),
}


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_object_is_small_enough(api: ApiServer, name: str) -> None:
    collection, body = USUAL[name]
    created = api.call("POST", collection + "?dryRun=All", body, user=SYNCER)
    assert created["metadata"]["name"] == body["metadata"]["name"]


def test_an_object_cannot_grow_past_the_bound_by_an_update(api: ApiServer) -> None:
    name = f"grows-x-default-x-{JOB}"
    api.apply(path("configmaps", name), build("ConfigMap", name, data={"a": "x" * 200_000}), user=SYNCER)
    with pytest.raises(RefusedError, match="at most 262144 bytes, this one has 262145"):
        api.apply(path("configmaps", name), build("ConfigMap", name, data={"a": "x" * 262_145}), user=SYNCER)


@pytest.mark.proves("security", "fill the host's store with large objects of any kind")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_the_control_plane_does_not_grow_by_the_names_of_those_who_apply(api: ApiServer, kind: str) -> None:
    """Each name has an entry in managedFields. kns could not scale an object that is as large as etcd admits."""
    name = f"{JOB}-grows"
    collection, body = build_workload(kind, name)
    at = f"{collection}/{name}"
    api.call("POST", collection, body)
    applied = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": JOB}}
    applied["spec"] = {"template": {"metadata": {"annotations": {"kept": "yes"}}}}
    api.call("PATCH", f"{at}?fieldManager=one", applied, user=SYNCER, content_type="application/apply-patch+yaml")
    found = api.call("GET", at)
    (entry,) = (each for each in found["metadata"]["managedFields"] if each["manager"] == "one")
    found["metadata"]["managedFields"] += [{**entry, "manager": f"{number:0100}"} for number in range(400)]
    with pytest.raises(RefusedError, match="an object of this kind has at most 65536 bytes"):
        api.call("PUT", at, found, user=SYNCER)


def test_the_bounds_do_not_concern_kns_and_the_hosts_controllers(api: ApiServer) -> None:
    """Kubernetes' own endpoints of a large Service."""
    user = as_controller(api, "endpoint-controller")
    created = api.call("POST", path("endpoints") + "?dryRun=All", build_endpoints(1001, ports=101), user=user)
    assert len(created["subsets"][0]["addresses"]) == 1001
