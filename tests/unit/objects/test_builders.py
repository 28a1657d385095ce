"""The objects of a job, compared as a whole, key by key."""

import base64
import json
from typing import Any

import pytest
import yaml

from kns.model.appdef.limit_range import parse_limit_range
from kns.model.catalog.machine import Machine
from kns.model.job.job import Accepted
from kns.model.site import (
    IngressSettings,
    JobAddress,
    JobsDomain,
    VirtualKubernetes,
    parse_jobs_domain,
)
from kns.objects.drift import is_as_applied, stamp
from kns.objects.ingress import build_ingress
from kns.objects.init import build_init_config, build_init_job, build_init_secrets
from kns.objects.inside import build_default_storage_class, build_job_info, build_runtime_class
from kns.objects.kubeconfig import build_admin_kubeconfig
from kns.objects.namespace import (
    build_drain_quota,
    build_limit_range,
    build_namespace,
    build_resource_quota,
    build_role_binding,
    share_storage,
)
from kns.objects.vcluster import build_syncer_binding, build_values
from tests.builders import a_job, a_location, a_site
from tests.fakes.host import ADMIN_CONF

TOLERATIONS = [  # contract E.2
    {"key": "node-role.jarvice.io/jarvice-vcluster", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node-role.kubernetes.io/jarvice-vcluster", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
]
LABELS = {"app.kubernetes.io/managed-by": "kns", "kns.io/job": "7"}
INIT_LABELS = {**LABELS, "kns.io/component": "init"}
RBAC = "rbac.authorization.k8s.io"
VIRTUAL = VirtualKubernetes(
    syncer_image_tag="0.36.1",
    versions={"v1.35": "v1.35.2", "v1.36": "v1.36.0"},
    service_cidr="10.96.0.0/16",
)
SITE = a_site()


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "kns-job-7", "labels": LABELS, **more}


def accepted_on(**machine: Any) -> Accepted:
    """The accepted part of job 7, for this machine."""
    whole = Machine(**{"mc_name": "m", "mc_cores": 2, "mc_ram": 4, "mc_properties": "appkind=kns", **machine})
    accepted = a_job().with_accepted(machine=whole).build().spec.accepted
    assert accepted is not None
    return accepted


def test_namespace() -> None:
    """Invalid label values are converted. The job name only fits into an annotation."""
    built = build_namespace(
        accepted_on(mc_name="kns-small", mc_properties="appkind=kns,zone=a,example.org/disk=ssd,spare"),
        user="ana@x",
        app="hello",
        record_uid="u-1",
        installation="kns-system",
    )
    assert built == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "kns-job-7",
            "labels": {
                **LABELS,
                "kns.io/installation": "kns-system",
                "kns.io/user": "ana-x-af5b1db5",
                "kns.io/app": "hello",
                "kns.io/machine": "kns-small",
                "pod-security.kubernetes.io/enforce": "baseline",
            },
            "annotations": {
                "kns.io/job-name": "20260105141530-00007-hello-user1_s1",
                "kns.io/record-uid": "u-1",
                "kns.io/node-selector": "example.org/disk=ssd,spare=,zone=a",
            },
        },
    }


def test_own_rights() -> None:
    assert build_role_binding(a_location(), service_account="sa", system_namespace="sys") == {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": meta("kns-scheduler"),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "kns-job-namespace"},
        "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": "sys"}],
    }


def test_the_syncers_rights() -> None:
    assert build_syncer_binding(a_location()) == {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": meta("kns-vcluster-syncer"),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "kns-vcluster-syncer"},
        "subjects": [{"kind": "ServiceAccount", "name": "vc-kns-job-7", "namespace": "kns-job-7"}],
    }


