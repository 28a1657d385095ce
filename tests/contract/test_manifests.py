"""
The manifests agree with the code: rights, schema, versions, pod security.

Each file is parsed once, and no test changes what was parsed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from kns import __version__
from kns.adapters.kube.host_checks import POLICIES as ASKED_POLICIES
from kns.adapters.kube.kinds import KINDS, LEASES, RECORDS
from kns.adapters.kube.numbers import COUNTER
from kns.adapters.kube.rights import BEYOND_CLUSTER, BEYOND_JOB, BEYOND_SYSTEM, table_rules
from kns.model import names
from kns.model.catalog.vault import AcceptedVault
from kns.model.job.conditions import Condition
from kns.model.job.job import (
    Accepted,
    DesiredState,
    JobSpec,
    JobState,
    JobStatus,
    MachineChoice,
    StopReason,
    VaultChoice,
)
from kns.objects.prepare_job import build_prepare_job
from kns.objects.vault import CSI_DRIVER
from kns.settings import Settings, list_names

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
FILES = sorted(path for path in MANIFESTS.glob("*.yaml") if path.name != "kustomization.yaml")
Rules = dict[tuple[str, str], set[str]]  # (group, resource) -> verbs


@cache
def load(path: Path) -> list[dict[str, Any]]:
    return [obj for obj in yaml.safe_load_all(path.read_text()) if obj]


def find(kind: str, name: str | None = None) -> dict[str, Any]:
    (found,) = (o for p in FILES for o in load(p) if o["kind"] == kind and name in (None, o["metadata"]["name"]))
    return found


def find_text(name: str) -> str:
    return (MANIFESTS / name).read_text()


def rules_of(role: dict[str, Any]) -> Rules:
    rules: Rules = defaultdict(set)
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rules[group, resource] |= set(rule["verbs"])
    return dict(rules)


@pytest.mark.parametrize("path", [*FILES, MANIFESTS / "kustomization.yaml"], ids=lambda path: path.name)
def test_every_file_parses_and_every_object_says_what_it_is(path: Path) -> None:
    objects = load(path)
    assert objects
    for obj in objects:
        assert obj["apiVersion"]
        assert obj["kind"]


def test_the_kustomization_has_every_file() -> None:
    (kustomization,) = load(MANIFESTS / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in FILES]


# --- rights


@pytest.mark.proves("settings", "Rights are the listed ones, not cluster-admin")
def test_cluster_wide_rights_are_the_kind_tables() -> None:
    """Beyond it: the service range may be asked, and two named ClusterRoles may be bound."""
    wanted = table_rules("cluster", *KINDS.values()) | BEYOND_CLUSTER
    assert rules_of(find("ClusterRole", "kns-scheduler")) == wanted
    (bind,) = (rule for rule in find("ClusterRole", "kns-scheduler")["rules"] if "bind" in rule["verbs"])
    assert sorted(bind["resourceNames"]) == sorted([names.KNS_CLUSTER_ROLE, names.SYNCER_CLUSTER_ROLE])


def test_rights_in_a_job_namespace_are_the_kind_tables() -> None:
    """Beyond it: logs."""
    assert rules_of(find("ClusterRole", names.KNS_CLUSTER_ROLE)) == table_rules("job", *KINDS.values()) | BEYOND_JOB


def test_rights_in_the_system_namespace_are_the_kind_tables() -> None:
    """Beyond it: the status subresource, and the log of the pod that makes a prepared state."""
    wanted = table_rules("system", *KINDS.values(), RECORDS, LEASES) | BEYOND_SYSTEM
    assert rules_of(find("Role", "kns-scheduler")) == wanted


ROLES = [obj for path in FILES for obj in load(path) if obj["kind"] in ("Role", "ClusterRole")]


@pytest.mark.proves("settings", "Rights are the listed ones, not cluster-admin")
@pytest.mark.parametrize("role", ROLES, ids=lambda role: f"{role['kind']} {role['metadata']['name']}")
def test_no_role_has_a_wildcard(role: dict[str, Any]) -> None:
    for rule in role["rules"]:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


def test_no_secret_can_be_read_cluster_wide() -> None:
    bound = [obj["roleRef"]["name"] for path in FILES for obj in load(path) if obj["kind"] == "ClusterRoleBinding"]
    assert bound == ["kns-scheduler"]
    assert ("", "secrets") not in rules_of(find("ClusterRole", "kns-scheduler"))


def test_kns_can_give_away_only_what_roles_say_it_may() -> None:
    """`escalate` would make every other rule here worthless."""
    for role in ROLES:
        for rule in role["rules"]:
            assert not {"escalate", "impersonate"} & set(rule["verbs"])


@pytest.mark.proves("security", "an Ingress of its own")
def test_a_virtual_cluster_has_no_right_to_make_ingresses() -> None:
    """For all settings: only kns creates Ingresses on the host."""
    assert not {
        resource for group, resource in rules_of(find("ClusterRole", names.SYNCER_CLUSTER_ROLE)) if "k8s.io" in group
    } & {"ingresses", "httproutes", "gateways"}


# --- what a pod of a job may mount


def _volumes_allowed() -> set[str]:
    (validation,) = find("ValidatingAdmissionPolicy", "kns-job-volumes")["spec"]["validations"]
    return set(re.findall(r"has\(v\.(\w+)\)", validation["expression"]))


@pytest.mark.proves("security", "mount NFS, CSI or other storage directly")
def test_no_pod_of_a_job_names_storage_by_itself() -> None:
    """Volumes that the node would mount with its own rights, above all NFS. Only claims are allowed."""
    assert _volumes_allowed() == {
        *("configMap", "downwardAPI", "emptyDir", "image", "persistentVolumeClaim", "projected", "secret"),
    }
    (validation,) = find("ValidatingAdmissionPolicy", "kns-job-volumes")["spec"]["validations"]
    assert set(re.findall(r"has\(v\.(\w+)\)", validation["messageExpression"])) == _volumes_allowed()


def test_no_service_of_a_job_has_external_addresses() -> None:
    (validation,) = find("ValidatingAdmissionPolicy", "kns-job-services")["spec"]["validations"]
    assert validation["expression"] == "!has(object.spec.externalIPs) || object.spec.externalIPs.size() == 0"


def test_the_endpoints_of_kns_services_are_no_business_of_the_syncer() -> None:
    (validation,) = find("ValidatingAdmissionPolicy", "kns-job-endpoints")["spec"]["validations"]
    assert set(re.findall(r"'([\w-]+)'", validation["expression"])) == {names.TARGET, names.SHELL, names.WAKE}


@pytest.mark.parametrize("name", sorted({*ASKED_POLICIES} - {names.KNS_POLICY}))
def test_a_policy_for_jobs_holds_in_every_jobs_namespace_and_nowhere_else(name: str) -> None:
    binding = find("ValidatingAdmissionPolicyBinding", name)
    (selector,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selector == {"key": names.JOB_LABEL, "operator": "Exists"}


POLICIES = [obj for path in FILES for obj in load(path) if obj["kind"] == "ValidatingAdmissionPolicy"]


def test_preflight_asks_for_every_policy() -> None:
    assert sorted(policy["metadata"]["name"] for policy in POLICIES) == sorted(ASKED_POLICIES)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: str(policy["metadata"]["name"]))
def test_every_policy_is_bound_and_refuses(policy: dict[str, Any]) -> None:
    """An object that the policy cannot evaluate is refused too."""
    binding = find("ValidatingAdmissionPolicyBinding", policy["metadata"]["name"])
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert (binding["spec"]["validationActions"], policy["spec"]["failurePolicy"]) == (["Deny"], "Fail")


# --- what kns's own account may write


def scheduler_policy() -> dict[str, Any]:
    spec: dict[str, Any] = find("ValidatingAdmissionPolicy", "kns-scheduler")["spec"]
    return spec


def test_the_policy_sees_the_writes_of_kns_wherever_it_is_installed() -> None:
    policy = scheduler_policy()
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["apiVersions"], rule["resources"]) == (["*"], ["*"], ["*/*"])
    assert set(rule["operations"]) == {"CREATE", "UPDATE", "DELETE", "CONNECT"}
    (condition,) = policy["matchConditions"]
    (pattern,) = re.findall(r"matches\('([^']+)'\)", condition["expression"])
    account = Settings.model_fields["service_account"].default
    assert re.search(pattern, f"system:serviceaccount:kns-system:{account}")
    assert re.search(pattern, f"system:serviceaccount:lab:{account}")
    assert not re.search(pattern, f"system:serviceaccount:kns-system:{account}-2")
    assert "matchResources" not in find("ValidatingAdmissionPolicyBinding", "kns-scheduler")["spec"]


def _is_left_out(rule: dict[str, Any], group: str, resource: str) -> bool:
    subresource = resource.partition("/")[2]
    patterns = {resource, f"*/{subresource}"} if subresource else {resource}
    return bool({"*", group} & set(rule["apiGroups"])) and bool(patterns & set(rule["resources"]))


def test_what_the_policy_does_not_look_at_kns_writes_in_its_own_namespace_only() -> None:
    """Everybody's statuses, Events and Leases: the API server would convert each of them for nothing."""
    left_out = scheduler_policy()["matchConstraints"]["excludeResourceRules"]
    named = {resource for rule in left_out for resource in rule["resources"]}
    assert named == {"*/status", "pods/binding", "events", "leases"}
    reading = {"get", "list", "watch"}

    def find_unseen(role: dict[str, Any]) -> set[str]:
        return {
            resource
            for (group, resource), verbs in rules_of(role).items()
            if verbs - reading and any(_is_left_out(rule, group, resource) for rule in left_out)
        }

    assert find_unseen(find("Role", "kns-scheduler")) == {"nestedjobs/status", "events", "leases"}
    assert find_unseen(find("ClusterRole", "kns-scheduler")) == set()
    assert find_unseen(find("ClusterRole", names.KNS_CLUSTER_ROLE)) == set()


