"""The findings for a complete site, and for each missing object."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import yaml

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.host_checks import POLICIES, Wanted, check_host
from kns.adapters.kube.kinds import KINDS, NODES
from kns.adapters.kube.rights import BEYOND_JOB, table_rules
from kns.model import names
from kns.model.catalog.machine import Machine
from kns.model.findings import Finding, Severity
from kns.model.job.job import Accepted, JobSpec, JobStatus
from kns.model.site import GatewayRef
from tests.adapters.api_server import ApiServer, Object, failure
from tests.adapters.faulty_server import Answer, Reset

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
PRIORITY = "/apis/scheduling.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SMALL = Machine(mc_name="small", mc_cores=2, mc_ram=4, mc_properties="appkind=kns,pool=jobs")
WANTED = Wanted(
    namespace="kns-system",
    account="kns-sa",
    uses_own_account=False,
    pod_security="baseline",
    ingress_class="traefik",
    gateway=None,
    storage_classes=("fast",),
    runtime_classes=("nvidia",),
    priority_classes=("control-planes",),
    machines=(SMALL,),
    image_volumes=None,
    lists_nodes=False,
)


def schema() -> dict[str, Any]:
    """The schema of this release."""

    def keys(model: Any) -> dict[str, Any]:
        return {field.alias or name: {} for name, field in model.model_fields.items()}

    spec = {**keys(JobSpec), "accepted": {"properties": keys(Accepted)}}
    properties = {"spec": {"properties": spec}, "status": {"properties": keys(JobStatus)}}
    return {"components": {"schemas": {"io.kns.v1alpha1.NestedJob": {"properties": properties}}}}


def a_role(name: str, rules: dict[tuple[str, str], set[str]]) -> Object:
    listed = [{"apiGroups": [g], "resources": [r], "verbs": sorted(verbs)} for (g, r), verbs in rules.items()]
    return {"metadata": {"name": name}, "rules": listed}


@cache
def _read_policy(name: str) -> Object:
    found = (obj for path in MANIFESTS.glob("admission-*.yaml") for obj in yaml.safe_load_all(path.read_text()))
    policy: Object = next(obj for obj in found if obj["metadata"]["name"] == name)
    return policy


def a_policy(name: str) -> Object:
    """The policies of the manifests. Only the name of a binding is checked."""
    return deepcopy(_read_policy(name))


def a_policy_of_pods(*, priority: str) -> Object:
    policy = a_policy("kns-job-pods")
    next(each for each in policy["spec"]["variables"] if each["name"] == "maxPriority")["expression"] = priority
    return policy


def a_node(
    name: str = "n1",
    *,
    cpu: str = "4",
    taints: tuple[Object, ...] = (),
    kubelet: str = "v1.36.0",
    runtime: str = "containerd://2.1.0",
    **labels: str,
) -> Object:
    info = {"kubeletVersion": kubelet, "containerRuntimeVersion": runtime}
    return {
        "metadata": {"name": name, "labels": labels or {"pool": "jobs"}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": cpu, "memory": "16Gi"}, "nodeInfo": info},
    }


def a_node_with_windows(name: str) -> Object:
    node = a_node(name)
    node["metadata"]["labels"]["kubernetes.io/os"] = "windows"
    return node


def a_webhook(*, policy: str = "Fail", resource: str = "pods", selector: Object | None = None) -> Object:
    hook = {
        "name": "h.example.org",
        "failurePolicy": policy,
        "namespaceSelector": selector or {},
        "rules": [{"apiGroups": [""], "operations": ["CREATE"], "resources": [resource]}],
    }
    return {"metadata": {"name": "hooks"}, "webhooks": [hook]}


def a_priority_class(name: str, value: int, *, default: bool = False) -> Object:
    return {"metadata": {"name": name}, "value": value, "globalDefault": default}


@pytest.fixture
def site(server: ApiServer) -> ApiServer:
    """A host that has everything that jobs need."""
    for name in POLICIES:
        for plural in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
            server.put(ADMISSION, plural, a_policy(name))
    server.put(RBAC, "clusterroles", a_role(names.KNS_CLUSTER_ROLE, table_rules("job", *KINDS.values()) | BEYOND_JOB))
    server.put(RBAC, "clusterroles", a_role(names.SYNCER_CLUSTER_ROLE, {}))
    server.put("/apis/storage.k8s.io/v1", "storageclasses", {"metadata": {"name": "fast"}})
    server.put(PRIORITY, "priorityclasses", a_priority_class("urgent", 1_000_000))
    server.put(PRIORITY, "priorityclasses", a_priority_class("low", -1, default=True))
    server.put("/apis/node.k8s.io/v1", "runtimeclasses", {"metadata": {"name": "nvidia"}})
    server.put(PRIORITY, "priorityclasses", a_priority_class("control-planes", 0))
    server.put("/apis/networking.k8s.io/v1", "ingressclasses", {"metadata": {"name": "traefik"}})
    server.put("/api/v1", "nodes", a_node())
    server.denied.add(("get", "secrets"))
    return server


def look(server: ApiServer, client: KubeClient, wanted: Wanted = WANTED) -> dict[str, Finding]:
    """Responses for paths that are not objects. Faults that a test scripted before come first."""
    server.script("GET", "/version", Answer(200, {"major": "1", "minor": "36+", "gitVersion": "v1.36.0"}))
    server.script("GET", "/v3/apis/kns.io/v1alpha1", Answer(200, schema()))
    server.script("GET", "/apis/metrics.k8s.io/v1beta1", Answer(200, {}))
    return {finding.check: finding for finding in check_host(client, wanted)}


SYSTEM_RIGHTS = "rights in kns-system"


def test_a_site_that_has_all(site: ApiServer, client: KubeClient) -> None:
    site.denied.clear()
    found = look(site, client)
    assert {name for name, f in found.items() if f.severity is not Severity.OK} == {"no more rights than these"}
    assert "may read Secrets in the whole cluster" in found["no more rights than these"].said
    assert found["nodes for small"].said == "1 (pool=jobs)"


def test_the_nodes_of_a_large_host_come_in_pages(site: ApiServer, client: KubeClient) -> None:
    """Thousands of them together are larger than an answer may be."""
    for number in range(NODES.page):
        site.put("/api/v1", "nodes", a_node(f"more-{number}"))
    assert look(site, client)["nodes for small"].said == f"{NODES.page + 1} (pool=jobs)"
    asked = {seen.query.get("limit") for seen in site.seen if seen.path == "/api/v1/nodes"}
    assert asked == {str(NODES.page)}


def test_no_check_keeps_the_nodes_of_a_large_host(
    site: ApiServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each names its images and has up to 50 KiB; five thousand would fill the memory of the scheduler's pod."""

    class Node(dict[str, Any]):
        __hash__ = object.__hash__  # type: ignore[assignment]  # for the set of those that are still in memory

    alive: WeakSet[Node] = WeakSet()
    most, pages, request = 0, 5, client.request

    def answer(method: str, path: str, **options: Any) -> Any:
        nonlocal most
        if path != "/api/v1/nodes":
            return request(method, path, **options)
        number = int(options["query"].get("continue", 0))
        page = [Node(a_node(f"n{number}-{each}")) for each in range(NODES.page)]
        alive.update(page)
        most = max(most, len(alive))
        return {"metadata": {"continue": str(number + 1)} if number + 1 < pages else {}, "items": page}

    monkeypatch.setattr(client, "request", answer)
    assert look(site, client)["nodes for small"].said == f"{pages * NODES.page} (pool=jobs)"
    assert most <= 2 * NODES.page