def test_limit_range() -> None:
    """Numbers become strings, absent parts are left out (contract E.3)."""
    items = parse_limit_range(
        [
            {"default": {"cpu": 1, "memory": "1Gi"}, "default_request": {"cpu": "200m", "memory": "256Mi"}},
            {"type": "Pod", "max": {"cpu": 8}, "min": {"cpu": "10m"}, "max_limit_request_ratio": {"cpu": 4}},
        ]
    )
    assert build_limit_range(a_location(), items) == {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": meta("kns-limit-range"),
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "default": {"cpu": "1", "memory": "1Gi"},
                    "defaultRequest": {"cpu": "200m", "memory": "256Mi"},
                },
                {
                    "type": "Pod",
                    "max": {"cpu": "8"},
                    "min": {"cpu": "10m"},
                    "maxLimitRequestRatio": {"cpu": "4"},
                },
            ]
        },
    }


MI = 1024**2
GI = 1024**3
# The resources of kns's own pods (kns/model/appdef/resources.py): syncer + CoreDNS + init.
OWN_REQUESTS_MILLIS, OWN_LIMITS_MILLIS = 100 + 10 + 50, 2000 + 200 + 1000
OWN_REQUESTS_BYTES, OWN_LIMITS_BYTES = (600 + 32 + 64) * MI, 2 * GI + 170 * MI + 1 * GI


@pytest.mark.parametrize(
    ("machine", "nodes", "cores", "memory_gib", "gpus"),
    [
        ({}, 1, 2, 4, 0),
        ({"mc_slave_ram": 3}, 4, 8, 13, 0),
        ({"mc_gpus": 2, "mc_slave_gpus": 1, "mc_slave_ram": 4}, 3, 6, 12, 4),
        ({"mc_cores": 0, "mc_ram": 0}, 1, 0, 0, 0),
    ],
    ids=["one node", "four nodes", "GPUs", "nothing"],
)
def test_resource_quota(machine: dict[str, Any], nodes: int, cores: int, memory_gib: int, gpus: int) -> None:
    """Contract E.4: the machine for the user, kns's own pods on top, no load balancers or node ports."""
    quota = build_resource_quota(accepted_on(**machine), nodes=nodes)
    assert quota == {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta("kns-quota"),
        "spec": {
            "hard": {
                "requests.cpu": f"{cores * 1000 + OWN_REQUESTS_MILLIS}m",
                "limits.cpu": f"{cores * 1000 + OWN_LIMITS_MILLIS}m",
                "requests.memory": str(memory_gib * GI + OWN_REQUESTS_BYTES),
                "limits.memory": str(memory_gib * GI + OWN_LIMITS_BYTES),
                "requests.nvidia.com/gpu": str(gpus),
                "services.loadbalancers": "0",
                "services.nodeports": "0",
                "pods": str(110 * nodes + 10),
                "services": "500",
                "configmaps": "1000",
                "secrets": "1000",
                "persistentvolumeclaims": "100",
            }
        },
    }


def test_drain_quota() -> None:
    assert build_drain_quota(a_location()) == {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta("kns-drain"),
        "spec": {"hard": {"pods": "0"}},
    }


DOMAIN = JobsDomain("jobs.example.org")
SUBDOMAIN = DOMAIN.address(7)


def an_ingress(address: JobAddress = SUBDOMAIN, **settings: Any) -> dict[str, Any]:
    return build_ingress(
        a_location(),
        address=address,
        service="web-x-default-x-kns-job-7",
        port=8080,
        settings=IngressSettings(**settings),
    )


@pytest.mark.parametrize(
    ("address", "host", "path"),
    [
        (SUBDOMAIN, "kns-job-7.jobs.example.org", "/"),
        (DOMAIN.address(7, prefix=True), "jobs.example.org", "/7"),
        (JobsDomain("jobs.example.org", path="/job$").address(7), "jobs.example.org", "/job7"),
        (JobsDomain("jobs.example.org", "http", 8080).address(7), "kns-job-7.jobs.example.org", "/"),
    ],
)
def test_ingress_forms(address: JobAddress, host: str, path: str) -> None:
    """Contract E.6. Without settings there is no class, annotation or TLS block, so the controller's defaults apply."""
    backend = {"service": {"name": "web-x-default-x-kns-job-7", "port": {"number": 8080}}}
    rule = {"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}
    assert an_ingress(address) == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta("kns-job-7"),
        "spec": {"rules": [rule]},
    }


