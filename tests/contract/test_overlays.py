"""The overlays over manifests/ say what they say they do."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.adapters.kube.kinds import NODES
from kns.adapters.kube.rights import table_rules
from kns.model import names
from kns.objects.control_plane import run_side_by_side
from tests.builders import a_location
from tests.unit.objects.test_control_plane_builder import WORKLOAD

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
SCC = "system:openshift:scc:nonroot-v2"


def render(name: str, folder: Path | None = None) -> list[dict[str, Any]]:
    kubectl = shutil.which(os.environ.get("KNS_KUBECTL") or "kubectl")
    if kubectl is None:
        pytest.skip(f"NOT TESTED, overlays/{name}: no kubectl (set KNS_KUBECTL)")
    command = [kubectl, "kustomize", str(folder or OVERLAYS / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def test_on_openshift_the_syncers_and_kns_may_use_what_their_pods_need() -> None:
    """Only the syncers may run pods as any user, and nobody gets a privileged SecurityContextConstraint."""
    objects = render("openshift")
    using = {
        (obj["metadata"]["name"], tuple(rule["resourceNames"]))
        for obj in objects
        if obj["kind"] in ("ClusterRole", "Role")
        for rule in obj["rules"]
        if "securitycontextconstraints" in rule["resources"]
    }
    assert using == {(names.SYNCER_CLUSTER_ROLE, ("kns-tenants",))}
    bound = {
        (obj["kind"], obj["roleRef"]["name"], subject["name"])
        for obj in objects
        if obj["kind"].endswith("RoleBinding") and ":scc:" in obj["roleRef"]["name"]
        for subject in obj["subjects"]
    }
    assert bound == {("RoleBinding", SCC, "kns-sa"), ("ClusterRoleBinding", SCC, "system:serviceaccounts")}


def test_on_openshift_the_constraint_of_the_syncers_admits_a_control_plane() -> None:
    """A constraint without seccomp profiles, as anyuid is, refuses each container that names one."""
    (constraint,) = (obj for obj in render("openshift") if obj["kind"] == "SecurityContextConstraints")
    workload = run_side_by_side(WORKLOAD, a_location(), service_cidr="10.96.0.0/16", has_state=False)
    asked = [each["securityContext"] for each in workload["spec"]["template"]["spec"]["containers"][:2]]
    assert [(each["runAsUser"], each["seccompProfile"]) for each in asked] == [(0, {"type": "RuntimeDefault"})] * 2
    assert (constraint["runAsUser"], constraint["seccompProfiles"]) == ({"type": "RunAsAny"}, ["runtime/default"])
    assert constraint["metadata"]["name"] == "kns-tenants"
    open_doors = {key for key, value in constraint.items() if key.startswith("allow") and value}
    assert open_doors == {"allowPrivilegeEscalation"}


@pytest.mark.proves("settings", "Rights are the listed ones, not cluster-admin")
@pytest.mark.parametrize("base", ["manifests", "overlays/openshift"])
def test_what_is_free_needs_one_more_right(base: str, tmp_path: Path) -> None:
    """To list nodes. The component works on any overlay, and switches on what needs the right."""
    root = os.path.relpath(OVERLAYS.parent, tmp_path.resolve())
    kustomization = {"resources": [f"{root}/{base}"], "components": [f"{root}/overlays/free-machines"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    with_room = {(obj["kind"], obj["metadata"]["name"]): obj for obj in render("free-machines", tmp_path)}
    del kustomization["components"]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    without = {(obj["kind"], obj["metadata"]["name"]): obj for obj in render("free-machines", tmp_path)}
    role, binding = ("ClusterRole", "kns-free-machines"), ("ClusterRoleBinding", "kns-free-machines")
    assert with_room.keys() - without.keys() == {role, binding}
    (rule,) = with_room[role]["rules"]
    (right,) = table_rules("cluster", NODES).items()
    assert ((rule["apiGroups"], rule["resources"]), set(rule["verbs"])) == (([right[0][0]], [right[0][1]]), right[1])
    assert with_room[binding]["subjects"] == without["ClusterRoleBinding", "kns-scheduler"]["subjects"]
    changed = {key for key in without if without[key] != with_room[key]}
    assert changed == {("ConfigMap", "kns-config")}
    assert with_room["ConfigMap", "kns-config"]["data"]["KNS_FREE_MACHINES"] == "true"
