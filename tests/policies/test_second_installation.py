"""Two installations in one cluster: the overlay of the second takes nothing from the first, neither reaches over."""

import os
import shutil
import subprocess
import time
from typing import Any

import pytest
import yaml

from kns.adapters.kube.kinds import KINDS
from kns.adapters.kube.rights import table_rules
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer, RefusedError
from tests.policies.conftest import JOB, MANIFESTS, PATHS

OVERLAY = MANIFESTS.parent / "overlays" / "second-installation"
SECOND = "kns-two"
ACCOUNT = f"system:serviceaccount:{SECOND}:kns-sa"
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{SECOND}", "system:authenticated"]
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
OURS = {"ClusterRoleBinding", "FlowSchema", "Namespace"}  # of each installation; other cluster-wide kinds are shared


@pytest.fixture(scope="module")
def second() -> list[dict[str, Any]]:
    """The objects of the overlay."""
    kubectl = shutil.which(os.environ.get("KNS_KUBECTL") or "kubectl")
    if kubectl is None:
        pytest.skip("NOT TESTED, the overlay of a second installation: no kubectl (set KNS_KUBECTL)")
    command = [kubectl, "kustomize", str(OVERLAY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def first() -> list[dict[str, Any]]:
    files = (path for path in sorted(MANIFESTS.glob("*.yaml")) if path.name != "kustomization.yaml")
    return [obj for path in files for obj in yaml.safe_load_all(path.read_text()) if obj]


def name(obj: dict[str, Any]) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return obj["kind"], meta.get("namespace", ""), meta["name"]


def test_no_object_belongs_to_both(second: list[dict[str, Any]]) -> None:
    assert not {name(obj) for obj in first()} & {name(obj) for obj in second}


def test_the_second_has_what_is_not_shared(second: list[dict[str, Any]]) -> None:
    """Every object with a namespace, and the cluster-wide ones that name an account. Shared ones are not there."""
    own = [obj for obj in first() if obj["metadata"].get("namespace") or obj["kind"] in OURS]
    assert sorted(obj["kind"] for obj in second) == sorted(obj["kind"] for obj in own)
    assert {obj["metadata"].get("namespace", SECOND) for obj in second} == {SECOND}
    assert "kns-system" not in yaml.safe_dump_all(second)


def test_the_numbers_are_kept_apart(second: list[dict[str, Any]]) -> None:
    (config,) = (obj for obj in second if obj["kind"] == "ConfigMap")
    assert int(config["data"]["KNS_FIRST_JOB_NUMBER"]) > 1


@pytest.fixture(scope="module")
def installed(api: ApiServer, second: list[dict[str, Any]]) -> ApiServer:
    """Its cluster-wide objects beside those of the first, on a real API server."""
    for obj in second:
        paths = {**PATHS, "ClusterRoleBinding": BINDINGS}
        if obj["kind"] in paths:
            api.apply(f"{paths[obj['kind']]}/{obj['metadata']['name']}", obj)
    return api


def may(api: ApiServer, verb: str, group: str, resource: str, namespace: str = "") -> bool:
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    spec = {"user": ACCOUNT, "groups": GROUPS, "resourceAttributes": attributes}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return bool(api.call("POST", REVIEWS, review)["status"]["allowed"])


def test_the_second_account_has_its_rights_cluster_wide_and_none_in_the_first_ones_namespace(
    installed: ApiServer,
) -> None:
    rules = table_rules("cluster", *KINDS.values())
    wanted = [(verb, group, resource) for (group, resource), verbs in rules.items() for verb in sorted(verbs)]
    deadline = time.monotonic() + PATIENCE_S  # the authoriser follows the new binding within a moment
    while missing := [right for right in wanted if not may(installed, *right)]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)
    for verb, group, resource in (("get", "", "secrets"), ("patch", "kns.io", "nestedjobs")):
        assert not may(installed, verb, group, resource, "kns-system")


def test_the_second_account_cannot_write_in_a_job_of_the_first(installed: ApiServer) -> None:
    """Not even with a right to. The namespace's label says whose job it is."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kns-job-namespace"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "too-much", "namespace": JOB},
        "roleRef": role,
        "subjects": [{"kind": "ServiceAccount", "name": "kns-sa", "namespace": SECOND}],
    }
    installed.call("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{JOB}/rolebindings", binding)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": JOB}}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with pytest.raises(RefusedError) as refused:
            installed.call("POST", f"/api/v1/namespaces/{JOB}/configmaps?dryRun=All", config, user=ACCOUNT)
        if "kns writes in kns-two and in the namespaces of its jobs" in str(refused.value):
            return
        assert time.monotonic() < deadline, refused.value  # until then the RoleBinding does not count yet
        time.sleep(0.2)