@pytest.mark.parametrize(
    ("settings", "annotations", "tls"),
    [
        ({"ingress_class": "traefik"}, {}, None),
        ({"ingress_class": "my-nginx"}, {"nginx.org/websocket-services": "web-x-default-x-kns-job-7"}, None),
        ({"cert_secret": "tls-jarvice", "cert_issuer": "ca"}, {}, "tls-jarvice"),
        (
            {"cert_issuer": "ca", "cert_cluster_issuer": "big"},
            {"cert-manager.io/issuer": "ca"},
            f"tls-{SUBDOMAIN.host}",
        ),
        ({"cert_cluster_issuer": "big"}, {"cert-manager.io/cluster-issuer": "big"}, f"tls-{SUBDOMAIN.host}"),
        (
            {"cert_issuer": "ca", "annotations": {"cert-manager.io/issuer": "other", "a": "b"}},
            {"cert-manager.io/issuer": "other", "a": "b"},
            f"tls-{SUBDOMAIN.host}",
        ),
    ],
)
def test_ingress_settings(settings: dict[str, Any], annotations: dict[str, str], tls: str | None) -> None:
    """The first certificate setting applies; the administrator's annotations override all others."""
    ingress = an_ingress(**settings)
    assert ingress["metadata"].get("annotations", {}) == annotations
    assert ingress["spec"].get("tls") == ([{"hosts": [SUBDOMAIN.host], "secretName": tls}] if tls else None)
    assert ingress["spec"].get("ingressClassName") == settings.get("ingress_class")


DOMAINS = ("jobs.example.org", "jobs.example.org/job$", "http://jobs.example.org:8080/$/app", "jobs.example.org/1$")


@pytest.mark.parametrize("text", DOMAINS)
def test_no_two_jobs_claim_the_same_host_or_path(text: str) -> None:
    """Under one jobs domain, for any AppDefs. No job's path is below another job's on the same host, either."""
    domain = parse_jobs_domain(text)
    claims: dict[tuple[str, str], int] = {}
    for number in range(1, 1200):
        for prefix in (False, True):
            address = domain.address(number, prefix=prefix)
            assert claims.setdefault((address.host, address.path), number) == number
    for (host, path), number in claims.items():
        above = [path.rsplit("/", depth)[0] or "/" for depth in range(1, path.count("/") + 1)]
        assert {claims.get((host, one), number) for one in above} <= {number}


def test_the_stamp_tells_what_was_dropped_and_lets_others_add() -> None:
    """A key that kns no longer wants looks like an addition by others; the digest shows the difference."""
    ingress = stamp(an_ingress(cert_secret="tls", annotations={"a": "b"}))
    assert is_as_applied(ingress, ingress)
    assert is_as_applied({**ingress, "status": {}, "spec": {**ingress["spec"], "ingressClassName": "x"}}, ingress)
    assert not is_as_applied(ingress, stamp(an_ingress(annotations={"a": "b"})))
    assert not is_as_applied(ingress, stamp(an_ingress(cert_secret="tls")))
    assert not is_as_applied(None, ingress)
    listed = {key: value for key, value in ingress.items() if key not in ("kind", "apiVersion")}
    assert is_as_applied(listed, ingress)


@pytest.mark.parametrize(
    ("default", "control_plane", "shares"),
    [
        (None, None, {"fast": "0", "slow": "0"}),
        ("slow", None, {"fast": "0", "slow": "100Gi"}),
        ("gone", None, {"fast": "0", "slow": "0"}),
        ("slow", "slow", {"fast": "0", "slow": "112742891520"}),
        (None, "fast", {"fast": "5368709120", "slow": "0"}),
    ],
)
def test_storage_of_a_job(default: str | None, control_plane: str | None, shares: dict[str, str]) -> None:
    """A tenant can name any class of the host, so all but the default have a limit of 0."""
    assert share_storage(["fast", "slow"], default=default, size="100Gi", control_plane=control_plane) == shares
    quota = build_resource_quota(accepted_on(), nodes=1, storage=shares)["spec"]["hard"]
    assert quota["slow.storageclass.storage.k8s.io/requests.storage"] == shares["slow"]


