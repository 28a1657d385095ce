"""The table of settings: one row per variable, and nothing else reads the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from kns import __version__
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.appdef.versions import DEFAULT_VERSIONS
from kns.model.site import JobsDomain
from kns.settings.values import (
    DOMAIN,
    LIMITS,
    VERSIONS,
    AddressRange,
    Annotations,
    Bool,
    File,
    Image,
    Name,
    Names,
    Namespace,
    ProxyList,
    PublicKey,
    PullPolicy,
    Ranges,
    Repository,
    ServerKey,
    Size,
    Tag,
    Url,
    Whole,
    encode_json,
    has_no_tag,
)

DEFAULT_LIMIT_RANGE = (
    '{"default":{"cpu": 1, "memory": "1Gi"}, "default_request":{"cpu": "200m", "memory": "256Mi"}, "type":"Container"}'
)

DEFAULT_CHART = Path("/usr/share/kns/vcluster-0.36.1.tgz")

_NO_EFFECT = "Set by the chart of the system that kns replaces; checked, and of no effect here."


def _variable(name: str, default: Any, description: str, **rules: Any) -> Any:
    return Field(default=default, validation_alias=name, description=description, **rules)


def _proxy(name: str, description: str) -> Any:
    """Programs read these names in either case."""
    return Field(default=None, validation_alias=AliasChoices(name, name.upper()), description=description)


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
    limit_range: Annotated[list[LimitRangeItem], LIMITS] = _variable(
        "JARVICE_KNS_DEFAULT_LIMIT_RANGE",
        encode_json(DEFAULT_LIMIT_RANGE),
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
    images_tag: Tag = _variable("JARVICE_IMAGES_TAG", "jarvice-master", "Tag for an init image without one.")
    jobs_domain: Annotated[JobsDomain | None, DOMAIN] = _variable(
        "JARVICE_JOBS_DOMAIN",
        None,
        "Domain of the jobs' host names, or a URL with scheme and port; with `$` (the job's number) in a path all jobs "
        "are below that path of one host; unset: no Ingress, jobs have no URL.",
    )
    ingress_class: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CLASS", None, "`ingressClassName` of the jobs' Ingresses; unset: the host's default."
    )
    ingress_annotations: Annotations = _variable(
        "JARVICE_JOBS_INGRESS_ANNOTATIONS", {}, "JSON object of strings: added to each job's Ingress, and wins."
    )
    ingress_cert_secret: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CERT_SECRET_NAME",
        None,
        "TLS Secret of the jobs' Ingresses; something outside of kns puts it into each job's namespace.",
    )
    ingress_cert_issuer: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CERT_ISSUER", None, "cert-manager Issuer of the jobs' certificates."
    )
    ingress_cert_cluster_issuer: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CERT_CLUSTER_ISSUER", None, "cert-manager ClusterIssuer of the jobs' certificates."
    )
    default_storage_class: Name | None = _variable(
        "JARVICE_KNS_DEFAULT_STORAGE_CLASS",
        None,
        "Host storage class that virtual clusters show as their default; unset: jobs cannot claim storage.",
    )
    dynamic_storage_size: Size = _variable(
        "JARVICE_KNS_DYNAMIC_STORAGE_SIZE", "100Gi", "What a job may claim of that class; with a unit."
    )
    runtime_classes: Names = _variable(
        "JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC",
        "",
        "Comma list of the host's RuntimeClasses that virtual clusters show.",
        validate_default=True,
    )
    probe_interval_s: Whole = _variable(
        "JARVICE_KNS_BILLING_PROBE_INTERVAL", 60, "Seconds between two samples of what a job requests.", ge=1
    )
    report_interval_s: Whole = _variable(
        "JARVICE_KNS_BILLING_REPORT_INTERVAL",
        3600,
        "Seconds between two usage lines in the job's record; at least the interval of the samples.",
        ge=1,
    )
    log_level: Whole = _variable(
        "JARVICE_K8S_SCHED_LOGLEVEL",
        30,
        "Python log level: 10 debug, 20 info, 30 warning, 40 error, 50 critical.",
        ge=10,
        le=50,
    )
    server_key: ServerKey | None = _variable(
        "JARVICE_SCHED_SERVER_KEY",
        None,
        "`user:password` that an upstream JARVICE sends to the upstream-scheduler protocol; unset: no such routes.",
    )
    catalog_dir: Path = _variable("KNS_CATALOG_DIR", Path("/etc/kns/catalog"), "Directory of the catalogue.")
    system_namespace: Namespace = _variable(
        "JARVICE_SYSTEM_NAMESPACE", "kns-system", "Namespace of kns, its records and Secrets."
    )
    kubeconfig: File | None = _variable(
        "JARVICE_K8S_ADMIN_CONF", None, "Kubeconfig of the host cluster; unset: the pod's own ServiceAccount."
    )
    grace_s: Whole = _variable(
        "JARVICE_JOBS_GRACE_PERIOD", 3, "Seconds that a shutdown leaves to the app's pods before they are ended."
    )
    app_pull_policy: PullPolicy = _variable("JARVICE_JOBS_IMAGE_PULL_POLICY", "Always", "Pull policy of app images.")
    init_pull_policy: PullPolicy = _variable(
        "JARVICE_JOBS_INIT_IMAGE_PULL_POLICY", "IfNotPresent", "Pull policy of the init image and the web shell's."
    )
    service_account: Name = _variable(
        "KNS_SERVICE_ACCOUNT", "kns-sa", "kns's own ServiceAccount, bound in each job namespace."
    )
    versions: Annotated[dict[str, str], VERSIONS] = _variable(
        "KNS_KUBERNETES_VERSIONS",
        DEFAULT_VERSIONS,
        "Kubernetes versions of virtual clusters: tags of the `loft-sh/kubernetes` image, one per minor, the default "
        "first.",
        validate_default=True,
    )
    image_registry: str = _variable(
        "KNS_IMAGE_REGISTRY", "", "Registry that serves vcluster's images instead of their own."
    )
    syncer_tag: Tag = _variable(
        "KNS_VCLUSTER_TAG", "0.36.1", "Tag of the `loft-sh/vcluster-oss` image; must fit the chart."
    )
    vcluster_storage_class: Name | None = _variable(
        "KNS_VCLUSTER_STORAGE_CLASS",
        None,
        "Host storage class for the own data of virtual clusters to come; unset: no volume, and a lost control-plane "
        "pod ends its job.",
    )
    service_cidr: AddressRange | None = _variable(
        "KNS_SERVICE_CIDR", None, "The host's range of ClusterIPs; unset: asked from the host (Kubernetes 1.33 on)."
    )
    chart: Path = _variable("KNS_VCLUSTER_CHART", DEFAULT_CHART, "The packaged vcluster chart.")
    helm: str = _variable("KNS_HELM", "helm", "The helm program.")
    http_host: str = _variable("KNS_HTTP_HOST", "0.0.0.0", "Address of the HTTP API.")  # noqa: S104 - in its own pod
    http_port: Whole = _variable("KNS_HTTP_PORT", 8080, "Port of the HTTP API.", ge=1, le=65535)
    metrics_port: Whole = _variable("KNS_METRICS_PORT", 9090, "Port of `/metrics`.", ge=1, le=65535)
    trusted_proxies: ProxyList = _variable(
        "KNS_TRUSTED_PROXIES",
        "127.0.0.1",
        "Comma list of the proxies' addresses and ranges whose `X-Forwarded-For` tells a client's address.",
    )
    request_limit_s: Whole = _variable(
        "KNS_REQUEST_LIMIT",
        30,
        "Seconds that a client may take to send a request whole, and as many to take its answer; then its connection "
        "is closed.",
        ge=1,
    )
    realm_public_key: PublicKey | None = _variable(
        "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY",
        None,
        "RSA public key of the Keycloak realm, base64 of DER or PEM, for Bearer tokens; unset: every token is refused.",
    )
    failed_logins_per_minute: Whole = _variable(
        "KNS_FAILED_LOGINS_PER_MINUTE",
        10,
        "Failed logins of one user from one address, after which both are refused with 429; counted by each replica.",
        ge=1,
    )
    submits_per_minute: Whole = _variable(
        "KNS_SUBMITS_PER_MINUTE",
        60,
        "Submits of one user, above which they are refused with 429; counted by each replica.",
        ge=1,
    )
    live_jobs_per_user: Whole = _variable(
        "KNS_LIVE_JOBS_PER_USER", 0, "Jobs of one user that may live at the same time; 0: any number."
    )
    pod_security: Literal["baseline", "privileged"] = _variable(
        "KNS_POD_SECURITY",
        "baseline",
        "Pod Security level of the jobs' namespaces. `privileged` lets tenants onto the nodes, and "
        "`manifests/admission-scheduler.yaml` has to admit it as well (docs/security.md).",
    )
    network_policies: Bool = _variable(
        "KNS_NETWORK_POLICIES",
        True,
        "`false`: new jobs get no NetworkPolicies, and their pods talk to whatever they reach.",
    )
    internet_egress: Bool = _variable(
        "KNS_INTERNET_EGRESS", True, "Whether jobs may reach public addresses; private ones are closed either way."
    )
    open_ranges: Ranges = _variable(
        "KNS_OPEN_RANGES",
        "",
        "Comma list of address ranges that jobs may reach and be reached from though they are private: a proxy, a "
        "licence server, Keycloak, an ingress controller on the nodes' own network.",
        validate_default=True,
    )
    ingress_namespace: Namespace | None = _variable(
        "KNS_INGRESS_CONTROLLER_NAMESPACE",
        None,
        "Namespace of the ingress controller, the only one that reaches jobs' pods; unset: any that is no job's.",
    )
    workers: Whole = _variable("KNS_WORKERS", 8, "Jobs that are worked on at the same time.", ge=1, le=64)
    writes_per_second: Whole = _variable(
        "KNS_WRITES_PER_SECOND",
        40,
        "Changes of the host cluster that the leader makes for jobs per second, half as many at once (those of one new "
        "job): a burst of new jobs leaves the API server room for others.",
        ge=1,
        le=10_000,
    )
    sweep_interval_s: Whole = _variable(
        "KNS_SWEEP_INTERVAL", 300, "Seconds between two looks for orphans: objects of kns whose job is gone.", ge=1
    )
    sweep_grace_s: Whole = _variable(
        "KNS_SWEEP_GRACE", 900, "Seconds that an object must have existed before it can be an orphan."
    )
    sweep_dry_run: Bool = _variable(
        "KNS_SWEEP_DRY_RUN", False, "`true`: orphans are told of by event, metric and log, and stay."
    )
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
    local_registry: Repository | None = _variable(
        "JARVICE_LOCAL_REGISTRY",
        None,
        "Registry that holds all app images, as `<registry>/<base>/<app id>:latest`; unset: each app's own image.",
    )
    local_repo_base: Repository = _variable("JARVICE_LOCAL_REPO_BASE", "jarvice", "The base of that registry.")
    api_url: Url | None = _variable("KNS_API_URL", None, "What `%APIURL%` stands for in AppDefs: the portal's API.")
    http_proxy: Url | None = _proxy("http_proxy", "Proxy of the init pods' http calls, and of kns's to Keycloak.")
    https_proxy: Url | None = _proxy("https_proxy", "Proxy of the init pods' https calls, and of kns's to Keycloak.")
    no_proxy: str | None = _proxy(
        "no_proxy", "Comma list of what needs no proxy; the virtual cluster's own names are added."
    )
    allow_gotty_shell: Bool = _variable(
        "JARVICE_KNS_ALLOW_GOTTY_SHELL",
        False,
        "Whether jobs may have a web shell; one whose AppDef asks for it has it below its URL (docs/web-shell.md).",
    )
    gotty_image: Image = _variable(
        "JARVICE_KNS_GOTTY_IMAGE",
        f"localhost/kns-gotty:{__version__}",
        "Image of the web shell; without tag or digest the next variable is added.",
    )
    gotty_image_tag: Tag = _variable("JARVICE_KNS_GOTTY_IMAGE_TAG", "n1.3.0", "Tag for a web shell image without one.")
    keycloak_url: Url | None = _variable(
        "JARVICE_KNS_KEYCLOAK_URL",
        None,
        "Keycloak's address, with `/auth` if the server has it; unset: apps that ask for a client are refused.",
    )
    keycloak_realm: str | None = _variable(
        "JARVICE_KNS_KEYCLOAK_REALM", None, "Realm of kns's own client and of the jobs' clients; alone of no effect."
    )
    keycloak_client_id: str | None = _variable(
        "JARVICE_KNS_KEYCLOAK_CLIENT_ID",
        None,
        "kns's own client: confidential, with a service account that has `manage-clients` of `realm-management`.",
    )
    keycloak_client_secret: SecretStr | None = _variable(
        "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET", None, "Its secret; in `manifests/` from Secret `kns-keycloak`."
    )
    keycloak_limit_s: Whole = _variable(
        "KNS_KEYCLOAK_LIMIT", 600, "Seconds that a job waits for a Keycloak that gives it no client.", ge=1
    )
    ca_bundle: File | None = _variable(
        "KNS_CA_BUNDLE",
        None,
        "File of the certificate authorities that Keycloak is checked against; unset: "
        "`/etc/ssl/certs/ca-certificates.crt`.",
    )
    system_registry: str = _variable("JARVICE_SYSTEM_REGISTRY", "us-docker.pkg.dev", _NO_EFFECT)
    system_repo_base: str = _variable("JARVICE_SYSTEM_REPO_BASE", "jarvice-system/images", _NO_EFFECT)
    jobs_namespace: str | None = _variable("JARVICE_JOBS_NAMESPACE", None, _NO_EFFECT)
    cluster_type: Literal["upstream", "downstream"] = _variable("JARVICE_CLUSTER_TYPE", "downstream", _NO_EFFECT)
    system_k8s: Bool = _variable("JARVICE_SYSTEM_K8S", True, _NO_EFFECT)
    experimental: Bool = _variable("JARVICE_EXPERIMENTAL", False, _NO_EFFECT)
    sched_plugin_use: Bool = _variable("JARVICE_SCHED_PLUGIN_USE", True, _NO_EFFECT)

    @property
    def full_init_image(self) -> str:
        return f"{self.init_image}:{self.images_tag}" if has_no_tag(self.init_image) else self.init_image

    @property
    def full_gotty_image(self) -> str:
        return f"{self.gotty_image}:{self.gotty_image_tag}" if has_no_tag(self.gotty_image) else self.gotty_image


def list_names() -> list[tuple[str, ...]]:
    """The names of each row's variable, in the table's order; a row with two names takes the first that is set."""
    aliases = (field.validation_alias for field in Settings.model_fields.values())
    return [tuple(map(str, a.choices)) if isinstance(a, AliasChoices) else (str(a),) for a in aliases]