def test_nothing_is_written(site: ApiServer, client: KubeClient) -> None:
    look(site, client)
    assert {seen.path.rpartition("/")[2] for seen in site.seen if seen.method != "GET"} == {"subjectaccessreviews"}


def test_the_schedulers_account_is_asked_about_not_the_administrator(site: ApiServer, client: KubeClient) -> None:
    look(site, client)
    specs = [seen.body["spec"] for seen in site.seen if seen.method == "POST"]
    assert {spec["user"] for spec in specs} == {"system:serviceaccount:kns-system:kns-sa"}
    assert all("system:serviceaccounts:kns-system" in spec["groups"] for spec in specs)


def test_kns_asks_about_itself(site: ApiServer, client: KubeClient) -> None:
    look(site, client, replace(WANTED, uses_own_account=True))
    asked = [seen for seen in site.seen if seen.method == "POST"]
    assert {seen.path.rpartition("/")[2] for seen in asked} == {"selfsubjectaccessreviews"}
    assert not any("user" in seen.body["spec"] for seen in asked)


ROWS: list[tuple[str, Callable[[ApiServer], object], str, Severity, str]] = [
    (
        "an old host",
        lambda s: s.script("GET", "/version", Answer(200, {"major": "1", "minor": "32", "gitVersion": "v1.32.9"})),
        "host API",
        Severity.FAULT,
        "v1.32.9",
    ),
    ("no host", lambda s: s.script("GET", "/version", Reset()), "host API", Severity.FAULT, "no answer"),
    (
        "no CustomResourceDefinition",
        lambda s: s.script("GET", "/v3/apis/kns.io/v1alpha1", failure(404, "NotFound")),
        "CustomResourceDefinition",
        Severity.FAULT,
        "does not know kns.io/v1alpha1 NestedJob",
    ),
    (
        "one of another release",
        lambda s: s.script("GET", "/v3/apis/kns.io/v1alpha1", Answer(200, _without("number"))),
        "CustomResourceDefinition",
        Severity.FAULT,
        "lacks spec.accepted.number",
    ),
    (
        "a right is missing",
        lambda s: s.denied.add(("delete", "namespaces")),
        "rights cluster-wide",
        Severity.FAULT,
        "missing: delete namespaces",
    ),
    (
        "the roles of jobs cannot be bound",
        lambda s: s.denied.add(("bind", "clusterroles")),
        "rights cluster-wide",
        Severity.FAULT,
        "bind clusterroles.rbac.authorization.k8s.io kns-job-namespace",
    ),
    (
        "records cannot be updated",
        lambda s: s.denied.add(("update", "nestedjobs")),
        SYSTEM_RIGHTS,
        Severity.FAULT,
        "update nestedjobs/status.kns.io",
    ),
    (
        "a role of an older release",
        lambda s: s.put(RBAC, "clusterroles", a_role(names.KNS_CLUSTER_ROLE, BEYOND_JOB)),
        "ClusterRole kns-job-namespace",
        Severity.FAULT,
        "create networkpolicies.networking.k8s.io",
    ),
    (
        "no role for syncers",
        lambda s: s.drop(RBAC, "clusterroles", "", names.SYNCER_CLUSTER_ROLE),
        "ClusterRole kns-vcluster-syncer",
        Severity.FAULT,
        "does not exist",
    ),
    (
        "a policy that is not bound",
        lambda s: s.drop(ADMISSION, "validatingadmissionpolicybindings", "", "kns-scheduler"),
        "admission policy kns-scheduler",
        Severity.FAULT,
        "its binding does not exist",
    ),
    (
        "a default priority that pods of jobs may not have",
        lambda s: s.put(PRIORITY, "priorityclasses", a_priority_class("usual", 100, default=True)),
        "admission policy kns-job-pods",
        Severity.FAULT,
        "the default PriorityClass usual has the value 100, and maxPriority is 0",
    ),
    (
        "a highest priority that is calculated",
        lambda s: s.put(ADMISSION, "validatingadmissionpolicies", a_policy_of_pods(priority="10 * 10")),
        "admission policy kns-job-pods",
        Severity.FAULT,
        "its maxPriority is not a number but 10 * 10; write the number",
    ),
    (
        "a class that is not there",
        lambda s: s.drop("/apis/storage.k8s.io/v1", "storageclasses", "", "fast"),
        "StorageClass fast",
        Severity.FAULT,
        "does not exist on the host",
    ),
    (
        "no class of the priority of control planes",
        lambda s: s.drop("/apis/scheduling.k8s.io/v1", "priorityclasses", "", "control-planes"),
        "PriorityClass control-planes",
        Severity.FAULT,
        "does not exist on the host",
    ),
    (
        "no ingress class",
        lambda s: s.drop("/apis/networking.k8s.io/v1", "ingressclasses", "", "traefik"),
        "IngressClass traefik",
        Severity.FAULT,
        "does not exist on the host",
    ),
    (
        "no node has the labels",
        lambda s: s.put("/api/v1", "nodes", a_node(pool="other")),
        "nodes for small",
        Severity.FAULT,
        "pool=jobs",
    ),
    (
        "a node that wants no jobs",
        lambda s: s.put("/api/v1", "nodes", a_node(taints=({"key": "x", "effect": "NoSchedule"},))),
        "nodes for small",
        Severity.FAULT,
        "no Linux node that accepts jobs",
    ),
    (
        "only nodes with Windows",
        lambda s: s.put("/api/v1", "nodes", a_node_with_windows("n1")),
        "nodes for small",
        Severity.FAULT,
        "no Linux node that accepts jobs has the labels pool=jobs",
    ),
    (
        "nodes with Windows among others",
        lambda s: s.put("/api/v1", "nodes", a_node_with_windows("n2")),
        "nodes for small",
        Severity.WARNING,
        "1 of 2 nodes (pool=jobs) do not run Linux",
    ),
    (
        "nodes with Windows among nodes that are too small",
        lambda s: (
            s.put("/api/v1", "nodes", a_node(cpu="1900m")),
            s.put("/api/v1", "nodes", a_node_with_windows("n2")),
        ),
        "nodes for small",
        Severity.WARNING,
        "1 of 2 nodes (pool=jobs) do not run Linux",
    ),
    (
        "a node that is too small",
        lambda s: s.put("/api/v1", "nodes", a_node(cpu="1900m")),
        "nodes for small",
        Severity.WARNING,
        "none of 1 nodes has 2 cores",
    ),
    *(
        (
            f"a node with {text} cannot mount images",
            lambda s, of=of: s.put("/api/v1", "nodes", a_node("n2", **of)),
            "image volumes",
            Severity.FAULT,
            f"n2 ({text})",
        )
        for text, of in (
            ("kubelet v1.34.9", {"kubelet": "v1.34.9"}),
            ("containerd://2.0.4", {"runtime": "containerd://2.0.4"}),
            ("docker://28.0.1", {"runtime": "docker://28.0.1"}),
        )
    ),
    (
        "a webhook on pods",
        lambda s: s.put(ADMISSION, "mutatingwebhookconfigurations", a_webhook()),
        "webhook hooks h.example.org",
        Severity.WARNING,
        "refuses them if it does not answer",
    ),
    (
        "a webhook on namespaces",
        lambda s: s.put(ADMISSION, "validatingwebhookconfigurations", a_webhook(resource="namespaces")),
        "webhook hooks h.example.org",
        Severity.WARNING,
        "refuses them if it does not answer",
    ),
    (
        "no metrics",
        lambda s: s.script("GET", "/apis/metrics.k8s.io/v1beta1", failure(404, "NotFound")),
        "metrics API",
        Severity.WARNING,
        "404",
    ),
    (
        "an account that may not see nodes",
        lambda s: s.script("GET", "/api/v1/nodes", failure(403, "Forbidden", "no")),
        "nodes",
        Severity.UNKNOWN,
        "may not read it",
    ),
]


