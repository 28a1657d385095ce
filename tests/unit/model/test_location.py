"""
Where a job runs on the host: read from its record, also from records of earlier releases and from unreadable ones.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.model import names
from kns.model.errors import InvalidInputError
from kns.model.job.job import AdoptedNamespace
from kns.model.job.location import Location
from kns.model.job.record import build_record, job_from_record, salvage_job
from kns.model.reading.duration import MAX_WALLTIME_S
from tests.builders import a_job

ADOPTED = AdoptedNamespace(name="kns-job-900", uid="u-1")
CRD = Path(__file__).parents[3] / "manifests" / "crd-nestedjob.yaml"


def a_record(**accepted: Any) -> dict[str, Any]:
    record = build_record(record="r", spec=a_job().with_accepted(**accepted).build().spec, namespace="kns")
    record["metadata"] |= {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-05T14:15:30Z"}
    return record


def test_a_record_that_names_no_namespace_has_that_of_its_number() -> None:
    """As all records of 0.1.0."""
    record = a_record()
    assert "adopted" not in record["spec"]["accepted"]
    assert job_from_record(record).location == Location(7, "kns-job-7")


def test_a_record_may_name_another_namespace() -> None:
    record = a_record(adopted=ADOPTED)
    assert record["spec"]["accepted"]["adopted"] == {"name": "kns-job-900", "uid": "u-1"}
    assert job_from_record(record).location == Location(7, "kns-job-900", "u-1")


def test_a_record_that_is_not_accepted_has_none() -> None:
    assert a_job().not_accepted().build().location is None


@pytest.mark.parametrize("name", ["kube-system", "kns-job-07", "kns-job-7-x", ""])
def test_no_other_namespace_can_be_named(name: str) -> None:
    """A record must not direct kns to a namespace that kns never creates."""
    record = a_record()
    record["spec"]["accepted"]["adopted"] = {"name": name, "uid": "u-1"}
    with pytest.raises(InvalidInputError, match=r"^spec\.accepted\.adopted\.name:"):
        job_from_record(record)


@pytest.mark.parametrize(
    ("adopted", "location"),
    [
        ({"name": "kns-job-900", "uid": "u-1"}, Location(7, "kns-job-900", "u-1")),
        ({"name": "kube-system", "uid": "u-1"}, Location(7, "kns-job-7")),
        ("kns-job-900", Location(7, "kns-job-7")),
        (None, Location(7, "kns-job-7")),
    ],
)
def test_an_unreadable_record_still_has_its_location(adopted: Any, location: Location) -> None:
    record = a_record()
    record["spec"]["accepted"]["adopted"] = adopted
    record["spec"]["accepted"]["nested"] = "damaged"
    assert salvage_job(record, InvalidInputError("spec", "damaged")).location == location


def test_every_name_follows_from_the_namespace() -> None:
    location = Location(7, "kns-job-900")
    assert (location.vcluster, location.ingress, location.certs_secret, location.syncer_account) == (
        "kns-job-900",
        "kns-job-900",
        "kns-job-900-certs",
        "vc-kns-job-900",
    )
    assert location.control_plane_selector == {"app": "vcluster", "release": "kns-job-900"}
    assert location.copy_name("web", "default") == "web-x-default-x-kns-job-900"
    assert location.vault_volume("c-1") == "kns-job-900-c-1"


def test_the_crd_has_the_same_pattern() -> None:
    (version,) = yaml.safe_load(CRD.read_text("utf-8"))["spec"]["versions"]
    accepted = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["accepted"]
    assert accepted["properties"]["adopted"]["properties"]["name"]["pattern"] == names.JOB_OBJECT_PATTERN


@pytest.mark.parametrize("walltime_s", [0, MAX_WALLTIME_S + 1, 10**12])
def test_a_walltime_that_nobody_can_submit_makes_the_record_unreadable(walltime_s: int) -> None:
    """Its end may be a date that does not exist, which would fail each reconcile and each list of jobs."""
    record = a_record()
    record["spec"]["accepted"]["walltimeS"] = walltime_s
    with pytest.raises(InvalidInputError, match=r"spec\.accepted\.walltimeS"):
        job_from_record(record)