def test_a_vault_limits_the_number_of_its_claims() -> None:
    """Not their sizes: the files are not on the host, and NFS does not enforce sizes."""
    accepted = a_job().with_vault().build().spec.accepted
    assert accepted is not None
    hard = build_resource_quota(accepted, nodes=1, storage={"fast": "0"})["spec"]["hard"]
    assert {key: value for key, value in hard.items() if ".storageclass." in key} == {
        "fast.storageclass.storage.k8s.io/requests.storage": "0",
        "user1-data.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    }


def test_the_default_storage_class_inside() -> None:
    """It provisions volumes like the host's class. kns makes it the default and copies no other metadata."""
    host = {
        "metadata": {"name": "jarvice-user", "uid": "u", "annotations": {"secret": "x"}, "resourceVersion": "5"},
        "provisioner": "rancher.io/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": {"a": "b"},
    }
    assert build_default_storage_class(host) == {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "jarvice-user",
            "labels": {"app.kubernetes.io/managed-by": "kns"},
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": {"a": "b"},
    }


def test_runtime_class_inside() -> None:
    host = {"metadata": {"name": "nvidia", "uid": "u"}, "handler": "nvidia", "overhead": {"podFixed": {"cpu": "1"}}}
    assert build_runtime_class(host) == {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nvidia", "labels": {"app.kubernetes.io/managed-by": "kns"}},
        "handler": "nvidia",
        "overhead": {"podFixed": {"cpu": "1"}},
    }


def test_job_info() -> None:
    config, secret = build_job_info("lab", public={"KNS_JOB_NUMBER": "7"}, secret={"KNS_JOB_PASSWORD": "p"})
    place = {"name": "kns-job", "namespace": "lab", "labels": {"app.kubernetes.io/managed-by": "kns"}}
    assert (config["kind"], config["metadata"], config["data"]) == ("ConfigMap", place, {"KNS_JOB_NUMBER": "7"})
    assert (secret["kind"], secret["metadata"], secret["stringData"]) == ("Secret", place, {"KNS_JOB_PASSWORD": "p"})


# --- the init job


def an_init_job(**machine: Any) -> dict[str, Any]:
    return build_init_job(accepted_on(**machine), SITE, uploads=["page.html"])


def test_init_config_holds_the_plan() -> None:
    config = build_init_config(accepted_on(), uploads={"a/page.html": b"hi"})
    plan = json.loads(config["data"].pop("plan.json"))
    assert plan == {
        "version": 1,
        "templatesDir": "/templates",
        "steps": [
            {
                "name": "web",
                "type": "kubectl",
                "path": "web.yml",
                "format": "",
                "retries": 20,
                "retrySleepSeconds": 15,
            }
        ],
    }
    assert config == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta("kns-init-plan", labels=INIT_LABELS),
        "data": {},
        "binaryData": {"upload-0": "aGk="},
    }


def test_init_secrets() -> None:
    files, env = build_init_secrets(a_location(), files={"kubeconfig": "k"}, env={"LAB_TOKEN": "t"})
    assert (files["metadata"], files["stringData"]) == (meta("kns-init", labels=INIT_LABELS), {"kubeconfig": "k"})
    assert (env["metadata"], env["stringData"]) == (meta("kns-init-env", labels=INIT_LABELS), {"LAB_TOKEN": "t"})