def _without(key: str) -> dict[str, Any]:
    published = schema()
    nested = published["components"]["schemas"]["io.kns.v1alpha1.NestedJob"]["properties"]
    del nested["spec"]["properties"]["accepted"]["properties"][key]
    return published


@pytest.mark.parametrize(("what", "change", "check", "severity", "said"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_missing(
    site: ApiServer,
    client: KubeClient,
    what: str,
    change: Callable[[ApiServer], object],
    check: str,
    severity: Severity,
    said: str,
) -> None:
    """The finding has its own name and says what to do."""
    change(site)
    finding = look(site, client)[check]
    assert finding.severity is severity
    assert said in finding.said
    assert finding.todo


def test_the_right_to_list_nodes_is_checked_if_the_settings_need_it(site: ApiServer, client: KubeClient) -> None:
    """And only then: without the setting, kns works without the right."""
    site.denied.add(("list", "nodes"))
    check, with_nodes = "right to list nodes", replace(WANTED, lists_nodes=True)
    assert check not in look(site, client)
    finding = look(site, client, with_nodes)[check]
    assert finding.severity is Severity.FAULT
    assert "overlays/free-machines" in finding.todo
    site.denied.clear()
    assert look(site, client, with_nodes)[check].severity is Severity.OK


@pytest.mark.parametrize(
    "hook",
    [
        a_webhook(policy="Ignore"),
        a_webhook(resource="configmaps"),
        a_webhook(selector={"matchExpressions": [{"key": "kns.io/job", "operator": "DoesNotExist"}]}),
        a_webhook(selector={"matchLabels": {"inject": "enabled"}}),
        a_webhook(
            selector={"matchExpressions": [{"key": "kns.io/job", "operator": "NotIn", "values": ["1"]}]},
        ),
    ],
    ids=["ignores", "other kind", "excludes jobs", "asks for a label", "excludes this one"],
)
def test_a_webhook_that_is_not_in_the_way(site: ApiServer, client: KubeClient, hook: Object) -> None:
    site.put(ADMISSION, "mutatingwebhookconfigurations", hook)
    assert look(site, client)["webhooks"].severity is Severity.OK


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"account": "scheduler"}, "does not apply to the account scheduler"),
        ({"account": "sa"}, "does not apply to the account sa"),
        ({"pod_security": "privileged"}, "does not allow KNS_POD_SECURITY=privileged"),
    ],
)
def test_a_policy_that_does_not_fit_the_settings(
    site: ApiServer, client: KubeClient, change: dict[str, Any], said: str
) -> None:
    finding = look(site, client, replace(WANTED, **change))["admission policy kns-scheduler"]
    assert finding.severity is Severity.FAULT
    assert said in finding.said


