"""
What a tenant, who is the administrator of a job's cluster, can do from inside; and what somebody can do from outside
with the stolen token of its syncer.

The testbed's network enforces no NetworkPolicy, so these tests look at the policies' content.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE
from kns.model.job.location import Location
from kns.model.names import host_name
from kns.model.site import NetworkSettings
from kns.objects.network import build_network_policies
from tests.e2e.jobs import TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.quota import await_count
from tests.e2e.shell import SHELL_S, require_ready
from tests.e2e.site import Site
from tests.e2e.stolen import Attempt, Thief, apply, create, delete, read, require_refused, with_token_of
from tests.e2e.tenant import ROOT_VOLUME, a_pod, await_event, host_copy
from tests.e2e.waiting import NotYetError

_IN = "--namespace=default"


@pytest.fixture(scope="module")
def job(web_shell: TrialJob) -> TrialJob:
    """A job with a web shell, so that it has every kind of pod that a job can have."""
    web_shell.wait_for(lambda: require_ready(web_shell), timeout_s=SHELL_S, what="a shell that is ready")
    return web_shell


@pytest.fixture
def inside(site: Site, job: TrialJob) -> Iterator[Kubectl]:
    with nested_kubectl(site.target, job.number) as kubectl:
        yield kubectl


@pytest.fixture(scope="module")
def syncer(site: Site, job: TrialJob) -> Iterator[Thief]:
    """Somebody with the token of the job's syncer, the only account of a job that has rights on the host."""
    with with_token_of(site, f"vc-{job.namespace}", job.namespace) as thief:
        yield thief


