"""
Check the host cluster before the first job: whether it has what jobs need. No check writes.

The account of kns may not read nodes, webhooks, policies and roles. The result of such a check is then "unknown" and
never "ok".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.image_volumes import check_image_volumes
from kns.adapters.kube.kinds import KINDS, NODES
from kns.adapters.kube.nodes import admits_jobs, runs_linux, walk
from kns.adapters.kube.rights import Asker, check_rights, check_roles
from kns.model import names
from kns.model.catalog.machine import Machine
from kns.model.errors import ForbiddenError, KnsError, NotFoundError, clip
from kns.model.findings import Finding, Severity
from kns.model.job.job import Accepted, JobSpec, JobStatus
from kns.model.reading.quantity import parse_quantity
from kns.model.site import GatewayRef
from kns.ports import Kind

OLDEST_MINOR = 33  # of Kubernetes 1, for ServiceCIDRs and the policies in manifests/
POLICIES = (
    names.KNS_POLICY,
    "kns-job-claims",
    "kns-job-endpoints",
    "kns-job-objects",
    "kns-job-pods",
    "kns-job-services",
    "kns-job-sizes",
    "kns-job-volumes",
)

_POD_POLICY = "kns-job-pods"
_GPU = "nvidia.com/gpu"
_NAMES_SHOWN = 5
_PORTAL = "jarvice"  # its namespaces end with -system, like those of a platform
_PLATFORM = re.compile(  # namespaces of Kubernetes, of distributions, and of what clusters are commonly equipped with
    r"default|kube-.*|.*-system|openshift.*|cattle-.*|fleet-.*|calico-.*|cilium.*|tigera-.*|istio-.*|linkerd.*|argocd"
    r"|flux.*|ingress.*|nginx.*|traefik.*|haproxy.*|envoy.*|cert-manager|external-dns|metallb.*|monitoring|prometheus.*"
    r"|grafana.*|logging|loki|local-path-storage|longhorn.*|rook-.*|openebs|csi-.*|gpu-operator|nvidia-.*|amd-gpu.*"
    r"|node-feature-discovery|karpenter|keycloak.*|velero|kyverno|gatekeeper.*|registry"
)
_GIB = 2**30
_OPENSHIFT = "security.openshift.io"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_SCHEMA = f"/openapi/v3/apis/{names.GROUP}/{names.VERSION}"
_WRITTEN: Mapping[str, type[BaseModel]] = {"spec": JobSpec, "spec.accepted": Accepted, "status": JobStatus}
_JOB_NAMESPACE = {
    names.JOB_LABEL: "1",
    names.MANAGED_BY_LABEL: "kns",
    "kubernetes.io/metadata.name": names.job_object_name(1),
}

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    What the settings and the catalogue require of the host. `uses_own_account`: the requests are made with the account
    of kns, not with an administrator's. `lists_nodes`: kns shows what is free of each machine.
    """

    namespace: str
    account: str
    uses_own_account: bool
    pod_security: str
    ingress_class: str | None
    gateway: GatewayRef | None
    storage_classes: tuple[str, ...]
    runtime_classes: tuple[str, ...]
    priority_classes: tuple[str, ...]
    machines: tuple[Machine, ...]
    image_volumes: bool | None
    lists_nodes: bool


def check_host(client: KubeClient, wanted: Wanted) -> Iterator[Finding]:
    """Run every check. If the host does not answer, only the first."""
    asker = Asker(client, "" if wanted.uses_own_account else wanted.account, wanted.namespace)
    try:
        version = client.request("GET", "/version")
        yield _check_version(version)
    except KnsError as error:
        yield Finding("host API", Severity.FAULT, str(error), "check address, token and network")
        return
    list_nodes = cache(lambda: [_keep_node(node) for node in walk(client, NODES) if admits_jobs(node)])
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("CustomResourceDefinition", lambda: _check_schema(client)),
        ("rights", lambda: check_rights(asker, lists_nodes=wanted.lists_nodes)),
        ("ClusterRoles", lambda: check_roles(client)),
        ("admission policies", lambda: _check_policies(client, wanted)),
        ("classes", lambda: _check_classes(client, wanted)),
        ("Gateway", lambda: _check_gateway(client, wanted.gateway) if wanted.gateway else ()),
        ("OpenShift", lambda: _check_openshift(client)),
        ("nodes", lambda: _check_nodes(list_nodes(), wanted.machines)),
        ("image volumes", lambda: check_image_volumes(version, wanted.image_volumes, filter(runs_linux, list_nodes()))),
        ("webhooks", lambda: _check_webhooks(client)),
        ("other tenants", lambda: _check_other_tenants(client, wanted.namespace)),
        ("metrics API", lambda: _check_metrics(client)),
    )
    for name, check in checks:
        try:
            yield from check()
        except ForbiddenError:
            yield Finding(name, Severity.UNKNOWN, "this account may not read it", "use an administrator's KUBECONFIG")
        except KnsError as error:
            yield Finding(name, Severity.FAULT, str(error), "see the answer of the API server")


