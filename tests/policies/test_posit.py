"""What the Posit plugin's templates and tools make, on the real API server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from kns.launcher.policy import apply_profile
from kns.launcher.ports import Profile
from kns.launcher.templates.renderer import TemplateRenderer
from kns.launcher.templates.sample import JOB_ID, NAMES, PROFILE, SAMPLE
from kns.launcher.templates.validate import HOSTILE, SMALL, STRANGE
from kns.launcher.tools.preflight import check_cluster
from kns.launcher.tools.roles import RoleKind, build_rbac
from kns.launcher.tools.tokens import read_expiry, request_token
from kns.model.errors import NotFoundError
from kns.plain.job import PlainJob
from kns.plain.objects import build_job, mark_job
from tests.policies.api_server import ApiServer, RefusedError

ACCOUNT = "job-launcher"
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Namespace": "/api/v1/namespaces",
}


class Asker:
    """The API server as the tools see it, as the plugin's account or as the administrator."""

    def __init__(self, api: ApiServer, user: str = "") -> None:
        self.api = api
        self.user = user

    def request(self, method: str, path: str, *, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        try:
            return self.api.call(method, f"{path}?{urlencode(query)}" if query else path, body, user=self.user)
        except RefusedError as error:
            if error.status == 404:
                raise NotFoundError(str(error)) from error
            raise


def a_namespace(api: ApiServer, name: str, kind: RoleKind | None) -> str:
    if kind is None:
        meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        api.call("POST", "/api/v1/namespaces", meta)
        return name
    for obj in build_rbac(kind, namespace=name, account=ACCOUNT, with_nodes=False):
        api.call("POST", PATHS[obj["kind"]].format(namespace=name), obj)
    return name


@pytest.fixture(scope="module")
def namespace(api: ApiServer) -> str:
    return a_namespace(api, "posit-templates", None)


@pytest.mark.parametrize("job", [SAMPLE, SMALL, STRANGE], ids=["full", "small", "strange"])
def test_t06_the_default_templates_pass_strict_validation(
    api: ApiServer, namespace: str, tmp_path: Path, job: PlainJob
) -> None:
    warnings: list[str] = []
    renderer = TemplateRenderer(tmp_path, warn=lambda event, **keys: warnings.append(event))
    query = urlencode({"dryRun": "All", "fieldValidation": "Strict"})

    made = renderer.render_job(job, NAMES, PROFILE)
    stored = api.call("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs?{query}", made)
    service = renderer.render_service(job, NAMES, job_id=JOB_ID, service=JOB_ID)
    api.call("POST", f"/api/v1/namespaces/{namespace}/services?{query}", service)

    assert warnings == []
    assert stored["spec"]["template"]["metadata"]["annotations"]["name"] == job.name
    container = stored["spec"]["template"]["spec"]["containers"][0]
    assert (
        container["resources"].get("limits", {}).keys()
        == made["spec"]["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {}).keys()
    )
    if job is STRANGE:
        assert container["env"][-2] == {"name": "STRANGE", "value": HOSTILE}


@pytest.mark.parametrize("kind", list(RoleKind))
def test_p36_p39_p40_the_printed_roles_have_every_right_that_preflight_asks_for(api: ApiServer, kind: RoleKind) -> None:
    name = a_namespace(api, f"posit-{kind}", kind)
    asker = Asker(api, f"system:serviceaccount:{name}:{ACCOUNT}")

    found = {each.check: (str(each.severity), each.said) for each in check_cluster(asker, name)}

    assert {
        severity for check, (severity, _) in found.items() if check.startswith("right ") and check != "right nodes"
    } == {"ok"}
    assert found[f"namespace {name}"] == ("ok", "accepts Jobs")
    assert found["metrics"] == ("warning", "the cluster has no metrics API")
    assert found["right nodes"] == ("warning", "missing: get")


def test_p39_without_a_role_each_right_is_named(api: ApiServer) -> None:
    name = a_namespace(api, "posit-none", None)
    asker = Asker(api, f"system:serviceaccount:{name}:{ACCOUNT}")
    checks = check_cluster(asker, name)
    assert next(checks).check == "Kubernetes API"

    with pytest.raises(RefusedError, match="cannot create resource"):
        next(checks)


def test_p39_a_missing_namespace_is_found_by_a_dry_run(api: ApiServer) -> None:
    found = {each.check: (str(each.severity), each.said) for each in check_cluster(Asker(api), "posit-missing")}

    assert found["namespace posit-missing"] == ("fault", "does not exist")


def test_p19_a_token_of_the_account(api: ApiServer) -> None:
    name = a_namespace(api, "posit-token", RoleKind.MINIMAL)

    token = request_token(Asker(api), namespace=name, account=ACCOUNT, duration_s=3600)

    assert token.expires is not None
    assert read_expiry(token.text) is not None
    assert abs((token.expires - read_expiry(token.text)).total_seconds()) < 2  # type: ignore[operator]


def test_profiles_do_not_change_what_the_api_accepts(api: ApiServer, namespace: str, tmp_path: Path) -> None:
    renderer = TemplateRenderer(tmp_path, warn=lambda event, **keys: None)
    made = renderer.render_job(SAMPLE, NAMES, Profile(cpu_request_ratio=0.01, memory_request_ratio=0.33))

    api.call("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All&fieldValidation=Strict", made)


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"mounts": [{"mountPath": "/x", "type": "host", "source": {"path": "/etc"}}]}, "hostPath"),
        ({"exposedPorts": [{"targetPort": 80, "publishedPort": 80}]}, "hostPort"),
        ({"exposedPorts": [{"targetPort": 80}], "stdin": "x", "container": {"image": "i", "runAsUserId": 0}}, ""),
    ],
    ids=["a folder of the node", "a port of the node", "neither"],
)
def test_pod_security_closes_the_nodes(api: ApiServer, job: dict[str, Any], said: str) -> None:
    """docs/posit.md#what-users-may-do: the job itself is accepted, and its pod is not."""
    name = f"posit-baseline-{said.lower() or 'plain'}"
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    meta = {"name": name, "labels": labels}
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    data = {"name": "a", "container": {"image": "i"}, "command": "true", **job}
    plain = apply_profile(data, Profile(), user="ana", share_process_namespace=True)
    made = mark_job(build_job(plain, generate_name="a-"), plain, cluster="K", generate_name="a-")
    stored = api.call("POST", f"/apis/batch/v1/namespaces/{name}/jobs", made)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": stored["spec"]["template"]["spec"]}
    if not said:
        api.call("POST", f"/api/v1/namespaces/{name}/pods", pod)
        return
    with pytest.raises(RefusedError, match=f"violates PodSecurity.*{said}"):
        api.call("POST", f"/api/v1/namespaces/{name}/pods", pod)
