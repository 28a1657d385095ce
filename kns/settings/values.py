"""
The types of variable values, each with its check.

A message says what is wrong and what is expected. It never contains the value, which may be secret.
"""

import base64
import json
import os
import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from pydantic import AfterValidator, BeforeValidator, SecretStr

from kns.model.appdef.appdef import LEAST_IDLE_S
from kns.model.appdef.limit_range import parse_limit_range
from kns.model.appdef.resources import find_limit_range_problems
from kns.model.appdef.versions import parse_versions
from kns.model.errors import InvalidInputError
from kns.model.job.pool import parse_pools
from kns.model.reading.problem import key_path
from kns.model.reading.quantity import parse_quantity
from kns.model.site import parse_gateway, parse_jobs_domain

MOST_METRICS_URLS = 20  # replicas of an ingress controller; each is scraped in every round
_FEWEST_ADDRESSES = 8  # of a range of Services: the second one is that of the API server

_WHOLE = re.compile(r"[0-9]{1,9}")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE = re.compile(
    r"(?P<name>[a-zA-Z0-9][a-zA-Z0-9._-]*(?::[0-9]{1,5}(?=/))?(?:/[a-z0-9._-]+)*)"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_REPOSITORY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*(?::[0-9]{1,5})?(?:/[a-z0-9._-]+)*")
_ANNOTATION_KEY = re.compile(
    r"(?:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


def _read_bool(value: Any) -> Any:
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() not in words:
        raise ValueError("must be true or false")
    return words[value.lower()] if isinstance(value, str) else value


def _read_whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("must be a whole number")
    return int(value)


def _check(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"is not {what}")
        return value

    return AfterValidator(check)


def _read(parse: Callable[[str], Any], problem: str) -> BeforeValidator:
    """Parse a string with a parser of the model. `problem` is the message format: `{error}` is the parser's error."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except InvalidInputError as error:
            raise ValueError(problem.format(error=error, problem=error.problem)) from error

    return BeforeValidator(read)


def _parse_limit_range(text: str) -> Any:
    items = parse_limit_range(text)
    for problem in find_limit_range_problems(items):
        raise InvalidInputError(key_path(problem.location), problem.message)
    return items


def _parse_names(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidInputError("", "must be a comma-separated list of DNS names")
    return tuple(dict.fromkeys(parts))


def _parse_size(text: str) -> str:
    """A number without a unit would mean bytes, which is never intended."""
    if not text[-1:].isalpha() or parse_quantity(text) < 1:
        raise InvalidInputError("", "has no unit; write it like 100Gi")
    return text


def _parse_annotations(text: str) -> dict[str, str]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("", "is not JSON") from error
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise InvalidInputError("", "must be a JSON object whose values are strings")
    if not all(_ANNOTATION_KEY.fullmatch(key) for key in data):
        raise InvalidInputError("", "has a key that is no annotation key, like example.org/name")
    return data


def _check_url(value: str) -> str:
    if any(character.isspace() or not character.isprintable() for character in value):  # urlsplit drops some of them
        raise ValueError("has a blank, a line break or a control character; remove it, also from the end")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    return value


def _check_origin(value: str) -> str:
    parts = urlsplit(_check_url(value))
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must be a URL of scheme, host and port alone, like https://kns.example.org")
    return f"{parts.scheme}://{parts.netloc}"


def _parse_urls(value: str) -> tuple[str, ...]:
    urls = tuple(dict.fromkeys(filter(None, (part.strip() for part in value.split(",")))))
    if len(urls) > MOST_METRICS_URLS:
        raise ValueError(f"has more than {MOST_METRICS_URLS} URLs")
    return tuple(_check_url(url) for url in urls)


def _check_idle_sleep(value: int) -> int:
    if 0 < value < LEAST_IDLE_S:
        raise ValueError(f"must be 0 or at least {LEAST_IDLE_S}")
    return value


def _check_readable(path: Path) -> Path:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError("is not a readable file")
    return path


def _check_service_ranges(value: str) -> str:
    """One range, or two of different families, as the API server takes them."""
    try:
        networks = [ip_network(part.strip()) for part in value.split(",")]
    except ValueError as error:
        raise ValueError("is not an address range like 10.96.0.0/16") from error
    if any(network.num_addresses < _FEWEST_ADDRESSES for network in networks):
        raise ValueError(f"has fewer than {_FEWEST_ADDRESSES} addresses; give a range like 10.96.0.0/16")
    versions = [network.version for network in networks]
    if len(versions) != len(set(versions)):
        raise ValueError("has two ranges of the same family; a dual-stack cluster has one of IPv4 and one of IPv6")
    return ",".join(map(str, networks))  # the API server of a virtual cluster reads no netmask


def _check_proxies(value: str) -> str:
    _parse_ranges(value)
    return value


def _parse_ranges(value: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(part.strip())) for part in value.split(","))
    except ValueError as error:
        raise ValueError("must be a comma-separated list of addresses and ranges like 10.0.0.0/8") from error


def _check_closed_ranges(ranges: tuple[str, ...]) -> tuple[str, ...]:
    """An exception in a NetworkPolicy must be smaller than what it is taken from, which is every address."""
    if any(ip_network(each).prefixlen == 0 for each in ranges):
        raise ValueError("has a range of all addresses; KNS_INTERNET_EGRESS=false closes the internet")
    return ranges


def _read_public_key(text: str) -> str:
    """Convert a public key from DER in base64, or from PEM, to PEM."""
    try:
        if "-----BEGIN" in text:
            key = load_pem_public_key(text.encode())
        else:
            key = load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("is not an RSA public key; give DER in base64, or PEM") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("is a public key of another kind; give an RSA key")  # noqa: TRY004 - pydantic collects ValueErrors only
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def has_no_tag(image: str) -> bool:
    """Whether an image reference has neither tag nor digest. `host:5000/x` has a port and no tag."""
    match = _IMAGE.fullmatch(image)
    return match is not None and not match["tag"] and not match["digest"]


def encode_json(text: str) -> str:
    """`text` in base64."""
    return base64.b64encode(text.encode()).decode()


def _check_server_key(value: SecretStr) -> SecretStr:
    user, colon, password = value.get_secret_value().partition(":")
    if not (user and colon and password):
        raise ValueError("must be user:password, and neither part may be empty")
    return value


Bool = Annotated[bool, BeforeValidator(_read_bool)]
Whole = Annotated[int, BeforeValidator(_read_whole)]
Name = Annotated[str, _check(_NAME, "a DNS name")]
Namespace = Annotated[str, _check(_LABEL, "a namespace name")]
Names = Annotated[tuple[str, ...], _read(_parse_names, "{problem}")]
Tag = Annotated[str, _check(_TAG, "an image tag")]
Image = Annotated[str, _check(_IMAGE, "an image reference")]
IdleSleep = Annotated[Whole, AfterValidator(_check_idle_sleep)]
METRICS_URLS = BeforeValidator(lambda value: _parse_urls(value) if isinstance(value, str) else value)
Repository = Annotated[str, _check(_REPOSITORY, "part of an image name")]
Url = Annotated[str, AfterValidator(_check_url)]
BaseUrl = Annotated[str, AfterValidator(lambda value: _check_url(value).rstrip("/"))]
Origin = Annotated[str, AfterValidator(_check_origin)]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
File = Annotated[Path, AfterValidator(_check_readable)]
ServiceRanges = Annotated[str, AfterValidator(_check_service_ranges)]
Ranges = Annotated[tuple[str, ...], BeforeValidator(lambda value: _parse_ranges(value) if value else ())]
ClosedRanges = Annotated[Ranges, AfterValidator(_check_closed_ranges)]
ProxyList = Annotated[str, AfterValidator(_check_proxies)]
PublicKey = Annotated[str, AfterValidator(_read_public_key)]
Size = Annotated[str, _read(_parse_size, "must be a quantity with a unit, like 100Gi")]
Annotations = Annotated[dict[str, str], _read(_parse_annotations, "{problem}")]
LIMIT_RANGE = _read(_parse_limit_range, "must be LimitRange items as JSON in base64; {error}")
JOBS_DOMAIN = _read(parse_jobs_domain, "{problem}")
GATEWAY = _read(parse_gateway, "{problem}")
POOLS = _read(parse_pools, "{problem}")
VERSIONS = _read(parse_versions, "{problem}")
ServerKey = Annotated[SecretStr, AfterValidator(_check_server_key)]
