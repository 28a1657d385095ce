"""The web shell of a job, as its user and the cluster's administrator see it."""

from typing import Any

from tests.e2e.jobs import TrialJob
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

ALLOW = "JARVICE_KNS_ALLOW_GOTTY_SHELL"
PATH = "/gotty-shell"
SHELL_S = 120.0


def require_ready(job: TrialJob) -> None:
    """
    Raises:
        NotYetError: the job's shell does not answer yet.
    """
    condition = job.condition("ShellReady")
    if condition is None or condition["status"] != "True":
        raise NotYetError(f"condition ShellReady: {condition}")


def check_none(site: Site, job: TrialJob) -> None:
    """There is no object of a shell, no path to one, and the help does not mention it."""
    objects: list[dict[str, Any]] = site.kubectl.get(
        "deployments,services,secrets,pods", f"--namespace={job.namespace}", "--selector=kns.io/component=shell"
    )["items"]
    assert objects == []
    (rule,) = site.kubectl.get("ingress", job.namespace, f"--namespace={job.namespace}")["spec"]["rules"]
    assert len(rule["http"]["paths"]) == 1
    assert "shell" not in job.info()["help"]
