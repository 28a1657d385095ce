"""What an administrator decided, as the frozen value that stages and routes receive. Built once, by main."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.errors import InvalidInputError

_HOST = re.compile(r"(?=.{1,220}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_PATH = re.compile(r"(/[A-Za-z0-9._~$-]+)+")

TOLERATED_TAINTS = (
    "node-role.jarvice.io/jarvice-vcluster",
    "node-role.kubernetes.io/jarvice-vcluster",
    "nvidia.com/gpu",
)


def build_tolerations() -> list[dict[str, Any]]:
    """The tolerations of every pod of a job (contract E.2). They do not pin; node selection is the machine's."""
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in TOLERATED_TAINTS]


@dataclass(frozen=True, slots=True)
class JobAddress:
    """Where one job is found: the Ingress's host and path (no `/` at its end but for the root), and the user's URL."""

    host: str
    path: str
    url: str

    @classmethod
    def of_url(cls, url: str) -> "JobAddress":
        """
        >>> JobAddress.of_url("http://jobs.example.org:8080/job7")
        JobAddress(host='jobs.example.org', path='/job7', url='http://jobs.example.org:8080/job7')
        """
        parts = urlsplit(url)
        return cls(host=parts.hostname or "", path=parts.path or "/", url=url)

    def below(self, path: str) -> "JobAddress":
        return JobAddress(host=self.host, path=self.path.rstrip("/") + path, url=self.url + path)


@dataclass(frozen=True, slots=True)
class JobsDomain:
    """
    `JARVICE_JOBS_DOMAIN` taken apart: how a job's address is made (contract E.6).

    `path` holds `$` for the job's number; with it every job is below a path of the one host. Scheme and port are for
    the URL only.
    """

    host: str
    scheme: str = "https"
    port: int | None = None
    path: str = ""

    def address(self, number: int, *, prefix: bool = False) -> JobAddress:
        """
        `prefix`: the app asks for a path of the common host instead of a host of its own.

        >>> JobsDomain("jobs.example.org").address(7).url
        'https://kns-job-7.jobs.example.org'
        >>> JobsDomain("jobs.example.org", path="/job$").address(7)
        JobAddress(host='jobs.example.org', path='/job7', url='https://jobs.example.org/job7')
        """
        pattern = self.path or ("/$" if prefix else "")
        host = self.host if pattern else f"{names.job_object_name(number)}.{self.host}"
        path = pattern.replace("$", str(number))
        port = f":{self.port}" if self.port is not None else ""
        return JobAddress(host=host, path=path or "/", url=f"{self.scheme}://{host}{port}{path}")


def parse_jobs_domain(text: str) -> JobsDomain:
    """
    The jobs domain from a host name or a URL.

    Raises:
        InvalidInputError: what is wrong with it.

    >>> parse_jobs_domain("http://jobs.example.org:8080").address(7).url
    'http://kns-job-7.jobs.example.org:8080'
    """
    if text.startswith("lookup"):
        raise InvalidInputError("", "'lookup...' is resolved by the chart, give the name it finds")
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError as error:
        raise InvalidInputError("", "is not a host name or URL") from error
    if "://" not in text and port is not None:
        raise InvalidInputError("", "a port needs a scheme, like http://jobs.example.org:8080")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidInputError("", "is not a host name or an http(s) URL")
    path = parts.path.rstrip("/")
    if path and (path.count("$") != 1 or not _PATH.fullmatch(path)):
        raise InvalidInputError("", "a path needs '$' once, where the job's number goes, like jobs.example.org/job$")
    if parts.query or parts.fragment or not _HOST.fullmatch(parts.hostname):
        raise InvalidInputError("", "is not a DNS name that jobs can have names below")
    return JobsDomain(host=parts.hostname, scheme=parts.scheme, port=port, path=path)


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """How the jobs' Ingresses look; of the three certificate settings the first that is set counts."""

    ingress_class: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    cert_secret: str | None = None
    cert_issuer: str | None = None
    cert_cluster_issuer: str | None = None


@dataclass(frozen=True, slots=True)
class ClassSettings:
    """Which classes of the host a virtual cluster shows, and how much of the storage class a job may claim."""

    default_storage_class: str | None = None
    storage_size: str = "100Gi"
    runtime_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """
    What the jobs' NetworkPolicies admit beyond the job itself; None as `ingress_namespace`: any that is no job's.

    `open_ranges` may be reached and may reach in, private addresses or not.
    """

    internet: bool = True
    ingress_namespace: str | None = None
    open_ranges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeycloakSettings:
    """Where the jobs' Keycloak clients are: `url` has no `/` at its end. kns's own credentials are the adapter's."""

    url: str
    realm: str
    limit_s: int = 600


@dataclass(frozen=True, slots=True)
class Proxies:
    """For the init pods and Keycloak; the Kubernetes API is never asked through a proxy."""

    http: str | None = None
    https: str | None = None
    no_proxy: str | None = None


@dataclass(frozen=True, slots=True)
class VirtualKubernetes:
    """The virtual clusters' software. `versions` maps a minor (`v1.36`) to the exact tag; `default` is a minor."""

    syncer_image_tag: str
    versions: dict[str, str]
    default: str
    service_cidr: str
    registry: str = ""
    storage_class: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """The repositories that a control plane is pulled from; with a registry of the site's own all from there."""
        names_ = ("ghcr.io/loft-sh/vcluster-oss", "ghcr.io/loft-sh/kubernetes", "docker.io/coredns/coredns")
        return tuple(f"{self.registry}/{name}" for name in names_) if self.registry else names_

    def version(self, minor: str) -> str:
        return self.versions[minor or self.default]


@dataclass(frozen=True, slots=True)
class Site:
    """
    Everything stages and the reconciler need to know of the site.

    What ends in `_s` is in seconds; see docs/configuration.md.
    """

    system_namespace: str
    service_account: str
    init_image: str
    limit_range: tuple[LimitRangeItem, ...]
    virtual: VirtualKubernetes
    installation_uid: str = ""  # of the system namespace: no other installation has it, not even in another cluster
    spawn_delay_s: int = 300
    keep_vclusters: bool = False
    jobs_domain: JobsDomain | None = None
    ingress: IngressSettings = IngressSettings()
    classes: ClassSettings = ClassSettings()
    keycloak: KeycloakSettings | None = None
    proxies: Proxies = Proxies()
    app_pull_policy: str = "Always"
    init_pull_policy: str = "IfNotPresent"
    grace_s: int = 3
    target_limit_s: int = 600
    init_stuck_limit_s: int = 120
    retention_s: int = 30 * 86400
    probe_interval_s: int = 60
    report_interval_s: int = 3600
    shell_image: str | None = None  # None: this site allows no web shells
    network: NetworkSettings | None = NetworkSettings()  # None: jobs get no NetworkPolicies
    pod_security: str = "baseline"

    @property
    def own_images(self) -> tuple[str, ...]:
        """kns's own images that jobs run."""
        return (self.init_image, self.shell_image) if self.shell_image else (self.init_image,)

    def job_address(self, number: int, nested: NestedKubernetes, *, url: str | None = None) -> JobAddress | None:
        """
        Where the job will be found; None without a target or without a jobs domain.

        `url` is what the job has been told already: it keeps that address, whatever becomes of the jobs domain.
        """
        if not nested.targets:
            return None
        if url is not None:
            return JobAddress.of_url(url)
        if self.jobs_domain is None:
            return None
        return self.jobs_domain.address(number, prefix=nested.ingress_type == "prefix")