def test_init_job_without_its_containers() -> None:
    """No token of the host, no root, no service variables; the machine's node selector."""
    job = an_init_job(mc_properties="appkind=kns,pool=big")
    pod = job["spec"]["template"]["spec"]
    for key in ("initContainers", "containers", "volumes"):
        pod.pop(key)
    failures = job["spec"].pop("podFailurePolicy")
    assert job == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta("kns-init", labels=INIT_LABELS),
        "spec": {
            "backoffLimit": 6,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": INIT_LABELS},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 10,
                    "tolerations": TOLERATIONS,
                    "nodeSelector": {"pool": "big"},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                },
            },
        },
    }
    assert failures["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        *(
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": name, "operator": "NotIn", "values": [0, 137, 143]},
            }
            for name in ("tool", "templates", "init")
        ),
    ]


def containers_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    pod = job["spec"]["template"]["spec"]
    return [*pod["initContainers"], *pod["containers"]]


def test_every_init_container_is_locked_down_and_says_what_it_takes() -> None:
    """The job's LimitRange is for the tenant's pods and must not change these."""
    for container in containers_of(an_init_job()):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for part in ("requests", "limits"):
            assert container["resources"][part].keys() == {"cpu", "memory", "ephemeral-storage"}


def test_the_app_image_only_gives_its_templates() -> None:
    """It gets neither the kubeconfig nor a secret; the tool that it runs comes from the init image."""
    tool, templates, init = containers_of(an_init_job())
    assert [c["name"] for c in (tool, templates, init)] == ["tool", "templates", "init"]
    assert (tool["image"], init["image"]) == (SITE.init_image, SITE.init_image)
    assert (templates["image"], templates["imagePullPolicy"]) == ("registry.example.org/apps/hello:1", "Always")
    assert "env" not in templates
    assert {mount["name"] for mount in templates["volumeMounts"]} == {"tool", "templates"}


def test_what_the_runner_gets() -> None:
    init = containers_of(an_init_job())[-1]
    assert init["env"] == [{"name": "KUBECONFIG", "value": "/etc/kns/secret/kubeconfig"}]
    assert init["envFrom"] == [
        {"configMapRef": {"name": "kns-job"}},
        {"secretRef": {"name": "kns-job"}},
        {"secretRef": {"name": "kns-init-env"}},
    ]
    assert {
        mount["mountPath"]: (mount.get("readOnly", False), mount.get("subPath")) for mount in init["volumeMounts"]
    } == {
        "/etc/kns/plan": (True, None),
        "/etc/kns/secret/kubeconfig": (True, "kubeconfig"),
        "/etc/kns/parameters.json": (True, "parameters.json"),
        "/etc/JARVICE/jobenv.sh": (True, "jobenv.sh"),
        "/opt/page.html": (True, "upload-0"),
        "/templates": (False, "templates"),
        "/work": (False, None),
        "/tmp": (False, None),
    }


