"""The setting that keeps the objects of ended jobs, for debugging."""

from kns.model.job.job import Job
from kns.model.site import Site


def explain_kept(job: Job, site: Site) -> str | None:
    """Why the objects of this ended job are kept, and how to remove them; None if they must be removed."""
    if not site.keep_vclusters or job.deleting:
        return None
    return (
        f"JARVICE_KNS_KEEP_VCLUSTERS is on: everything was kept; remove it with "
        f"'kubectl delete nj {job.record} -n {site.system_namespace}'"
    )
