"""What a profile makes of a submission: the resources and the images that a user may choose."""

from decimal import Decimal
from typing import Any

import pytest

from kns.launcher.config.profiles import build_profile
from kns.launcher.policy import apply_profile, build_cluster_info
from kns.launcher.ports import Profile, ResourceLimit, ResourceProfile
from kns.model.errors import InvalidInputError
from kns.plain.job import PlainJob

SMALL = ResourceProfile("small", limits={"cpuCount": "1", "memory": "512"})
LARGE = ResourceProfile("large", limits={"cpuCount": "8", "memory": "4096"})
NAMED_ONLY = Profile(resource_profiles=(SMALL, LARGE), allow_custom_resources=False)


def submit(profile: Profile, **given: Any) -> PlainJob:
    data = {"name": "a", "container": {"image": "i"}, **given}
    return apply_profile(data, profile, user="ana", share_process_namespace=True)


def image_mount(**image: object) -> dict[str, object]:
    return {"mountPath": "/x", "type": "passthrough", "source": {"image": image}}


def limit(value: object, kind: str = "cpuCount") -> dict[str, object]:
    return {"type": kind, "value": value}


@pytest.mark.parametrize(
    ("given", "cpus"),
    [
        ({}, "1"),
        ({"resourceProfile": ""}, "1"),
        ({"resourceProfile": "custom"}, "1"),
        ({"resourceProfile": "custom", "resourceLimits": [limit("0"), limit(0, "memory")]}, "1"),
        ({"resourceProfile": "large"}, "8"),
        ({"resourceProfile": "large", "resourceLimits": [limit("64")]}, "8"),
    ],
)
def test_without_custom_resources_every_job_has_named_ones(given: dict[str, Any], cpus: str) -> None:
    """The first ones if it names none: a job without limits could use a whole node."""
    assert submit(NAMED_ONLY, **given).resources.limits["cpu"] == cpus


@pytest.mark.parametrize("value", ["2", 2, 0.5])
@pytest.mark.parametrize("profiles", [(SMALL,), ()])
def test_without_custom_resources_no_limits_are_taken(value: object, profiles: tuple[ResourceProfile, ...]) -> None:
    profile = Profile(resource_profiles=profiles, allow_custom_resources=False)
    with pytest.raises(InvalidInputError, match="resourceLimits: may not be set by this user"):
        submit(profile, resourceLimits=[limit(value)])


@pytest.mark.parametrize("name", ["", "custom"])
def test_a_user_without_a_resource_profile_submits_nothing(name: str) -> None:
    """The section of this user may hide those that the file has."""
    with pytest.raises(InvalidInputError, match="no resource profile is available to this user"):
        submit(Profile(allow_custom_resources=False), resourceProfile=name)


def test_limits_may_be_numbers_and_an_error_names_the_item() -> None:
    profile = Profile(limits=(ResourceLimit("cpuCount", "", "4"),))
    assert submit(profile, resourceLimits=[limit(2)]).resources.limits == {"cpu": "2"}
    with pytest.raises(InvalidInputError, match=r"resourceLimits\[1\].value: is a list"):
        submit(profile, resourceLimits=[limit(2), limit([], "memory")])


def test_with_custom_resources_the_default_ones_are_for_jobs_without_limits() -> None:
    default = ResourceProfile("default", limits={"cpuCount": "3"})
    profile = Profile(resource_profiles=(default, LARGE))
    assert submit(profile).resources.limits == {"cpu": "3"}
    assert submit(profile, resourceLimits=[limit("2")]).resources.limits == {"cpu": "2"}
    assert submit(Profile(resource_profiles=(LARGE,))).resources.limits == {}


@pytest.mark.proves("security", "mount an image that their profile does not allow")
@pytest.mark.parametrize("image", [{"reference": "evil"}, {"reference": ""}, {}, {"reference": ["i"]}])
def test_the_image_of_a_volume_is_one_of_the_user_s_images(image: dict[str, object]) -> None:
    """A job could read the files of any image otherwise, and interpret its scripts."""
    profile = Profile(images=("i", "data"), allow_unknown_images=False)
    (mount,) = submit(profile, mounts=[image_mount(reference="data", pullPolicy="Always")]).mounts
    assert mount.volume == {"image": {"reference": "data", "pullPolicy": "Always"}}
    with pytest.raises(InvalidInputError, match=r"mounts\[1\].source.image.reference"):
        submit(profile, mounts=[image_mount(reference="data"), image_mount(**image)])


def test_any_image_may_be_a_volume_where_any_image_may_run() -> None:
    (mount,) = submit(Profile(), mounts=[image_mount(reference="any")]).mounts
    assert mount.volume == {"image": {"reference": "any"}}


@pytest.mark.parametrize("given", [{"resourceLimits": [limit("1")]}, {"resourceProfile": "small"}])
def test_a_default_request_is_never_above_the_limit(given: dict[str, Any]) -> None:
    """The user asked for less than usual, and for no request: there is nothing that they could correct."""
    defaults = (ResourceLimit("cpuCount", "4", ""), ResourceLimit("CPU Request", "2", ""))
    profile = Profile(limits=defaults, resource_profiles=(SMALL,))
    assert submit(profile, **given).resources.requests["cpu"] == "1"
    assert submit(profile, resourceLimits=[limit("8")]).resources.requests["cpu"] == "2"
    with pytest.raises(InvalidInputError, match="CPU Request is more than the limit 1 of cpuCount"):
        submit(profile, resourceLimits=[limit("1"), limit("2", "CPU Request")])


def test_gpus_are_shown_to_those_who_may_have_some() -> None:
    """A maximum of 0 is none of them, and no limit of everything else."""

    def shown(**settings: Any) -> list[dict[str, str]]:
        found: list[dict[str, str]] = build_cluster_info(build_profile(settings, (), nested=False))["resourceLimits"]
        return found

    assert shown() == [{"type": "cpuCount"}, {"type": "memory"}]
    assert shown(**{"max-amd-gpus": 2, "max-cpus-request": Decimal(0)}) == [
        {"type": "cpuCount"},
        {"type": "memory"},
        {"type": "CPU Request"},
        {"type": "AMD GPUs", "maxValue": "2"},
    ]
