"""The virtual cluster's values, the rights of its syncer, and its kubeconfig."""

import base64
import json
from typing import Any

import pytest
import yaml

from kns.objects.kubeconfig import build_admin_kubeconfig
from kns.objects.vcluster import build_syncer_binding, build_values
from tests.builders import a_job, a_location
from tests.fakes.host import ADMIN_CONF
from tests.unit.objects.shared import RBAC, TOLERATIONS, VIRTUAL, accepted_on, meta


def test_the_syncers_rights() -> None:
    assert build_syncer_binding(a_location()) == {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": meta("kns-vcluster-syncer"),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "kns-vcluster-syncer"},
        "subjects": [{"kind": "ServiceAccount", "name": "vc-kns-job-7", "namespace": "kns-job-7"}],
    }


@pytest.mark.proves("objects", "Every pod has the toleration with `Exists` and `NoSchedule`")
def test_values_place_the_control_plane_and_every_pod_that_is_copied() -> None:
    """Contract E.2 and E.4."""
    values = build_values(a_location(), accepted_on(mc_properties="appkind=kns,pool=big"), VIRTUAL)
    assert values["controlPlane"]["statefulSet"]["scheduling"] == {
        "nodeSelector": {"pool": "big"},
        "tolerations": TOLERATIONS,
    }
    assert values["sync"]["toHost"]["pods"]["enforceTolerations"] == [f"{t['key']}:NoSchedule" for t in TOLERATIONS]
    assert values["sync"]["fromHost"]["nodes"]["selector"]["labels"] == {"pool": "big"}


@pytest.mark.proves("objects", "The virtual cluster is plain Kubernetes, of the minor version that the AppDef names")
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


def test_copies_have_no_owner() -> None:
    """Whoever deletes the control plane's Service would delete the pods and claims of the tenant."""
    values = build_values(a_location(), accepted_on(), VIRTUAL)
    assert values["experimental"] == {"syncSettings": {"setOwner": False}}


def test_values_differ_between_jobs_by_the_number_alone() -> None:
    """The renderer keeps one rendering per shape and replaces namespace and number."""
    one, other = (json.dumps(build_values(a_location(number), accepted_on(), VIRTUAL)) for number in (1234567, 7654321))
    assert one.replace("1234567", "7654321") == other


@pytest.mark.proves("security", "act on the host")
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


@pytest.mark.proves(
    "security",
    "write a kubeconfig for kns that runs a program, sends kns's token, or leads elsewhere",
)
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
