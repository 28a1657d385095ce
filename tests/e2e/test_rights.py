"""
What the scheduler's own account can do with its real token: what its work needs, and nothing else.

Every attempt is an HTTP request, so the status is the API server's; RBAC answers 403, the admission policy 422. Three
namespaces stand for the cluster: that of a job of ours, that of another installation's job, and the system's.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.overlay import NAMESPACE
from tests.e2e.site import Site
from tests.e2e.stolen import Attempt, Thief, apply, create, delete, read, replace, require_refused, with_token_of
from tests.e2e.waiting import NotYetError, wait_for

pytestmark = pytest.mark.proves(
    "main",
    "About fifty forbidden actions with the scheduler's token, twenty with a syncer's: the API server refuses each",
)

OURS, THEIRS = 99_999_900, 99_999_901  # far above any number that the counter gives
_OURS, _THEIRS = f"kns-job-{OURS}", f"kns-job-{THEIRS}"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_RBAC_API = "rbac.authorization.k8s.io"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_BOUND_S = 30.0
_PS = "pod-security.kubernetes.io/enforce"


def a_namespace(name: str, number: int, *, installation: str = NAMESPACE, **labels: str) -> dict[str, Any]:
    own = {"kns.io/job": str(number), "kns.io/installation": installation, _PS: "baseline"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**own, **labels}}}


def a_binding(
    namespace: str, role: str, *, subject: str = "kns-sa", subject_in: str = NAMESPACE, name: str = "e2e"
) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC_API}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": _RBAC_API, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": subject_in}],
    }


def a_pod(namespace: str) -> dict[str, Any]:
    container = {"name": "main", "image": "docker.io/library/busybox:1.35"}
    meta = {"name": "e2e", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}


def a_volume(name: str, *, number: int = OURS, **source: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {"kns.io/job": str(number), "kns.io/installation": NAMESPACE}},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "e2e-none",
            "claimRef": {"namespace": f"kns-job-{number}", "name": "claim", "uid": "u-1"},
            **source,
        },
    }


def named(kind: str, name: str, *, api: str = "v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **more}


def binding_at(what: str, body: dict[str, Any]) -> Attempt:
    meta = body["metadata"]
    return apply(what, f"{_RBAC}/namespaces/{meta['namespace']}/rolebindings/{meta['name']}", body)


def namespace_at(what: str, body: dict[str, Any]) -> Attempt:
    return apply(what, f"/api/v1/namespaces/{body['metadata']['name']}", body)


def volume_at(what: str, body: dict[str, Any]) -> Attempt:
    return apply(what, f"/api/v1/persistentvolumes/{body['metadata']['name']}", body)


_ALL = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
_HOST_PATH: dict[str, Any] = {"hostPath": {"path": "/"}}
_NFS: dict[str, Any] = {"nfs": {"server": "nfs.example.org", "path": "/data"}}
_ADMIN = {"apiGroup": _RBAC_API, "kind": "ClusterRole", "name": "cluster-admin"}
_TOKEN = named("TokenRequest", "", api="authentication.k8s.io/v1", spec={})

FORBIDDEN = [
    # Secrets
    read("list Secrets of kube-system", "/api/v1/namespaces/kube-system/secrets"),
    read("read a Secret of kube-system", "/api/v1/namespaces/kube-system/secrets/any"),
    read("list all Secrets", "/api/v1/secrets"),
    read("read a Secret of another installation's job", f"/api/v1/namespaces/{_THEIRS}/secrets/kns-init"),
    replace(
        "replace its own catalogue",
        f"/api/v1/namespaces/{NAMESPACE}/secrets/kns-catalog",
        named("Secret", "kns-catalog"),
    ),
    replace(
        "replace its own settings",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps/kns-config",
        named("ConfigMap", "kns-config"),
    ),
    create(
        "make a ConfigMap in its own namespace",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps",
        named("ConfigMap", "e2e"),
    ),
    # rights
    create(
        "bind cluster-admin to itself",
        f"{_RBAC}/clusterrolebindings",
        named(
            "ClusterRoleBinding",
            "e2e",
            api=f"{_RBAC_API}/v1",
            roleRef=_ADMIN,
            subjects=[{"kind": "ServiceAccount", "name": "kns-sa", "namespace": NAMESPACE}],
        ),
    ),
    binding_at("bind cluster-admin in a job's namespace", a_binding(_OURS, "cluster-admin")),
    binding_at("bind its role in kube-system", a_binding("kube-system", "kns-job-namespace")),
    binding_at("bind its role in its own namespace", a_binding(NAMESPACE, "kns-job-namespace")),
    binding_at("bind its role in another installation's job", a_binding(_THEIRS, "kns-job-namespace")),
    binding_at(
        "bind its role to somebody else",
        a_binding(_OURS, "kns-job-namespace", subject="default", subject_in="default"),
    ),
    binding_at("bind the syncer's role to itself", a_binding(_OURS, "kns-vcluster-syncer")),
    binding_at(
        "bind the syncer's role to another job's syncer",
        a_binding(_OURS, "kns-vcluster-syncer", subject=f"vc-{_THEIRS}", subject_in=_THEIRS),
    ),
    apply("widen its own ClusterRole", f"{_RBAC}/clusterroles/kns-scheduler",
          named("ClusterRole", "kns-scheduler", api=f"{_RBAC_API}/v1", rules=_ALL)),
    apply("widen the role that it binds", f"{_RBAC}/clusterroles/kns-job-namespace",
          named("ClusterRole", "kns-job-namespace", api=f"{_RBAC_API}/v1", rules=_ALL)),
    read("be somebody else", "/api/v1/namespaces", Impersonate_User="system:admin"),
    create("get a token of another account", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", _TOKEN),
    create("get another token of its own", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/kns-sa/token", _TOKEN),
    # pods elsewhere
    create("make a pod in default", "/api/v1/namespaces/default/pods", a_pod("default")),
    create("make a pod in kube-system", "/api/v1/namespaces/kube-system/pods", a_pod("kube-system")),
    create("make a pod in its own namespace", f"/api/v1/namespaces/{NAMESPACE}/pods", a_pod(NAMESPACE)),
    create("make a pod in another installation's job", f"/api/v1/namespaces/{_THEIRS}/pods", a_pod(_THEIRS)),
    create("run a program in a pod of its own", f"/api/v1/namespaces/{NAMESPACE}/pods/any/exec", {}),
    read("read a log of kube-system", "/api/v1/namespaces/kube-system/pods/any/log"),
    delete("delete the pods of kube-system", "/api/v1/namespaces/kube-system/pods"),
    create(
        "have a Secret filled with a token that lasts",
        f"/api/v1/namespaces/{NAMESPACE}/secrets",
        {
            **named("Secret", "e2e-stolen-tokens", type="kubernetes.io/service-account-token"),
            "metadata": {"name": "e2e-stolen-tokens", "annotations": {"kubernetes.io/service-account.name": "kns-sa"}},
        },
    ),
    # namespaces
    namespace_at("make a namespace of any name", a_namespace("kns-e2e-evil", OURS)),
    namespace_at("make a job's namespace for another installation", a_namespace("kns-job-99999902", 99_999_902,
                                                                               installation="other")),
    namespace_at("make a job's namespace with another number", a_namespace("kns-job-99999902", OURS)),
    namespace_at("make a job's namespace without Pod Security",
                 a_namespace("kns-job-99999902", 99_999_902, **{_PS: "privileged"})),
    namespace_at("lower the Pod Security of its job", a_namespace(_OURS, OURS, **{_PS: "privileged"})),
    namespace_at("lower it by an old version", a_namespace(_OURS, OURS, **{f"{_PS}-version": "v1.0"})),
    namespace_at("take over another installation's job", a_namespace(_THEIRS, THEIRS)),
    namespace_at("label kube-system", a_namespace("kube-system", OURS)),
    namespace_at("label its own namespace", a_namespace(NAMESPACE, OURS, **{_PS: "privileged"})),
    delete("delete another installation's job", f"/api/v1/namespaces/{_THEIRS}"),
    delete("delete its own namespace", f"/api/v1/namespaces/{NAMESPACE}"),
    # volumes
    volume_at("make a volume of a node's folder", a_volume(f"{_OURS}-u", **_HOST_PATH)),
    volume_at("make a volume of any name", a_volume("e2e", **_NFS)),
    volume_at("make a volume for another namespace",
              a_volume(f"{_OURS}-u", nfs=_NFS["nfs"], claimRef={"namespace": "default", "name": "c"})),
    # the cluster
    read("list nodes", "/api/v1/nodes"),
    delete("delete the policy that binds it", f"{_ADMISSION}/validatingadmissionpolicies/kns-scheduler"),
    delete("unbind the policy that binds it", f"{_ADMISSION}/validatingadmissionpolicybindings/kns-scheduler"),
    create("make a webhook", f"{_ADMISSION}/mutatingwebhookconfigurations",
           named("MutatingWebhookConfiguration", "e2e", api="admissionregistration.k8s.io/v1", webhooks=[])),
    delete("delete its CustomResourceDefinition",
           "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/nestedjobs.kns.io"),
    read("list another namespace's jobs", "/apis/kns.io/v1alpha1/namespaces/default/nestedjobs"),
]  # fmt: skip

ALLOWED = [
    read("list namespaces", "/api/v1/namespaces"),
    read("list its records", f"/apis/kns.io/v1alpha1/namespaces/{NAMESPACE}/nestedjobs"),
    read("read its catalogue", f"/api/v1/namespaces/{NAMESPACE}/secrets/kns-catalog"),
    namespace_at("make a job's namespace", a_namespace("kns-job-99999902", 99_999_902)),
    namespace_at("label its job", a_namespace(_OURS, OURS, **{"kns.io/app": "hello"})),
    binding_at("bind its role in its job", a_binding(_OURS, "kns-job-namespace")),
    binding_at(
        "bind the syncer's role",
        a_binding(_OURS, "kns-vcluster-syncer", subject=f"vc-{_OURS}", subject_in=_OURS),
    ),
    volume_at("make a vault's volume", a_volume(f"{_OURS}-u", **_NFS)),
    create("keep a record's Secret", f"/api/v1/namespaces/{NAMESPACE}/secrets", named("Secret", "e2e-tokens")),
    create("make a Secret in its job", f"/api/v1/namespaces/{_OURS}/secrets", named("Secret", "kns-init")),
    apply(
        "make a NetworkPolicy in its job",
        f"/apis/networking.k8s.io/v1/namespaces/{_OURS}/networkpolicies/kns-default",
        named("NetworkPolicy", "kns-default", api="networking.k8s.io/v1", spec={"podSelector": {}}),
    ),
    delete("end the pods of its job", f"/api/v1/namespaces/{_OURS}/pods"),
    delete("end its job", f"/api/v1/namespaces/{_OURS}"),
]


def _require_bound(thief: Thief) -> None:
    home = f"/api/v1/namespaces/{_OURS}/pods"
    if (answer := thief.tries(read("list the pods of its job", home))).status_code != 200:
        raise NotYetError(answer.text)


@pytest.fixture(scope="module")
def thief(site: Site) -> Iterator[Thief]:
    names = (_OURS, _THEIRS)
    with with_token_of(site, "kns-sa", NAMESPACE) as thief:
        try:
            theirs = json.dumps(a_namespace(_THEIRS, THEIRS, installation="kns-e2e-other"))
            site.kubectl.run("apply", "--filename=-", stdin=theirs)
            for attempt in (
                namespace_at("make a job's namespace", a_namespace(_OURS, OURS)),
                binding_at("bind its role in it", a_binding(_OURS, "kns-job-namespace", name="kns-scheduler")),
            ):
                made = thief.tries(attempt, really=True)
                assert made.status_code == 201, made.text
            wait_for(lambda: _require_bound(thief), timeout_s=_BOUND_S, what="the new RoleBinding to count")
            yield thief
        finally:
            site.kubectl.run("delete", "namespace", *names, "--ignore-not-found", timeout_s=90)


@pytest.mark.proves(
    "security",
    "read Secrets elsewhere, impersonate, get other or lasting tokens, create pods elsewhere, change its roles, "
    "policies or catalogue, touch another installation's jobs, make a volume of a node's folder",
)
@pytest.mark.parametrize("attempt", FORBIDDEN, ids=str)
def test_kns_cannot(thief: Thief, attempt: Attempt) -> None:
    require_refused(thief.tries(attempt))


@pytest.mark.proves("security", "everything in *its own* jobs, including their Secrets")
@pytest.mark.parametrize("attempt", ALLOWED, ids=str)
def test_kns_can(thief: Thief, attempt: Attempt) -> None:
    """The same token, used the same way: so what is refused above is refused for its content."""
    answer = thief.tries(attempt)
    assert answer.status_code in (200, 201, 202), f"{answer.status_code}: {answer.text}"


@pytest.mark.proves("security", "bind its roles elsewhere, or to others")
def test_what_rbac_admits_the_policy_refuses(thief: Thief) -> None:
    """RBAC cannot distinguish namespaces by name; there only the policy refuses."""
    for attempt in (attempt for attempt in FORBIDDEN if "bind its role" in attempt.what):
        answer = thief.tries(attempt)
        assert "ValidatingAdmissionPolicy 'kns-scheduler'" in answer.json()["message"], attempt.what
