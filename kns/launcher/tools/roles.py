"""
The rights of the plugin, as Kubernetes objects. Pure.

Three choices: the Role of the newer document, the RoleBinding to cluster-admin of the older one, and the smallest Role
with which this plugin runs.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

Object = dict[str, Any]
Rules = Mapping[tuple[str, str], tuple[str, ...]]  # (API group, resource) -> verbs

_ALL = ("get", "create", "update", "patch", "watch", "list", "delete")
_RBAC = "rbac.authorization.k8s.io"

DOCUMENTED: Rules = MappingProxyType(
    {
        ("", "pods"): _ALL,
        ("", "pods/log"): _ALL,
        ("", "pods/attach"): _ALL,
        ("", "pods/exec"): _ALL,
        ("", "events"): ("watch",),
        ("", "services"): ("create", "get", "watch", "list", "delete"),
        ("batch", "jobs"): ("create", "update", "patch", "get", "watch", "list", "delete"),
        ("metrics.k8s.io", "pods"): ("get",),
    }
)

# A test compares this with what the plugin sends. Newer API servers want `create` for exec and attach as well.
MINIMAL: Rules = MappingProxyType(
    {
        ("", "pods"): ("list", "watch", "patch"),
        ("", "pods/log"): ("get",),
        ("", "pods/attach"): ("get", "create"),
        ("", "pods/exec"): ("get", "create"),
        ("", "events"): ("watch",),
        ("", "services"): ("create", "list", "watch", "delete"),
        ("batch", "jobs"): ("create", "patch", "get", "watch", "list", "delete"),
        ("metrics.k8s.io", "pods"): ("get",),
    }
)
NODES: Rules = MappingProxyType({("", "nodes"): ("get",)})  # to report external addresses; jobs run without it


class RoleKind(StrEnum):
    """Which rights to write."""

    MINIMAL = "minimal"
    DOCUMENTED = "documented"
    ADMIN = "admin"


def build_rbac(kind: RoleKind, *, namespace: str, account: str, with_nodes: bool = True) -> list[Object]:
    """Namespace, account, Role and bindings, in the order in which they can be created."""
    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}},
    ]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    if kind is RoleKind.ADMIN:
        group = {"kind": "Group", "name": f"system:serviceaccounts:{namespace}", "apiGroup": _RBAC}
        objects.append(_bind(f"{account}-admin", namespace, ("ClusterRole", "cluster-admin"), group))
    else:
        name = f"{account}-role"
        rules = MINIMAL if kind is RoleKind.MINIMAL else DOCUMENTED
        objects += [
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "Role",
                "metadata": {"name": name, "namespace": namespace},
                "rules": _write_rules(rules),
            },
            _bind(f"{name}-binding", namespace, ("Role", name), subject),
        ]
    if with_nodes:
        name = f"{account}-clusters"
        verbs = NODES if kind is RoleKind.MINIMAL else {("", "nodes"): ("get", "watch", "list")}
        objects += [
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": _write_rules(verbs),
            },
            _bind(f"{account}-list-clusters", "", ("ClusterRole", name), subject),
        ]
    return objects


def _write_rules(rules: Rules) -> list[Object]:
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        for (group, resource), verbs in rules.items()
    ]


def _bind(name: str, namespace: str, role: tuple[str, str], subject: Object) -> Object:
    kind, role_name = role
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role_name},
        "subjects": [subject],
    }
