"""What the API server itself refuses in the namespace of a job, asked of a real one."""

import time
from typing import Any

import pytest

from kns.adapters.kube.errors import error_from_status
from kns.model.errors import RefusedError as HostRefusedError
from tests.policies.api_server import ApiServer, RefusedError
from tests.policies.conftest import JOB, RUNTIME_CLASS, STORAGE_CLASSES

SYNCER = f"system:serviceaccount:{JOB}:vc-{JOB}"
COPY = f"web-x-default-x-{JOB}"
MACHINE = {"example.org/machine": "small", "spare": ""}
_ENFORCED_S = 30.0


def build(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": JOB}, **fields}


def build_pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "example.org/app:1"}]
    whole = {"containers": containers, "nodeSelector": MACHINE, "runtimeClassName": RUNTIME_CLASS, **spec}
    return build("Pod", name, spec=whole)


def a_container(resources: dict[str, Any]) -> dict[str, Any]:
    return {"name": "extra", "image": "example.org/app:1", "resources": resources}


def labelled(obj: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def build_service(name: str, **spec: Any) -> dict[str, Any]:
    return build("Service", name, spec={"ports": [{"port": 80}], "selector": {"app": "web"}, **spec})


def build_claim(*, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = build("PersistentVolumeClaim", COPY, spec={**wanted, "storageClassName": STORAGE_CLASSES[0], **spec})
    claim["metadata"]["labels"] = labels or {}
    return claim


def build_old_claim(annotated: str, **spec: Any) -> dict[str, Any]:
    """A claim that names its class in the annotation, which precedes the field."""
    claim = build_claim(**spec)
    claim["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": annotated}
    return claim


def path(plural: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{JOB}/{plural}" + (f"/{name}" if name else "")


@pytest.fixture(scope="module", autouse=True)
def _enforced(api: ApiServer) -> None:
    """A policy counts a moment after it was stored: wait for the last one that was applied."""
    deadline = time.monotonic() + _ENFORCED_S
    waits = {
        "kns-job-pods": ("pods", build_pod("probe", nodeName="a"), ""),
        "kns-job-objects": ("configmaps", build("ConfigMap", "kns-probe"), SYNCER),
        "kns-job-services": ("services", build_service("probe", externalIPs=["192.0.2.1"]), ""),
        "kns-job-claims": ("persistentvolumeclaims", build_claim(storageClassName="probe"), ""),
        "kns-job-volumes": (
            "pods",
            build_pod("probe", volumes=[{"name": "v", "nfs": {"server": "192.0.2.1", "path": "/"}}]),
            "",
        ),
    }
    for policy, (plural, body, user) in waits.items():
        while True:
            try:
                api.call("POST", path(plural) + "?dryRun=All", body, user=user)
            except RefusedError as refused:
                if policy in str(refused):
                    break
                seen = str(refused)
            else:
                seen = "admitted"
            assert time.monotonic() < deadline, f"{policy} is not enforced, last seen: {seen}"


REFUSED = {
    "a pod that names its node": (
        "pods",
        build_pod("free", nodeName="node-1"),
        "",
        "the scheduler places the pods of a job; remove spec.nodeName",
    ),
    "a copied pod that names its node": ("pods", build_pod(COPY, nodeName="node-1"), SYNCER, "remove spec.nodeName"),
    "a copied pod that waits for a scheduler of its own": (
        "pods",
        build_pod(COPY, schedulerName="user-scheduler"),
        SYNCER,
        "the host's scheduler places the pods of a job, and there is none called user-scheduler; "
        "remove spec.schedulerName",
    ),
    "a pod without the machine's labels": (
        "pods",
        build_pod(COPY, nodeSelector={}),
        SYNCER,
        "its nodeSelector must have example.org/machine=small",
    ),
    "a pod without a label that has no value": (
        "pods",
        build_pod(COPY, nodeSelector={"example.org/machine": "small"}),
        SYNCER,
        "its nodeSelector must have spare=",
    ),
    "a pod with another machine's label": (
        "pods",
        build_pod(COPY, nodeSelector={**MACHINE, "example.org/machine": "large"}),
        SYNCER,
        "its nodeSelector must have example.org/machine=small",
    ),
    "a pod that asks for a GPU of another kind": (
        "pods",
        build_pod(COPY, containers=[a_container({"limits": {"amd.com/gpu": "1"}})]),
        SYNCER,
        "the machine of this job does not provide amd.com/gpu",
    ),
    "an init container that asks for huge pages": (
        "pods",
        build_pod(COPY, initContainers=[a_container({"limits": {"hugepages-2Mi": "64Mi", "memory": "64Mi"}})]),
        SYNCER,
        "does not provide hugepages-2Mi",
    ),
    "a pod that takes the place of the web shell": (
        "pods",
        labelled(build_pod(COPY), {"kns.io/component": "shell"}),
        SYNCER,
        "the label kns.io/component belongs to kns",
    ),
    "a pod under another runtime": (
        "pods",
        build_pod(COPY, runtimeClassName=None),
        SYNCER,
        "runs under the RuntimeClass sandboxed",
    ),
    "the Service behind the Ingress": (
        "services",
        build_service("kns-target", type="ExternalName", externalName="example.org"),
        SYNCER,
        "services kns-target belongs to kns",
    ),
    "a Secret of kns's": ("secrets", build("Secret", "kns-pull"), SYNCER, "secrets kns-pull belongs to kns"),
    "a pod that looks like the init pod": ("pods", build_pod("kns-init-abcde"), SYNCER, "belongs to kns"),
    "a ConfigMap of 300 KiB": (
        "configmaps",
        build("ConfigMap", COPY, data={"a": "x" * 150_000, "b": "x" * 150_000}),
        SYNCER,
        "at most 262144 bytes, this one has 300000",
    ),
    "a Secret of 300 KiB": (
        "secrets",
        build("Secret", COPY, data={"a": "eHh4" * 75_000}),
        SYNCER,
        "put large files into an image or a volume",
    ),
    "binary data of 300 KiB": (
        "configmaps",
        build("ConfigMap", COPY, binaryData={"a": "eHh4" * 75_000}),
        SYNCER,
        "put large files into an image or a volume",
    ),
    "200 000 letters that take two bytes each": (
        "configmaps",
        build("ConfigMap", COPY, data={"a": "ä" * 200_000}),
        SYNCER,
        "this one has 400000",
    ),
    "a claim with 101 labels": (
        "persistentvolumeclaims",
        build_claim(labels={f"label-{number}": "x" for number in range(101)}),
        SYNCER,
        "at most 100 labels, this one has 101",
    ),
    "a claim that selects by 21 labels": (
        "persistentvolumeclaims",
        build_claim(selector={"matchLabels": {f"label-{number}": "x" for number in range(21)}}),
        SYNCER,
        "the selector of a claim has at most 20 labels",
    ),
    "a claim that selects by a long list": (
        "persistentvolumeclaims",
        build_claim(
            selector={"matchExpressions": [{"key": "a", "operator": "In", "values": [f"v{n}" for n in range(21)]}]}
        ),
        SYNCER,
        "20 expressions with 20 values each",
    ),
    "a claim on volumes of a class that is no object": (
        "persistentvolumeclaims",
        build_claim(storageClassName="by-hand"),
        SYNCER,
        'may not claim storage of class "by-hand"; it may claim: jarvice-user, user1-data',
    ),
    "a claim on volumes without a class": (
        "persistentvolumeclaims",
        build_claim(storageClassName=""),
        SYNCER,
        'may not claim storage of class ""',
    ),
    "a claim that names no class, on a host without a default": (
        "persistentvolumeclaims",
        build_claim(storageClassName=None),
        SYNCER,
        'may not claim storage of class ""',
    ),
    "a claim that names its class in the annotation": (
        "persistentvolumeclaims",
        build_old_claim("by-hand"),
        SYNCER,
        'may not claim storage of class "by-hand"',
    ),
    "a claim that names no class in the annotation": (
        "persistentvolumeclaims",
        build_old_claim(""),
        SYNCER,
        'may not claim storage of class ""',
    ),
    "a claim by Kubernetes for a volume of a pod": (
        "persistentvolumeclaims",
        build_claim(storageClassName="by-hand"),
        "system:serviceaccount:kube-system:ephemeral-volume-controller",
        'may not claim storage of class "by-hand"',
    ),
    "a Service with an address of the cluster's": (
        "services",
        build_service(COPY, externalIPs=["10.96.0.1"]),
        SYNCER,
        "a Service of a job has no externalIPs",
    ),
}


@pytest.mark.proves(
    "security", "claim a volume of the host by a class that is no object, by no class, or by the deprecated annotation"
)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_in_the_namespace_of_a_job(api: ApiServer, name: str) -> None:
    plural, body, user, message = REFUSED[name]
    with pytest.raises(RefusedError, match=r"denied request") as caught:
        api.call("POST", path(plural), body, user=user)
    assert message in str(caught.value)


ADMITTED = {
    "a copied pod on the machine": ("pods", build_pod(COPY)),
    "a pod with a GPU of the machine": (
        "pods",
        build_pod(COPY, containers=[a_container({"limits": {"nvidia.com/gpu": "1", "cpu": "1", "memory": "1Gi"}})]),
    ),
    "a copied ConfigMap of 200 KiB": ("configmaps", build("ConfigMap", COPY, data={"a": "x" * 200_000})),
    "a Secret that is no text": ("secrets", build("Secret", COPY, data={"a": "/wD+"})),
    "a copied ConfigMap without data": ("configmaps", build("ConfigMap", "empty-x-default-x-kns-job-7")),
    "a copied Service that the tenant called kns-target": (
        "services",
        build_service("kns-target-x-default-x-kns-job-7"),
    ),
    "a claim with 100 labels and a selector": (
        "persistentvolumeclaims",
        build_claim(
            labels={f"label-{number}": "x" for number in range(100)},
            selector={"matchLabels": {f"label-{number}": "x" for number in range(20)}},
        ),
    ),
    "a claim on the vault": ("persistentvolumeclaims", build_claim(storageClassName=STORAGE_CLASSES[1])),
    "a claim on the vault in the annotation": (
        "persistentvolumeclaims",
        build_old_claim(STORAGE_CLASSES[1], storageClassName=None),
    ),
    "a copy whose long name was cut": ("services", build_service("kns-" + "a" * 48 + "-735bb619dd")),
    "the virtual cluster's certificates": ("secrets", build("Secret", "kns-job-7-certs")),
    "the shell's access": ("secrets", build("Secret", "kns-shell-access")),
}


@pytest.mark.parametrize("name", ADMITTED)
def test_what_the_syncer_needs_is_admitted(api: ApiServer, name: str) -> None:
    plural, body = ADMITTED[name]
    created = api.call("POST", path(plural) + "?dryRun=All", body, user=SYNCER)
    assert created["metadata"]["name"] == body["metadata"]["name"]


@pytest.mark.proves(
    "security", "claim a volume of the host by a class that is no object, by no class, or by the deprecated annotation"
)
def test_a_claim_keeps_its_class(api: ApiServer) -> None:
    """The policy looks at new claims only, so nothing else may lead a claim to another class later."""
    api.call("POST", path("persistentvolumeclaims"), build_claim(), user=SYNCER)
    merge = "application/merge-patch+json"
    changes = [
        {"spec": {"storageClassName": "by-hand"}},
        {"spec": {"storageClassName": None}},
        {"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "by-hand"}}},
    ]
    for change in changes:
        with pytest.raises(RefusedError, match=r"immutable|Forbidden|forbidden"):
            api.call("PATCH", path("persistentvolumeclaims", COPY), change, content_type=merge)
    api.call("DELETE", path("persistentvolumeclaims", COPY))


def test_a_job_without_storage_claims_none_and_one_of_an_older_release_is_left_alone(api: ApiServer) -> None:
    """An empty list is no class of that name."""
    annotated: dict[str, dict[str, str]] = {"kns-job-8": {"kns.io/storage-classes": ""}, "kns-job-9": {}}
    for namespace, annotations in annotated.items():
        meta = {"name": namespace, "labels": {"kns.io/job": namespace[-1]}, "annotations": annotations}
        api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    for storage_class in ("", "jarvice-user", None):
        claim = build_claim(storageClassName=storage_class)
        claim["metadata"]["namespace"] = "kns-job-8"
        with pytest.raises(RefusedError, match="it may claim: none"):
            api.call("POST", "/api/v1/namespaces/kns-job-8/persistentvolumeclaims?dryRun=All", claim)
        claim["metadata"]["namespace"] = "kns-job-9"
        api.call("POST", "/api/v1/namespaces/kns-job-9/persistentvolumeclaims?dryRun=All", claim)


def test_accounts_of_the_job_neither_change_nor_delete_a_service_of_kns(api: ApiServer) -> None:
    api.apply(path("services", "kns-target"), build_service("kns-target"))
    with pytest.raises(RefusedError, match="belongs to kns"):
        api.apply(path("services", "kns-target"), build_service("kns-target", selector={"app": "mine"}), user=SYNCER)
    with pytest.raises(RefusedError, match="belongs to kns"):
        api.call("DELETE", path("services", "kns-target"), user=SYNCER)
    assert api.call("GET", path("services", "kns-target"))["spec"]["selector"] == {"app": "web"}


def test_the_syncer_restarts_the_control_plane_and_does_not_change_its_pods(api: ApiServer) -> None:
    deployments = f"/apis/apps/v1/namespaces/{JOB}/deployments"
    template = {
        "metadata": {"labels": {"app": "vcluster"}},
        "spec": {"containers": [{"name": "syncer", "image": "example.org/vcluster:1"}]},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": JOB, "namespace": JOB},
        "spec": {"selector": {"matchLabels": {"app": "vcluster"}}, "template": template},
    }
    api.call("POST", deployments, body)
    restart = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    merge = "application/merge-patch+json"
    api.call("PATCH", f"{deployments}/{JOB}", restart, user=SYNCER, content_type=merge)
    other = {"spec": {"template": {"spec": {"containers": [{"name": "syncer", "image": "example.org/mine:1"}]}}}}
    with pytest.raises(RefusedError, match="may restart the control plane"):
        api.call("PATCH", f"{deployments}/{JOB}", other, user=SYNCER, content_type=merge)


def test_the_scheduler_has_a_priority_level_of_its_own_and_its_lease_that_of_elections(api: ApiServer) -> None:
    schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    for name, level in (("kns-scheduler-lease", "leader-election"), ("kns-scheduler", "kns-scheduler")):
        found = api.call("GET", f"{schemas}/{name}")
        assert found["spec"]["priorityLevelConfiguration"]["name"] == level
        dangling = [c for c in found["status"].get("conditions", []) if c["type"] == "Dangling"]
        assert all(c["status"] == "False" for c in dangling)


@pytest.mark.parametrize("reason", ["Forbidden", "Invalid", "RequestEntityTooLarge"])
def test_the_refusal_of_a_site_s_own_policy_is_a_refusal_whatever_its_reason(api: ApiServer, reason: str) -> None:
    """kns then ends the job with that message. Taken for a missing right, it would be tried again without end."""
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    name = f"site-{reason.lower()}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["limitranges"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "not here", "reason": reason}],
    }
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    api.apply(f"{policies}/{name}", {**meta, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    bound = {"policyName": name, "validationActions": ["Deny"]}
    binding = {**meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}
    api.apply(f"{policies.replace('policies', 'policybindings')}/{name}", binding)
    try:
        error = _await_refusal(api, name)
    finally:
        api.call("DELETE", f"{policies.replace('policies', 'policybindings')}/{name}")
        api.call("DELETE", f"{policies}/{name}")
    assert type(error_from_status("apply", error.status, error.body, {})) is HostRefusedError


def _await_refusal(api: ApiServer, policy: str) -> RefusedError:
    deadline = time.monotonic() + _ENFORCED_S
    body = build("LimitRange", "probe", spec={"limits": []})
    while time.monotonic() < deadline:
        try:
            api.call("POST", path("limitranges") + "?dryRun=All", body)
        except RefusedError as error:
            if policy in str(error):
                return error
    raise AssertionError(f"{policy} was not enforced within {_ENFORCED_S} s")
