"""
What a profile makes of a submission: its image, its resources, its constraints. Pure; nothing is created here.

The Launcher writes numbers as texts: `cpuCount` in processors, `memory` in megabytes, GPUs as whole numbers. 0 and ""
mean no default and no maximum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from kns.launcher.fields import Json, read_objects, read_text
from kns.launcher.ports import Profile, ResourceLimit, ResourceProfile
from kns.launcher.shapes import (
    CPU,
    CPU_REQUEST,
    KUBERNETES_NAMES,
    LIMITS,
    MEMORY,
    MEMORY_REQUEST,
    PROFILE,
    REQUEST_OF,
    read_constraints,
    read_container,
    read_job,
)
from kns.model.errors import InvalidInputError
from kns.model.reading.quantity import format_quantity
from kns.plain.job import Constraint, PlainJob, Resources

DEFAULT_PROFILE = "default"
_TYPES = (*KUBERNETES_NAMES, *REQUEST_OF)
_RATIOS: Mapping[str, str] = {CPU: "cpu_request_ratio", MEMORY: "memory_request_ratio"}
_MOST_DIGITS = 30
_NO_LIMIT = ResourceLimit("")


def apply_profile(
    data: Json, profile: Profile, *, user: str, share_process_namespace: bool, can_nest: bool = False
) -> PlainJob:
    """
    The job of a submission, after the rules of its user's profile.

    Raises:
        InvalidInputError: the job is not allowed, or cannot run.
    """
    if profile.nested and not can_nest:
        raise InvalidInputError("nested", "no job can run in a virtual cluster: set nested-url in the configuration")
    given = _read_given(data)
    named = _choose_resource_profile(read_text(data, PROFILE), given, profile)
    amounts = _read_amounts(given if named is None else named.limits, profile, named)
    wanted = tuple(read_constraints(data))
    if named is not None:
        wanted = (*wanted, *(Constraint(name, value) for name, value in named.constraints))
    _check_constraints(wanted, profile, given=named)
    image = read_container(data, default_image=profile.default_image).image
    if not image:
        raise InvalidInputError("container.image", "is required, because the profile has no default-container-image")
    _check_image(image, profile, path="container.image")
    job = read_job(
        data,
        user=user,
        default_image=profile.default_image,
        limits=[{"type": kind, "value": _format(amount)} for kind, amount in amounts.items()],
        constraints=wanted,
        resources=_build_resources(amounts, profile),
        share_process_namespace=share_process_namespace,
    )
    for index, mount in enumerate(job.mounts):
        if "image" in mount.volume:  # the job would read its files, and interpret its scripts
            path = f"mounts[{index}].source.image.reference"
            _check_image(read_text(mount.volume["image"], "reference", path=path), profile, path=path)
    return replace(job, nested=True) if profile.nested else job


def build_cluster_info(profile: Profile) -> dict[str, Any]:
    """What the Launcher shows a user of the cluster."""
    info: dict[str, Any] = {
        "supportsContainers": True,
        "allowUnknownImages": profile.allow_unknown_images,
        "images": list(profile.images),
        "config": [{"name": "secret", "valueType": "string"}],
        "resourceLimits": [_build_limit(limit) for limit in _list_limits(profile)],
        "placementConstraints": [
            {"name": name} if value is None else {"name": name, "value": value} for name, value in profile.constraints
        ],
    }
    if profile.default_image:
        info["defaultImage"] = profile.default_image
    if profile.resource_profiles:
        info["resourceProfiles"] = [
            {"name": each.name, "displayName": each.display_name or each.name, "resourceLimits": _list_values(each)}
            for each in profile.resource_profiles
        ]
        info["allowCustomResources"] = profile.allow_custom_resources
    return info


def _list_values(named: ResourceProfile) -> list[dict[str, str]]:
    return [{"type": kind, "value": value} for kind, value in named.limits.items()]


def _list_limits(profile: Profile) -> list[ResourceLimit]:
    """Processors and memory always, the rest where the profile allows some."""
    known = {limit.type: limit for limit in profile.limits}
    always = [known.get(kind, ResourceLimit(kind)) for kind in (CPU, MEMORY)]
    return [*always, *(limit for limit in profile.limits if limit.type not in (CPU, MEMORY) and _is_available(limit))]


def _build_limit(limit: ResourceLimit) -> dict[str, str]:
    shape = {"type": limit.type}
    if limit.maximum:
        shape["maxValue"] = limit.maximum
    if limit.default:
        shape["defaultValue"] = limit.default
    return shape


def _check_image(image: str, profile: Profile, *, path: str) -> None:
    known = set(filter(None, (*profile.images, profile.default_image)))
    if not profile.allow_unknown_images and image not in known:
        allowed = ", ".join(sorted(known)) or "none"
        raise InvalidInputError(path, f"{image} is not allowed; the images for this user are: {allowed}")


def _check_constraints(wanted: Sequence[Constraint], profile: Profile, *, given: ResourceProfile | None) -> None:
    own = set(given.constraints) if given is not None else set()
    choices: dict[str, set[str | None]] = {}
    for name, value in profile.constraints:
        choices.setdefault(name, set()).add(value)
    for each in wanted:
        if (each.name, each.value) in own:
            continue
        allowed = choices.get(each.name)
        if allowed is None:
            names = ", ".join(sorted(choices)) or "none"
            raise InvalidInputError("placementConstraints", f"{each.name} is unknown; the profile allows: {names}")
        if None not in allowed and each.value not in allowed:
            values = ", ".join(sorted(value for value in allowed if value is not None))
            raise InvalidInputError(
                "placementConstraints", f"{each.value!r} is not a value of {each.name}; the profile allows: {values}"
            )
    for first in wanted:
        if any(first.name == other.name and first.value != other.value for other in wanted):
            raise InvalidInputError("placementConstraints", f"{first.name} is given twice, with different values")


def _choose_resource_profile(name: str, given: Mapping[str, str], profile: Profile) -> ResourceProfile | None:
    """
    The named resources that the job asks for; without a name and without limits of its own, the default ones. A user
    who may not set limits always gets named ones: the first ones without a name.
    """
    known = {each.name: each for each in profile.resource_profiles}
    allowed = ", ".join(known) or "none"
    if name and name != "custom":
        if name not in known:
            raise InvalidInputError(PROFILE, f"{name} is unknown; the profile allows: {allowed}")
        return known[name]
    has_limits = any(_read_amount(value, kind) for kind, value in given.items())
    if profile.allow_custom_resources:
        return None if has_limits else known.get(DEFAULT_PROFILE)
    if has_limits:
        raise InvalidInputError(LIMITS, f"may not be set by this user; choose one of: {allowed}")
    if not known:
        raise InvalidInputError(PROFILE, "is required, and no resource profile is available to this user")
    return profile.resource_profiles[0]


@dataclass(frozen=True, slots=True)
class _Rule:
    default: Decimal
    maximum: Decimal


def _read_amounts(given: Mapping[str, str], profile: Profile, named: ResourceProfile | None) -> dict[str, Decimal]:
    """The amount of each resource that is limited, after defaults and maxima."""
    amounts: dict[str, Decimal] = {}
    for kind in given:
        if kind not in _TYPES:
            raise InvalidInputError(LIMITS, f"{kind} is not a resource of this cluster; use one of {', '.join(_TYPES)}")
    limits = {limit.type: limit for limit in profile.limits}
    for kind in _TYPES:
        limit = limits.get(kind, _NO_LIMIT)
        rule = _Rule(_read_amount(limit.default, kind), _read_amount(limit.maximum, kind))
        amount = _read_amount(given.get(kind, ""), kind) or rule.default
        if named is None and rule.maximum and amount > rule.maximum:
            raise InvalidInputError(
                LIMITS, f"{kind} {_format(amount)} is more than the maximum {_format(rule.maximum)}"
            )
        if _needs_maximum(kind) and amount and not rule.maximum and named is None:
            raise InvalidInputError(LIMITS, f"{kind} is not available to this user; the profile allows none")
        if amount:
            amounts[kind] = amount
    for request, kind in REQUEST_OF.items():
        if request in amounts and kind in amounts and amounts[request] > amounts[kind]:
            if _read_amount(given.get(request, ""), request):
                raise InvalidInputError(LIMITS, f"{request} is more than the limit {_format(amounts[kind])} of {kind}")
            amounts[request] = amounts[kind]  # the profile's default is for larger jobs
    return amounts


def _is_available(limit: ResourceLimit) -> bool:
    return not _needs_maximum(limit.type) or bool(_read_amount(limit.maximum, limit.type))


def _needs_maximum(kind: str) -> bool:
    """GPUs are scarce: the documents' default of `max-nvidia-gpus` is 0, which means none and not infinite."""
    return "GPU" in kind


