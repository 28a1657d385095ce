"""
Requests of users to the API server of a job's virtual cluster: who may send them, when, and how many at a time.

Who may see a job may use its cluster, as for its web shell. Unless the site allows it for all jobs, only jobs with a
web shell are open: its users have the same right inside already.
"""

from kns.model.catalog.catalog import User
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import Accepted, Job, Rest
from kns.model.job.location import Location
from kns.service.catalog import require_active
from kns.service.errors import InactiveAccountError, NotOfferedError, NotRunningError, UnknownJobError
from kns.service.find import JobRef, accepted_of, find_job
from kns.service.ports import ClusterAccess, ServicePorts


def require_cluster(ports: ServicePorts, user: User, job: Job) -> tuple[ClusterAccess, Location]:
    """
    The way to the clusters of jobs, and where the job's is.

    Raises:
        NotOfferedError: the site does not offer this, or not for this job.
        InactiveAccountError: the user's account is not active.
        NotRunningError: the job's cluster does not run yet, or not any more.
    """
    access = ports.clusters
    if access is None:
        raise NotOfferedError("this site does not offer it: KNS_CLUSTER_GATEWAY is off")
    accepted = accepted_of(job)
    if not access.for_all and not _may_have_shell(access, job, accepted):
        raise NotOfferedError(
            f"job {accepted.number} has no web shell, and this site opens only the clusters of jobs with one"
        )
    require_active(user)
    if job.is_ended:
        removed = job.status.condition(ConditionType.REMOVED)
        is_kept = removed is not None and removed.reason == Reason.KEPT
        fate = "kept for those who reach the host cluster" if is_kept else "removed"
        raise NotRunningError(f"job {accepted.number} has ended, and its cluster is {fate}")
    if job.status.rest is not Rest.AWAKE:
        raise NotRunningError(f"job {accepted.number} is {job.status.rest}; wake it, or open its page")
    if not job.status.is_true(ConditionType.VIRTUAL_CLUSTER_READY):
        raise NotRunningError(f"the cluster of job {accepted.number} does not run at this moment")
    return access, accepted.location


def _may_have_shell(access: ClusterAccess, job: Job, accepted: Accepted) -> bool:
    """
    Whether the job has a web shell, or will have one. The leader may not have looked since the settings changed.
    """
    shell = job.status.condition(ConditionType.SHELL_READY)
    is_without_url = shell is not None and shell.reason == Reason.SHELL_WITHOUT_URL
    return access.with_shells and accepted.nested.enable_gotty_shell and not is_without_url


def may_still(ports: ServicePorts, username: str, number: int) -> bool:
    """Whether a request that was allowed before would be allowed now. It reads only memory."""
    user = ports.catalog.current().users.get(username)
    if user is None:
        return False
    try:
        job = find_job(ports, user, JobRef(number))
        if job is not None:
            require_cluster(ports, user, job)
    except (UnknownJobError, NotOfferedError, InactiveAccountError, NotRunningError):
        return False
    return job is not None
