import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import audit
from tests.policies.api_server import ApiServer, await_refusal, find_programs, running

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
JOB = "kns-job-7"
AUDIT_LOG = "audit.log"  # beside the kubeconfig; it has what the testbed's has
RUNTIME_CLASS = "sandboxed"
STORAGE_CLASSES = ("jarvice-user", "user1-data")  # that of the site and that of the vault
PATHS = {
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "PriorityLevelConfiguration": "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
}


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with all cluster-scoped manifests and the namespace of one job, on nodes with `machine=small`."""
    programs = find_programs()
    if programs is None:
        pytest.skip("NOT TESTED against the real API server: set KNS_KUBE_APISERVER and KNS_ETCD")
    folder = tmp_path_factory.mktemp("api")
    policy = folder / "audit-policy.yaml"
    policy.write_text(audit.render_policy())
    with running(folder, programs, flags=audit.build_flags(policy, folder / AUDIT_LOG)) as server:
        for obj in _manifests():
            server.apply(f"{PATHS[obj['kind']]}/{obj['metadata']['name']}", obj)
        _make_namespace(server)
        _await_policies(server)
        yield server


@pytest.fixture(scope="session")
def records_api(api: ApiServer) -> ApiServer:
    """`api` with the CRD of the records."""
    crd = yaml.safe_load((MANIFESTS / "crd-nestedjob.yaml").read_text())
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
    api.apply(path, crd)
    while not any(
        condition["type"] == "Established" and condition["status"] == "True"
        for condition in api.call("GET", path)["status"].get("conditions") or ()
    ):
        threading.Event().wait(0.05)
    return api


def _await_policies(server: ApiServer) -> None:
    """The API server reads all policies about once a second. One that is created last tells when it has the others."""
    name, config_maps = "last-of-all", "/api/v1/namespaces/default/configmaps"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [{**rule, "resourceNames": [name]}]},
        "validations": [{"expression": "false", "message": name}],
    }
    bound = {"policyName": name, "validationActions": ["Deny"]}
    for kind, content in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", bound)):
        obj = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}}
        server.apply(f"{PATHS[kind]}/{name}", {**obj, "spec": content})
    config_map = {"metadata": {"name": name}}
    await_refusal(lambda: server.call("POST", f"{config_maps}?dryRun=All", config_map), "the last policy")
    for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
        server.call("DELETE", f"{PATHS[kind]}/{name}")


def _manifests() -> Iterator[dict[str, Any]]:
    for path in sorted(MANIFESTS.glob("*.yaml")):
        yield from (obj for obj in yaml.safe_load_all(path.read_text()) if obj and obj.get("kind") in PATHS)


def _make_namespace(server: ApiServer) -> None:
    annotations = {
        "kns.io/node-selector": "example.org/machine=small,spare=",
        "kns.io/extended-resources": "nvidia.com/gpu",
        "kns.io/runtime-class": RUNTIME_CLASS,
        "kns.io/storage-classes": ",".join(STORAGE_CLASSES),
    }
    labels = {"kns.io/job": "7", "kns.io/installation": "kns-system", "app.kubernetes.io/managed-by": "kns"}
    meta = {"name": JOB, "labels": labels, "annotations": annotations}
    runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runc"}
    server.call("POST", "/apis/node.k8s.io/v1/runtimeclasses", {**runtime, "metadata": {"name": RUNTIME_CLASS}})
    server.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "kns-vcluster-syncer", "namespace": JOB},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "kns-vcluster-syncer",
        },
        "subjects": [{"kind": "ServiceAccount", "name": f"vc-{JOB}", "namespace": JOB}],
    }
    server.call("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{JOB}/rolebindings", binding)
