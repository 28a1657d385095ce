"""What the API server itself refuses in the namespace of a job, asked of a real one."""

import time
from typing import Any

import pytest

from kns.adapters.kube.errors import error_from_status
from kns.model.errors import RefusedError as HostRefusedError
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer, RefusedError
from tests.policies.conftest import JOB, RUNTIME_CLASS, STORAGE_CLASSES

SYNCER = f"system:serviceaccount:{JOB}:vc-{JOB}"
COPY = f"web-x-default-x-{JOB}"
MACHINE = {"example.org/machine": "small", "spare": ""}
MARK = {"vcluster.loft.sh/managed-by": JOB}
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_LOOK_S = 0.2


CLAIM = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
    "storageClassName": STORAGE_CLASSES[0],
}
HUGE = {"hugepages-2Mi": "64Mi", "cpu": "1", "memory": "64Mi"}


def build(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": JOB}, **fields}


def build_pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "example.org/app:1"}]
    whole = {"containers": containers, "nodeSelector": MACHINE, "runtimeClassName": RUNTIME_CLASS, **spec}
    return labelled(build("Pod", name, spec=whole), MARK)


def a_container(resources: dict[str, Any]) -> dict[str, Any]:
    return {"name": "extra", "image": "example.org/app:1", "resources": resources}


def with_probe(kind: str, grace_s: int) -> dict[str, Any]:
    probe = {"exec": {"command": ["false"]}, "terminationGracePeriodSeconds": grace_s}
    return {**a_container({}), kind: probe}


def labelled(obj: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    return with_meta(obj, labels=labels)


def with_meta(obj: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], **meta}}


def build_service(name: str, **spec: Any) -> dict[str, Any]:
    return build("Service", name, spec={"ports": [{"port": 80}], "selector": {"app": "web"}, **spec})


