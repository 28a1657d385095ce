"""The settings of the site, as the frozen values that stages receive. `kns.settings.build_site` creates them."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.errors import InvalidInputError

_HOST = re.compile(r"(?=.{1,220}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_PATH = re.compile(r"(/[A-Za-z0-9._~$-]+)+")

TOLERATED_TAINTS = (
    "node-role.jarvice.io/jarvice-vcluster",
    "node-role.kubernetes.io/jarvice-vcluster",
    "nvidia.com/gpu",
)


def build_tolerations() -> list[dict[str, Any]]:
    """The tolerations of every pod of a job (contract E.2). The machine's node selector chooses the nodes."""
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in TOLERATED_TAINTS]


@dataclass(frozen=True, slots=True)
class JobAddress:
    """The address of one job: host and path of its Ingress (without a trailing `/`, except the root), and the URL."""

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
    The parts of `JARVICE_JOBS_DOMAIN`, from which each job's address is built (contract E.6).

    `path` contains `$` for the job number. If it is set, all jobs share one host and each has a path. Scheme and port
    appear in the URL only.
    """

    host: str
    scheme: str = "https"
    port: int | None = None
    path: str = ""

    def address(self, number: int, *, prefix: bool = False) -> JobAddress:
        """
        The address of a job. `prefix`: the app requests a path of the common host in place of its own host.

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
    Parse the jobs domain, a host name or a URL.

    Raises:
        InvalidInputError: `text` is not usable as a jobs domain.

    >>> parse_jobs_domain("http://jobs.example.org:8080").address(7).url
    'http://kns-job-7.jobs.example.org:8080'
    """
    if text.startswith("lookup"):
        raise InvalidInputError("", "'lookup...' is a function of the chart; give the name that it finds")
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
        raise InvalidInputError(
            "", "a path must contain '$' once, in place of the job number, like jobs.example.org/job$"
        )
    if parts.query or parts.fragment or not _HOST.fullmatch(parts.hostname):
        raise InvalidInputError("", "is not a DNS name, or is too long for the jobs' names below it")
    return JobsDomain(host=parts.hostname, scheme=parts.scheme, port=port, path=path)


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """Settings of the jobs' Ingresses. The first of the three certificate settings that is set wins."""

    ingress_class: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    cert_secret: str | None = None
    cert_issuer: str | None = None
    cert_cluster_issuer: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayRef:
    """The Gateway (Gateway API) that the jobs' HTTPRoutes attach to; None as `listener`: to any that admits them."""

    namespace: str
    name: str
    listener: str | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f"/{self.listener}" if self.listener else "")


