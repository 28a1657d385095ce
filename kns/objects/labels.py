"""The metadata that every object of a job carries."""

from typing import Any

from kns.model import names


def build_labels(number: int, component: str = "") -> dict[str, str]:
    labels = {names.MANAGED_BY_LABEL: "kns", names.JOB_LABEL: str(number)}
    return {**labels, names.COMPONENT_LABEL: component} if component else labels


def build_meta(name: str, number: int, *, component: str = "") -> dict[str, Any]:
    """Metadata of an object in the job's own namespace."""
    return {
        "name": name,
        "namespace": names.job_object_name(number),
        "labels": build_labels(number, component),
    }