def test_a_silent_host_is_asked_once(site: ApiServer, client: KubeClient) -> None:
    site.script("GET", "/version", Reset())
    assert list(look(site, client)) == ["host API"]


# --- a Gateway

GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
GATEWAY = GatewayRef("infra", "public", "https")
JOBS = {"from": "Selector", "selector": {"matchExpressions": [{"key": "kns.io/job", "operator": "Exists"}]}}
OTHERS = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}


def a_gateway(allowed: Object | None, *, listener: str = "https", programmed: str = "True") -> Object:
    listeners = [{"name": listener, **({"allowedRoutes": {"namespaces": allowed}} if allowed else {})}]
    conditions = [{"type": "Programmed", "status": programmed}]
    meta = {"name": "public", "namespace": "infra"}
    return {"metadata": meta, "spec": {"listeners": listeners}, "status": {"conditions": conditions}}


GATEWAY_ROWS: dict[str, tuple[Object | None, Severity, str]] = {
    "jobs are admitted": (a_gateway(JOBS), Severity.OK, "admits routes of jobs"),
    "all are admitted": (a_gateway({"from": "All"}), Severity.OK, "admits routes of jobs"),
    "only its own namespace": (a_gateway(None), Severity.FAULT, "no listener admits"),
    "only other namespaces": (a_gateway(OTHERS), Severity.FAULT, "no listener admits"),
    "another listener": (a_gateway(JOBS, listener="http"), Severity.FAULT, "has no listener https"),
    "no controller": (a_gateway(JOBS, programmed="Unknown"), Severity.WARNING, "no controller has programmed it"),
    "no Gateway": (None, Severity.FAULT, "is not there"),
}


