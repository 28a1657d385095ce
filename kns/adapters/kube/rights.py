"""Check with the API server whether the account of kns has the rights of the kind table."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import KINDS, LEASES, NODES, RECORDS, KindRow
from kns.model import names
from kns.model.errors import NotFoundError
from kns.model.findings import Finding, Severity

_RBAC = "rbac.authorization.k8s.io"
_REVIEWS = "/apis/authorization.k8s.io/v1"
_APPLY = "kubectl apply -k <your overlay of manifests/>"

# Rights that are not in the kind table: (group, resource with subresource) -> verbs
BEYOND_CLUSTER = {
    ("networking.k8s.io", "servicecidrs"): {"get"},
    (_RBAC, "clusterroles"): {"bind"},
}
BEYOND_JOB = {("", "pods/log"): {"get"}}
BEYOND_SYSTEM = {(names.GROUP, "nestedjobs/status"): {"update"}, ("", "pods/log"): {"get"}}
BOUND_ROLES = (names.KNS_CLUSTER_ROLE, names.SYNCER_CLUSTER_ROLE)

Rules = dict[tuple[str, str], set[str]]


@dataclass(frozen=True, slots=True)
class Asker:
    """Checks the rights of `account`, which requires an administrator, or with "" the rights of the client itself."""

    client: KubeClient
    account: str
    namespace: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.account}"

    def may(self, verb: str, group: str, resource: str, *, namespace: str = "", name: str = "") -> bool:
        """
        Raises:
            ForbiddenError: only an administrator may check the rights of other accounts.
        """
        plural, _, sub = resource.partition("/")
        wanted = {"verb": verb, "group": group, "resource": plural, "subresource": sub}
        spec: dict[str, Any] = {"resourceAttributes": {**wanted, "namespace": namespace, "name": name}}
        kind = "SelfSubjectAccessReview"
        if self.account:
            kind = "SubjectAccessReview"
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]
            spec |= {"user": self.user, "groups": groups}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        answer = self.client.request("POST", f"{_REVIEWS}/{kind.lower()}s", body=body)
        return bool((answer.get("status") or {}).get("allowed"))


def table_rules(scope: str, *rows: KindRow) -> Rules:
    """The rights of the kind table in a scope: `cluster`, `job` or `system`."""
    rules: Rules = defaultdict(set)
    for row in rows:
        group = "" if row.prefix == "/api/v1" else row.prefix.split("/")[2]
        if verbs := getattr(row, scope):
            rules[group, row.plural] |= set(verbs)
    return dict(rules)


def check_rights(asker: Asker, *, lists_nodes: bool) -> Iterator[Finding]:
    """
    Check each right in the cluster and in the system namespace. `check_roles` checks those in job namespaces.
    `lists_nodes`: the settings require that kns may list nodes, too.
    """
    cluster = table_rules("cluster", *KINDS.values()) | BEYOND_CLUSTER
    system = table_rules("system", *KINDS.values(), RECORDS, LEASES) | BEYOND_SYSTEM
    yield _judge("rights cluster-wide", list(_find_missing(asker, cluster, "")))
    yield _judge(f"rights in {asker.namespace}", list(_find_missing(asker, system, asker.namespace)))
    if lists_nodes:
        missing = list(_find_missing(asker, table_rules("cluster", NODES), ""))
        yield _judge("right to list nodes", missing, "apply overlays/free-machines, or unset KNS_FREE_MACHINES")
    yield _check_too_much(asker)


def check_roles(client: KubeClient) -> Iterator[Finding]:
    """Check the two ClusterRoles that kns binds in job namespaces. The kind table has the rules of the role of kns."""
    for name in BOUND_ROLES:
        check = f"ClusterRole {name}"
        try:
            role = client.request("GET", f"/apis/{_RBAC}/v1/clusterroles/{name}")
        except NotFoundError:
            yield Finding(check, Severity.FAULT, "does not exist", _APPLY)
            continue
        wanted = table_rules("job", *KINDS.values()) | BEYOND_JOB if name == names.KNS_CLUSTER_ROLE else {}
        have = _read_rules(role)
        missing = [
            f"{verb} {_show(group, resource)}"
            for (group, resource), verbs in sorted(wanted.items())
            for verb in sorted(verbs - have.get((group, resource), set()))
        ]
        yield _judge(check, missing)


def _find_missing(asker: Asker, rules: Rules, namespace: str) -> Iterator[str]:
    for (group, resource), verbs in sorted(rules.items()):
        for verb in sorted(verbs):
            for name in BOUND_ROLES if verb == "bind" else ("",):
                if not asker.may(verb, group, resource, namespace=namespace, name=name):
                    yield f"{verb} {_show(group, resource)}" + (f" {name}" if name else "")


def _check_too_much(asker: Asker) -> Finding:
    """Warn if the account has more rights: kns works, but the limits of such an account were not tested."""
    check = "no more rights than these"
    if asker.may("get", "", "secrets"):
        who = asker.user if asker.account else "this account"
        said = f"{who} may read Secrets in the whole cluster"
        return Finding(check, Severity.WARNING, said, "remove the rights that are not in manifests/")
    return Finding(check, Severity.OK, "no access to Secrets outside its own namespace")


def _judge(check: str, missing: list[str], todo: str = _APPLY) -> Finding:
    if missing:
        return Finding(check, Severity.FAULT, f"missing: {', '.join(missing)}", todo)
    return Finding(check, Severity.OK, "complete")


def _read_rules(role: dict[str, Any]) -> Rules:
    rules: Rules = defaultdict(set)
    for rule in role.get("rules") or ():
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                rules[group, resource] |= set(rule["verbs"])
    return dict(rules)


def _show(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource
