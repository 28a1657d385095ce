"""What keeps the objects of ended jobs, for debugging: a setting for all jobs, or an administrator for one."""

from kns.model.job.job import Job
from kns.model.site import Site


def explain_kept(job: Job, site: Site) -> str | None:
    """Why the objects of this ended job are kept, and how to remove them; None if they must be removed."""
    if job.deleting or not (site.keep_vclusters or job.spec.keep):
        return None
    if job.spec.keep and job.number is not None:
        return (
            f"an administrator keeps everything of this job; remove it with 'kns keep {job.number} --undo' or with "
            f"'kns delete {job.number}', which removes the record, too"
        )
    return (
        f"JARVICE_KNS_KEEP_VCLUSTERS is on: everything was kept; remove it with "
        f"'kubectl delete nj {job.record} -n {site.system_namespace}'"
    )