@pytest.mark.parametrize(("gateway", "verdict", "says"), GATEWAY_ROWS.values(), ids=GATEWAY_ROWS)
def test_a_gateway_that_serves_no_job_is_named(
    site: ApiServer, client: KubeClient, gateway: Object | None, verdict: Severity, says: str
) -> None:
    site.script("GET", GATEWAYS, Answer(200, {}))
    if gateway is not None:
        site.put(GATEWAYS, "gateways", gateway)
    found = look(site, client, replace(WANTED, gateway=GATEWAY))["Gateway infra/public/https"]
    assert (found.severity, says in found.said) == (verdict, True), found
    assert "IngressClass traefik" not in look(site, client, replace(WANTED, gateway=GATEWAY))


def test_a_host_without_the_gateway_api_is_named(site: ApiServer, client: KubeClient) -> None:
    found = look(site, client, replace(WANTED, gateway=GATEWAY))["Gateway infra/public/https"]
    assert (found.severity, "gateway.networking.k8s.io/v1" in found.said) == (Severity.FAULT, True)


# --- OpenShift

SCC = {("security.openshift.io", "securitycontextconstraints"): {"use"}}


def test_other_hosts_hear_nothing_of_openshift(site: ApiServer, client: KubeClient) -> None:
    assert "OpenShift" not in look(site, client)


