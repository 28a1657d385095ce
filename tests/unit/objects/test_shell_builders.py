"""The web shell's objects, whole."""

import base64
import json
from typing import Any

import pytest

from kns.model.appdef.resources import SHELL
from kns.model.catalog.machine import Machine
from kns.model.job.job import Accepted
from kns.model.site import IngressSettings, JobAddress, build_tolerations
from kns.objects.ingress import build_ingress
from kns.objects.kubeconfig import build_shell_kubeconfig
from kns.objects.namespace import build_resource_quota
from kns.objects.shell import build_shell_deployment, build_shell_secret, build_shell_service
from tests.builders import a_job, a_location, a_site

LABELS = {"app.kubernetes.io/managed-by": "kns", "kns.io/job": "7", "kns.io/component": "shell"}
META = {"name": "kns-shell", "namespace": "kns-job-7", "labels": LABELS}
SITE = a_site(init_pull_policy="Always")
ADDRESS = JobAddress("jobs.example.org", "/7/gotty-shell", "https://jobs.example.org/7/gotty-shell")
ACCESS = {"data": {"certificate-authority": "Y2E=", "token": "dG9r", "client-key": "a2V5"}}


def accepted() -> Accepted:
    machine = Machine(mc_name="m", mc_cores=2, mc_ram=4, mc_properties="appkind=kns,pool=big")
    job = a_job().with_accepted(machine=machine).build().spec.accepted
    assert job is not None
    return job


def a_deployment(**changes: Any) -> dict[str, Any]:
    return build_shell_deployment(accepted(), SITE, image="registry.example.org/gotty:1", address=ADDRESS, **changes)


def a_pod(**changes: Any) -> dict[str, Any]:
    pod: dict[str, Any] = a_deployment(**changes)["spec"]["template"]["spec"]
    return pod


def test_deployment_and_service_select_the_shells_pod_and_nothing_else() -> None:
    """One pod at a time, because the quota allows one."""
    deployment, service = a_deployment(), build_shell_service(a_location())
    assert deployment["metadata"] == service["metadata"] == META
    spec = deployment["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == LABELS
    assert service["spec"] == {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    (container,) = spec["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]


def test_the_pod_is_fit_for_pod_security_restricted_and_has_nothing_of_the_host() -> None:
    pod = a_pod()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {"secret", "emptyDir"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & pod.keys()


def test_the_pod_runs_where_the_jobs_pods_run_and_says_what_it_takes() -> None:
    pod = a_pod()
    assert pod["tolerations"] == build_tolerations()
    assert pod["nodeSelector"] == {"pool": "big"}
    (container,) = pod["containers"]
    assert container["resources"] == SHELL
    for part in ("requests", "limits"):
        assert SHELL[part].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert (container["image"], container["imagePullPolicy"]) == ("registry.example.org/gotty:1", "Always")
    assert "imagePullSecrets" not in pod
    assert a_pod(pull_secret=True)["imagePullSecrets"] == [{"name": "kns-pull"}]


def test_the_pod_finds_login_kubeconfig_and_its_path() -> None:
    """Login and kubeconfig are files, so the pod's definition contains no secret."""
    secret = build_shell_secret(a_location(), user="ana", password="p" * 16, kubeconfig="{}")
    assert secret["metadata"] == META
    assert secret["stringData"] == {"credential": f"ana:{'p' * 16}", "kubeconfig": "{}"}
    pod = a_pod()
    (container,) = pod["containers"]
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {
        "KUBECONFIG": "/etc/kns/shell/kubeconfig",
        "KNS_SHELL_CREDENTIAL": "/etc/kns/shell/credential",
        "KNS_SHELL_PATH": "/7/gotty-shell",
        "KNS_SHELL_TITLE": "kns-job-7",
    }
    assert container["volumeMounts"][0] == {"name": "secret", "mountPath": "/etc/kns/shell", "readOnly": True}
    assert pod["volumes"][0] == {"name": "secret", "secret": {"secretName": "kns-shell", "defaultMode": 0o440}}


@pytest.mark.proves("security", "act on the host")
def test_the_kubeconfig_is_a_token_and_never_a_certificate() -> None:
    text = build_shell_kubeconfig(a_location(), ACCESS, {"spec": {"clusterIP": "10.96.1.7"}})
    assert text is not None
    cluster = {"server": "https://10.96.1.7:443", "certificate-authority-data": "Y2E="}
    assert json.loads(text) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kns-job-7", "cluster": cluster}],
        "users": [{"name": "kns-shell", "user": {"token": base64.b64decode("dG9r").decode()}}],
        "contexts": [
            {"name": "kns-job-7", "context": {"cluster": "kns-job-7", "user": "kns-shell", "namespace": "default"}}
        ],
        "current-context": "kns-job-7",
    }


@pytest.mark.parametrize(
    ("access", "service"),
    [
        ({}, {"spec": {"clusterIP": "10.96.1.7"}}),
        ({"data": {"certificate-authority": "Y2E=", "token": ""}}, {"spec": {"clusterIP": "10.96.1.7"}}),
        ({"data": {**ACCESS["data"], "token": "//4="}}, {"spec": {"clusterIP": "10.96.1.7"}}),
        (ACCESS, {}),
        (ACCESS, {"spec": {"clusterIP": "None"}}),
    ],
    ids=[
        "no Secret",
        "a Secret of a certificate",
        "a token that is no text",
        "no Service",
        "a Service without address",
    ],
)
def test_there_is_no_kubeconfig_before_its_parts(access: dict[str, Any], service: dict[str, Any]) -> None:
    assert build_shell_kubeconfig(a_location(), access, service) is None


def test_one_ingress_leads_to_app_and_shell() -> None:
    """One Ingress, so one certificate. The nginx annotation names both Services, for websockets."""
    app = JobAddress("jobs.example.org", "/7", "https://jobs.example.org/7")
    settings = IngressSettings(ingress_class="nginx", cert_issuer="ca")
    ingress = build_ingress(a_location(), address=app, service="web", settings=settings, shell=ADDRESS)
    (rule,) = ingress["spec"]["rules"]
    assert rule == {
        "host": "jobs.example.org",
        "http": {
            "paths": [
                {"path": path, "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"number": port}}}}
                for path, name, port in (("/7", "web", 80), ("/7/gotty-shell", "kns-shell", 80))
            ]
        },
    }
    assert ingress["metadata"]["annotations"]["nginx.org/websocket-services"] == "web,kns-shell"
    assert len(ingress["spec"]["tls"]) == 1


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("requests.cpu", 20),
        ("limits.cpu", 1000),
        ("requests.memory", 64 * 2**20),
        ("limits.memory", 512 * 2**20),
        ("requests.ephemeral-storage", 64 * 2**20),
        ("limits.ephemeral-storage", 2**30),
    ],
)
def test_the_quota_has_the_shell_on_top(key: str, more: int) -> None:
    plain, larger = (
        build_resource_quota(accepted(), nodes=1, ephemeral="1Gi", shell=shell)["spec"]["hard"]
        for shell in (False, True)
    )
    assert int(larger[key].removesuffix("m")) - int(plain[key].removesuffix("m")) == more
