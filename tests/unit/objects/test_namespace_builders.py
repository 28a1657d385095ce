"""The job's namespace and its limits, compared as a whole."""

from typing import Any

import pytest

from kns.model.appdef.limit_range import parse_limit_range
from kns.objects.namespace import (
    build_drain_quota,
    build_limit_range,
    build_namespace,
    build_resource_quota,
    build_role_binding,
    list_claimable,
    refuses_pods,
    share_ephemeral,
    share_storage,
)
from tests.builders import a_job, a_location
from tests.unit.objects.shared import LABELS, RBAC, accepted_on, meta

MI = 1024**2
GI = 1024**3


@pytest.mark.proves(
    "objects",
    "Namespace, virtual cluster and Ingress of a job share one name; labels and annotation are fixed",
)
def test_namespace() -> None:
    """Invalid label values are converted. The job name only fits into an annotation."""
    built = build_namespace(
        a_job().with_spec(user="ana@x", app="hello").build().spec,
        accepted_on(mc_name="kns-small", mc_gpus=1, mc_properties="appkind=kns,zone=a,example.org/disk=ssd,spare"),
        record_uid="u-1",
        installation="kns-system",
        storage_classes=["user1-data", "fast"],
        runtime_class="sandboxed",
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
                "kns.io/storage-classes": "fast,user1-data",
                "kns.io/extended-resources": "nvidia.com/gpu",
                "kns.io/runtime-class": "sandboxed",
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


@pytest.mark.proves("objects", "The LimitRange is called `kns-limit-range`")
def test_limit_range() -> None:
    """Numbers become strings, absent parts are left out (contract E.3)."""
    items = parse_limit_range(
        [
            {"default": {"cpu": 1, "memory": "1Gi"}, "default_request": {"cpu": "200m", "memory": "256Mi"}},
            {"type": "Pod", "max": {"cpu": 8}, "min": {"cpu": "10m"}, "max_limit_request_ratio": {"cpu": 4}},
        ]
    )
    assert build_limit_range(a_location(), items, ephemeral="440Gi", nodes=1) == {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": meta("kns-limit-range"),
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "default": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": str(4 * GI)},
                    "defaultRequest": {"cpu": "200m", "memory": "256Mi", "ephemeral-storage": str(64 * MI)},
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


EPHEMERAL = "ephemeral-storage"


@pytest.mark.parametrize(
    ("ephemeral", "nodes", "limit"),
    [
        ("440Gi", 1, 4 * GI),
        ("880Gi", 2, 4 * GI),
        ("100Gi", 1, GI),
        ("500Mi", 1, 500 * MI),
        ("1001", 1, 1001),
    ],
    ids=["the site's default", "two nodes", "a small machine", "less than a container gets", "no whole share"],
)
def test_every_container_has_a_limit_of_ephemeral_storage(ephemeral: str, nodes: int, limit: int) -> None:
    """The quota counts only what has one. An AppDef's LimitRange without a default, or only for pods, gets it, too."""
    for items in ([{"default": {"cpu": 1}}], [{"type": "Pod", "max": {"cpu": 8}}]):
        built = build_limit_range(a_location(), parse_limit_range(items), ephemeral=ephemeral, nodes=nodes)
        container = next(item for item in built["spec"]["limits"] if item["type"] == "Container")
        assert container["default"][EPHEMERAL] == str(limit)
        assert container["defaultRequest"][EPHEMERAL] == str(min(64 * MI, limit))


@pytest.mark.parametrize(
    ("item", "limit", "request_"),
    [
        ({"default": {EPHEMERAL: "20Gi"}}, 20 * GI, 64 * MI),
        ({"default": {EPHEMERAL: "10Mi"}}, 10 * MI, 10 * MI),
        ({"default": {EPHEMERAL: "20Gi"}, "default_request": {EPHEMERAL: "1Gi"}}, 20 * GI, GI),
        ({"default_request": {EPHEMERAL: "8Gi"}}, 8 * GI, 8 * GI),
        ({"max": {EPHEMERAL: "50Gi"}}, 50 * GI, 64 * MI),
        ({"min": {EPHEMERAL: "6Gi"}}, 6 * GI, 6 * GI),
        ({"min": {EPHEMERAL: "1Gi"}, "max": {EPHEMERAL: "9Gi"}}, 9 * GI, GI),
        ({"max_limit_request_ratio": {EPHEMERAL: 2}}, 4 * GI, 4 * GI),
    ],
)
def test_what_a_limit_range_says_of_ephemeral_storage_is_kept(item: Any, limit: int, request_: int) -> None:
    """And the added values fit to it, so that the host accepts the LimitRange."""
    (built,) = build_limit_range(a_location(), parse_limit_range([item]), ephemeral="440Gi", nodes=1)["spec"]["limits"]
    assert (built["default"][EPHEMERAL], built["defaultRequest"][EPHEMERAL]) == (str(limit), str(request_))


@pytest.mark.parametrize(
    ("machine", "nodes", "share"),
    [({}, 1, 440 * GI), ({}, 3, 1320 * GI), ({"mc_scratch": 50}, 1, "50Gi"), ({"mc_scratch": 50}, 2, "100Gi")],
)
def test_the_machine_states_its_scratch_or_the_site_does(machine: dict[str, Any], nodes: int, share: Any) -> None:
    assert share_ephemeral(accepted_on(**machine).machine, nodes=nodes, per_node="440Gi") == str(share)


# The resources of kns's own pods (kns/model/appdef/resources.py): control plane + CoreDNS + init.
OWN_REQUESTS_MILLIS, OWN_LIMITS_MILLIS = 100 + 10 + 50, 5000 + 200 + 1000
OWN_REQUESTS_BYTES, OWN_LIMITS_BYTES = (600 + 32 + 64) * MI, 3136 * MI + 170 * MI + 1 * GI

OWN_EPHEMERAL_REQUESTS, OWN_EPHEMERAL_LIMITS = (512 + 64 + 64) * MI, (7 + 1 + 4) * GI


@pytest.mark.proves("objects", "The quota is the machine plus kns's own pods, without load balancers and node ports")
@pytest.mark.proves("shapes", "Memory is in GiB in machines, in KiB in `metrics`")
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
    quota = build_resource_quota(accepted_on(**machine), nodes=nodes, ephemeral="50Gi")
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
                "requests.ephemeral-storage": str(50 * GI + OWN_EPHEMERAL_REQUESTS),
                "limits.ephemeral-storage": str(50 * GI + OWN_EPHEMERAL_LIMITS),
                "requests.nvidia.com/gpu": str(gpus),
                "services.loadbalancers": "0",
                "services.nodeports": "0",
                "pods": str(110 * nodes + 10),
                "count/pods": str(110 * nodes + 10 + 250),
                "services": "500",
                "configmaps": "300",
                "secrets": "600",
                "persistentvolumeclaims": "100",
                "count/endpoints": "520",
                "count/endpointslices.discovery.k8s.io": "1000",
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
    assert refuses_pods(build_drain_quota(a_location()))


def test_a_drain_quota_that_is_over_limits_nothing() -> None:
    over = build_drain_quota(a_location(), is_over=True)
    assert over["spec"] == {"hard": {}}
    assert not refuses_pods(over)
    assert not refuses_pods({"spec": {}})  # the API server may leave out what is empty


@pytest.mark.proves(
    "objects",
    "A job can claim storage of the default class only, and sees no other ([storage](decisions/0012-storage-of-a-"
    "job.md))",
)
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
    quota = build_resource_quota(accepted_on(), nodes=1, ephemeral="1Gi", storage=shares)["spec"]["hard"]
    assert quota["slow.storageclass.storage.k8s.io/requests.storage"] == shares["slow"]


@pytest.mark.parametrize(
    ("shares", "vault", "claimable"),
    [
        ({"fast": "0", "slow": "0"}, False, set()),
        ({"fast": "0", "slow": "100Gi"}, False, {"slow"}),
        ({"fast": "5368709120", "slow": "100Gi"}, True, {"fast", "slow", "user1-data"}),
        ({}, True, {"user1-data"}),
    ],
)
def test_claims_name_classes_with_a_share_and_the_vault(
    shares: dict[str, str], claimable: set[str], *, vault: bool
) -> None:
    """Everything else is closed, also names that are no class of the host."""
    accepted = a_job().with_vault().build().spec.accepted
    assert accepted is not None
    assert list_claimable(shares, accepted.vault if vault else None) == claimable


def test_a_vault_limits_the_number_of_its_claims() -> None:
    """Not their sizes: the files are not on the host, and NFS does not enforce sizes."""
    accepted = a_job().with_vault().build().spec.accepted
    assert accepted is not None
    hard = build_resource_quota(accepted, nodes=1, ephemeral="1Gi", storage={"fast": "0"})["spec"]["hard"]
    assert {key: value for key, value in hard.items() if ".storageclass." in key} == {
        "fast.storageclass.storage.k8s.io/requests.storage": "0",
        "user1-data.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    }
