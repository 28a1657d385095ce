"""The policy on the account of kns in its own namespace: it may make a prepared state, and no other pod."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from kns.objects.prepare_job import build_prepare_job
from tests.policies.api_server import ApiServer, RefusedError

SYSTEM = "kns-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:kns-sa"
JOBS = f"/apis/batch/v1/namespaces/{SYSTEM}/jobs"
CONFIG_MAPS = f"/api/v1/namespaces/{SYSTEM}/configmaps"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module", autouse=True)
def _may_do_everything(api: ApiServer) -> None:
    """Only the policy stands between the account and the namespace."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    api.apply(f"/api/v1/namespaces/{SYSTEM}", namespace)  # another module may have made it
    binding = {
        "metadata": {"name": "everything"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "kns-sa", "namespace": SYSTEM}],
    }
    api.call("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/rolebindings", binding)


def _build() -> dict[str, Any]:
    return build_prepare_job("kns-prepare-v1-36-0", SYSTEM, image="kubernetes:v1", service_cidr="10.96.0.0/16")


def test_kns_makes_the_job_and_the_states(api: ApiServer) -> None:
    api.call("POST", f"{JOBS}?dryRun=All", _build(), user=ACCOUNT)
    for name in ("kns-state-v1.36.0", "kns-prepare-v1-36-0"):
        api.call("POST", f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": name}}, user=ACCOUNT)


def _pod(job: dict[str, Any]) -> Any:
    return job["spec"]["template"]["spec"]


def _env(**source: Any) -> Change:
    return lambda job: _pod(job)["containers"][0]["env"].append({"name": "A", **source})


def _volume(**source: Any) -> Change:
    return lambda job: _pod(job)["volumes"].append({"name": "more", **source})


def _set(**fields: Any) -> Change:
    return lambda job: _pod(job).update(fields)


REFUSED: dict[str, Change] = {
    "another name": lambda job: job["metadata"].update(name="mine"),
    "the token of kns": _set(serviceAccountName="kns-sa"),
    "a token": _set(automountServiceAccountToken=True),
    "a token by default": lambda job: _pod(job).pop("automountServiceAccountToken"),
    "a projected token": _volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
    "the catalogue": _volume(secret={"secretName": "kns-catalog"}),
    "the settings": _volume(configMap={"name": "kns-config"}),
    "a folder of the node": _volume(hostPath={"path": "/"}),
    "a Secret in a variable": _env(valueFrom={"secretKeyRef": {"name": "kns-catalog", "key": "users.json"}}),
    "a Secret as variables": lambda job: _pod(job)["containers"][0].update(
        envFrom=[{"secretRef": {"name": "kns-catalog"}}]
    ),
    "another container before": _set(initContainers=[{"name": "a", "image": "b"}]),
    "a pull secret": _set(imagePullSecrets=[{"name": "kns-pull"}]),
    "the node's network": _set(hostNetwork=True),
    "the node's processes": _set(hostPID=True),
    "a node": _set(nodeName="node-1"),
    "a privileged container": lambda job: _pod(job)["containers"][0].update(securityContext={"privileged": True}),
}


@pytest.mark.proves("security", "run a pod in kns's namespace that has its token, Secrets or settings")
@pytest.mark.parametrize("name", REFUSED)
def test_no_other_job_is_admitted(api: ApiServer, name: str) -> None:
    job = copy.deepcopy(_build())
    REFUSED[name](job)
    with pytest.raises(RefusedError, match=r"denied request|disallowed by cluster policy"):
        api.call("POST", f"{JOBS}?dryRun=All", job, user=ACCOUNT)


@pytest.mark.parametrize("name", ["kns-config", "mine", "kns-states"])
def test_no_other_config_map_is_admitted(api: ApiServer, name: str) -> None:
    with pytest.raises(RefusedError, match="never its own settings"):
        api.call("POST", f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": name}}, user=ACCOUNT)


def test_no_pod_is_admitted(api: ApiServer) -> None:
    pod = {"metadata": {"name": "kns-prepare-v1-36-0"}, "spec": _pod(_build())}
    with pytest.raises(RefusedError, match="denied request"):
        api.call("POST", f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All", pod, user=ACCOUNT)