def _check_version(answer: Object) -> Finding:
    version, minor = str(answer.get("gitVersion")), str(answer.get("minor", "")).rstrip("+")
    if not minor.isdigit() or (str(answer.get("major")) == "1" and int(minor) < OLDEST_MINOR):
        todo = f"kns needs Kubernetes 1.{OLDEST_MINOR} or later"
        return Finding("host API", Severity.FAULT, f"answers, version {version}", todo)
    return Finding("host API", Severity.OK, f"answers, version {version}")


def _check_schema(client: KubeClient) -> Iterator[Finding]:
    """
    Compare the published schema, which every account may read. The API server drops unknown fields without an error.
    """
    check, todo = "CustomResourceDefinition", "kubectl apply -f manifests/crd-nestedjob.yaml of this release"
    try:
        schemas = client.request("GET", _SCHEMA)["components"]["schemas"]
    except NotFoundError:
        yield Finding(check, Severity.FAULT, f"the host does not know {names.API_VERSION} {names.RECORD_KIND}", todo)
        return
    schema: Object = next((s for s in schemas.values() if "accepted" in _properties_at(s, "spec")), {})
    missing = [
        f"{path}.{key}"
        for path, model in _WRITTEN.items()
        for key in sorted((field.alias or name) for name, field in model.model_fields.items())
        if key not in _properties_at(schema, path)
    ]
    if missing:
        yield Finding(check, Severity.FAULT, f"belongs to another release: it lacks {', '.join(missing)}", todo)
    else:
        yield Finding(check, Severity.OK, "belongs to this release")


def _properties_at(schema: Object, path: str) -> Object:
    node = schema
    for part in path.split("."):
        node = (node.get("properties") or {}).get(part) or {}
    properties: Object = node.get("properties") or {}
    return properties


def _check_policies(client: KubeClient, wanted: Wanted) -> Iterator[Finding]:
    for name in POLICIES:
        check = f"admission policy {name}"
        try:
            client.request("GET", f"{_ADMISSION}/validatingadmissionpolicybindings/{name}")
            policy = client.request("GET", f"{_ADMISSION}/validatingadmissionpolicies/{name}")
        except NotFoundError:
            todo = "kubectl apply -k <your overlay of manifests/>"
            yield Finding(check, Severity.FAULT, "the policy or its binding does not exist", todo)
            continue
        problem = ""
        if name == names.KNS_POLICY:
            problem = _find_mismatch(policy, wanted)
        elif name == _POD_POLICY:
            problem = _find_default_priority(client, policy)
        if problem:
            yield Finding(check, Severity.FAULT, problem, "change it in your overlay of manifests/")
        else:
            yield Finding(check, Severity.OK, "exists and is bound")


def _find_mismatch(policy: Object, wanted: Wanted) -> str:
    """The policy repeats two settings, because the account of kns must not be able to change them there."""
    spec = policy.get("spec") or {}
    conditions = [condition["expression"] for condition in spec.get("matchConditions") or ()]
    levels = [v["expression"] for v in spec.get("variables") or () if v["name"] == "levels"]
    if not any(f":{wanted.account}$'" in expression for expression in conditions):
        return f"does not apply to the account {wanted.account} of kns"
    if not any(f"'{wanted.pod_security}'" in expression for expression in levels):
        return f"does not allow KNS_POD_SECURITY={wanted.pod_security}"
    return ""


def _find_default_priority(client: KubeClient, policy: Object) -> str:
    """The host gives its default PriorityClass to every pod without one, those of tenants included."""
    variables = {v["name"]: v["expression"] for v in (policy.get("spec") or {}).get("variables") or ()}
    written = variables.get("maxPriority", "0")
    try:
        highest = int(written)
    except ValueError:
        return f"cannot be checked: its maxPriority is not a number but {clip(written)}; write the number"
    for found in client.request("GET", "/apis/scheduling.k8s.io/v1/priorityclasses")["items"]:
        if found.get("globalDefault") and found["value"] > highest:
            return (
                f"would refuse every pod of a tenant: the default PriorityClass {found['metadata']['name']} has the "
                f"value {found['value']}, and maxPriority is {highest}"
            )
    return ""