def test_the_policy_names_what_kns_names() -> None:
    """A name that changes in the code must change in the manifests too."""
    text = find_text("admission-scheduler.yaml")
    named = (
        names.JOB_LABEL,
        names.INSTALLATION_LABEL,
        names.KNS_CLUSTER_ROLE,
        names.SYNCER_CLUSTER_ROLE,
        COUNTER,
        CSI_DRIVER,
    )
    assert [name for name in named if f"'{name}'" not in text] == []
    (secrets,) = re.findall(r"'/secrets' && variables\.name\.matches\('([^']+)'\)", text)
    for name in (names.record_secret("kns-job-7"), names.record_output("any.record")):
        assert re.search(secrets, name)
    assert not re.search(secrets, names.SYSTEM_PULL_SECRET)
    for pattern in re.findall(r"matches\('(\^kns-job-[^']+\$)'\)", text):
        assert re.search(pattern, names.job_object_name(7))
        assert not re.search(pattern, "kns-job-07")


def test_what_kns_may_write_outside_of_namespaces_is_admitted() -> None:
    """The rights of the kind table, and no others."""
    (first, *_) = scheduler_policy()["validations"]
    admitted = set(re.findall(r"'([a-z0-9.]*/[a-z]+)'", first["expression"]))
    written = {
        f"{group}/{resource}"
        for (group, resource), verbs in table_rules("cluster", *KINDS.values()).items()
        if verbs & {"create", "patch", "delete"}
    }
    asked = {f"authorization.k8s.io/selfsubject{what}reviews" for what in ("access", "rules")}
    assert admitted == written - {"rbac.authorization.k8s.io/rolebindings"} | asked


