"""The metadata of every object of a job."""

from typing import Any

from kns.model import names
from kns.model.job.location import Location


def build_labels(location: Location, component: str = "") -> dict[str, str]:
    labels = {names.MANAGED_BY_LABEL: "kns", names.JOB_LABEL: str(location.number)}
    return {**labels, names.COMPONENT_LABEL: component} if component else labels


def build_meta(name: str, location: Location, *, component: str = "") -> dict[str, Any]:
    """Metadata of an object in the job's namespace."""
    return {"name": name, "namespace": location.namespace, "labels": build_labels(location, component)}
