"""
The layout of a job's control plane, and the values of its chart.

Two places must agree on them: the stage that starts a virtual cluster, and the search for a pool member that fits a
job (`kns.stages.member`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kns.model.appdef.resources import admits_side_by_side
from kns.model.job.location import Location
from kns.model.site import VirtualKubernetes
from kns.objects.vcluster import build_values
from kns.ports import Context
from kns.stages.web_shell import has_web_shell


def choose_layout(ctx: Context) -> VirtualKubernetes:
    """The site's settings, without the fast start if the job's LimitRange does not admit its pod."""
    items = ctx.accepted.nested.limit_range or ctx.site.limit_range
    virtual = ctx.site.virtual
    return virtual if admits_side_by_side(items) else replace(virtual, fast_start=False)


def build_chart_values(
    ctx: Context, location: Location, virtual: VirtualKubernetes, *, pull_secret: bool
) -> Mapping[str, Any]:
    """The chart's values for the job's virtual cluster at `location`, which need not be the job's (see `Renderer`)."""
    return build_values(location, ctx.accepted, virtual, pull_secret=pull_secret, shell=has_web_shell(ctx))
