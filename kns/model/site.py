"""What an administrator decided, as the frozen value that stages and routes receive. Built once, by main."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kns.model.errors import InvalidInputError
from kns.model.limits import LimitRangeItem

_HOST = re.compile(r"(?=.{1,220}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

TOLERATED_TAINTS = (
    "node-role.jarvice.io/jarvice-vcluster",
    "node-role.kubernetes.io/jarvice-vcluster",
    "nvidia.com/gpu",
)


def build_tolerations() -> list[dict[str, Any]]:
    """The tolerations of every pod of a job (contract E.2). They do not pin; node selection is the machine's."""
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in TOLERATED_TAINTS]


@dataclass(frozen=True, slots=True)
class JobsDomain:
    """`JARVICE_JOBS_DOMAIN` taken apart: how a job's URL is made (contract E.6, subdomain form)."""

    host: str
    scheme: str = "https"
    port: int | None = None

    def job_host(self, name: str) -> str:
        return f"{name}.{self.host}"

    def job_url(self, name: str) -> str:
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{self.job_host(name)}{port}"


def parse_jobs_domain(text: str) -> JobsDomain:
    """
    The jobs domain from a host name or a URL.

    Raises:
        InvalidInputError: what is wrong with it.

    >>> parse_jobs_domain("http://jobs.example.org:8080").job_url("kns-job-7")
    'http://kns-job-7.jobs.example.org:8080'
    """
    if text.startswith("lookup"):
        raise InvalidInputError("", "'lookup...' is resolved by the chart, give the name it finds")
    if "$" in text or text.rstrip("/").count("/") > 2 or ("://" not in text and "/" in text):
        raise InvalidInputError("", "paths ('/job$') are not supported by this release, give a host name or URL")
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError as error:
        raise InvalidInputError("", "is not a host name or URL") from error
    if "://" not in text and port is not None:
        raise InvalidInputError("", "a port needs a scheme, like http://jobs.example.org:8080")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidInputError("", "is not a host name or an http(s) URL")
    if parts.query or parts.fragment or not _HOST.fullmatch(parts.hostname):
        raise InvalidInputError("", f"{parts.hostname!r} is not a DNS name that jobs can have names below")
    return JobsDomain(host=parts.hostname, scheme=parts.scheme, port=port)


@dataclass(frozen=True, slots=True)
class VirtualKubernetes:
    """The virtual clusters' software. `versions` maps a minor (`v1.36`) to the exact tag; `default` is a minor."""

    syncer_image_tag: str
    versions: dict[str, str]
    default: str
    service_cidr: str
    registry: str = ""
    storage_class: str = ""

    def version(self, minor: str) -> str:
        return self.versions[minor or self.default]


@dataclass(frozen=True, slots=True)
class Site:
    """
    Everything stages and the reconciler need to know of the site.

    `spawn_delay_s`, `grace_s`, `target_limit_s`, `retention_s` are in seconds; see docs/configuration.md.
    """

    system_namespace: str
    service_account: str
    init_image: str
    limit_range: tuple[LimitRangeItem, ...]
    virtual: VirtualKubernetes
    spawn_delay_s: int = 300
    keep_vclusters: bool = False
    jobs_domain: JobsDomain | None = None
    ingress_class: str | None = None
    app_pull_policy: str = "Always"
    init_pull_policy: str = "IfNotPresent"
    grace_s: int = 3
    target_limit_s: int = 600
    init_stuck_limit_s: int = 120
    retention_s: int = 30 * 86400