def test_the_policy_admits_in_its_own_namespace_what_the_role_does() -> None:
    (own,) = (v["expression"] for v in scheduler_policy()["validations"] if "/leases" in v["expression"])
    named = set(re.findall(r"'([a-z0-9.]*/[a-z]+)'", own))
    rules = table_rules("system", *KINDS.values(), RECORDS, LEASES)
    assert named == {f"{group}/{resource}" for group, resource in rules}


def test_the_default_level_of_pod_security_is_admitted() -> None:
    (levels,) = (v["expression"] for v in scheduler_policy()["variables"] if v["name"] == "levels")
    assert f"'{Settings.model_fields['pod_security'].default}'" in levels
    assert "privileged" not in levels


# --- the Deployment


def test_the_scheduler_passes_pod_security_restricted() -> None:
    pod = find("Deployment")["spec"]["template"]["spec"]
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all({"configMap", "secret", "emptyDir", "projected"} & volume.keys() for volume in pod["volumes"])
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
        assert container["resources"].keys() == {"requests", "limits"}
    assert find("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_pod_of_kns_gets_a_node_that_cannot_run_it() -> None:
    """Nodes with Windows need not have a taint. The nodes of jobs are those of their machines."""
    linux = {"kubernetes.io/os": "linux"}
    assert find("Deployment")["spec"]["template"]["spec"]["nodeSelector"] == linux
    job = build_prepare_job("kns-prepare-v1-36-0", "kns-system", image="kubernetes", service_cidr="10.96.0.0/16")
    assert job["spec"]["template"]["spec"]["nodeSelector"] == linux


def test_what_the_deployment_refers_to_is_there() -> None:
    deployment, service = find("Deployment"), find("Service")
    pod = deployment["spec"]["template"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()
    assert ports == {
        "http": Settings.model_fields["http_port"].default,
        "metrics": Settings.model_fields["metrics_port"].default,
    }
    assert find("ServiceAccount")["metadata"]["name"] == pod["serviceAccountName"]
    assert find("ConfigMap")["metadata"]["name"] == container["envFrom"][0]["configMapRef"]["name"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(Settings.model_fields["catalog_dir"].default) in mounts
    assert Settings.model_fields["service_account"].default == pod["serviceAccountName"]


def test_every_variable_of_the_config_map_is_one_of_ours() -> None:
    known = {name for names in list_names() for name in names}
    assert find("ConfigMap")["data"].keys() <= known


# --- versions


def test_images_have_the_version_of_this_kns() -> None:
    images = re.findall(r"^ +image: (\S+)$", find_text("deployment.yaml"), re.MULTILINE)
    assert images == [f"localhost/kns-scheduler:{__version__}"]
    assert Settings.model_fields["init_image"].default == f"localhost/kns-init:{__version__}"


def test_the_image_brings_the_chart_that_the_settings_expect() -> None:
    chart, tag = Settings.model_fields["chart"].default, Settings.model_fields["virtual_syncer_image_tag"].default
    assert chart.name == f"vcluster-{tag}.tgz"
    assert f"COPY --from=tools /{chart.name} {chart}\n" in (ROOT / "Dockerfile").read_text()


# --- the CRD


def schema() -> dict[str, Any]:
    crd = find("CustomResourceDefinition")
    assert (crd["spec"]["group"], crd["spec"]["names"]["kind"]) == (names.GROUP, names.RECORD_KIND)
    (version,) = crd["spec"]["versions"]
    assert version["name"] == names.VERSION
    properties: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]
    return properties


def written(model: type[BaseModel], path: str) -> Iterator[tuple[str, str]]:
    """Path of the object, and key, of everything that a dump by alias can write."""
    for name, field in model.model_fields.items():
        yield path, field.alias or name


WRITTEN = [
    *written(JobSpec, "spec"),
    *written(MachineChoice, "spec.machine"),
    *written(VaultChoice, "spec.vault"),
    *written(Accepted, "spec.accepted"),
    *written(AcceptedVault, "spec.accepted.vault"),
    *written(JobStatus, "status"),
    ("status", "substatusText"),
    *written(Condition, "status.conditions"),
]


def schema_at(path: str) -> dict[str, Any]:
    node: dict[str, Any] = {"properties": schema()}
    for part in path.split("."):
        node = node["properties"][part]
        node = node.get("items", node)
    return node


@pytest.mark.parametrize(("path", "key"), WRITTEN, ids=[f"{path}.{key}" for path, key in WRITTEN])
def test_the_schema_has_what_kns_writes(path: str, key: str) -> None:
    """The API server drops fields that are not in the schema without an error."""
    assert key in schema_at(path)["properties"]


def test_the_schema_has_nothing_that_kns_does_not_know() -> None:
    known = defaultdict(set)
    for path, key in WRITTEN:
        known[path].add(key)
    for path, keys in known.items():
        assert schema_at(path)["properties"].keys() == keys


def test_what_the_schema_requires_is_always_written() -> None:
    for path, model in (("spec", JobSpec), ("spec.machine", MachineChoice), ("spec.accepted", Accepted)):
        required = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        assert set(schema_at(path)["required"]) <= required


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("status.jobStatus", [state.value for state in JobState]),
        ("spec.desiredState", [state.value for state in DesiredState]),
        ("spec.stopReason", [reason.value for reason in StopReason]),
    ],
)
def test_closed_sets_agree(path: str, values: list[str]) -> None:
    assert schema_at(path)["enum"] == values


def test_free_objects_keep_what_is_in_them() -> None:
    for path in (
        "spec.parameters",
        "spec.submission",
        *(f"spec.accepted.{key}" for key in ("machine", "nested", "parameters")),
    ):
        assert schema_at(path)["x-kubernetes-preserve-unknown-fields"] is True
