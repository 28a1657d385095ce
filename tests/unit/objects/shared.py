"""What the tests of builders share: the site, the labels, and job 7."""

from typing import Any

from kns.model.catalog.machine import Machine
from kns.model.job.job import Accepted
from kns.model.site import VirtualKubernetes
from tests.builders import a_job, a_site

TOLERATIONS = [  # contract E.2
    {"key": "node-role.jarvice.io/jarvice-vcluster", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node-role.kubernetes.io/jarvice-vcluster", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
]
LABELS = {"app.kubernetes.io/managed-by": "kns", "kns.io/job": "7"}
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
