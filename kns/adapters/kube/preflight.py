"""
A look at the host cluster before the first job: whether it has what jobs will need. Nothing here writes.

Who asks decides what can be seen: kns's own account sees no nodes, webhooks, policies or roles, and then the answer is
"unknown", never "ok".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.rights import Asker, check_rights, check_roles
from kns.model import names
from kns.model.catalog.machine import Machine
from kns.model.errors import ForbiddenError, KnsError, NotFoundError
from kns.model.findings import Finding, Judgement
from kns.model.job.job import Accepted, JobSpec, JobStatus
from kns.model.reading.quantity import parse_quantity
from kns.model.site import TOLERATED_TAINTS

OLDEST_MINOR = 33  # of Kubernetes 1: ServiceCIDRs, and what the policies in manifests/ are written in
POLICIES = (
    names.KNS_POLICY,
    "kns-job-endpoints",
    "kns-job-objects",
    "kns-job-pods",
    "kns-job-services",
    "kns-job-volumes",
)

_GPU = "nvidia.com/gpu"
_GIB = 2**30
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
    """What the settings and the catalogue ask of the host. With `asks_itself` it is kns's own account that asks."""

    namespace: str
    account: str
    asks_itself: bool
    pod_security: str
    ingress_class: str | None
    storage_classes: tuple[str, ...]
    runtime_classes: tuple[str, ...]
    machines: tuple[Machine, ...]


def check_host(client: KubeClient, wanted: Wanted) -> Iterator[Finding]:
    """Every check in turn; without an answer from the host there is only the first."""
    asker = Asker(client, "" if wanted.asks_itself else wanted.account, wanted.namespace)
    try:
        yield _check_version(client.request("GET", "/version"))
    except KnsError as error:
        yield Finding("host API", Judgement.FAULT, str(error), "check address, token and network")
        return
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("CustomResourceDefinition", lambda: _check_schema(client)),
        ("rights", lambda: check_rights(asker)),
        ("ClusterRoles", lambda: check_roles(client)),
        ("admission policies", lambda: _check_policies(client, wanted)),
        ("classes", lambda: _check_classes(client, wanted)),
        ("nodes", lambda: _check_nodes(client, wanted.machines)),
        ("webhooks", lambda: _check_webhooks(client)),
        ("metrics API", lambda: _check_metrics(client)),
    )
    for name, check in checks:
        try:
            yield from check()
        except ForbiddenError:
            yield Finding(
                name, Judgement.UNKNOWN, "this account may not see it", "ask with an administrator's KUBECONFIG"
            )
        except KnsError as error:
            yield Finding(name, Judgement.FAULT, str(error), "see the API server's answer")


def _check_version(answer: Object) -> Finding:
    version, minor = str(answer.get("gitVersion")), str(answer.get("minor", "")).rstrip("+")
    if not minor.isdigit() or (str(answer.get("major")) == "1" and int(minor) < OLDEST_MINOR):
        todo = f"kns needs Kubernetes 1.{OLDEST_MINOR} or later"
        return Finding("host API", Judgement.FAULT, f"answers, version {version}", todo)
    return Finding("host API", Judgement.OK, f"answers, version {version}")


def _check_schema(client: KubeClient) -> Iterator[Finding]:
    """By the published schema, which any account may read: what it lacks the API server drops without a word."""
    check, todo = "CustomResourceDefinition", "kubectl apply -f manifests/crd-nestedjob.yaml, of this release"
    try:
        schemas = client.request("GET", _SCHEMA)["components"]["schemas"]
    except NotFoundError:
        yield Finding(check, Judgement.FAULT, f"the host does not know {names.API_VERSION} {names.RECORD_KIND}", todo)
        return
    schema: Object = next((s for s in schemas.values() if "accepted" in _properties_at(s, "spec")), {})
    missing = [
        f"{path}.{key}"
        for path, model in _WRITTEN.items()
        for key in sorted((field.alias or name) for name, field in model.model_fields.items())
        if key not in _properties_at(schema, path)
    ]
    if missing:
        yield Finding(check, Judgement.FAULT, f"is of another release, it lacks {', '.join(missing)}", todo)
    else:
        yield Finding(check, Judgement.OK, "is of this release")


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
            todo = "kubectl apply -k your overlay over manifests/"
            yield Finding(check, Judgement.FAULT, "it or its binding is not there", todo)
            continue
        problem = _find_mismatch(policy, wanted) if name == names.KNS_POLICY else ""
        if problem:
            yield Finding(check, Judgement.FAULT, problem, "change it in an overlay over manifests/")
        else:
            yield Finding(check, Judgement.OK, "is there, and bound")