def test_every_mount_has_its_volume_and_none_is_the_hosts() -> None:
    pod = an_init_job()["spec"]["template"]["spec"]
    mounted = {mount["name"] for container in containers_of(an_init_job()) for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounted == volumes.keys()
    assert volumes["secret"]["secret"] == {
        "secretName": "kns-init",
        "defaultMode": 0o440,
    }
    assert not [volume for volume in volumes.values() if "hostPath" in volume or "projected" in volume]


# --- the virtual cluster


def test_values_place_the_control_plane_and_every_pod_that_is_copied() -> None:
    """Contract E.2 and E.4."""
    values = build_values(a_location(), accepted_on(mc_properties="appkind=kns,pool=big"), VIRTUAL)
    assert values["controlPlane"]["statefulSet"]["scheduling"] == {
        "nodeSelector": {"pool": "big"},
        "tolerations": TOLERATIONS,
    }
    assert values["sync"]["toHost"]["pods"]["enforceTolerations"] == [f"{t['key']}:NoSchedule" for t in TOLERATIONS]
    assert values["sync"]["fromHost"]["nodes"]["selector"]["labels"] == {"pool": "big"}


@pytest.mark.parametrize(("asked", "tag"), [("", "v1.36.0"), ("v1.35", "v1.35.2")])
def test_values_have_the_version_asked_for(asked: str, tag: str) -> None:
    accepted = a_job().with_nested(kubernetes_version=asked).build().spec.accepted
    assert accepted is not None
    assert build_values(a_location(), accepted, VIRTUAL)["controlPlane"]["distro"]["k8s"]["version"] == tag


def test_values_make_no_rights_and_send_nothing_home() -> None:
    values = build_values(a_location(), accepted_on(), VIRTUAL)
    assert values["rbac"] == {"role": {"enabled": False}, "clusterRole": {"enabled": False}}
    assert values["telemetry"] == {"enabled": False}
    assert values["exportKubeConfig"] == {"context": "kns-job-7", "server": "https://kns-job-7.kns-job-7:443"}


def test_values_differ_between_jobs_by_the_number_alone() -> None:
    """The renderer keeps one rendering per shape and replaces namespace and number."""
    one, other = (json.dumps(build_values(a_location(number), accepted_on(), VIRTUAL)) for number in (1234567, 7654321))
    assert one.replace("1234567", "7654321") == other


@pytest.mark.parametrize(
    ("address", "server"),
    [("10.96.1.7", "https://10.96.1.7:443"), ("fd00::7", "https://[fd00::7]:443")],
)
def test_the_kubeconfig_leads_to_the_service(address: str, server: str) -> None:
    """By its address, which needs no DNS and is in the serving certificate."""
    text = build_admin_kubeconfig(_certs(ADMIN_CONF), {"spec": {"clusterIP": address}})
    assert text is not None
    assert json.loads(text)["clusters"][0]["cluster"] == {"server": server, "certificate-authority-data": "Y2E="}


def _certs(admin_conf: bytes) -> dict[str, Any]:
    return {"data": {"admin.conf": base64.b64encode(admin_conf).decode()}}


def test_of_what_the_syncer_writes_only_certificates_are_used() -> None:
    """The syncer's token may be stolen, and a kubeconfig can name programs to run, files to read and servers."""
    conf = yaml.safe_load(ADMIN_CONF)
    conf["users"][0]["user"] |= {"exec": {"command": "/bin/sh"}, "tokenFile": "/etc/passwd", "token": "x"}
    conf["clusters"][0]["cluster"] |= {"server": "https://203.0.113.9", "proxy-url": "http://203.0.113.9"}
    conf["users"].append({"name": "other", "user": {"exec": {"command": "/bin/sh"}}})
    conf["current-context"] = "other"
    text = build_admin_kubeconfig(_certs(yaml.safe_dump(conf).encode()), {"spec": {"clusterIP": "10.96.1.7"}})
    assert text == build_admin_kubeconfig(_certs(ADMIN_CONF), {"spec": {"clusterIP": "10.96.1.7"}})
    assert text is not None
    assert [user["user"] for user in json.loads(text)["users"]] == [
        {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}
    ]


@pytest.mark.parametrize(
    "admin_conf",
    [
        b"a",
        b"[",
        b"{}",
        b"clusters: []",
        b"\xff",
        b"!!python/object/apply:os.system [x]",
        ADMIN_CONF.replace(b"a2V5", b"{a: b}"),
        ADMIN_CONF.replace(b"Y2E=", b"1"),
        b"[" * 5000,
        ADMIN_CONF + b"#" * 70_000,
    ],
)
def test_what_is_no_kubeconfig_is_none(admin_conf: bytes) -> None:
    assert build_admin_kubeconfig(_certs(admin_conf), {"spec": {"clusterIP": "10.96.1.7"}}) is None


@pytest.mark.parametrize(
    ("certs", "service"),
    [
        ({}, {"spec": {"clusterIP": "10.96.1.7"}}),
        ({"data": {"admin.conf": ""}}, {"spec": {"clusterIP": "10.96.1.7"}}),
        (_certs(ADMIN_CONF), {}),
        (_certs(ADMIN_CONF), {"spec": {"clusterIP": "None"}}),
    ],
    ids=["no Secret", "empty Secret", "no Service", "headless"],
)
def test_no_kubeconfig_before_its_parts_are_there(certs: dict[str, Any], service: dict[str, Any]) -> None:
    assert build_admin_kubeconfig(certs, service) is None