def _check_classes(client: KubeClient, wanted: Wanted) -> Iterator[Finding]:
    rows = [
        *(("StorageClass", f"/apis/storage.k8s.io/v1/storageclasses/{name}") for name in wanted.storage_classes),
        *(("RuntimeClass", f"/apis/node.k8s.io/v1/runtimeclasses/{name}") for name in wanted.runtime_classes),
        *(("PriorityClass", f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}") for name in wanted.priority_classes),
    ]
    if wanted.ingress_class and not wanted.gateway:
        rows.append(("IngressClass", f"/apis/networking.k8s.io/v1/ingressclasses/{wanted.ingress_class}"))
    for kind, path in rows:
        check = f"{kind} {path.rpartition('/')[2]}"
        try:
            client.request("GET", path)
        except NotFoundError:
            yield Finding(check, Severity.FAULT, "does not exist on the host", "create it or change the setting")
        except ForbiddenError:
            todo = "use an administrator's KUBECONFIG"
            yield Finding(check, Severity.UNKNOWN, "this account may not read it", todo)
        else:
            yield Finding(check, Severity.OK, "exists")


def _check_gateway(client: KubeClient, gateway: GatewayRef) -> Iterator[Finding]:
    check, row = f"Gateway {gateway}", KINDS[Kind.GATEWAY]
    try:
        client.request("GET", row.prefix)
    except NotFoundError:
        said = f"the host does not have {row.prefix.removeprefix('/apis/')}: no job can be exposed"
        yield Finding(check, Severity.FAULT, said, "install the CRDs of the Gateway API, standard channel")
        return
    try:
        found = client.request("GET", row.path(gateway.namespace, gateway.name))
    except NotFoundError:
        yield Finding(check, Severity.FAULT, "is not there", "make it, or change JARVICE_JOBS_GATEWAY")
        return
    listeners = [each for each in found["spec"]["listeners"] if gateway.listener in (None, each["name"])]
    programmed = [c["status"] for c in (found.get("status") or {}).get("conditions") or () if c["type"] == "Programmed"]
    if not listeners:
        yield Finding(check, Severity.FAULT, f"has no listener {gateway.listener}", "change JARVICE_JOBS_GATEWAY")
    elif not any(_admits_jobs_of(listener) for listener in listeners):
        todo = f"in allowedRoutes.namespaces of a listener, admit namespaces with the label {names.JOB_LABEL}"
        yield Finding(check, Severity.FAULT, "no listener admits routes of the jobs' namespaces", todo)
    elif programmed != ["True"]:
        todo = "see its status, and whether the controller of its GatewayClass runs"
        yield Finding(check, Severity.WARNING, "is there, but no controller has programmed it", todo)
    else:
        yield Finding(check, Severity.OK, "is programmed, and admits routes of jobs")


def _admits_jobs_of(listener: Object) -> bool:
    """The default of `from` is Same: only the Gateway's own namespace."""
    allowed = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
    origin = allowed.get("from", "Same")
    return origin == "All" or (origin == "Selector" and _selects(allowed.get("selector") or {}, _JOB_NAMESPACE))


def _check_openshift(client: KubeClient) -> Iterator[Finding]:
    """On OpenShift, pods need a SecurityContextConstraint too; other hosts do not have that API group."""
    try:
        client.request("GET", f"/apis/{_OPENSHIFT}/v1")
    except NotFoundError:
        return
    role = client.request("GET", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{names.SYNCER_CLUSTER_ROLE}")
    if any(_OPENSHIFT in (rule.get("apiGroups") or ()) for rule in role.get("rules") or ()):
        said = "this host is one, where kns was not tried; the syncers may use a SecurityContextConstraint"
        yield Finding("OpenShift", Severity.WARNING, said, "see docs/operations.md for what is known")
    else:
        said = (
            f"ClusterRole {names.SYNCER_CLUSTER_ROLE} allows no SecurityContextConstraint: no control plane will start"
        )
        yield Finding("OpenShift", Severity.FAULT, said, "apply overlays/openshift")


def _check_nodes(nodes: Sequence[Object], machines: Iterable[Machine]) -> Iterator[Finding]:
    """Check the nodes of each machine. A machine limits a whole job, so a smaller node causes only a warning."""
    for machine in machines:
        check, wanted = f"nodes for {machine.mc_name}", machine.node_selector
        label = ", ".join(f"{key}={value}" for key, value in wanted.items()) or "any"
        matching = [node for node in nodes if wanted.items() <= (node["metadata"].get("labels") or {}).items()]
        fitting = [node for node in matching if runs_linux(node)]
        if not fitting:
            said = f"no Linux node that accepts jobs has the labels {label}"
            yield Finding(check, Severity.FAULT, said, "label nodes, check their taints, or change mc_properties")
            continue
        has_room = any(_has_room(node, machine) for node in fitting)
        if not has_room:
            said = f"none of {len(fitting)} nodes has {machine.mc_cores} cores, {machine.mc_ram} GiB and "
            todo = "a pod that requests all of it cannot start; add a larger node or reduce the machine"
            yield Finding(check, Severity.WARNING, f"{said}{machine.mc_gpus} GPUs", todo)
        if len(fitting) < len(matching):
            said = f"{len(matching) - len(fitting)} of {len(matching)} nodes ({label}) do not run Linux"
            todo = (
                f"pods of jobs that get there never start; add {names.OS_LABEL}={names.LINUX} to mc_properties, or "
                "taint the nodes"
            )
            yield Finding(check, Severity.WARNING, said, todo)
        elif has_room:
            yield Finding(check, Severity.OK, f"{len(fitting)} ({label})")


def _keep_node(node: Object) -> Object:
    """What the checks read. A node names its images and has up to 50 KiB, and a large host has thousands of them."""
    meta, status = node["metadata"], node.get("status") or {}
    return {
        "metadata": {"name": meta["name"], "labels": meta.get("labels") or {}},
        "status": {key: status[key] for key in ("allocatable", "nodeInfo") if key in status},
    }


def _has_room(node: Object, machine: Machine) -> bool:
    room = (node.get("status") or {}).get("allocatable") or {}
    wanted = {"cpu": machine.mc_cores, "memory": machine.mc_ram * _GIB, _GPU: machine.mc_gpus}
    return all(parse_quantity(str(room.get(name, "0"))) >= amount for name, amount in wanted.items())


def _check_webhooks(client: KubeClient) -> Iterator[Finding]:
    """Find webhooks that handle the objects of jobs and fail closed: if one does not answer, no job can start."""
    found = []
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        for configuration in client.request("GET", f"{_ADMISSION}/{kind}")["items"]:
            hooks = configuration.get("webhooks") or ()
            found += [(configuration["metadata"]["name"], hook["name"]) for hook in hooks if _is_in_the_way(hook)]
    for configuration_name, hook_name in found:
        said = "handles the pods or namespaces of jobs, and refuses them if it does not answer"
        todo = f"exclude namespaces with {names.JOB_LABEL} in its namespaceSelector, or set failurePolicy: Ignore"
        yield Finding(f"webhook {configuration_name} {hook_name}", Severity.WARNING, said, todo)
    if not found:
        yield Finding("webhooks", Severity.OK, "none blocks jobs")


def _is_in_the_way(hook: Object) -> bool:
    if hook.get("failurePolicy", "Fail") != "Fail":
        return False
    seen = any(
        {"", "*"} & set(rule.get("apiGroups") or ())
        and {"CREATE", "*"} & set(rule.get("operations") or ())
        and {"pods", "namespaces", "*", "*/*"} & set(rule.get("resources") or ())
        for rule in hook.get("rules") or ()
    )
    return seen and _selects(hook.get("namespaceSelector") or {}, _JOB_NAMESPACE)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    exact: Mapping[str, str] = selector.get("matchLabels") or {}
    tests: Mapping[str, Callable[[str, list[str]], bool]] = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    terms = selector.get("matchExpressions") or ()
    return exact.items() <= labels.items() and all(
        tests[term["operator"]](term["key"], term.get("values") or []) for term in terms
    )


def _check_other_tenants(client: KubeClient, own_namespace: str) -> Iterator[Finding]:
    """Find namespaces of others by their names alone. Their content is not read."""
    found = sorted(
        namespace["metadata"]["name"]
        for namespace in walk(client, KINDS[Kind.NAMESPACE])
        if not _belongs_to_platform(namespace["metadata"], own_namespace)
    )
    if not found:
        yield Finding("other tenants", Severity.OK, "no namespace looks like another tenant's")
        return
    shown = ", ".join(found[:_NAMES_SHOWN]) + (", ..." if len(found) > _NAMES_SHOWN else "")
    said = f"{len(found)} namespaces are neither the platform's nor those of kns or its jobs: {shown}"
    todo = "prefer a cluster that only kns uses; docs/operations.md says what to do otherwise"
    yield Finding("other tenants", Severity.WARNING, said, todo)


def _belongs_to_platform(meta: Object, own_namespace: str) -> bool:
    name = meta["name"]
    if name == own_namespace or names.JOB_LABEL in (meta.get("labels") or {}):
        return True
    return _PLATFORM.fullmatch(name) is not None and not name.startswith(_PORTAL)


def _check_metrics(client: KubeClient) -> Iterator[Finding]:
    try:
        client.request("GET", "/apis/metrics.k8s.io/v1beta1")
    except NotFoundError:
        todo = "install metrics-server if users need it"
        yield Finding("metrics API", Severity.WARNING, "does not exist, so `metrics` of a job answers 404", todo)
    else:
        yield Finding("metrics API", Severity.OK, "exists")