def _find_mismatch(policy: Object, wanted: Wanted) -> str:
    """Two settings are written down in the policy as well, where kns's own account cannot change them."""
    spec = policy.get("spec") or {}
    conditions = [condition["expression"] for condition in spec.get("matchConditions") or ()]
    levels = [v["expression"] for v in spec.get("variables") or () if v["name"] == "levels"]
    if not any(f":{wanted.account}$'" in expression for expression in conditions):
        return f"does not bound kns's account {wanted.account}: it is for one of another name"
    if not any(f"'{wanted.pod_security}'" in expression for expression in levels):
        return f"refuses KNS_POD_SECURITY={wanted.pod_security}: it is not among its levels"
    return ""


def _check_classes(client: KubeClient, wanted: Wanted) -> Iterator[Finding]:
    rows = [
        *(("StorageClass", f"/apis/storage.k8s.io/v1/storageclasses/{name}") for name in wanted.storage_classes),
        *(("RuntimeClass", f"/apis/node.k8s.io/v1/runtimeclasses/{name}") for name in wanted.runtime_classes),
    ]
    if wanted.ingress_class:
        rows.append(("IngressClass", f"/apis/networking.k8s.io/v1/ingressclasses/{wanted.ingress_class}"))
    for kind, path in rows:
        check = f"{kind} {path.rpartition('/')[2]}"
        try:
            client.request("GET", path)
        except NotFoundError:
            yield Finding(check, Judgement.FAULT, "the host has none of that name", "make it, or change the setting")
        except ForbiddenError:
            todo = "ask with an administrator's KUBECONFIG"
            yield Finding(check, Judgement.UNKNOWN, "this account may not see it", todo)
        else:
            yield Finding(check, Judgement.OK, "is there")


def _check_nodes(client: KubeClient, machines: Iterable[Machine]) -> Iterator[Finding]:
    """A machine is a ceiling for a whole job, so one node that is smaller than it is worth a warning and no more."""
    nodes = [node for node in client.request("GET", "/api/v1/nodes")["items"] if _admits_jobs(node)]
    for machine in machines:
        check, wanted = f"nodes for {machine.mc_name}", machine.node_selector
        label = ", ".join(f"{key}={value}" for key, value in wanted.items()) or "any"
        fitting = [node for node in nodes if wanted.items() <= (node["metadata"].get("labels") or {}).items()]
        if not fitting:
            said = f"no node that takes jobs has the labels: {label}"
            yield Finding(check, Judgement.FAULT, said, "label nodes, see their taints, or change mc_properties")
        elif not any(_has_room(node, machine) for node in fitting):
            said = f"no one node of {len(fitting)} has {machine.mc_cores} cores, {machine.mc_ram} GiB, "
            todo = "a pod that asks for all of it will not start; add a node, or make the machine smaller"
            yield Finding(check, Judgement.WARNING, f"{said}{machine.mc_gpus} GPUs", todo)
        else:
            yield Finding(check, Judgement.OK, f"{len(fitting)} ({label})")


def _admits_jobs(node: Object) -> bool:
    """Ready for new pods with the tolerations of a job's."""
    spec = node.get("spec") or {}
    hard = [taint for taint in spec.get("taints") or () if taint.get("effect") != "PreferNoSchedule"]
    tolerated = all(t["key"] in TOLERATED_TAINTS and t["effect"] == "NoSchedule" for t in hard)
    return tolerated and not spec.get("unschedulable")


def _has_room(node: Object, machine: Machine) -> bool:
    room = (node.get("status") or {}).get("allocatable") or {}
    wanted = {"cpu": machine.mc_cores, "memory": machine.mc_ram * _GIB, _GPU: machine.mc_gpus}
    return all(parse_quantity(str(room.get(name, "0"))) >= amount for name, amount in wanted.items())


def _check_webhooks(client: KubeClient) -> Iterator[Finding]:
    """A webhook that sees what jobs make and refuses when it is silent stops every job with it."""
    found = []
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        for configuration in client.request("GET", f"{_ADMISSION}/{kind}")["items"]:
            hooks = configuration.get("webhooks") or ()
            found += [(configuration["metadata"]["name"], hook["name"]) for hook in hooks if _is_in_the_way(hook)]
    for configuration_name, hook_name in found:
        said = "sees the pods or namespaces of jobs, and refuses them when it does not answer"
        todo = f"exclude namespaces with {names.JOB_LABEL} in its namespaceSelector, or set failurePolicy: Ignore"
        yield Finding(f"webhook {configuration_name} {hook_name}", Judgement.WARNING, said, todo)
    if not found:
        yield Finding("webhooks", Judgement.OK, "none in the way")


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


def _check_metrics(client: KubeClient) -> Iterator[Finding]:
    try:
        client.request("GET", "/apis/metrics.k8s.io/v1beta1")
    except NotFoundError:
        todo = "install metrics-server if users shall see it"
        yield Finding("metrics API", Judgement.WARNING, "is not there: `metrics` of a job answers 404", todo)
    else:
        yield Finding("metrics API", Judgement.OK, "is there")
