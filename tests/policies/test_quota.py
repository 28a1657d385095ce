"""The quota of a job on the real API server."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kns.model.appdef import resources
from kns.model.appdef.limit_range import parse_limit_range
from kns.model.reading.quantity import parse_quantity
from kns.objects.namespace import ENDED_PODS, build_limit_range, build_resource_quota
from tests.builders import a_job
from tests.policies.api_server import ApiServer, RefusedError, await_refusal, run_beside

NAMESPACE = "quota-of-a-job"


def a_pod(name: str) -> dict[str, Any]:
    size = {"cpu": "100m", "memory": "32Mi"}
    container = {"name": "c", "image": "example.org/app:1", "resources": {"requests": size, "limits": size}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def test_pods_that_ended_are_counted_and_the_refusal_names_the_limit(api: ApiServer) -> None:
    """
    None of the job's pods runs, and the limit of those that ended is reached. The usage is written by hand, as no
    controller runs.
    """
    accepted = a_job().build().spec.accepted
    assert accepted is not None
    quota = build_resource_quota(accepted, nodes=1, ephemeral="10Gi")
    quota["metadata"]["namespace"] = NAMESPACE
    meta = {"name": NAMESPACE}
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    quotas = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
    stored = api.call("POST", quotas, quota)
    hard = stored["spec"]["hard"]
    pods, limit = int(hard["pods"]), int(hard["count/pods"])
    assert limit == pods + ENDED_PODS

    def set_used(ended: int) -> None:
        found = api.call("GET", f"{quotas}/{stored['metadata']['name']}")
        found["status"] = {"hard": hard, "used": {**dict.fromkeys(hard, "0"), "count/pods": str(ended)}}
        api.call("PUT", f"{quotas}/{stored['metadata']['name']}/status", found)

    set_used(limit - 1)
    api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", a_pod("last"))
    set_used(limit)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All"
    await_refusal(lambda: api.call("POST", path, a_pod("too-many")), "a pod above the quota")
    with pytest.raises(RefusedError, match=rf"exceeded quota: .*count/pods={limit}, limited: count/pods={limit}"):
        api.call("POST", path, a_pod("too-many"))


GI = 1024**3
LIMIT_RANGES = {
    "the site's default": {"default": {"cpu": 1, "memory": "1Gi"}, "default_request": {"cpu": "2m", "memory": "2Mi"}},
    "one of an AppDef without a default": {"max": {"cpu": "2", "memory": "2Gi"}},
}


@pytest.mark.proves("security", "fill the disk of a node with files, logs or `emptyDir` volumes")
@pytest.mark.parametrize("name", LIMIT_RANGES)
def test_ephemeral_storage_is_counted_for_a_pod_that_names_none(api: ApiServer, name: str) -> None:
    """An ordinary pod is admitted and counts with the default. A job cannot get more than its machine has."""
    accepted = a_job().build().spec.accepted
    assert accepted is not None
    quota = build_resource_quota(accepted, nodes=1, ephemeral="10Gi")
    limits = build_limit_range(accepted.location, parse_limit_range(LIMIT_RANGES[name]), ephemeral="10Gi", nodes=1)
    namespace = f"ephemeral-{len(name)}"
    meta = {"name": namespace}
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    root = f"/api/v1/namespaces/{namespace}"
    for plural, obj in (("limitranges", limits), ("resourcequotas", quota)):
        obj["metadata"]["namespace"] = namespace
        api.call("POST", f"{root}/{plural}", obj)
    stored = api.call("GET", f"{root}/resourcequotas/kns-quota")
    hard = stored["spec"]["hard"]
    api.call(
        "PUT",
        f"{root}/resourcequotas/kns-quota/status",
        {**stored, "status": {"hard": hard, "used": dict.fromkeys(hard, "0")}},
    )

    def create(name: str, *, path: str = f"{root}/pods", **container: Any) -> dict[str, Any]:
        meta = {"name": name}
        spec = {"containers": [{"name": "c", "image": "example.org/app:1", **container}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        pod: dict[str, Any] = api.call("POST", path, body)
        given: dict[str, Any] = pod["spec"]["containers"][0]["resources"]
        return given

    huge = {"limits": {"cpu": "2m", "memory": "2Mi", "ephemeral-storage": "1000Gi"}}
    await_refusal(lambda: create("no", path=f"{root}/pods?dryRun=All", resources=huge), "a pod above the quota")
    own = {**resources.SIDE_BY_SIDE, "coredns": resources.COREDNS, "init": resources.INIT}
    for container, explicit in own.items():
        assert create(container, resources=explicit)["limits"] == explicit["limits"]
    small = {"cpu": "2m", "memory": "2Mi"}
    given = create("ordinary", resources={"requests": small, "limits": small})
    assert parse_quantity(given["limits"]["ephemeral-storage"]) == GI
    assert parse_quantity(given["requests"]["ephemeral-storage"]) == GI // 16
    used = api.call("GET", f"{root}/resourcequotas/kns-quota")["status"]["used"]
    assert parse_quantity(used["limits.ephemeral-storage"]) == 13 * GI  # 12 of kns's own pods

    large = {**small, "ephemeral-storage": "9Gi"}
    create("large", resources={"requests": small, "limits": large})
    with pytest.raises(RefusedError, match=r"exceeded quota: kns-quota, .*limits\.ephemeral-storage"):
        create("too-much", resources={"requests": small, "limits": small})


@pytest.fixture
def counting(api: ApiServer, tmp_path: Path) -> Iterator[None]:
    """The controller that writes the usage of quotas."""
    apiserver = shutil.which(os.environ.get("KNS_KUBE_APISERVER") or "")
    program = Path(apiserver or "").with_name("kube-controller-manager")
    if not program.is_file():
        pytest.skip(f"NOT TESTED against the real quota controller: there is no {program}")
    arguments = (
        f"--kubeconfig={api.kubeconfig}",
        "--controllers=resourcequota-controller",
        "--leader-elect=false",
        "--secure-port=0",
        "--concurrent-resource-quota-syncs=1",
    )
    with run_beside(tmp_path / "controller-manager.log", str(program), *arguments):
        yield


@pytest.mark.usefixtures("counting")
def test_the_host_counts_pods_that_ended(api: ApiServer) -> None:
    """`count/pods` counts them, and `pods` does not."""
    namespace = "pods-that-ended"
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    pods = f"/api/v1/namespaces/{namespace}/pods"
    stored = api.call("POST", pods, a_pod("ended"))
    stored["status"]["phase"] = "Succeeded"
    api.call("PUT", f"{pods}/ended/status", stored)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "10", "count/pods": "10"}},
    }
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    api.call("POST", quotas, quota)
    deadline = time.monotonic() + 60
    used: dict[str, str] = {}
    while not used and time.monotonic() < deadline:
        used = (api.call("GET", f"{quotas}/q").get("status") or {}).get("used") or {}
        time.sleep(0.2)
    assert used == {"pods": "0", "count/pods": "1"}
