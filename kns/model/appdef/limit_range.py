"""
LimitRange items as AppDefs and administrators write them: keys in snake or camel case, values as numbers or strings.

kns copies the values to a Kubernetes LimitRange as strings. Values that Kubernetes would refuse later, such as a
request above its limit, are refused here, so that the author sees the error.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kns.model.errors import InvalidInputError
from kns.model.reading.parsing import parse_model
from kns.model.reading.problem import Problem
from kns.model.reading.quantity import parse_quantity


def _read_quantity(value: Any) -> str:
    try:
        parse_quantity(value)
    except InvalidInputError as error:
        raise ValueError(error.problem) from error
    return str(value)


Quantity = Annotated[str, BeforeValidator(_read_quantity)]
Resources = dict[str, Quantity]

# Anybody may have an AppDef checked. JSON in base64 escapes the bound on values of a request's body, and a small list
# of items takes a hundred times its bytes. Kubernetes knows three types, and each may appear once.
MAX_ITEMS = 10
MAX_TEXT = 16 * 1024  # characters of base64; an item with every limit has less than 1 KiB

_OWN_RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|storage|hugepages-[0-9A-Za-z]+")
_FOREIGN_RESOURCE = re.compile(
    r"(?=.{1,253}/)[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


class LimitRangeItem(BaseModel):
    """One entry of `spec.limits`. Each map is resource name -> quantity."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type: Literal["Container", "Pod", "PersistentVolumeClaim"] = "Container"
    default: Resources = {}
    default_request: Resources = Field({}, validation_alias=AliasChoices("default_request", "defaultRequest"))
    max: Resources = {}
    min: Resources = {}
    max_limit_request_ratio: Resources = Field(
        {}, validation_alias=AliasChoices("max_limit_request_ratio", "maxLimitRequestRatio")
    )

    @model_validator(mode="after")
    def _check_order(self) -> "LimitRangeItem":
        for low_name, low, high_name, high in (
            ("default_request", self.default_request, "default", self.default),
            ("min", self.min, "max", self.max),
            ("default", self.default, "max", self.max),
            ("min", self.min, "default_request", self.default_request),
        ):
            for resource in low.keys() & high.keys():
                if parse_quantity(low[resource]) > parse_quantity(high[resource]):
                    raise ValueError(f"{low_name}.{resource} {low[resource]} is above {high_name} {high[resource]}")
        if self.type != "Container" and (self.default or self.default_request):
            raise ValueError("default and default_request are only for type Container")
        return self


def parse_limit_range(data: Any) -> list[LimitRangeItem]:
    """
    Items from one object, a list of objects, or base64 of either.

    Raises:
        InvalidInputError: with the key path of the first problem.
    """
    if isinstance(data, str):
        if len(data) > MAX_TEXT:
            raise InvalidInputError("", f"must have at most {MAX_TEXT} characters in base64")
        try:
            data = json.loads(base64.b64decode("".join(data.split()), validate=True))
        except (binascii.Error, ValueError, RecursionError) as error:
            raise InvalidInputError("", "is neither a JSON object nor JSON in base64") from error
    if isinstance(data, list):
        if not data:
            raise InvalidInputError("", "must contain at least one item")
        if len(data) > MAX_ITEMS:
            raise InvalidInputError("", f"must contain at most {MAX_ITEMS} items")
        return [parse_model(LimitRangeItem, item, prefix=f"[{i}]") for i, item in enumerate(data)]
    return [parse_model(LimitRangeItem, data)]


def find_refused(items: Sequence[LimitRangeItem]) -> Iterator[Problem]:
    """
    The rules of Kubernetes for a LimitRange (pkg/apis/core/validation) that `LimitRangeItem` does not check. Locations
    begin with the item's index.
    """
    types: set[str] = set()
    for index, item in enumerate(items):
        if item.type in types:
            yield Problem((index, "type"), f"an earlier item has the type {item.type} too; join the two items")
        types.add(item.type)
        yield from (problem.below((index,)) for problem in _find_refused(item))


def _find_refused(item: LimitRangeItem) -> Iterator[Problem]:
    maps = {
        "default": item.default,
        "default_request": item.default_request,
        "max": item.max,
        "min": item.min,
        "max_limit_request_ratio": item.max_limit_request_ratio,
    }
    for key, resources in maps.items():
        for resource in resources:
            if not (_OWN_RESOURCE.fullmatch(resource) or _FOREIGN_RESOURCE.fullmatch(resource)):
                yield Problem((key, resource), "is not a resource name like cpu, memory or nvidia.com/gpu")
    for low, high in (("default_request", "max"), ("min", "default")):
        for resource in maps[low].keys() & maps[high].keys():
            if parse_quantity(maps[low][resource]) > parse_quantity(maps[high][resource]):
                yield Problem((low, resource), f"{maps[low][resource]} is above {high} {maps[high][resource]}")
    for resource, ratio in item.max_limit_request_ratio.items():
        if parse_quantity(ratio) < 1:
            yield Problem(("max_limit_request_ratio", resource), "must be at least 1")
    if item.type == "PersistentVolumeClaim" and "storage" not in {*item.max, *item.min}:
        yield Problem((), "type PersistentVolumeClaim requires min or max of storage")