def _read_given(data: Json) -> dict[str, str]:
    given: dict[str, str] = {}
    for index, item in enumerate(read_objects(data, LIMITS)):
        path = f"{LIMITS}[{index}]"
        kind = read_text(item, "type", path=f"{path}.type") or read_text(item, "limitType", path=f"{path}.limitType")
        value = item.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        given[kind] = read_text({"value": value}, "value", path=f"{path}.value")
    return given


def _read_amount(text: str, kind: str) -> Decimal:
    if text == "":
        return Decimal(0)
    try:
        amount = Decimal(text) if len(text) <= _MOST_DIGITS else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0 or amount > Decimal(10) ** 12:
        raise InvalidInputError(LIMITS, f"{text[:_MOST_DIGITS]!r} is not an amount of {kind}")
    if _needs_maximum(kind) and amount != amount.to_integral_value():
        raise InvalidInputError(LIMITS, f"{text} is not a whole number of {kind}")
    return amount


def _format(amount: Decimal) -> str:
    text = format(amount.normalize(), "f")
    return text if text else "0"


def _build_resources(amounts: Mapping[str, Decimal], profile: Profile) -> Resources:
    limits, requests = {}, {}
    for kind, name in KUBERNETES_NAMES.items():
        if kind not in amounts:
            continue
        limits[name] = _quantity(kind, amounts[kind])
        ratio = Decimal(str(getattr(profile, _RATIOS[kind]))) if kind in _RATIOS else Decimal(1)
        if ratio != 1:
            requests[name] = _quantity(kind, amounts[kind] * ratio)
    for request, kind in ((CPU_REQUEST, CPU), (MEMORY_REQUEST, MEMORY)):
        if request in amounts:
            requests[KUBERNETES_NAMES[kind]] = _quantity(kind, amounts[request])
    return Resources(limits, requests)


def _quantity(kind: str, amount: Decimal) -> str:
    """Memory in megabytes (`512M`), everything else as a number."""
    if kind == MEMORY:
        whole = amount.to_integral_value(rounding="ROUND_CEILING")
        return f"{int(whole)}M"
    return format_quantity(amount)