def parse_gateway(text: str) -> GatewayRef:
    """
    A Gateway from `namespace/name` or `namespace/name/listener`.

    Raises:
        InvalidInputError: the text has another form.

    >>> parse_gateway("infra/public/https")
    GatewayRef(namespace='infra', name='public', listener='https')
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(_DNS_NAME.fullmatch(part) for part in parts) or "." in parts[0]:
        raise InvalidInputError("", "must be namespace/name or namespace/name/listener of a Gateway")
    return GatewayRef(*parts)


@dataclass(frozen=True, slots=True)
class ClassSettings:
    """The classes of the host that virtual clusters offer, and how much storage a job may claim."""

    default_storage_class: str | None
    storage_size: str
    runtime_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """
    What the jobs' NetworkPolicies allow besides the job itself.

    `open_ranges` may be reached and may connect, even if they are private. `closed_ranges` may not be reached, even if
    they are public. `name_servers` are what the nodes ask; if there are none, port 53 is open at every address. If
    `ingress_namespace` is None, every namespace that is not a job namespace may connect.
    """

    internet: bool
    ingress_namespace: str | None = None
    open_ranges: tuple[str, ...] = ()
    closed_ranges: tuple[str, ...] = ()
    name_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeycloakSettings:
    """The Keycloak of the jobs' clients. `url` has no trailing `/`. Only the adapter has the credentials of kns."""

    url: str
    realm: str
    limit_s: int


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxies of the init pods and of the Keycloak client. Requests to the Kubernetes API never use them."""

    http: str | None = None
    https: str | None = None
    no_proxy: str | None = None


def require_version(minor: str, supported: Collection[str]) -> None:
    """
    Raises:
        InvalidInputError: the site does not offer this minor version of Kubernetes.
    """
    if minor not in supported:
        raise InvalidInputError(
            "nested_kubernetes.kubernetes_version", f"{minor} is not supported here; supported: {', '.join(supported)}"
        )


@dataclass(frozen=True, slots=True)
class VirtualKubernetes:
    """
    Software of virtual clusters. `versions` maps a minor version (`v1.36`) to the image tag, the default last.

    `runtime_class` applies to the tenant's pods, `priority_class` to control planes. `protect_control_planes` keeps
    autoscalers and drains away from control planes. With `fast_start`, kns makes the certificates, and the processes of
    a control plane run side by side (`kns.objects.control_plane`); with `prepared_state` it then starts with a database
    that is filled (`kns.objects.prepared_state`).
    """

    syncer_image_tag: str
    versions: dict[str, str]
    service_cidr: str
    registry: str = ""
    storage_class: str | None = None
    runtime_class: str | None = None
    priority_class: str | None = None
    protect_control_planes: bool = True
    fast_start: bool = True
    prepared_state: bool = True

    @property
    def default(self) -> str:
        """The minor version of a job whose AppDef names none: the last of `versions`."""
        return next(reversed(self.versions))

    @property
    def images(self) -> tuple[str, ...]:
        """The image repositories of a control plane, in the site's registry if one is configured."""
        names_ = ("ghcr.io/loft-sh/vcluster-oss", "ghcr.io/loft-sh/kubernetes", "docker.io/coredns/coredns")
        return tuple(f"{self.registry}/{name}" for name in names_) if self.registry else names_

    def version(self, minor: str) -> str:
        """
        The image tag for a minor version; "" stands for the default.

        Raises:
            InvalidInputError: the site does not offer it, or no longer.
        """
        wanted = minor or self.default
        require_version(wanted, self.versions)
        return self.versions[wanted]

    def kubernetes_image(self, version: str) -> str:
        """The image with the programs of `version`, an image tag. As the chart names it."""
        return f"{self.registry or 'ghcr.io'}/loft-sh/kubernetes:{version}"


@dataclass(frozen=True, slots=True)
class Site:
    """
    The settings that stages and the reconciler need, plus facts of the host cluster: `virtual.service_cidr`,
    `mounts_images`, whether its pods may mount images as volumes, and `installation_uid`, the uid of the system
    namespace, which is unique to this installation across clusters.

    `kns.settings.build_site` creates it. Defaults and descriptions are in the settings table (docs/configuration.md).
    A name that ends in `_s` is in seconds. `shell_image` is None if web shells are disabled, `network` is None if jobs
    get no NetworkPolicies, `keycloak` is None if no Keycloak is configured, `gateway` is None if jobs get Ingresses.
    """

    system_namespace: str
    service_account: str
    installation_uid: str
    init_image: str
    mounts_images: bool
    shell_image: str | None
    limit_range: tuple[LimitRangeItem, ...]
    virtual: VirtualKubernetes
    jobs_domain: JobsDomain | None
    ingress: IngressSettings
    gateway: GatewayRef | None
    classes: ClassSettings
    network: NetworkSettings | None
    keycloak: KeycloakSettings | None
    proxies: Proxies
    app_pull_policy: str
    init_pull_policy: str
    pod_security: str
    keep_vclusters: bool
    http_port: int  # of kns's own HTTP servers
    has_pool: bool  # whether virtual clusters are made ahead of their jobs
    spawn_delay_s: int
    grace_s: int
    target_limit_s: int
    init_stuck_limit_s: int
    control_plane_limit_s: int
    ephemeral_storage: str  # of a job, for each of its nodes, if its machine states none
    retention_s: int
    retained_jobs: int  # ended records of one user; 0 is no limit
    probe_interval_s: int
    report_interval_s: int

    @property
    def own_images(self) -> tuple[str, ...]:
        """The images of kns that jobs run."""
        return (self.init_image, self.shell_image) if self.shell_image else (self.init_image,)

    def job_address(self, number: int, nested: NestedKubernetes, *, url: str | None) -> JobAddress | None:
        """
        The address of a job; None if it has no target or there is no jobs domain.

        `url` is the URL that the job already has. It stays the same when the jobs domain changes.
        """
        if not nested.targets:
            return None
        if url is not None:
            return JobAddress.of_url(url)
        if self.jobs_domain is None:
            return None
        return self.jobs_domain.address(number, prefix=nested.ingress_type == "prefix")
