"""
The environment as one frozen Settings object; every problem in one error.

An empty variable counts as unset. Names are the published ones (`JARVICE_*`); kns's own begin with `KNS_`. Values are
never repeated in a message: some are secret. main hands each value, not this object, to whoever needs it.
"""

import base64
import os
import re
from collections.abc import Mapping, MutableMapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kns import __version__
from kns.model.errors import InvalidInputError, KnsError
from kns.model.limits import LimitRangeItem, parse_limit_range
from kns.model.resources import check_limit_range
from kns.model.site import JobsDomain, parse_jobs_domain

DEFAULT_LIMIT_RANGE = (
    '{"default":{"cpu": 1, "memory": "1Gi"}, "default_request":{"cpu": "200m", "memory": "256Mi"}, "type":"Container"}'
)
# The newest tag of the maker's `kubernetes` image per minor; the first is the default.
DEFAULT_VERSIONS = "v1.36.0,v1.35.0,v1.34.0,v1.33.4"

DEFAULT_CHART = Path("/usr/share/kns/vcluster-0.36.1.tgz")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE = re.compile(
    r"(?P<name>[a-zA-Z0-9][a-zA-Z0-9._-]*(?::[0-9]{1,5}(?=/))?(?:/[a-z0-9._-]+)*)"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_VERSION = re.compile(r"v1\.[0-9]{1,2}\.[0-9]{1,3}")


class SettingsError(KnsError):
    """The environment cannot be used. `problems` are `(variable, what is wrong and what is expected)`."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems))


def _read_bool(value: Any) -> Any:
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() not in words:
        raise ValueError("must be true or false")
    return words[value.lower()] if isinstance(value, str) else value


def _read_whole(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("must be a whole number")
    return int(value)


def _check(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"is not {what}")
        return value

    return AfterValidator(check)


def _read_limit_range(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        items = parse_limit_range(value)
        check_limit_range(items)
    except InvalidInputError as error:
        raise ValueError(f"must be base64 of JSON LimitRange items; {error}") from error
    return items


def _read_domain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_jobs_domain(value)
    except InvalidInputError as error:
        raise ValueError(error.problem) from error


def _read_versions(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    versions = [part.strip() for part in value.split(",") if part.strip()]
    if not versions or not all(_VERSION.fullmatch(v) for v in versions):
        raise ValueError("must be a comma list of full versions like v1.36.0, the default first")
    by_minor = {v.rpartition(".")[0]: v for v in reversed(versions)}
    if len(by_minor) != len(versions):
        raise ValueError("names a minor version twice; give one full version per minor")
    return by_minor


def _check_readable(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise ValueError("is not a readable file")
    return path


def _check_cidr(value: str) -> str:
    try:
        ip_network(value)
    except ValueError as error:
        raise ValueError("is not an address range like 10.96.0.0/16") from error
    return value


def _check_server_key(value: SecretStr) -> SecretStr:
    user, colon, password = value.get_secret_value().partition(":")
    if not (user and colon and password):
        raise ValueError("must be user:password, both given")
    return value


Bool = Annotated[bool, BeforeValidator(_read_bool)]
Whole = Annotated[int, BeforeValidator(_read_whole)]
Name = Annotated[str, _check(_NAME, "a DNS name")]
Image = Annotated[str, _check(_IMAGE, "an image reference")]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


def _variable(name: str, default: Any, description: str, **rules: Any) -> Any:
    return Field(default=default, validation_alias=name, description=description, **rules)


class Settings(BaseSettings):
    """Every variable kns reads; docs/configuration.md is generated from this table."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        enable_decoding=False,
        case_sensitive=True,
    )

    keep_vclusters: Bool = _variable(
        "JARVICE_KNS_KEEP_VCLUSTERS", False, "`true`: nothing of an ended job is removed (for debugging)."
    )
    limit_range: Annotated[list[LimitRangeItem], BeforeValidator(_read_limit_range)] = _variable(
        "JARVICE_KNS_DEFAULT_LIMIT_RANGE",
        base64.b64encode(DEFAULT_LIMIT_RANGE.encode()).decode(),
        "Base64 of JSON: LimitRange of each job namespace, unless the AppDef has its own.",
        validate_default=True,
    )
    spawn_delay_s: Whole = _variable(
        "JARVICE_KNS_VCLUSTER_SPAWN_DELAY",
        300,
        "Seconds a virtual cluster may take from its creation to running; host scale-up counts, templates do not.",
        ge=1,
    )
    init_image: Image = _variable(
        "JARVICE_KNS_INIT_IMAGE",
        f"localhost/kns-init:{__version__}",
        "Init image; without tag or digest `JARVICE_IMAGES_TAG` is added.",
    )
    images_tag: Annotated[str, _check(_TAG, "an image tag")] = _variable(
        "JARVICE_IMAGES_TAG", "jarvice-master", "Tag for an init image without one."
    )
    jobs_domain: Annotated[JobsDomain | None, BeforeValidator(_read_domain)] = _variable(
        "JARVICE_JOBS_DOMAIN",
        None,
        "Domain of the jobs' host names, or a URL with scheme and port; unset: no Ingress, jobs have no URL.",
    )
    ingress_class: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CLASS", None, "`ingressClassName` of the jobs' Ingresses; unset: the host's default."
    )
    log_level: Whole = _variable(
        "JARVICE_K8S_SCHED_LOGLEVEL",
        30,
        "Python log level: 10 debug, 20 info, 30 warning, 40 error, 50 critical.",
        ge=10,
        le=50,
    )
    server_key: Annotated[SecretStr, AfterValidator(_check_server_key)] | None = _variable(
        "JARVICE_SCHED_SERVER_KEY",
        None,
        "`user:password` that an upstream JARVICE sends to the upstream-scheduler protocol; unset: no such routes.",
    )
    catalog_dir: Path = _variable("KNS_CATALOG_DIR", Path("/etc/kns/catalog"), "Directory of the catalogue.")
    system_namespace: Name = _variable(
        "JARVICE_SYSTEM_NAMESPACE", "kns-system", "Namespace of kns, its records and Secrets."
    )
    kubeconfig: Annotated[Path, AfterValidator(_check_readable)] | None = _variable(
        "JARVICE_K8S_ADMIN_CONF", None, "Kubeconfig of the host cluster; unset: the pod's own ServiceAccount."
    )
    grace_s: Whole = _variable(
        "JARVICE_JOBS_GRACE_PERIOD", 3, "Seconds that a shutdown leaves to the app's pods before they are ended."
    )
    app_pull_policy: PullPolicy = _variable("JARVICE_JOBS_IMAGE_PULL_POLICY", "Always", "Pull policy of app images.")
    init_pull_policy: PullPolicy = _variable(
        "JARVICE_JOBS_INIT_IMAGE_PULL_POLICY", "IfNotPresent", "Pull policy of the init image."
    )
    service_account: Name = _variable(
        "KNS_SERVICE_ACCOUNT", "kns-sa", "kns's own ServiceAccount, bound in each job namespace."
    )
    versions: Annotated[dict[str, str], BeforeValidator(_read_versions)] = _variable(
        "KNS_KUBERNETES_VERSIONS",
        DEFAULT_VERSIONS,
        "Kubernetes versions of virtual clusters: tags of the `loft-sh/kubernetes` image, one per minor, the default "
        "first.",
        validate_default=True,
    )
    image_registry: str = _variable(
        "KNS_IMAGE_REGISTRY", "", "Registry that serves vcluster's images instead of their own."
    )
    syncer_tag: Annotated[str, _check(_TAG, "an image tag")] = _variable(
        "KNS_VCLUSTER_TAG", "0.36.1", "Tag of the `loft-sh/vcluster-oss` image; must fit the chart."
    )
    vcluster_storage_class: Name | None = _variable(
        "KNS_VCLUSTER_STORAGE_CLASS",
        None,
        "Host storage class for the virtual clusters' own data; unset: no volume, and a lost control-plane pod ends "
        "its job.",
    )
    service_cidr: Annotated[str, AfterValidator(_check_cidr)] | None = _variable(
        "KNS_SERVICE_CIDR", None, "The host's range of ClusterIPs; unset: asked from the host (Kubernetes 1.33 on)."
    )
    chart: Path = _variable("KNS_VCLUSTER_CHART", DEFAULT_CHART, "The packaged vcluster chart.")
    helm: str = _variable("KNS_HELM", "helm", "The helm program.")
    http_host: str = _variable("KNS_HTTP_HOST", "0.0.0.0", "Address of the HTTP API.")  # noqa: S104 - in its own pod
    http_port: Whole = _variable("KNS_HTTP_PORT", 8080, "Port of the HTTP API.", ge=1, le=65535)
    metrics_port: Whole = _variable("KNS_METRICS_PORT", 9090, "Port of `/metrics`.", ge=1, le=65535)
    workers: Whole = _variable("KNS_WORKERS", 8, "Jobs that are worked on at the same time.", ge=1, le=64)
    retention_days: Whole = _variable("KNS_RETENTION_DAYS", 30, "Days that ended records and their output stay.", ge=1)
    target_limit_s: Whole = _variable(
        "KNS_TARGET_LIMIT", 600, "Seconds that a target Service may take to appear after the deployment.", ge=1
    )
    init_stuck_limit_s: Whole = _variable(
        "KNS_INIT_STUCK_LIMIT",
        120,
        "Seconds that the init pod may be stuck (an image that cannot be pulled, a refusal).",
        ge=1,
    )

    @property
    def full_init_image(self) -> str:
        match = _IMAGE.fullmatch(self.init_image)
        bare = match is not None and not match["tag"] and not match["digest"]
        return f"{self.init_image}:{self.images_tag}" if bare else self.init_image


def load_settings() -> Settings:
    """
    The settings of this process's environment.

    Raises:
        SettingsError: every fault at once.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            (str(item["loc"][0]), item["msg"].removeprefix("Value error, "))
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError(problems) from error


def forget_secrets(environ: MutableMapping[str, str]) -> None:
    """Take secret values out of the environment once they are read: programs that kns starts inherit it."""
    for field in Settings.model_fields.values():
        if "SecretStr" in str(field.annotation):
            environ.pop(str(field.validation_alias), None)


def list_unknown(environ: Mapping[str, str]) -> list[str]:
    """Names with a value that look like ours and are not: most likely a typing error, worth a warning."""
    known = {field.validation_alias for field in Settings.model_fields.values()}
    ours = ("JARVICE_KNS_", "KNS_")
    return sorted(name for name, value in environ.items() if value and name.startswith(ours) and name not in known)