ESCAPES = {
    "privileged": a_pod("privileged", container={"securityContext": {"privileged": True}}),
    "capability": a_pod("capability", container={"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
    "host-path": a_pod("host-path", **ROOT_VOLUME),
    "host-network": a_pod("host-network", hostNetwork=True),
    "host-pid": a_pod("host-pid", hostPID=True),
    "host-ipc": a_pod("host-ipc", hostIPC=True),
    "host-port": a_pod("host-port", container={"ports": [{"containerPort": 80, "hostPort": 80}]}),
    "unconfined": a_pod("unconfined", container={"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
}


@pytest.mark.proves("security", "privileged mode, capabilities, host path, network, PID, IPC, port, no seccomp")
@pytest.mark.parametrize("name", ESCAPES)
def test_a_pod_that_reaches_for_its_node_is_refused_and_the_tenant_told(
    site: Site, job: TrialJob, inside: Kubectl, name: str
) -> None:
    inside.run("apply", "--filename=-", stdin=json.dumps(ESCAPES[name]))
    await_event(job, inside, name, "violates PodSecurity")
    copy = host_name(name, "default", job.namespace)
    assert site.kubectl.find("pod", copy, f"--namespace={job.namespace}") is None


@pytest.mark.proves("security", "fill the host's store, address ranges or pod slots with thousands of small objects")
def test_the_quota_counts_what_costs_the_host_without_being_cores_or_memory(site: Site, job: TrialJob) -> None:
    kinds = ("pods", "services", "configmaps", "secrets", "persistentvolumeclaims")

    def counted(used: dict[str, Decimal], hard: dict[str, Decimal]) -> None:
        objects = {kind: site.kubectl.get(kind, f"--namespace={job.namespace}")["items"] for kind in kinds}
        objects["pods"] = [pod for pod in objects["pods"] if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        assert all(used[kind] <= hard[kind] / 10 for kind in kinds)
        there = {kind: len(found) for kind, found in objects.items()}
        if (found := {kind: int(used[kind]) for kind in kinds}) != there:
            raise NotYetError(f"{found}, and there are {there}")

    await_count(site, job, counted)


@pytest.mark.proves("security", "a Service with `externalIPs`, a node port, a load balancer")
@pytest.mark.parametrize(
    ("name", "spec", "said"),
    [
        ("external", {"externalIPs": ["10.96.0.1"]}, "a Service of a job has no externalIPs"),
        ("node-port", {"type": "NodePort"}, "exceeded quota: kns-quota"),
        ("balancer", {"type": "LoadBalancer"}, "exceeded quota: kns-quota"),
    ],
)
def test_a_service_draws_no_traffic_of_the_host(inside: Kubectl, name: str, spec: dict[str, Any], said: str) -> None:
    meta = {"name": name, "namespace": "default"}
    whole = {"selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
    body = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": whole})
    assert said in inside.run("create", "--filename=-", stdin=body, check=False)


@pytest.mark.proves("security", "use a host ServiceAccount")
def test_no_pod_that_a_tenant_reaches_has_a_token_of_the_host(site: Site, job: TrialJob, inside: Kubectl) -> None:
    """Only the control plane has one, and no tenant reaches that pod: it is in no cluster of theirs."""
    inside.run("create", "serviceaccount", f"vc-{job.namespace}", _IN)
    pod = a_pod("borrower", serviceAccountName=f"vc-{job.namespace}", automountServiceAccountToken=True)
    inside.run("apply", "--filename=-", stdin=json.dumps(pod))
    assert host_copy(site, job, "borrower")["spec"]["serviceAccountName"] == f"vc-workload-{job.namespace}"
    pods = {pod["metadata"]["name"]: pod for pod in job.pods()}
    reached = {name: pod for name, pod in pods.items() if pod["metadata"]["labels"].get("release") != job.namespace}
    kinds = {pod["metadata"]["labels"].get("kns.io/component", "tenant") for pod in reached.values()}
    assert {"tenant", "shell"} <= kinds
    for name, found in reached.items():
        assert found["spec"]["automountServiceAccountToken"] is False, name
        sources = [s for v in found["spec"].get("volumes", []) for s in v.get("projected", {}).get("sources", [])]
        assert not any("serviceAccountToken" in source for source in sources), name


@pytest.mark.proves("security", "name a host Secret (`...-certs`, `kns-init`)")
def test_a_pod_of_the_tenant_cannot_name_a_secret_of_the_host(site: Site, job: TrialJob, inside: Kubectl) -> None:
    """The Secrets that it names are looked up inside, and reach the host under a translated name."""
    wanted = (f"{job.namespace}-certs", f"vc-{job.namespace}", "kns-init", "kns-shell")
    volumes = [{"name": f"v{index}", "secret": {"secretName": name}} for index, name in enumerate(wanted)]
    env = [{"secretRef": {"name": "kns-init-env"}}]
    pod = a_pod("thief", container={"envFrom": env}, volumes=volumes, imagePullSecrets=[{"name": "kns-pull"}])
    inside.run("apply", "--filename=-", stdin=json.dumps(pod))
    spec = host_copy(site, job, "thief")["spec"]
    named = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
    named += [source["secretRef"]["name"] for source in spec["containers"][0]["envFrom"]]
    assert {host_name(name, "default", job.namespace) for name in (*wanted, "kns-init-env")} <= set(named)
    assert not set(named) & {*wanted, "kns-init-env"}


@pytest.mark.proves("security", "read the nested administrator's kubeconfig")
def test_a_tenant_inside_sees_no_object_of_the_host(job: TrialJob, inside: Kubectl) -> None:
    secrets = {item["metadata"]["name"] for item in inside.get("secrets", "--all-namespaces")["items"]}
    assert not {
        name for name in secrets if name.startswith((f"{job.namespace}-certs", f"vc-{job.namespace}", "kns-init"))
    }
    namespaces = {item["metadata"]["name"] for item in inside.get("namespaces")["items"]}
    assert not namespaces & {job.namespace, NAMESPACE}


def test_the_namespace_enforces_pod_security(site: Site, job: TrialJob) -> None:
    labels = site.kubectl.get("namespace", job.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"


def test_the_network_policies_are_there_as_built(site: Site, job: TrialJob) -> None:
    found = site.kubectl.get("networkpolicies", f"--namespace={job.namespace}")["items"]
    network = NetworkSettings(internet=True)
    built = build_network_policies(Location(job.number, job.namespace), network, system_namespace=NAMESPACE)
    assert {policy["metadata"]["name"]: policy["spec"] for policy in found} == {
        policy["metadata"]["name"]: policy["spec"] for policy in built
    }


def _attempts(job: str) -> list[Attempt]:
    """What the syncer of a job could try with its rights."""
    here, core = f"/api/v1/namespaces/{job}", "/api/v1/namespaces"
    rbac, net = "/apis/rbac.authorization.k8s.io/v1", "/apis/networking.k8s.io/v1"
    copied = {"name": "e2e", "labels": {"vcluster.loft.sh/managed-by": job}}
    pod = {**a_pod("e2e"), "metadata": copied}
    service = {"selector": {"a": "b"}, "ports": [{"port": 80}], "externalIPs": ["10.96.0.1"]}
    subject = {"kind": "ServiceAccount", "name": f"vc-{job}", "namespace": job}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "e2e"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kns-vcluster-syncer"},
        "subjects": [subject],
    }
    meta = {"apiVersion": "v1", "metadata": {"name": "e2e"}}
    subsets = [{"addresses": [{"ip": "10.244.0.9"}], "ports": [{"port": 80}]}]
    a_slice = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "e2e", "labels": {"kubernetes.io/service-name": "kns-target"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.9"]}],
        "ports": [{"port": 80}],
    }
    return [
        read("list Secrets of kube-system", f"{core}/kube-system/secrets"),
        read("read kns's catalogue", f"{core}/{NAMESPACE}/secrets/kns-catalog"),
        read("list all Secrets", "/api/v1/secrets"),
        read("list all pods", "/api/v1/pods"),
        read("list nodes", "/api/v1/nodes"),
        read("read its job's record", f"/apis/kns.io/v1alpha1/namespaces/{NAMESPACE}/nestedjobs"),
        create("make a pod in default", f"{core}/default/pods", pod),
        create("make a privileged pod at home", f"{here}/pods",
               {**ESCAPES["privileged"], "metadata": copied}),
        create("mount the node's disk at home", f"{here}/pods", {**ESCAPES["host-path"], "metadata": copied}),
        create("mount an NFS server at home", f"{here}/pods",
               {**a_pod("e2e", volumes=[{"name": "v", "nfs": {"server": "10.0.0.1", "path": "/"}}]),
                "metadata": copied}),
        create("draw other traffic", f"{here}/services", {**meta, "kind": "Service", "spec": service}),
        create("lead the ingress controller elsewhere", f"{core}/{job}/endpoints",
               {**meta, "kind": "Endpoints", "metadata": {"name": "kns-target"}, "subsets": subsets}),
        create("lead it elsewhere by a slice", f"/apis/discovery.k8s.io/v1/namespaces/{job}/endpointslices", a_slice),
        create("bind a role at home", f"{rbac}/namespaces/{job}/rolebindings", binding),
        create("bind a role in kube-system", f"{rbac}/namespaces/kube-system/rolebindings", binding),
        create("get a token of another account", f"{core}/{NAMESPACE}/serviceaccounts/kns-sa/token",
               {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}),
        create("run a program in a pod of kns", f"{core}/{NAMESPACE}/pods/any/exec", {}),
        create("make an Ingress", f"{net}/namespaces/{job}/ingresses",
               {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "e2e"},
                "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
        delete("delete the job's NetworkPolicy", f"{net}/namespaces/{job}/networkpolicies/kns-default"),
        delete("delete the job's quota", f"{here}/resourcequotas/kns-quota"),
        apply("widen the job's LimitRange", f"{here}/limitranges/kns-limit-range",
              {**meta, "kind": "LimitRange", "metadata": {"name": "kns-limit-range"}, "spec": {"limits": []}}),
        apply("lower the job's Pod Security", here,
              {**meta, "kind": "Namespace",
               "metadata": {"name": job, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
        delete("delete the job's namespace", here),
    ]  # fmt: skip


SYNCER_ATTEMPTS = [attempt.what for attempt in _attempts("kns-job-0")]


@pytest.mark.proves(
    "main",
    "About fifty forbidden actions with the scheduler's token, twenty with a syncer's: the API server refuses each",
)
@pytest.mark.proves("security", "lead the ingress controller to another job by its own endpoints")
@pytest.mark.proves(
    "security",
    "read elsewhere, create pods elsewhere or privileged ones in its own job, bind roles, remove the job's limits",
)
@pytest.mark.parametrize("what", SYNCER_ATTEMPTS)
def test_the_syncers_token_is_worth_nothing_beyond_its_job(syncer: Thief, job: TrialJob, what: str) -> None:
    (attempt,) = (attempt for attempt in _attempts(job.namespace) if attempt.what == what)
    require_refused(syncer.tries(attempt))


@pytest.mark.proves("security", "everything inside its job, including the app's pull secret")
def test_the_syncers_token_works_at_home(syncer: Thief, job: TrialJob) -> None:
    """So what is refused above is refused for its content."""
    home = f"/api/v1/namespaces/{job.namespace}/pods"
    assert syncer.tries(read("list pods", home)).status_code == 200
    pod = {**a_pod("e2e"), "metadata": {"name": "e2e", "labels": {"vcluster.loft.sh/managed-by": job.namespace}}}
    answer = syncer.tries(create("make a pod", home, pod))
    assert answer.status_code == 201, answer.text
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{job.namespace}/endpointslices"
    meta = {"name": "e2e", "labels": {"kubernetes.io/service-name": "web-x-default-x-e2e"}}
    body = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4"}
    answer = syncer.tries(create("lead the tenant's own Service", slices, {**body, "endpoints": [], "ports": []}))
    assert answer.status_code == 201, answer.text
