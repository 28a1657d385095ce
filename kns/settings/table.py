"""
The settings table: one row per environment variable, with its default, unit, rules and description.

docs/configuration.md is generated from it. No other module states a default or reads the environment for a setting.
Fields that begin with the name of a group of `Site` (`ingress_`, `network_`, ...) fill that group: see `site.py`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr

from kns import __version__
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.appdef.versions import DEFAULT_VERSIONS
from kns.model.job.pool import PoolSize
from kns.model.site import GatewayRef, JobsDomain
from kns.settings.values import (
    GATEWAY,
    JOBS_DOMAIN,
    LIMIT_RANGE,
    METRICS_URLS,
    POOLS,
    VERSIONS,
    Annotations,
    BaseUrl,
    Bool,
    ClosedRanges,
    File,
    IdleSleep,
    Image,
    Name,
    Names,
    Namespace,
    Origin,
    ProxyList,
    PublicKey,
    PullPolicy,
    Ranges,
    Repository,
    ServerKey,
    ServiceRanges,
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

_NO_EFFECT = "Set by the chart of the system that kns replaces. kns checks the value and otherwise ignores it."


def _variable(name: str, default: Any, description: str, **rules: Any) -> Any:
    return Field(default=default, validation_alias=name, description=description, **rules)


def _proxy(name: str, description: str) -> Any:
    """A proxy variable. Programs read these names in lower or upper case; the lower-case name has priority."""
    return Field(default=None, validation_alias=AliasChoices(name, name.upper()), description=description)


class Settings(BaseModel):
    """The checked value of every variable that kns reads. Create it with `load_settings`."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    keep_vclusters: Bool = _variable(
        "JARVICE_KNS_KEEP_VCLUSTERS", False, "`true`: keep all objects of a job after it ends, for debugging."
    )
    limit_range: Annotated[tuple[LimitRangeItem, ...], LIMIT_RANGE] = _variable(
        "JARVICE_KNS_DEFAULT_LIMIT_RANGE",
        encode_json(DEFAULT_LIMIT_RANGE),
        "LimitRange of each job namespace, as JSON in base64. A LimitRange in the AppDef replaces it.",
        validate_default=True,
    )
    spawn_delay_s: Whole = _variable(
        "JARVICE_KNS_VCLUSTER_SPAWN_DELAY",
        300,
        "Longest time from the creation of a virtual cluster until it runs, in seconds. Includes host scale-up, "
        "excludes the templates.",
        ge=1,
    )
    init_image: Image = _variable(
        "JARVICE_KNS_INIT_IMAGE",
        f"localhost/kns-init:{__version__}",
        "Init image. If it has neither tag nor digest, `JARVICE_IMAGES_TAG` is appended.",
    )
    images_tag: Tag = _variable("JARVICE_IMAGES_TAG", "jarvice-master", "Tag of an init image that has none.")
    jobs_domain: Annotated[JobsDomain | None, JOBS_DOMAIN] = _variable(
        "JARVICE_JOBS_DOMAIN",
        None,
        "Domain of the jobs' host names, or a URL with scheme and port. With `$` (the job number) in a path, all jobs "
        "share one host and each has its own path. Unset: no Ingress, jobs have no URL.",
    )
    ingress_class: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CLASS",
        None,
        "`ingressClassName` of the jobs' Ingresses. Unset: the host's default.",
    )
    ingress_annotations: Annotations = _variable(
        "JARVICE_JOBS_INGRESS_ANNOTATIONS",
        {},
        "Annotations added to each job's Ingress, as a JSON object of strings. They override the annotations of kns.",
    )
    ingress_cert_secret: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CERT_SECRET_NAME",
        None,
        "TLS Secret of the jobs' Ingresses. A tool outside kns must copy it into each job namespace.",
    )
    ingress_cert_issuer: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CERT_ISSUER", None, "cert-manager Issuer of the jobs' certificates."
    )
    ingress_cert_cluster_issuer: Name | None = _variable(
        "JARVICE_JOBS_INGRESS_CERT_CLUSTER_ISSUER", None, "cert-manager ClusterIssuer of the jobs' certificates."
    )
    gateway: Annotated[GatewayRef | None, GATEWAY] = _variable(
        "JARVICE_JOBS_GATEWAY",
        None,
        "Gateway of the jobs' HTTPRoutes (Gateway API), as `namespace/name` or `namespace/name/listener`. The "
        "`JARVICE_JOBS_INGRESS_*` variables then have no effect (docs/domain.md). Unset: jobs get Ingresses.",
    )
    classes_default_storage_class: Name | None = _variable(
        "JARVICE_KNS_DEFAULT_STORAGE_CLASS",
        None,
        "Host storage class that virtual clusters offer as their default. Unset: jobs cannot claim storage.",
    )
    classes_storage_size: Size = _variable(
        "JARVICE_KNS_DYNAMIC_STORAGE_SIZE", "100Gi", "Total storage that a job may claim of that class, with a unit."
    )
    ephemeral_storage: Size = _variable(
        "KNS_EPHEMERAL_STORAGE",
        "440Gi",
        "Ephemeral storage of a job for each of its nodes (what containers and `emptyDir` volumes write, logs), with a "
        "unit, if `mc_scratch` of its machine is 0. A container without a limit of its own may use 1/110 of it, at "
        "least 1Gi.",
    )
    classes_runtime_classes: Names = _variable(
        "JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC",
        "",
        "Comma-separated RuntimeClasses of the host that virtual clusters offer.",
        validate_default=True,
    )
    probe_interval_s: Whole = _variable(
        "JARVICE_KNS_BILLING_PROBE_INTERVAL",
        60,
        "Time between two samples of a job's resource requests, in seconds.",
        ge=1,
    )
    report_interval_s: Whole = _variable(
        "JARVICE_KNS_BILLING_REPORT_INTERVAL",
        3600,
        "Time between two usage entries in a job's record, in seconds; at least `JARVICE_KNS_BILLING_PROBE_INTERVAL`.",
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
        "`user:password` that an upstream JARVICE sends to the upstream-scheduler protocol. Unset: these routes do not "
        "exist.",
    )
    catalog_dir: Path = _variable("KNS_CATALOG_DIR", Path("/etc/kns/catalog"), "Directory of the catalogue.")
    system_namespace: Namespace = _variable(
        "JARVICE_SYSTEM_NAMESPACE", "kns-system", "Namespace of kns, its records and its Secrets."
    )
    kubeconfig: File | None = _variable(
        "JARVICE_K8S_ADMIN_CONF", None, "Kubeconfig file of the host cluster. Unset: the pod's own ServiceAccount."
    )
    grace_s: Whole = _variable(
        "JARVICE_JOBS_GRACE_PERIOD", 3, "Time that the app's pods have to end after a shutdown request, in seconds."
    )
    app_pull_policy: PullPolicy = _variable("JARVICE_JOBS_IMAGE_PULL_POLICY", "Always", "Pull policy of app images.")
    init_pull_policy: PullPolicy = _variable(
        "JARVICE_JOBS_INIT_IMAGE_PULL_POLICY", "IfNotPresent", "Pull policy of the init image and the web shell image."
    )
    service_account: Name = _variable(
        "KNS_SERVICE_ACCOUNT", "kns-sa", "ServiceAccount of kns. It is bound in each job namespace."
    )
    virtual_versions: Annotated[dict[str, str], VERSIONS] = _variable(
        "KNS_KUBERNETES_VERSIONS",
        DEFAULT_VERSIONS,
        "Comma-separated Kubernetes versions of virtual clusters: tags of the `loft-sh/kubernetes` image, one per "
        "minor version. The first is the default.",
        validate_default=True,
    )
    virtual_registry: Repository = _variable(
        "KNS_IMAGE_REGISTRY", "", "Registry that serves the images of vcluster, in place of their public registries."
    )
    virtual_syncer_image_tag: Tag = _variable(
        "KNS_VCLUSTER_TAG", "0.36.1", "Tag of the `loft-sh/vcluster-oss` image. It must match the chart."
    )
    virtual_storage_class: Name | None = _variable(
        "KNS_VCLUSTER_STORAGE_CLASS",
        None,
        "Host storage class for the data of new virtual clusters. Unset: no volume, and a job ends when it loses its "
        "control-plane pod.",
    )
    virtual_runtime_class: Name | None = _variable(
        "KNS_JOB_RUNTIME_CLASS",
        None,
        "RuntimeClass of the host for every pod of a tenant, for example a sandbox. An admission policy refuses pods "
        "without it. Unset: the host's default.",
    )
    virtual_priority_class: Name | None = _variable(
        "KNS_CONTROL_PLANE_PRIORITY_CLASS",
        None,
        "PriorityClass of the host for the control planes of virtual clusters. Unset: the host's default.",
    )
    virtual_protect_control_planes: Bool = _variable(
        "KNS_PROTECT_CONTROL_PLANES",
        True,
        "Mark control planes so that autoscalers do not move them, and refuse their eviction if they have no volume, "
        "because a job ends with such a control plane. `kubectl drain` then waits until the jobs of the node ended.",
    )
    virtual_fast_start: Bool = _variable(
        "KNS_FAST_START",
        True,
        "Make the certificates of a virtual cluster ahead, and start the processes of its control plane side by side. "
        "`false`: the pod of the chart, which starts one after the other. Jobs that started keep what they have.",
    )
    virtual_prepared_state: Bool = _variable(
        "KNS_PREPARED_STATE",
        True,
        "Start virtual clusters with a database that has what every new cluster contains. kns makes it once for each "
        "Kubernetes version, with a Job in its own namespace. `false`: start with an empty one. Has no effect without "
        "`KNS_FAST_START`.",
    )
    image_volumes: Bool | None = _variable(
        "KNS_IMAGE_VOLUMES",
        None,
        "Mount the app image as a volume into the init pod, which then has one container and not three. Every node "
        "needs a kubelet of Kubernetes 1.35 or later, and containerd 2.1 or CRI-O 1.31. Unset: if the host has "
        "Kubernetes 1.36 or later, where this is stable.",
    )
    service_cidr: ServiceRanges | None = _variable(
        "KNS_SERVICE_CIDR",
        None,
        "Range of the host's ClusterIPs; in a dual-stack cluster both, separated by a comma, the primary one first. "
        "Unset: kns reads it from the host (Kubernetes 1.33 or later).",
    )
    chart: Path = _variable("KNS_VCLUSTER_CHART", DEFAULT_CHART, "File of the packaged vcluster chart.")
    helm: str = _variable("KNS_HELM", "helm", "The helm program: a name on PATH or a path.")
    http_host: str = _variable(
        "KNS_HTTP_HOST",
        "0.0.0.0",  # noqa: S104 - in its own pod
        "Address of the HTTP API and of `/metrics`. `::`: all addresses, IPv6 and IPv4.",
    )
    http_port: Whole = _variable("KNS_HTTP_PORT", 8080, "Port of the HTTP API.", ge=1, le=65535)
    metrics_port: Whole = _variable("KNS_METRICS_PORT", 9090, "Port of `/metrics`.", ge=1, le=65535)
    trusted_proxies: ProxyList = _variable(
        "KNS_TRUSTED_PROXIES",
        "127.0.0.1",
        "Comma-separated addresses and ranges of proxies. kns takes the client's address from their `X-Forwarded-For`.",
    )
    request_limit_s: Whole = _variable(
        "KNS_REQUEST_LIMIT",
        30,
        "Longest time for a client to send its whole request, and again to receive the response, in seconds. kns then "
        "closes the connection.",
        ge=1,
    )
    web_page: Bool = _variable(
        "KNS_WEB_PAGE", True, "Whether kns serves the live page at `/ui` of the HTTP API (docs/web-page.md)."
    )
    web_url: Origin | None = _variable(
        "KNS_WEB_URL",
        None,
        "Address of kns as browsers have it, for example `https://kns.example.org`. The sign-in by Keycloak needs it. "
        "Unset: kns takes from the proxy whether the page is reached over TLS.",
    )
    web_keycloak_client_id: str | None = _variable(
        "KNS_WEB_KEYCLOAK_CLIENT_ID",
        None,
        "Client of the realm for the sign-in to the page, with the redirect URI "
        "`KNS_WEB_URL/ui/sign-in/keycloak/back`. Unset: people sign in with their API keys only.",
    )
    web_keycloak_client_secret: SecretStr | None = _variable(
        "KNS_WEB_KEYCLOAK_CLIENT_SECRET", None, "Secret of that client. Unset: it is a public client."
    )
    realm_public_key: PublicKey | None = _variable(
        "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY",
        None,
        "RSA public key of the Keycloak realm, for Bearer tokens: DER in base64, or PEM. Unset: kns refuses tokens.",
    )
    token_clients: Names = _variable(
        "KNS_TOKEN_CLIENTS",
        "jarvice",
        "Comma-separated clients of the realm. kns accepts a Bearer token without an audience only from these (`azp`).",
        validate_default=True,
    )
    failed_logins_per_minute: Whole = _variable(
        "KNS_FAILED_LOGINS_PER_MINUTE",
        10,
        "Failed logins per minute, by user and by address. Above it, both are refused with 429. Each replica counts "
        "on its own.",
        ge=1,
    )
    submits_per_minute: Whole = _variable(
        "KNS_SUBMITS_PER_MINUTE",
        60,
        "Submits per minute and user. Above it, they are refused with 429. Each `extend`, `sleep` and `wake` counts as "
        "a submit. Each replica counts on its own.",
        ge=1,
    )
    live_jobs_per_user: Whole = _variable(
        "KNS_LIVE_JOBS_PER_USER", 20, "Live jobs that a user may have at the same time. 0: no limit."
    )
    retained_jobs: Whole = _variable(
        "KNS_RETAINED_JOBS_PER_USER",
        200,
        "Ended jobs of a user whose records are kept. If another one ends, the oldest is deleted with its output, even "
        "before `KNS_RETENTION_DAYS`. 0: no limit.",
    )
    pod_security: Literal["baseline", "privileged"] = _variable(
        "KNS_POD_SECURITY",
        "baseline",
        "Pod Security level of the job namespaces. `privileged` gives tenants access to the nodes, and requires a "
        "change in `manifests/admission-scheduler.yaml` (docs/security.md).",
    )
    cluster_gateway: Literal["off", "shell", "all"] = _variable(
        "KNS_CLUSTER_GATEWAY",
        "shell",
        "Which jobs' clusters users reach with `kubectl` through kns: none, those of jobs with a web shell, or all. "
        "With `all`, whoever may see a job is an administrator inside its cluster (docs/cluster-gateway.md).",
    )
    free_machines: Bool = _variable(
        "KNS_FREE_MACHINES",
        False,
        "`true`: users see how many more jobs of each machine would find room now. kns then needs the right to list "
        "nodes (`overlays/free-machines`, docs/web-page.md).",
    )
    network_policies: Bool = _variable(
        "KNS_NETWORK_POLICIES", True, "`false`: new jobs get no NetworkPolicies, so their pods have no network limits."
    )
    network_internet: Bool = _variable(
        "KNS_INTERNET_EGRESS",
        True,
        "Whether jobs may reach public addresses. Private addresses are always blocked.",
    )
    network_open_ranges: Ranges = _variable(
        "KNS_OPEN_RANGES",
        "",
        "Comma-separated private address ranges that jobs may reach and be reached from: a proxy, a licence server, "
        "Keycloak, an ingress controller in the nodes' network.",
        validate_default=True,
    )
    network_closed_ranges: ClosedRanges = _variable(
        "KNS_CLOSED_RANGES",
        "",
        "Comma-separated public address ranges that jobs may not reach: those of the cluster's own pods, Services and "
        "nodes if they are not private, as is usual with IPv6.",
        validate_default=True,
    )
    network_name_servers: Ranges = _variable(
        "KNS_NAME_SERVERS",
        "",
        "Comma-separated addresses and ranges of the name servers in the nodes' `/etc/resolv.conf`, and of a "
        "node-local DNS cache. Besides these, jobs reach only the cluster's DNS on port 53. Unset: port 53 of every "
        "address.",
        validate_default=True,
    )
    network_ingress_namespace: Namespace | None = _variable(
        "KNS_INGRESS_CONTROLLER_NAMESPACE",
        None,
        "Namespace of the ingress controller. Only it may reach the jobs' pods. Unset: every namespace that is not a "
        "job namespace.",
    )
    first_job_number: Whole = _variable(
        "KNS_FIRST_JOB_NUMBER",
        1,
        "Lowest number of new jobs. A second installation in the same cluster needs one that the first does not reach "
        "(docs/operations.md). kns never lowers its counter.",
        ge=1,
    )
    workers: Whole = _variable("KNS_WORKERS", 8, "Jobs that kns reconciles at the same time.", ge=1, le=64)
    writes_per_second: Whole = _variable(
        "KNS_WRITES_PER_SECOND",
        40,
        "Writes per second to the host API for jobs, with a burst of half as many (one new job). It leaves the API "
        "server capacity for others when many jobs arrive.",
        ge=1,
        le=10_000,
    )
    pools: Annotated[tuple[PoolSize, ...], POOLS] = _variable(
        "KNS_POOL",
        "",
        "Virtual clusters that kns keeps ready: a comma-separated list of `MACHINE[@VERSION][+shell]=SIZE`, like "
        "`any=2,kns-large@1.35=1` (docs/operations.md). `any` fits every machine class that selects no nodes. Empty: "
        "every job starts its own.",
        validate_default=True,
    )
    pool_at_once: Whole = _variable(
        "KNS_POOL_AT_ONCE",
        1,
        "Members of the pool that kns makes at the same time. It begins none while a job waits for its virtual "
        "cluster.",
        ge=1,
        le=20,
    )
    pool_max_age_s: Whole = _variable(
        "KNS_POOL_MAX_AGE", 86_400, "Age at which a member of the pool is replaced, in seconds.", ge=600
    )
    idle_sleep_s: IdleSleep = _variable(
        "KNS_IDLE_SLEEP",
        0,
        "Time without a request after which a job falls asleep, in seconds, if its AppDef states none (`idle_sleep`, "
        "docs/appdef.md): at least 30. 0: such jobs never do. Needs `KNS_TRAFFIC_METRICS_URL` and "
        "`KNS_VCLUSTER_STORAGE_CLASS` (docs/operations.md, Sleep).",
    )
    traffic_metrics_urls: Annotated[tuple[str, ...], METRICS_URLS] = _variable(
        "KNS_TRAFFIC_METRICS_URL",
        "",
        "Comma-separated URLs of the metrics of the ingress controller, one for each of its replicas: Traefik or "
        "ingress-nginx. kns reads there which jobs get requests. Empty: no job falls asleep by itself.",
        validate_default=True,
    )
    sweep_interval_s: Whole = _variable(
        "KNS_SWEEP_INTERVAL",
        300,
        "Time between two searches for orphans (objects of kns whose job no longer exists), in seconds.",
        ge=1,
    )
    sweep_grace_s: Whole = _variable(
        "KNS_SWEEP_GRACE",
        900,
        "Time from the moment the leader first finds an orphan until it removes it, in seconds.",
    )
    sweep_max_share: Whole = _variable(
        "KNS_SWEEP_MAX_SHARE",
        50,
        "Share of the job namespaces, in percent, that may be orphans. If more are, and at least 5, nothing is removed "
        "and the sweeper reports it: a restored backup gives records new uids. 100: no limit.",
        le=100,
    )
    sweep_dry_run: Bool = _variable(
        "KNS_SWEEP_DRY_RUN", False, "`true`: report orphans by event, metric and log, and do not remove them."
    )
    retention_days: Whole = _variable(
        "KNS_RETENTION_DAYS", 30, "Days that kns keeps the records of ended jobs and their output.", ge=1, le=36_500
    )
    target_limit_s: Whole = _variable(
        "KNS_TARGET_LIMIT",
        600,
        "Longest time from the end of the deployment until the target Service exists, and the Gateway serves the job's "
        "route if there is one, in seconds.",
        ge=1,
    )
    init_stuck_limit_s: Whole = _variable(
        "KNS_INIT_STUCK_LIMIT",
        120,
        "Longest time that the init pod may be unable to start (image pull error, refused pod), and that a new job "
        "waits for a readable Secret `jarvice-docker`, in seconds. An image that is being pulled is not counted. A pod "
        "that waits for a node has `JARVICE_KNS_VCLUSTER_SPAWN_DELAY`.",
        ge=1,
    )
    control_plane_limit_s: Whole = _variable(
        "KNS_CONTROL_PLANE_LIMIT",
        600,
        "Longest time that the control plane of a running virtual cluster may be away (crash loop, lost node), in "
        "seconds. Then the job ends.",
        ge=1,
    )
    local_registry: Repository | None = _variable(
        "JARVICE_LOCAL_REGISTRY",
        None,
        "Registry that holds all app images, as `<registry>/<base>/<app id>:latest`. Unset: the image of each app.",
    )
    local_repo_base: Repository = _variable(
        "JARVICE_LOCAL_REPO_BASE", "jarvice", "Base path in `JARVICE_LOCAL_REGISTRY`."
    )
    api_url: Url | None = _variable("KNS_API_URL", None, "Value of `%APIURL%` in AppDefs: the URL of the portal's API.")
    proxies_http: Url | None = _proxy("http_proxy", "HTTP proxy of the init pods, and of kns when it calls Keycloak.")
    proxies_https: Url | None = _proxy(
        "https_proxy", "HTTPS proxy of the init pods, and of kns when it calls Keycloak."
    )
    proxies_no_proxy: str | None = _proxy(
        "no_proxy", "Comma-separated hosts to reach without a proxy. kns adds the names of the virtual cluster."
    )
    allow_gotty_shell: Bool = _variable(
        "JARVICE_KNS_ALLOW_GOTTY_SHELL",
        False,
        "Whether jobs may have a web shell. A job has one, below its URL, if its AppDef asks for it "
        "(docs/web-shell.md).",
    )
    gotty_image: Image = _variable(
        "JARVICE_KNS_GOTTY_IMAGE",
        f"localhost/kns-gotty:{__version__}",
        "Image of the web shell. If it has neither tag nor digest, `JARVICE_KNS_GOTTY_IMAGE_TAG` is appended.",
    )
    gotty_image_tag: Tag = _variable("JARVICE_KNS_GOTTY_IMAGE_TAG", "n1.3.0", "Tag of a web shell image that has none.")
    keycloak_url: BaseUrl | None = _variable(
        "JARVICE_KNS_KEYCLOAK_URL",
        None,
        "URL of Keycloak, including `/auth` if the server uses it. Unset: apps that ask for a Keycloak client are "
        "refused.",
    )
    keycloak_realm: str | None = _variable(
        "JARVICE_KNS_KEYCLOAK_REALM", None, "Realm of the clients of kns and of the jobs. No effect without the URL."
    )
    keycloak_client_id: str | None = _variable(
        "JARVICE_KNS_KEYCLOAK_CLIENT_ID",
        None,
        "Client of kns: confidential, with a service account that has the role `manage-clients` of `realm-management`.",
    )
    keycloak_client_secret: SecretStr | None = _variable(
        "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET",
        None,
        "Secret of that client. `manifests/` takes it from Secret `kns-keycloak`.",
    )
    keycloak_limit_s: Whole = _variable(
        "KNS_KEYCLOAK_LIMIT",
        600,
        "Longest time that a job waits until Keycloak has created its client, in seconds.",
        ge=1,
    )
    ca_bundle: File | None = _variable(
        "KNS_CA_BUNDLE",
        None,
        "File of the certificate authorities for TLS to Keycloak. Unset: `/etc/ssl/certs/ca-certificates.crt`.",
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
        """The init image with a tag or digest."""
        return f"{self.init_image}:{self.images_tag}" if has_no_tag(self.init_image) else self.init_image

    @property
    def full_gotty_image(self) -> str:
        """The web shell image with a tag or digest."""
        return f"{self.gotty_image}:{self.gotty_image_tag}" if has_no_tag(self.gotty_image) else self.gotty_image


def list_names() -> list[tuple[str, ...]]:
    """The variable names of each row, in table order. In a row with two names, the first that is set wins."""
    aliases = (field.validation_alias for field in Settings.model_fields.values())
    return [tuple(map(str, a.choices)) if isinstance(a, AliasChoices) else (str(a),) for a in aliases]