def build_claim(*, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    claim = build("PersistentVolumeClaim", COPY, spec={**CLAIM, **spec})
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
    deadline = time.monotonic() + PATIENCE_S
    waits = {
        "kns-job-pods": ("pods", build_pod("probe", nodeName="a"), ""),
        "kns-job-objects": ("configmaps", build("ConfigMap", "kns-probe"), SYNCER),
        "kns-job-services": ("services", build_service("probe", externalIPs=["192.0.2.1"]), ""),
        "kns-job-claims": ("persistentvolumeclaims", build_claim(storageClassName="probe"), ""),
        "kns-job-sizes": ("configmaps", build("ConfigMap", COPY, data={"a": "x" * 300_000}), SYNCER),
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
        labelled(build_pod(COPY), {**MARK, "kns.io/component": "shell"}),
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
    "the certificate of its Ingress": (
        "secrets",
        build("Secret", "tls-kns-job-7.jobs.example.org"),
        SYNCER,
        "Secrets of its virtual cluster only, and tls-kns-job-7.jobs.example.org is none of these",
    ),
    "the certificate of an Ingress below a domain that looks like a copy": (
        "secrets",
        build("Secret", f"tls-kns-job-7.a-x-{JOB}.example.org"),
        SYNCER,
        "Secrets of its virtual cluster only",
    ),
    "the site's own certificate": (
        "secrets",
        build("Secret", "wildcard"),
        SYNCER,
        "Secrets of its virtual cluster only, and wildcard is none of these",
    ),
    "a Secret that gets a token without an end": (
        "secrets",
        with_meta(
            build("Secret", COPY, type="kubernetes.io/service-account-token"),
            annotations={"kubernetes.io/service-account.name": f"vc-{JOB}"},
        ),
        SYNCER,
        "Kubernetes would put a token of an account of the host into this Secret",
    ),
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
    "a claim on volumes with other attributes than those of its class": (
        "persistentvolumeclaims",
        build_claim(volumeAttributesClassName="fastest"),
        SYNCER,
        "has what its storage class gives; remove spec.volumeAttributesClassName fastest",
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
    "a pod whose claim a controller of the host would make": (
        "pods",
        build_pod(COPY, volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}}]),
        SYNCER,
        "claim it instead; volumes refused: scratch",
    ),
    "a pod without the syncer's mark, which no removal finds": (
        "pods",
        labelled(build_pod(COPY, terminationGracePeriodSeconds=10**9), {}),
        SYNCER,
        "with the label vcluster.loft.sh/managed-by=kns-job-7",
    ),
    "a pod that asks for more than an hour to end": (
        "pods",
        build_pod(COPY, terminationGracePeriodSeconds=3601),
        SYNCER,
        "a pod of a job gets at most 3600 seconds to end, all of its containers together, and this one would get 3601; "
        "lower the terminationGracePeriodSeconds of the pod, of its probes, or of the deletion",
    ),
    "a pod that gives each of its containers half an hour to end": (
        "pods",
        build_pod(
            COPY,
            containers=[{**a_container({}), "name": f"main-{n}"} for n in (1, 2)],
            initContainers=[{**a_container({}), "restartPolicy": "Always"}],
            terminationGracePeriodSeconds=1800,
        ),
        SYNCER,
        "this one would get 5400",
    ),
    "a pod whose liveness probe gives it years to end": (
        "pods",
        build_pod(COPY, containers=[with_probe("livenessProbe", 10**9)]),
        SYNCER,
        "this one would get 1000000000",
    ),
    "a pod whose startup probe gives a side car years to end": (
        "pods",
        build_pod(COPY, initContainers=[{**with_probe("startupProbe", 10**9), "restartPolicy": "Always"}]),
        SYNCER,
        "this one would get 2000000000",
    ),
    "a pod with the mark of another job": (
        "pods",
        labelled(build_pod(COPY), {"vcluster.loft.sh/managed-by": "kns-job-8"}),
        SYNCER,
        "with the label vcluster.loft.sh/managed-by=kns-job-7",
    ),
    "a pod that kns takes for its own": (
        "pods",
        labelled(build_pod(COPY), {"kns.io/job": "7", "app.kubernetes.io/managed-by": "kns"}),
        SYNCER,
        "write copies of the tenant's pods only",
    ),
    "a pod before all others of the cluster": (
        "pods",
        build_pod(COPY, priorityClassName="system-node-critical"),
        SYNCER,
        "at most the priority 0, and this one has 2000001000 by its PriorityClass system-node-critical",
    ),
    "a pod before kns": ("pods", build_pod(COPY, priorityClassName="kns-scheduler"), SYNCER, "at most the priority 0"),
    "a pod that asks for huge pages as a whole": (
        "pods",
        build_pod(COPY, resources={"requests": HUGE, "limits": HUGE}),
        SYNCER,
        "does not provide hugepages-2Mi",
    ),
    "a pod that claims a device": (
        "pods",
        build_pod(COPY, resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]),
        SYNCER,
        "may not claim devices of the host; remove spec.resourceClaims",
    ),
    "a finalizer that keeps the namespace": (
        "configmaps",
        with_meta(build("ConfigMap", COPY), finalizers=["example.org/never"]),
        SYNCER,
        "gets no finalizers, because they would keep its namespace: example.org/never",
    ),
    "a finalizer of Kubernetes on another kind": (
        "pods",
        with_meta(build_pod(COPY), finalizers=["kubernetes.io/pvc-protection"]),
        SYNCER,
        "gets no finalizers",
    ),
    "a name that external-dns would publish": (
        "services",
        with_meta(
            build_service(COPY),
            annotations={"external-dns.alpha.kubernetes.io/hostname": "www.example.org", "example.org/mine": "1"},
        ),
        SYNCER,
        "remove them: external-dns.alpha.kubernetes.io/hostname",
    ),
    "a second network of a pod": (
        "pods",
        with_meta(build_pod(COPY), annotations={"k8s.v1.cni.cncf.io/networks": "default/storage"}),
        SYNCER,
        "remove them: k8s.v1.cni.cncf.io/networks",
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
@pytest.mark.proves("security", "publish names or join networks through controllers of the host, by annotations")
@pytest.mark.proves("security", "evict pods of others by a priority")
@pytest.mark.proves("security", "keep its token: a Secret for which Kubernetes makes a lasting one")
@pytest.mark.proves("security", "take devices of the host: huge pages, other GPUs, claims of devices")
@pytest.mark.proves("security", "outlive the job: a pod without the syncer's mark, a finalizer")
@pytest.mark.proves("security", "outlive the job: a pod with a grace period of years that ignores every signal")
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
    "a pod of a StatefulSet": ("pods", build_pod(COPY, hostname="web-0")),
    "a pod with an hour to end": ("pods", build_pod(COPY, terminationGracePeriodSeconds=3600)),
    "a pod with an hour to end after its init containers": (
        "pods",
        build_pod(COPY, initContainers=[a_container({})], terminationGracePeriodSeconds=3600),
    ),
    "a pod with a hook": (
        "pods",
        build_pod(COPY, containers=[{**a_container({}), "lifecycle": {"postStart": {"exec": {"command": ["true"]}}}}]),
    ),
    "a pod that states its resources as a whole": (
        "pods",
        build_pod(COPY, resources={"limits": {"cpu": "1", "memory": "1Gi"}}),
    ),
    "a pod with what other controllers wrote": (
        "pods",
        with_meta(build_pod(COPY), annotations={"k8s.v1.cni.cncf.io/network-status": "[]"}),
    ),
    "a claim with the finalizer of Kubernetes": (
        "persistentvolumeclaims",
        with_meta(build_claim(), finalizers=["kubernetes.io/pvc-protection"]),
    ),
    "a Service without pods of its own": ("services", build_service(COPY, clusterIP="None", selector=None)),
    "a name outside of the cluster": (
        "services",
        build("Service", COPY, spec={"type": "ExternalName", "externalName": "example.org"}),
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
    "the copy of a token of an account inside": (
        "secrets",
        build("Secret", COPY, data={"token": "dG9r"}, type="Opaque"),
    ),
    "the virtual cluster's kubeconfig": ("secrets", build("Secret", f"vc-{JOB}")),
    "the virtual cluster's configuration": ("secrets", build("Secret", f"vc-config-{JOB}")),
    "a Secret that the tenant called tls-web": ("secrets", build("Secret", f"tls-web-x-default-x-{JOB}")),
    "a Secret whose long name was cut": ("secrets", build("Secret", "tls-" + "a" * 48 + "-735bb619dd")),
    "a Secret whose long name was cut after a dot": ("secrets", build("Secret", "tls-" + "a" * 47 + "-735bb619dd")),
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


@pytest.mark.proves("security", "bind a volume of the host past its class, by the annotation of a finished binding")
def test_only_the_host_says_that_a_claim_is_bound(api: ApiServer) -> None:
    """
    The volume controller then binds whatever free volume the claim names (syncBoundClaim of
    pkg/controller/volume/persistentvolume/pv_controller.go).
    """
    claims = path("persistentvolumeclaims")
    bound = dict.fromkeys(("pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"), "yes")
    by_hand = build_claim(volumeName="by-hand")
    for key, value in ((key, value) for key in bound for value in ("yes", "")):  # the controller asks for the key alone
        with pytest.raises(RefusedError, match=f"remove them: {key}"):
            api.call("POST", f"{claims}?dryRun=All", with_meta(by_hand, annotations={key: value}), user=SYNCER)
    created = api.call("POST", claims, with_meta(by_hand, name=f"bound-x-default-x-{JOB}"), user=SYNCER)
    claim = path("persistentvolumeclaims", created["metadata"]["name"])
    for annotations in (bound, dict.fromkeys(bound, "")):
        with pytest.raises(RefusedError, match="controllers of the host would obey"):
            api.call("PATCH", claim, {"metadata": {"annotations": annotations}}, user=SYNCER, content_type=MERGE)
    api.call("PATCH", claim, {"metadata": {"annotations": bound}}, content_type=MERGE)
    found = api.call("GET", claim)
    found["metadata"]["annotations"]["example.org/mine"] = "1"
    assert api.call("PUT", claim, found, user=SYNCER)["metadata"]["annotations"].items() >= bound.items()


@pytest.mark.proves("security", "choose faster volumes than those of its class, by a VolumeAttributesClass")
def test_a_claim_keeps_the_attributes_that_the_host_gave_it(api: ApiServer) -> None:
    name = f"fast-x-default-x-{JOB}"
    claim = path("persistentvolumeclaims", name)
    api.call("POST", path("persistentvolumeclaims"), with_meta(build_claim(), name=name), user=SYNCER)
    api.call("PATCH", f"{claim}/status", {"status": {"phase": "Bound"}}, content_type=MERGE)
    fastest = {"spec": {"volumeAttributesClassName": "fastest"}}
    with pytest.raises(RefusedError, match=r"remove spec\.volumeAttributesClassName fastest"):
        api.call("PATCH", claim, fastest, user=SYNCER, content_type=MERGE)
    given = with_meta(build_claim(volumeAttributesClassName="given"), name=f"given-x-default-x-{JOB}")
    api.call("POST", path("persistentvolumeclaims"), given)
    mine = {"metadata": {"annotations": {"example.org/mine": "1"}}}
    changed = api.call(
        "PATCH", path("persistentvolumeclaims", given["metadata"]["name"]), mine, user=SYNCER, content_type=MERGE
    )
    assert changed["spec"]["volumeAttributesClassName"] == "given"


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


CERT_MANAGER = "system:serviceaccount:cert-manager:cert-manager"


@pytest.fixture(scope="module")
def _cert_manager(api: ApiServer) -> None:
    """It may write Secrets here, like the syncer."""
    kind, group = "ClusterRole", "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "cert-manager", "namespace": JOB},
        "roleRef": {"apiGroup": group, "kind": kind, "name": "kns-vcluster-syncer"},
        "subjects": [{"kind": "User", "apiGroup": group, "name": CERT_MANAGER}],
    }
    api.call("POST", f"/apis/{group}/v1/namespaces/{JOB}/rolebindings", binding)


@pytest.mark.usefixtures("_cert_manager")
@pytest.mark.proves("security", "replace or remove the certificate of the job's Ingress")
@pytest.mark.parametrize("name", ["tls-kns-job-7.jobs.example.org", "wildcard"])
def test_accounts_of_the_job_neither_change_nor_delete_a_certificate(api: ApiServer, name: str) -> None:
    """Whoever makes certificates, such as cert-manager, still does."""
    first, second = (build("Secret", name, data={"tls.crt": each}) for each in ("b2xk", "bmV3"))
    api.apply(path("secrets", name), first, user=CERT_MANAGER)
    with pytest.raises(RefusedError, match="is none of these"):
        api.apply(path("secrets", name), second, user=SYNCER)
    with pytest.raises(RefusedError, match="is none of these"):
        api.call("DELETE", path("secrets", name), user=SYNCER)
    api.apply(path("secrets", name), second, user=CERT_MANAGER)
    assert api.call("GET", path("secrets", name))["data"] == {"tls.crt": "bmV3"}


def test_accounts_of_the_job_neither_change_nor_delete_a_service_of_kns(api: ApiServer) -> None:
    api.apply(path("services", "kns-target"), build_service("kns-target"))
    with pytest.raises(RefusedError, match="belongs to kns"):
        api.apply(path("services", "kns-target"), build_service("kns-target", selector={"app": "mine"}), user=SYNCER)
    with pytest.raises(RefusedError, match="belongs to kns"):
        api.call("DELETE", path("services", "kns-target"), user=SYNCER)
    assert api.call("GET", path("services", "kns-target"))["spec"]["selector"] == {"app": "web"}


@pytest.mark.proves("security", "outlive the job: a pod with a grace period of years that ignores every signal")
def test_accounts_of_the_job_end_a_pod_within_an_hour(api: ApiServer) -> None:
    """The syncer passes the grace period on that the tenant names, and a kubelet hears of the first one only."""
    api.call("POST", path("pods"), build_pod(COPY, terminationGracePeriodSeconds=3600), user=SYNCER)
    try:
        binding = build("Binding", COPY, target={"kind": "Node", "name": "node-1"})  # before that, it ends at once
        api.call("POST", path("pods", COPY) + "/binding", binding)
        with pytest.raises(
            RefusedError, match=r"at most 3600 seconds to end.* would get 3601; lower .* of the deletion"
        ):
            api.call("DELETE", path("pods", COPY), {"gracePeriodSeconds": 3601}, user=SYNCER)
        assert "deletionTimestamp" not in api.call("GET", path("pods", COPY))["metadata"]
        api.call("DELETE", path("pods", COPY) + "?dryRun=All", {"gracePeriodSeconds": 3600}, user=SYNCER)
        api.call("DELETE", path("pods", COPY) + "?dryRun=All", user=SYNCER)
    finally:
        api.call("DELETE", path("pods", COPY), {"gracePeriodSeconds": 0})


RESTART = "vcluster.loft.sh/cert-rotation-at"
CHANGES: dict[str, dict[str, Any]] = {
    "another image": {
        "spec": {"template": {"spec": {"containers": [{"name": "syncer", "image": "example.org/mine:1"}]}}}
    },
    "no replicas": {"spec": {"replicas": 0}},
    "a label of kns's on its pods": {"spec": {"template": {"metadata": {"labels": {"kns.io/component": "shell"}}}}},
    "a long annotation": {"spec": {"template": {"metadata": {"annotations": {RESTART: "x" * 65}}}}},
    "an annotation of its pods": {"spec": {"template": {"metadata": {"annotations": {"example.org/a": "b"}}}}},
    "one annotation less": {"spec": {"template": {"metadata": {"annotations": {"kept": None}}}}},
    "another history": {"spec": {"revisionHistoryLimit": 1000}},
    "a label of its own": {"metadata": {"labels": {"kns.io/job": "8"}}},
    "an annotation of its own": {"metadata": {"annotations": {"example.org/a": "b"}}},
    "a finalizer": {"metadata": {"finalizers": ["example.org/never"]}},
    "an owner that is gone": {
        "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]}
    },
}


def build_workload(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """The path of its collection, and the body."""
    template = {
        "metadata": {"labels": {"app": "vcluster"}, "annotations": {"kept": "yes"}},
        "spec": {"containers": [{"name": "syncer", "image": "example.org/vcluster:1"}]},
    }
    spec = {"selector": {"matchLabels": {"app": "vcluster"}}, "template": template}
    more = {"serviceName": "x"} if kind == "StatefulSet" else {}
    meta = {"name": name, "namespace": JOB}
    collection = f"/apis/apps/v1/namespaces/{JOB}/{kind.lower()}s"
    return collection, {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": {**spec, **more}}


@pytest.mark.proves("security", "scale, relabel or change the control plane, or give it an owner that is gone")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_the_syncer_restarts_the_control_plane_and_changes_nothing_else(api: ApiServer, kind: str) -> None:
    collection, body = build_workload(kind, JOB)
    api.call("POST", collection, body)
    for when in ("2026-11-28T10:00:00Z", "2026-11-28T11:00:00Z"):
        restart = {"spec": {"template": {"metadata": {"annotations": {RESTART: when}}}}}
        api.call("PATCH", f"{collection}/{JOB}", restart, user=SYNCER, content_type=MERGE)
    for what, change in CHANGES.items():
        with pytest.raises(RefusedError, match=r"denied request") as caught:
            api.call("PATCH", f"{collection}/{JOB}?dryRun=All", change, user=SYNCER, content_type=MERGE)
        wanted = "gets no finalizers" if what == "a finalizer" else "may restart the control plane"
        assert wanted in str(caught.value), what


ONE = {"cpu": "1", "memory": "1Gi"}


def make_pod(api: ApiServer, name: str, labels: dict[str, str], *, user: str = "") -> str:
    """The path of a new pod, whose status the kubelet has written."""
    main = {**a_container({"requests": ONE, "limits": ONE}), "name": "main"}
    api.call("POST", path("pods"), labelled(build_pod(name, containers=[main]), labels), user=user)
    status = {"phase": "Running", "podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}
    waits = {"type": "example.org/gate", "status": "False"}
    at = f"{path('pods', name)}/status"
    api.call("PATCH", at, {"status": {**status, "conditions": [waits]}}, content_type=MERGE)
    return path("pods", name)


FORGED: dict[str, dict[str, Any]] = {
    "its address": {"podIP": "10.96.0.1", "podIPs": [{"ip": "10.96.0.1"}]},
    "one more address": {"podIPs": [{"ip": "10.244.0.7"}, {"ip": "fd00::1"}]},
    "its phase": {"phase": "Succeeded"},
    "its node's address": {"hostIP": "10.96.0.1", "hostIPs": [{"ip": "10.96.0.1"}]},
    "no address": {"podIP": None, "podIPs": None},
    "its containers": {
        "containerStatuses": [{"name": "main", "image": "a", "imageID": "b", "ready": True, "restartCount": 0}]
    },
}


@pytest.mark.proves("security", "forge the address or phase of a pod by its status")
def test_the_syncer_writes_conditions_into_the_status_of_a_copy_and_nothing_else(api: ApiServer) -> None:
    """EndpointSlices of kns-target are made from status.podIPs."""
    pod = make_pod(api, f"forged-x-default-x-{JOB}", MARK, user=SYNCER)
    opened = {"status": {"conditions": [{"type": "example.org/gate", "status": "True"}]}}
    api.call("PATCH", f"{pod}/status", opened, user=SYNCER, content_type=MERGE)
    for what, status in FORGED.items():
        with pytest.raises(RefusedError, match=r"denied request") as caught:
            api.call("PATCH", f"{pod}/status?dryRun=All", {"status": status}, user=SYNCER, content_type=MERGE)
        assert "may write conditions into the status of a pod, and nothing else" in str(caught.value), what
    unmarked = {"metadata": {"labels": {"vcluster.loft.sh/managed-by": None}}}
    with pytest.raises(RefusedError, match="with the label vcluster"):
        api.call("PATCH", f"{pod}/status", unmarked, user=SYNCER, content_type=MERGE)


TWO = {"cpu": "2", "memory": "1Gi"}
SUBRESOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "the pod": ("", {"metadata": {"labels": MARK}}),
    "its status": ("/status", {"status": {"phase": "Succeeded"}}),
    "its labels by its status": ("/status", {"metadata": {"labels": MARK}}),
    "its containers": (
        "/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "debug", "image": "example.org/mine:1"}]}},
    ),
    "its size": (
        "/resize",
        {"spec": {"containers": [{"name": "main", "resources": {"requests": TWO, "limits": TWO}}]}},
    ),
}


@pytest.mark.proves("security", "change the init pod, the web shell or the control plane by their pods")
@pytest.mark.parametrize("name", ["kns-init-abcde", "kns-shell-7d4b9c-abcde", f"{JOB}-0"])
def test_the_syncer_changes_no_pod_that_is_not_a_copy(api: ApiServer, name: str) -> None:
    pod = make_pod(api, name, {})
    for what, (sub, change) in SUBRESOURCES.items():
        with pytest.raises(RefusedError, match=r"denied request") as caught:
            api.call("PATCH", f"{pod}{sub}?dryRun=All", change, user=SYNCER, content_type=STRATEGIC)
        assert "belongs to kns" in str(caught.value) or "copies of the tenant's pods only" in str(caught.value), what


def test_the_syncer_debugs_and_resizes_copies(api: ApiServer) -> None:
    pod = make_pod(api, f"resized-x-default-x-{JOB}", MARK, user=SYNCER)
    for what in ("its containers", "its size"):
        sub, change = SUBRESOURCES[what]
        api.call("PATCH", f"{pod}{sub}?dryRun=All", change, user=SYNCER, content_type=STRATEGIC)


def test_finalizers_and_annotations_that_the_host_wrote_do_not_stop_the_syncer(api: ApiServer) -> None:
    """Controllers of the host write both on copies, and the syncer sends them back with its own changes."""
    name = f"written-x-default-x-{JOB}"
    api.call("POST", path("pods"), with_meta(build_pod(COPY), name=name), user=SYNCER)
    hosts = {"finalizers": ["example.org/host"], "annotations": {"cni.projectcalico.org/ipAddrs": "[]"}}
    api.call("PATCH", path("pods", name), {"metadata": hosts}, content_type=MERGE)
    found = api.call("GET", path("pods", name))
    found["metadata"]["annotations"]["example.org/mine"] = "1"
    found = api.call("PUT", path("pods", name), found, user=SYNCER)
    found["metadata"]["annotations"]["cni.projectcalico.org/ipAddrs"] = '["10.0.0.1"]'
    with pytest.raises(RefusedError, match="remove them: cni"):
        api.call("PUT", path("pods", name) + "?dryRun=All", found, user=SYNCER)


@pytest.mark.parametrize(("annotations", "admitted"), [({}, True), ({"kns.io/extended-resources": ""}, False)])
def test_a_job_of_0_1_0_keeps_its_gpus(api: ApiServer, annotations: dict[str, str], admitted: bool) -> None:
    """Its namespace has no annotations of kns, and kns never adds them to a namespace that is ready."""
    name = "kns-job-18" if admitted else "kns-job-19"
    labels = {"kns.io/job": name[-2:], "app.kubernetes.io/managed-by": "kns"}
    meta = {"name": name, "labels": labels, "annotations": annotations}
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    user = f"system:serviceaccount:{name}:vc-{name}"
    rights = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "kns-vcluster-syncer", "namespace": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kns-vcluster-syncer"},
        "subjects": [{"kind": "ServiceAccount", "name": f"vc-{name}", "namespace": name}],
    }
    api.call("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings", rights)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gpu", "namespace": name, "labels": {"vcluster.loft.sh/managed-by": name}},
        "spec": {"containers": [a_container({"limits": {"nvidia.com/gpu": "1"}})]},
    }
    pods = f"/api/v1/namespaces/{name}/pods?dryRun=All"
    if admitted:
        assert api.call("POST", pods, pod, user=user)["metadata"]["name"] == "gpu"
    else:
        with pytest.raises(RefusedError, match=r"does not provide nvidia\.com/gpu"):
            api.call("POST", pods, pod, user=user)


def as_controller(api: ApiServer, account: str) -> str:
    """The name of this account of the host's controllers, with all rights."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
    }
    api.apply(f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{account}", binding)
    return f"system:serviceaccount:kube-system:{account}"


OWN_PODS: dict[str, tuple[str, dict[str, Any]]] = {
    "the init pod": ("job-controller", labelled(build_pod("kns-init-a"), {"kns.io/component": "init"})),
    "the web shell": ("replicaset-controller", labelled(build_pod("kns-shell-a"), {"kns.io/component": "shell"})),
    "the control plane": (
        "statefulset-controller",
        labelled(build_pod(f"{JOB}-1", priorityClassName="system-node-critical"), {"app": "vcluster"}),
    ),
}


@pytest.mark.parametrize("name", OWN_PODS)
def test_the_hosts_controllers_make_kns_s_own_pods(api: ApiServer, name: str) -> None:
    account, body = OWN_PODS[name]
    user = as_controller(api, account)
    body = with_meta(body, finalizers=["batch.kubernetes.io/job-tracking"])
    created = api.call("POST", path("pods") + "?dryRun=All", body, user=user)
    assert created["metadata"]["labels"] == body["metadata"]["labels"]


def test_the_scheduler_has_a_priority_level_of_its_own_and_its_lease_that_of_elections(api: ApiServer) -> None:
    schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    for name, level in (("kns-scheduler-lease", "leader-election"), ("kns-scheduler", "kns-scheduler")):
        found = api.call("GET", f"{schemas}/{name}")
        assert found["spec"]["priorityLevelConfiguration"]["name"] == level
        assert _await_dangling(api, f"{schemas}/{name}") == "False"


def _await_dangling(api: ApiServer, schema: str) -> str:
    """Whether its level is missing. The API server says so a moment after the FlowSchema was stored."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for condition in api.call("GET", schema).get("status", {}).get("conditions", []):
            if condition["type"] == "Dangling":
                return str(condition["status"])
        time.sleep(_LOOK_S)
    raise AssertionError(f"{schema} has no condition Dangling after {PATIENCE_S:.0f} s")


@pytest.mark.parametrize("reason", ["Forbidden", "Invalid", "RequestEntityTooLarge"])
def test_the_refusal_of_a_site_s_own_policy_is_a_refusal_whatever_its_reason(api: ApiServer, reason: str) -> None:
    """kns then ends the job with that message. Taken for a missing right, it would be tried again without end."""
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    name = f"site-{reason.lower()}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["limitranges"]}
    spec = {
        "matchConstraints": {  # other tests go on while the API server forgets the policy
            "resourceRules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": JOB}},
        },
        "validations": [{"expression": "false", "message": "not here", "reason": reason}],
    }
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    api.apply(f"{policies}/{name}", {**meta, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    bound = {"policyName": name, "validationActions": ["Deny"]}
    binding = {**meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}
    api.apply(f"{policies.replace('policies', 'policybindings')}/{name}", binding)
    try:
        error = _await_refusal(api, name, "limitranges", build("LimitRange", "probe", spec={"limits": []}))
    finally:
        api.call("DELETE", f"{policies.replace('policies', 'policybindings')}/{name}")
        api.call("DELETE", f"{policies}/{name}")
    assert type(error_from_status("apply", error.status, error.body, {})) is HostRefusedError


@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_a_site_may_refuse_hooks_that_may_never_end(api: ApiServer, where: str) -> None:
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    spec = api.call("GET", f"{policies}/kns-job-objects")["spec"]
    next(each for each in spec["variables"] if each["name"] == "allowPostStart")["expression"] = "false"
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "no-hooks"}}
    api.apply(f"{policies}/no-hooks", {**meta, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": JOB}}}
    bound = {"policyName": "no-hooks", "validationActions": ["Deny"], "matchResources": here}
    binding = {**meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}
    api.apply(f"{policies.replace('policies', 'policybindings')}/no-hooks", binding)
    side_car = {"restartPolicy": "Always"} if where == "initContainers" else {}  # no other may have hooks
    hooked = {**a_container({}), **side_car, "lifecycle": {"postStart": {"exec": {"command": ["true"]}}}}
    try:
        error = _await_refusal(api, "no-hooks", "pods", build_pod(COPY, **{where: [hooked]}), user=SYNCER)
        harmless = {**a_container({}), "lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}
        api.call("POST", path("pods") + "?dryRun=All", build_pod(COPY, containers=[harmless]), user=SYNCER)
    finally:
        api.call("DELETE", f"{policies.replace('policies', 'policybindings')}/no-hooks")
        api.call("DELETE", f"{policies}/no-hooks")
    assert "this site allows no postStart hooks; do in the command, or in an init container" in str(error)


def _await_refusal(api: ApiServer, policy: str, plural: str, body: dict[str, Any], *, user: str = "") -> RefusedError:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            api.call("POST", path(plural) + "?dryRun=All", body, user=user)
        except RefusedError as error:
            if policy in str(error):
                return error
    raise AssertionError(f"{policy} was not enforced within {PATIENCE_S} s")
