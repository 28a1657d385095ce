"""The init job's objects, compared as a whole."""

import json
from dataclasses import replace
from typing import Any

import pytest

from kns.objects.init import build_init_job, build_init_secrets, build_init_uploads, build_plan_file, mounts_app
from tests.builders import a_location
from tests.unit.objects.shared import LABELS, SITE, TOLERATIONS, accepted_on, meta

INIT_LABELS = {**LABELS, "kns.io/component": "init"}


def an_init_job(**machine: Any) -> dict[str, Any]:
    return build_init_job(accepted_on(**machine), SITE, uploads=["page.html"])


@pytest.mark.proves("appdef", "The default is 20 retries, 15 s apart")
def test_the_plan() -> None:
    plan = build_plan_file(accepted_on(), record_uid="uid-1", wait_limit_s=900)
    assert json.loads(plan) == {
        "version": 2,
        "templatesDir": "/templates",
        "awaits": {"annotation": "kns.io/record-uid", "value": "uid-1", "limitSeconds": 900},
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


def test_uploads_have_an_object_of_their_own() -> None:
    assert build_init_uploads(a_location(), {"a/page.html": b"hi"}) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta("kns-init-uploads", labels=INIT_LABELS),
        "binaryData": {"upload-0": "aGk="},
    }


def test_init_secrets() -> None:
    files, env = build_init_secrets(a_location(), files={"kubeconfig": "k"}, env={"LAB_TOKEN": "t"})
    assert (files["metadata"], files["stringData"]) == (meta("kns-init", labels=INIT_LABELS), {"kubeconfig": "k"})
    assert (env["metadata"], env["stringData"]) == (meta("kns-init-env", labels=INIT_LABELS), {"LAB_TOKEN": "t"})


@pytest.mark.proves("security", "take a host token from the init pod")
@pytest.mark.proves("appdef", "The init pod runs on the host in the job's namespace, without rights there")
@pytest.mark.proves("appdef", "An item has no time limit; only the walltime ends a long one")
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


@pytest.mark.proves("security", "run in the init pod as root or with capabilities")
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


@pytest.mark.proves("security", "read the init pod's secrets")
def test_the_app_image_only_gives_its_templates() -> None:
    """It gets neither the kubeconfig nor a secret; the tool that it runs comes from the init image."""
    tool, templates, init = containers_of(an_init_job())
    assert [c["name"] for c in (tool, templates, init)] == ["tool", "templates", "init"]
    assert (tool["image"], init["image"]) == (SITE.init_image, SITE.init_image)
    assert (templates["image"], templates["imagePullPolicy"]) == ("registry.example.org/apps/hello:1", "Always")
    assert not {"env", "envFrom"} & templates.keys()
    assert {mount["name"] for mount in templates["volumeMounts"]} == {"tool", "templates"}


@pytest.mark.proves("appdef", "The init pod runs on the host in the job's namespace, without rights there")
def test_what_the_runner_gets() -> None:
    init = containers_of(an_init_job())[-1]
    assert init["env"] == [{"name": "KUBECONFIG", "value": "/etc/kns/secret/kubeconfig"}]
    assert init["envFrom"] == [{"secretRef": {"name": "kns-init-env"}}]
    assert {
        mount["mountPath"]: (mount.get("readOnly", False), mount.get("subPath")) for mount in init["volumeMounts"]
    } == {
        "/etc/kns/plan/plan.json": (True, "plan.json"),
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


def a_mounting_init_job() -> dict[str, Any]:
    """The init job of a host that mounts images as volumes."""
    return build_init_job(accepted_on(), replace(SITE, mounts_images=True), uploads=["page.html"])


def test_a_mounted_app_image_needs_one_container() -> None:
    """The runner's container is the same, except that it takes the templates before the plan."""
    job = a_mounting_init_job()
    pod = job["spec"]["template"]["spec"]
    (runner,), (usual,) = pod["containers"], an_init_job()["spec"]["template"]["spec"]["containers"]
    assert "initContainers" not in pod
    assert runner.pop("command") == ["kns-take-and-run", "/kns-app"]
    mounts, usual_mounts = runner.pop("volumeMounts"), usual.pop("volumeMounts")
    assert runner == usual
    only_usual = [mount for mount in usual_mounts if mount not in mounts]
    assert [mount["mountPath"] for mount in only_usual] == ["/templates"]
    assert [mount for mount in mounts if mount not in usual_mounts] == [
        {"name": "app", "mountPath": "/kns-app", "readOnly": True},
        {"name": "templates", "mountPath": "/kns-templates"},
    ]
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule] == ["init"]


def test_the_mounted_image_is_the_app_s_and_every_volume_is_mounted() -> None:
    pod = a_mounting_init_job()["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["app"] == {
        "name": "app",
        "image": {"reference": "registry.example.org/apps/hello:1", "pullPolicy": "Always"},
    }
    assert volumes.keys() == {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}


def test_kns_sees_which_pod_takes_its_templates_itself() -> None:
    for job, mounts in ((a_mounting_init_job(), True), (an_init_job(), False)):
        assert mounts_app(job["spec"]["template"]) is mounts
