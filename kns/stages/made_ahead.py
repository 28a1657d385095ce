"""
Whether everything that a job needs at its start was made ahead, beside the spawn of its virtual cluster.

The init job is made last and needs what was made before it, so its existence proves that of the rest. It is watched,
so the answer costs no call. That is why the stages that make something ahead ask here first.
"""

from kns.model import names
from kns.ports import Context, Kind


def is_init_job_made(ctx: Context) -> bool:
    return ctx.world.cluster.observe(Kind.JOB, ctx.namespace, names.INIT_JOB) is not None
