"""
What the leader checks at its start, and logs: the vcluster chart, and the classes that the settings name.

Nothing here stops a start, because jobs that run go on. `kns preflight` reports the same before the first start.
"""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from kns.adapters.helm import TRIED_CHARTS, read_chart_version
from kns.logs import get_logger
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.catalog.machine import Machine
from kns.model.errors import KnsError
from kns.model.job.job import Accepted
from kns.model.site import Site, VirtualKubernetes
from kns.objects.vcluster import build_values
from kns.ports import Cluster, Kind, Renderer

log = get_logger(__name__)


def warn_of_unfit_chart(chart: Path, renderer: Renderer, virtual: VirtualKubernetes) -> None:
    """Log what is wrong with the chart before the first job needs it. Jobs that run go on either way."""
    try:
        version = read_chart_version(chart)
        render_sample(renderer, virtual)
    except KnsError as error:
        log.error(  # noqa: TRY400 - no stack: the message says what the chart refuses
            "chart_unfit", chart=str(chart), error=str(error), effect="no job starts until it renders"
        )
        return
    if version not in TRIED_CHARTS:
        log.warning("chart_untried", chart=str(chart), version=version, tried=TRIED_CHARTS)


def render_sample(renderer: Renderer, virtual: VirtualKubernetes) -> None:
    """
    Render the chart for a job that uses every value that kns can set. helm holds the values against the chart's schema.

    Raises:
        RenderError: the chart refuses the values, or makes objects that kns does not apply.
        UnavailableError: helm did not run.
    """
    machine = Machine(mc_name="sample", mc_cores=1, mc_ram=1, mc_properties="appkind=kns,example.org/pool=sample")
    accepted = Accepted(
        number=1,
        name="sample",
        payer="",
        submit_time=datetime.fromtimestamp(0, UTC),
        image="",
        command="",
        machine=machine,
        nested=NestedKubernetes.model_validate(
            {"templates": [{"name": "sample", "type": "kubectl", "path": "sample"}]}
        ),
    )
    full = replace(
        virtual,
        storage_class=virtual.storage_class or "sample",
        runtime_class=virtual.runtime_class or "sample",
        priority_class=virtual.priority_class or "sample",
    )
    values = partial(build_values, accepted=accepted, virtual=full, pull_secret=True, shell=True)  # noqa: S604 - the web shell
    renderer.render(accepted.location, values)


def warn_of_missing_classes(cluster: Cluster, site: Site) -> None:
    """
    Log each class in the settings that the host does not have: a warning if jobs only cannot use it, an error if every
    job needs it. The class of the control planes' priority is not among them, because kns may not read it.
    """
    needed = {
        (Kind.RUNTIME_CLASS, site.virtual.runtime_class): "the host refuses every pod of a tenant",
        (Kind.STORAGE_CLASS, site.virtual.storage_class): "no virtual cluster gets the volume for its state",
    }
    offered = [(Kind.RUNTIME_CLASS, name) for name in site.classes.runtime_classes]
    for kind, name in dict.fromkeys([*offered, (Kind.STORAGE_CLASS, site.classes.default_storage_class), *needed]):
        if not name:
            continue
        try:
            missing = cluster.read(kind, "", name) is None
        except KnsError as error:
            log.warning("class_not_checked", kind=str(kind), name=name, error=str(error))
            continue
        effect = needed.get((kind, name))
        if missing and effect is not None:
            log.error("class_missing", kind=str(kind), name=name, effect=effect)
        elif missing:
            log.warning("class_missing", kind=str(kind), name=name, effect="jobs cannot use it until the host has it")