@pytest.mark.parametrize(
    ("rules", "severity"), [({}, Severity.FAULT), (SCC, Severity.WARNING)], ids=["plain role", "role of the overlay"]
)
def test_openshift_needs_a_role_that_allows_control_planes(
    site: ApiServer, client: KubeClient, rules: dict[tuple[str, str], set[str]], severity: Severity
) -> None:
    site.put(RBAC, "clusterroles", a_role(names.SYNCER_CLUSTER_ROLE, rules))
    site.script("GET", "/apis/security.openshift.io/v1", Answer(200, {}))
    assert look(site, client)["OpenShift"].severity is severity


def a_namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}}


PLATFORM = [
    a_namespace("default"), a_namespace("kube-system"), a_namespace("kns-system"), a_namespace("ingress-nginx"),
    a_namespace("kns-job-7", **{names.JOB_LABEL: "7"}), a_namespace("adopted", **{names.JOB_LABEL: "8"}),
    a_namespace("metallb-system"), a_namespace("openshift-monitoring"), a_namespace("cert-manager"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "others", "severity", "said"),
    [
        ("a cluster of its own", [], Severity.OK, "no namespace looks like another tenant's"),
        ("the portal runs there, too", ["jarvice-system"], Severity.WARNING, ": jarvice-system"),
        ("tenants of others", [f"team-{i}" for i in range(7)], Severity.WARNING,
         "7 namespaces are neither the platform's nor those of kns or its jobs: "
         "team-0, team-1, team-2, team-3, team-4, ..."),
        ("a name that only begins like a platform's", ["default-app"], Severity.WARNING, ": default-app"),
        ("one that looks like a job's", ["kns-job-9"], Severity.WARNING, ": kns-job-9"),
    ],
)  # fmt: skip
def test_other_tenants_of_the_cluster(
    site: ApiServer, client: KubeClient, sentence: str, others: list[str], severity: Severity, said: str
) -> None:
    for namespace in [*PLATFORM, *map(a_namespace, others)]:
        site.put("/api/v1", "namespaces", namespace)
    found = look(site, client)["other tenants"]
    assert found.severity is severity
    assert found.said.endswith(said)


def test_namespaces_are_read_in_pages(site: ApiServer, client: KubeClient) -> None:
    """Those of many thousand jobs together exceed the limit of an answer, and preflight would report a fault."""
    for number in range(1, 502):
        site.put("/api/v1", "namespaces", a_namespace(f"kns-job-{number}", **{names.JOB_LABEL: str(number)}))
    site.put("/api/v1", "namespaces", a_namespace("team-of-others"))
    assert look(site, client)["other tenants"].said.endswith("its jobs: team-of-others")
    assert all("limit" in seen.query for seen in site.seen if seen.path == "/api/v1/namespaces")


def test_other_tenants_are_unknown_if_namespaces_may_not_be_listed(site: ApiServer, client: KubeClient) -> None:
    site.script("GET", "/api/v1/namespaces", failure(403, "Forbidden"))
    assert look(site, client)["other tenants"].severity is Severity.UNKNOWN
