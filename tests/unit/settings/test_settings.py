"""Each variable: its default, a valid value, invalid ones; and how problems are reported."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from kns import __version__
from kns.model.job.pool import PoolSize
from kns.model.site import GatewayRef
from kns.settings import Settings, SettingsError, forget_secrets, list_names, list_unknown, load_settings, read_settings
from tests.tokens import public_der, public_pem


def b64(data: object) -> str:
    return base64.b64encode(json.dumps(data).encode()).decode()


AN_EC_KEY = base64.b64encode(
    generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()

_POOLS = ",".join(f"machine-{number}=1" for number in range(17))

# variable: (field, default, (good text, its value), bad texts)
TABLE: dict[str, tuple[str, Any, tuple[str, Any], tuple[str, ...]]] = {
    "JARVICE_KNS_KEEP_VCLUSTERS": ("keep_vclusters", False, ("TRUE", True), ("yes-please", "1")),
    "JARVICE_KNS_VCLUSTER_SPAWN_DELAY": ("spawn_delay_s", 300, ("42", 42), ("0", "-5", "soon", "1.5")),
    "JARVICE_KNS_INIT_IMAGE": (
        "init_image",
        f"localhost/kns-init:{__version__}",
        ("host:5000/x", "host:5000/x"),
        ("Not An Image", "x:", "a//b", "-x"),
    ),
    "JARVICE_IMAGES_TAG": ("images_tag", "jarvice-master", ("n1.3.0", "n1.3.0"), ("a tag", ".x", "x" * 129)),
    "JARVICE_JOBS_INGRESS_CLASS": ("ingress_class", None, ("traefik", "traefik"), ("Big_Class", "-x")),
    "JARVICE_K8S_SCHED_LOGLEVEL": ("log_level", 30, ("10", 10), ("info", "9", "51")),
    "JARVICE_SCHED_SERVER_KEY": (
        "server_key",
        None,
        ("up:se:cret", SecretStr("up:se:cret")),
        ("no-colon", ":s3cret", "someone:", ":"),
    ),
    "KNS_CATALOG_DIR": ("catalog_dir", Path("/etc/kns/catalog"), ("/srv/c", Path("/srv/c")), ()),
    "JARVICE_SYSTEM_NAMESPACE": (
        "system_namespace",
        "kns-system",
        ("jarvice", "jarvice"),
        ("No_Name", "a.b", "x" * 64),
    ),
    "JARVICE_K8S_ADMIN_CONF": ("kubeconfig", None, (__file__, Path(__file__)), ("/none/such-file",)),
    "KNS_CA_BUNDLE": ("ca_bundle", None, (__file__, Path(__file__)), ("/none/such-file",)),
    "JARVICE_JOBS_GRACE_PERIOD": ("grace_s", 3, ("0", 0), ("-1", "long")),
    "JARVICE_JOBS_IMAGE_PULL_POLICY": ("app_pull_policy", "Always", ("Never", "Never"), ("always", "Sometimes")),
    "JARVICE_JOBS_INIT_IMAGE_PULL_POLICY": ("init_pull_policy", "IfNotPresent", ("Always", "Always"), ("Mostly",)),
    "KNS_SERVICE_ACCOUNT": ("service_account", "kns-sa", ("other", "other"), ("No_Name",)),
    "KNS_IMAGE_REGISTRY": (
        "virtual_registry",
        "",
        ("registry.example.org:5000", "registry.example.org:5000"),
        ("https://x/", "x/"),
    ),
    "KNS_VCLUSTER_TAG": ("virtual_syncer_image_tag", "0.36.1", ("0.37.0", "0.37.0"), ("a tag",)),
    "KNS_VCLUSTER_STORAGE_CLASS": ("virtual_storage_class", None, ("fast", "fast"), ("Fast_Disk",)),
    "KNS_IMAGE_VOLUMES": ("image_volumes", None, ("false", False), ("1", "perhaps")),
    "KNS_SERVICE_CIDR": (
        "service_cidr",
        None,
        ("fd00:10:96::/112, 10.96.0.0/16", "fd00:10:96::/112,10.96.0.0/16"),
        (
            "10.96.0.1/16",
            "everywhere",
            "10.96.0.0/16,10.97.0.0/16",
            "fd00::/112,10.96.0.0/16,fd01::/112",
            ",",
            "10.96.0.1",
        ),
    ),
    "KNS_VCLUSTER_CHART": (
        "chart",
        Path("/usr/share/kns/vcluster-0.36.1.tgz"),
        ("/srv/chart.tgz", Path("/srv/chart.tgz")),
        (),
    ),
    "KNS_HELM": ("helm", "helm", ("/opt/helm", "/opt/helm"), ()),
    "KNS_HTTP_HOST": ("http_host", "0.0.0.0", ("127.0.0.1", "127.0.0.1"), ()),
    "KNS_HTTP_PORT": ("http_port", 8080, ("80", 80), ("0", "65536", "http")),
    "KNS_METRICS_PORT": ("metrics_port", 9090, ("91", 91), ("0", "65536")),
    "KNS_FREE_MACHINES": ("free_machines", False, ("true", True), ("1", "perhaps")),
    "KNS_CLUSTER_GATEWAY": ("cluster_gateway", "shell", ("all", "all"), ("some",)),
    "KNS_WEB_PAGE": ("web_page", True, ("false", False), ("off",)),
    "KNS_WEB_URL": (
        "web_url",
        None,
        ("https://kns.example.org/", "https://kns.example.org"),
        (
            "kns.example.org",
            "https://x/y",
            "https://kns.example.org?to=a",
            "https://kns.example.org#top",
            "https://me:secret@kns.example.org",
        ),
    ),
    "KNS_WEB_KEYCLOAK_CLIENT_SECRET": ("web_keycloak_client_secret", None, ("s3cr3t", SecretStr("s3cr3t")), ()),
    "KNS_TRUSTED_PROXIES": (
        "trusted_proxies",
        "127.0.0.1",
        ("10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
        ("proxy.example.org", "10.0.0.1/8", ",", "*"),
    ),
    "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY": (
        "realm_public_key",
        None,
        (public_der(), public_pem()),
        (
            "not base64!",
            base64.b64encode(b"not a key").decode(),
            public_der()[:-8],
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            AN_EC_KEY,
        ),
    ),
    "KNS_FAILED_LOGINS_PER_MINUTE": ("failed_logins_per_minute", 10, ("3", 3), ("0", "many")),
    "KNS_SUBMITS_PER_MINUTE": ("submits_per_minute", 60, ("6", 6), ("0", "many")),
    "KNS_LIVE_JOBS_PER_USER": ("live_jobs_per_user", 20, ("2", 2), ("-1", "many")),
    "KNS_RETAINED_JOBS_PER_USER": ("retained_jobs", 200, ("2", 2), ("-1", "many")),
    "KNS_POD_SECURITY": ("pod_security", "baseline", ("privileged",) * 2, ("restricted", "none")),
    "KNS_NETWORK_POLICIES": ("network_policies", True, ("false", False), ("off",)),
    "KNS_INTERNET_EGRESS": ("network_internet", True, ("false", False), ("off",)),
    "KNS_OPEN_RANGES": (
        "network_open_ranges",
        (),
        ("10.1.0.0/16, 192.168.7.1", ("10.1.0.0/16", "192.168.7.1/32")),
        ("lab.example.org", "10.0.0.1/8", ","),
    ),
    "KNS_CLOSED_RANGES": (
        "network_closed_ranges",
        (),
        ("2001:db8:1::/48, 192.0.2.0/24", ("2001:db8:1::/48", "192.0.2.0/24")),
        ("lab.example.org", "2001:db8::1/48", ",", "0.0.0.0/0", "::/0"),
    ),
    "KNS_NAME_SERVERS": (
        "network_name_servers",
        (),
        ("10.0.0.2, fd00::53", ("10.0.0.2/32", "fd00::53/128")),
        ("dns.example.org", "10.0.0.1/8", ","),
    ),
    "KNS_INGRESS_CONTROLLER_NAMESPACE": ("network_ingress_namespace", None, ("traefik",) * 2, ("Big_Name",)),
    "KNS_WORKERS": ("workers", 8, ("1", 1), ("0", "65")),
    "KNS_WRITES_PER_SECOND": ("writes_per_second", 40, ("5", 5), ("0", "many")),
    "KNS_POOL": (
        "pools",
        (),
        ("any=2, kns-large@1.35+shell=1", (PoolSize(2), PoolSize(1, "kns-large", "v1.35", shell=True))),
        ("anything", "any=-1", "any=two", "any=1,any=2", "any@latest=1", "any=501", _POOLS, "+shell=1", "a b=1"),
    ),
    "KNS_POOL_AT_ONCE": ("pool_at_once", 1, ("5", 5), ("0", "21")),
    "KNS_POOL_MAX_AGE": ("pool_max_age_s", 86_400, ("3600", 3600), ("0", "old")),
    "KNS_IDLE_SLEEP": ("idle_sleep_s", 0, ("0", 0), ("29", "-1", "never")),
    "KNS_TRAFFIC_METRICS_URL": (
        "traffic_metrics_urls",
        (),
        ("http://a.example.org:9100/metrics, http://b/m", ("http://a.example.org:9100/metrics", "http://b/m")),
        ("a.example.org:9100", "ftp://a/m", ",".join(f"http://host-{number}/" for number in range(21))),
    ),
    "KNS_SWEEP_INTERVAL": ("sweep_interval_s", 300, ("5", 5), ("0", "never")),
    "KNS_SWEEP_GRACE": ("sweep_grace_s", 900, ("0", 0), ("-1", "none")),
    "KNS_SWEEP_MAX_SHARE": ("sweep_max_share", 50, ("100", 100), ("101", "half")),
    "KNS_SWEEP_DRY_RUN": ("sweep_dry_run", False, ("true", True), ("perhaps",)),
    "KNS_RETENTION_DAYS": ("retention_days", 30, ("36500", 36_500), ("0", "ever", "9999999")),
    "KNS_REQUEST_LIMIT": ("request_limit_s", 30, ("5", 5), ("0", "x")),
    "KNS_TARGET_LIMIT": ("target_limit_s", 600, ("5", 5), ("0",)),
    "KNS_KEYCLOAK_LIMIT": ("keycloak_limit_s", 600, ("5", 5), ("0",)),
    "KNS_INIT_STUCK_LIMIT": ("init_stuck_limit_s", 120, ("5", 5), ("0",)),
    "KNS_CONTROL_PLANE_LIMIT": ("control_plane_limit_s", 600, ("5", 5), ("0",)),
    "JARVICE_JOBS_INGRESS_ANNOTATIONS": (
        "ingress_annotations",
        {},
        ('{"a.example.org/b": "c"}', {"a.example.org/b": "c"}),
        ("not json", "[]", '{"a": 1}', "[" * 5000, '{"bad key!": "x"}', '{"a/b/c": "x"}'),
    ),
    "JARVICE_JOBS_INGRESS_CERT_SECRET_NAME": ("ingress_cert_secret", None, ("tls-jarvice",) * 2, ("Big_Name",)),
    "JARVICE_JOBS_INGRESS_CERT_ISSUER": ("ingress_cert_issuer", None, ("ca",) * 2, ("Big_Name",)),
    "JARVICE_JOBS_INGRESS_CERT_CLUSTER_ISSUER": ("ingress_cert_cluster_issuer", None, ("ca",) * 2, ("Big_Name",)),
    "KNS_FIRST_JOB_NUMBER": ("first_job_number", 1, ("1000000", 1_000_000), ("0", "-1", "one")),
    "JARVICE_JOBS_GATEWAY": (
        "gateway",
        None,
        ("infra/public/https", GatewayRef("infra", "public", "https")),
        ("public", "infra/", "infra/public/", "a/b/c/d", "in.fra/public", "Infra/public", "infra/pub lic"),
    ),
    "JARVICE_KNS_DEFAULT_STORAGE_CLASS": (
        "classes_default_storage_class",
        None,
        ("jarvice.user",) * 2,
        ("Big_Name", "a..b", "a.", "x" * 254),
    ),
    "JARVICE_KNS_DYNAMIC_STORAGE_SIZE": (
        "classes_storage_size",
        "100Gi",
        ("80Gi",) * 2,
        ("80", "80.5", "80.", "8e10", "lots", "5m"),
    ),
    "KNS_EPHEMERAL_STORAGE": ("ephemeral_storage", "440Gi", ("80Gi",) * 2, ("80", "lots")),
    "JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC": (
        "classes_runtime_classes",
        (),
        ("nvidia, gvisor", ("nvidia", "gvisor")),
        ("a,B_C",),
    ),
    "JARVICE_KNS_BILLING_PROBE_INTERVAL": ("probe_interval_s", 60, ("5", 5), ("0", "often")),
    "JARVICE_KNS_BILLING_REPORT_INTERVAL": ("report_interval_s", 3600, ("60", 60), ("0", "59", "daily")),
    "JARVICE_LOCAL_REGISTRY": (
        "local_registry",
        None,
        ("registry.example.org:5000/x",) * 2,
        ("a b", "https://x", "x/"),
    ),
    "JARVICE_LOCAL_REPO_BASE": ("local_repo_base", "jarvice", ("apps/all",) * 2, ("a b",)),
    "JARVICE_SYSTEM_REGISTRY": ("system_registry", "us-docker.pkg.dev", ("https://registry.example.org",) * 2, ()),
    "JARVICE_SYSTEM_REPO_BASE": ("system_repo_base", "jarvice-system/images", ("/x/y",) * 2, ()),
    "JARVICE_JOBS_NAMESPACE": ("jobs_namespace", None, ("Big_Name",) * 2, ()),
    "JARVICE_CLUSTER_TYPE": ("cluster_type", "downstream", ("upstream",) * 2, ("sidestream",)),
    "JARVICE_SYSTEM_K8S": ("system_k8s", True, ("false", False), ("yes-please",)),
    "JARVICE_EXPERIMENTAL": ("experimental", False, ("true", True), ("yes-please",)),
    "JARVICE_SCHED_PLUGIN_USE": ("sched_plugin_use", True, ("False", False), ("yes-please",)),
    "JARVICE_KNS_ALLOW_GOTTY_SHELL": ("allow_gotty_shell", False, ("true", True), ("yes-please",)),
    "JARVICE_KNS_GOTTY_IMAGE": (
        "gotty_image",
        f"localhost/kns-gotty:{__version__}",
        ("host:5000/gotty",) * 2,
        ("Not An Image",),
    ),
    "JARVICE_KNS_GOTTY_IMAGE_TAG": ("gotty_image_tag", "n1.3.0", ("2",) * 2, ("a tag",)),
    "KNS_JOB_RUNTIME_CLASS": ("virtual_runtime_class", None, ("kata",) * 2, ("Big_Name",)),
    "KNS_CONTROL_PLANE_PRIORITY_CLASS": ("virtual_priority_class", None, ("high",) * 2, ("Big_Name",)),
    "KNS_PROTECT_CONTROL_PLANES": ("virtual_protect_control_planes", True, ("false", False), ("0", "off")),
    "KNS_PREPARED_STATE": ("virtual_prepared_state", True, ("false", False), ("0", "off")),
    "KNS_FAST_START": ("virtual_fast_start", True, ("false", False), ("0", "off")),
    "KNS_TOKEN_CLIENTS": ("token_clients", ("jarvice",), ("jarvice, portal", ("jarvice", "portal")), ("a b",)),
    "KNS_API_URL": (
        "api_url",
        None,
        ("https://portal.example.org/api",) * 2,
        ("portal.example.org", "http://[x", "https://portal.example.org/api\n", "https://portal example.org"),
    ),
    "http_proxy": ("proxies_http", None, ("http://proxy.example.org:3128",) * 2, ("proxy.example.org",)),
    "https_proxy": ("proxies_https", None, ("http://proxy.example.org:3128",) * 2, ("socks4://x.example.org",)),
    "no_proxy": ("proxies_no_proxy", None, ("svc,localhost",) * 2, ()),
    "KNS_KUBERNETES_VERSIONS": (
        "virtual_versions",
        {"v1.33": "v1.33.4", "v1.34": "v1.34.0", "v1.35": "v1.35.0", "v1.36": "v1.36.0"},
        ("v1.30.2, v1.29.1", {"v1.29": "v1.29.1", "v1.30": "v1.30.2"}),
        ("v1.30", "1.30.1", ",", "v1.30.2;v1.29.1"),
    ),
}
KEYCLOAK = {
    "JARVICE_KNS_KEYCLOAK_URL": "https://kc.example.org/auth",
    "JARVICE_KNS_KEYCLOAK_REALM": "jarvice",
    "JARVICE_KNS_KEYCLOAK_CLIENT_ID": "kns",
    "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET": "s3cr3t-of-kns",
}
COMPLEX: dict[str, tuple[str, ...]] = {  # their good values have their own tests
    "JARVICE_KNS_DEFAULT_LIMIT_RANGE": (
        "not base64!",
        base64.b64encode(b"not json").decode(),
        b64({"defualt": {"cpu": 1}}),
        b64({"default": {"cpu": "many"}}),
        b64({"default": {"cpu": 1}, "default_request": {"cpu": 2}}),
        b64([]),
        b64("text"),
    ),
    "JARVICE_JOBS_DOMAIN": (
        "lookup-something",
        "jobs.my-site.org:8080",
        "jobs.example.org/a$b$",
        "ftp://jobs.example.org",
        "http://user:pass@jobs.example.org",
        "https://",
        "http://jobs.example.org:99999",
        "jobs.example.org/path",
        "job$.example.org",
    ),
    **dict.fromkeys(KEYCLOAK, ()),  # they depend on each other and have their own tests
    "KNS_WEB_KEYCLOAK_CLIENT_ID": (),
}
BAD = [(name, bad) for name, row in TABLE.items() for bad in row[3]] + [
    (name, bad) for name, rows in COMPLEX.items() for bad in rows
]


def test_the_table_has_every_variable() -> None:
    assert {names[0] for names in list_names()} == TABLE.keys() | COMPLEX.keys()


@pytest.mark.proves(
    "settings",
    "Usage is sampled every 60 s and recorded every 3600 s; both variables are in seconds "
    "([usage](decisions/0010-usage.md))",
)
@pytest.mark.proves(
    "settings",
    "Where sources differ, the defaults are limits of 1 CPU and 1Gi and no storage class; what the published "
    "chart sets counts as a set value, not as a default",
)
@pytest.mark.proves(
    "settings",
    "An empty variable counts as unset; all errors are reported together, by name, without values, with exit status 2",
)
@pytest.mark.parametrize("name", TABLE)
def test_unset_and_empty_give_the_default(name: str) -> None:
    field, default, _, _ = TABLE[name]
    assert getattr(load_settings({}), field) == default
    assert getattr(load_settings({name: ""}), field) == default


@pytest.mark.proves("settings", "Booleans may be in any case; unknown names with our prefixes cause a warning")
@pytest.mark.parametrize("name", TABLE)
def test_a_good_value_is_taken(name: str) -> None:
    field, _, (text, value), _ = TABLE[name]
    assert getattr(load_settings({name: text}), field) == value


@pytest.mark.proves(
    "settings",
    "An empty variable counts as unset; all errors are reported together, by name, without values, with exit status 2",
)
@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_reported_by_name_and_never_repeated(name: str, text: str) -> None:
    """The value may be a secret in the wrong variable."""
    with pytest.raises(SettingsError) as caught:
        load_settings({name: text})
    assert [problem[0] for problem in caught.value.problems] == [name]
    told = caught.value.problems[0][1]
    assert len(told) > 5
    assert len(text) < 4 or text not in told


@pytest.mark.proves(
    "settings",
    "An empty variable counts as unset; all errors are reported together, by name, without values, with exit status 2",
)
def test_all_problems_are_reported_together() -> None:
    faulty = dict(reversed(BAD))
    with pytest.raises(SettingsError) as caught:
        load_settings(faulty)
    assert {name for name, _ in caught.value.problems} == faulty.keys()
    for name in faulty:
        assert f"{name}: " in str(caught.value)


@pytest.mark.parametrize("text", ["²", "9" * 5000])
def test_an_interval_that_only_looks_like_a_number_is_invalid(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"JARVICE_KNS_BILLING_PROBE_INTERVAL": text, "JARVICE_KNS_KEEP_VCLUSTERS": "bad"})
    assert {name for name, _ in caught.value.problems} == {
        "JARVICE_KNS_BILLING_PROBE_INTERVAL",
        "JARVICE_KNS_KEEP_VCLUSTERS",
    }


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_of_two_names_the_one_that_was_set_is_reported(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load_settings({name: "proxy"})


def test_a_limit_range_may_have_line_breaks_as_the_base64_tool_makes_them() -> None:
    wrapped = base64.encodebytes(json.dumps({"default": {"cpu": 1, "memory": "1Gi"}, "type": "Container"}).encode())
    assert wrapped.count(b"\n") == 2
    (item,) = load_settings({"JARVICE_KNS_DEFAULT_LIMIT_RANGE": wrapped.decode()}).limit_range
    assert item.default == {"cpu": "1", "memory": "1Gi"}


def test_a_limit_range_that_the_host_would_refuse_is_a_problem() -> None:
    with pytest.raises(SettingsError, match=r"\[0\]\.default_request\.cpu: 4 is above max 2"):
        load_settings({"JARVICE_KNS_DEFAULT_LIMIT_RANGE": b64({"default_request": {"cpu": 4}, "max": {"cpu": 2}})})


def test_the_first_version_is_the_default() -> None:
    assert next(reversed(load_settings({"KNS_KUBERNETES_VERSIONS": "v1.30.2,v1.31.0"}).virtual_versions)) == "v1.30"


@pytest.mark.proves(
    "settings",
    "Where sources differ, the defaults are limits of 1 CPU and 1Gi and no storage class; what the published "
    "chart sets counts as a set value, not as a default",
)
def test_the_default_limit_range_is_the_contracts() -> None:
    (item,) = load_settings({}).limit_range
    assert (item.type, item.default, item.default_request) == (
        "Container",
        {"cpu": "1", "memory": "1Gi"},
        {"cpu": "200m", "memory": "256Mi"},
    )


def test_a_limit_range_may_be_a_list_in_camel_case() -> None:
    items = [{"type": "Pod", "max": {"cpu": 8}}, {"defaultRequest": {"cpu": "1"}}]
    limit_range = load_settings({"JARVICE_KNS_DEFAULT_LIMIT_RANGE": b64(items)}).limit_range
    assert [(item.type, item.max, item.default_request) for item in limit_range] == [
        ("Pod", {"cpu": "8"}, {}),
        ("Container", {}, {"cpu": "1"}),
    ]


@pytest.mark.proves("objects", "URLs are https unless the jobs domain says otherwise")
@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("jobs.example.org", "https://kns-job-7.jobs.example.org"),
        ("https://jobs.example.org/", "https://kns-job-7.jobs.example.org"),
        ("http://jobs.example.org:8080", "http://kns-job-7.jobs.example.org:8080"),
        ("jobs.example.org/job$", "https://jobs.example.org/job7"),
        ("http://jobs.example.org:8080/job$/", "http://jobs.example.org:8080/job7"),
    ],
)
def test_the_jobs_domain(text: str, url: str) -> None:
    domain = load_settings({"JARVICE_JOBS_DOMAIN": text}).jobs_domain
    assert domain is not None
    assert domain.address(7).url == url


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("host:5000/x", "host:5000/x:t1"),
        ("host:5000/x:2", "host:5000/x:2"),
        ("x", "x:t1"),
        ("my_image", "my_image:t1"),
        ("x:2", "x:2"),
        ("a.example.org/b/c", "a.example.org/b/c:t1"),
        (f"x@sha256:{'a' * 64}", f"x@sha256:{'a' * 64}"),
        (f"h:5000/x:2@sha256:{'a' * 64}", f"h:5000/x:2@sha256:{'a' * 64}"),
    ],
)
def test_an_init_image_without_a_tag_gets_one(image: str, full: str) -> None:
    """`host:5000/x` has a port, not a tag."""
    assert load_settings({"JARVICE_KNS_INIT_IMAGE": image, "JARVICE_IMAGES_TAG": "t1"}).full_init_image == full


@pytest.mark.proves("settings", "Booleans may be in any case; unknown names with our prefixes cause a warning")
def test_names_like_ours_that_are_not_are_listed() -> None:
    """The chart sets many variables to the empty string, which counts as unset."""
    environ = {
        "JARVICE_KNS_KEEP_VCLUSTER": "true",
        "KNS_WORKER": "3",
        "JARVICE_KNS_KEYCLOAK_URL": "",
        "KNS_WORKERS": "3",
        "JARVICE_OTHER": "x",
        "HOME": "/",
    }
    assert list_unknown(environ) == ["JARVICE_KNS_KEEP_VCLUSTER", "KNS_WORKER"]


def test_an_unusable_variable_has_its_default_so_that_the_others_can_be_checked() -> None:
    settings, problems = read_settings({"KNS_WORKERS": "many", "KNS_HTTP_PORT": "81"})
    assert (settings.workers, settings.http_port) == (8, 81)
    assert [name for name, _ in problems] == ["KNS_WORKERS"]


def test_every_variable_says_what_it_does() -> None:
    for field in Settings.model_fields.values():
        assert field.description
        assert field.description.endswith(".")


@pytest.mark.proves("callers", "The public key may also be PEM")
def test_a_public_key_may_be_pem_with_or_without_a_last_line_break() -> None:
    for text in (public_pem(), public_pem().strip(), f"  {public_der()}\n"):
        assert load_settings({"JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY": text}).realm_public_key == public_pem()


def test_keycloak_is_whole_or_off() -> None:
    settings = load_settings(KEYCLOAK)
    assert (settings.keycloak_url, settings.keycloak_realm) == ("https://kc.example.org/auth", "jarvice")
    assert "s3cr3t-of-kns" not in repr(settings)


@pytest.mark.proves("settings", "An incomplete set of Keycloak variables is an error; the realm alone has no effect")
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("REALM",), ()),
        (("URL", "REALM"), ("CLIENT_ID", "CLIENT_SECRET")),
        (("CLIENT_ID",), ("CLIENT_SECRET", "REALM", "URL")),
        (("URL", "CLIENT_ID", "CLIENT_SECRET"), ("REALM",)),
    ],
)
def test_half_of_keycloak_is_a_problem(given: tuple[str, ...], missing: tuple[str, ...]) -> None:
    names = [f"JARVICE_KNS_KEYCLOAK_{part}" for part in given]
    try:
        load_settings({name: KEYCLOAK[name] for name in names})
        problems = []
    except SettingsError as error:
        problems = error.problems
    assert [name for name, _ in problems] == [f"JARVICE_KNS_KEYCLOAK_{part}" for part in missing]


def test_the_sign_in_to_the_page_needs_the_realm_and_the_address() -> None:
    complete = {
        **KEYCLOAK,
        "KNS_WEB_URL": "https://kns.example.org",
        "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY": public_pem(),
    }
    assert load_settings({**complete, "KNS_WEB_KEYCLOAK_CLIENT_ID": "page"}).web_keycloak_client_id == "page"
    with pytest.raises(SettingsError) as caught:
        load_settings({"KNS_WEB_KEYCLOAK_CLIENT_ID": "page"})
    assert [name for name, _ in caught.value.problems] == [
        "KNS_WEB_URL",
        "JARVICE_KNS_KEYCLOAK_URL",
        "JARVICE_KNS_KEYCLOAK_REALM",
        "JARVICE_API_KEYCLOAK_REALM_PUBLIC_KEY",
    ]


def test_reports_are_not_more_often_than_samples() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"JARVICE_KNS_BILLING_PROBE_INTERVAL": "600", "JARVICE_KNS_BILLING_REPORT_INTERVAL": "300"})
    assert [name for name, _ in caught.value.problems] == ["JARVICE_KNS_BILLING_REPORT_INTERVAL"]


def test_a_pool_of_a_version_that_no_job_can_have_is_a_problem() -> None:
    settings, problems = read_settings({"KNS_POOL": "any@1.35=1", "KNS_KUBERNETES_VERSIONS": "v1.36.0"})
    assert problems == [("KNS_POOL", "v1.35 is not in KNS_KUBERNETES_VERSIONS")]
    assert settings.pools


def test_jobs_fall_asleep_only_where_traffic_is_known_and_state_is_kept() -> None:
    needed = {"KNS_TRAFFIC_METRICS_URL": "http://a/metrics", "KNS_VCLUSTER_STORAGE_CLASS": "fast"}
    _, problems = read_settings({"KNS_IDLE_SLEEP": "3600"})
    assert [name for name, _ in problems] == list(needed)
    settings, problems = read_settings({"KNS_IDLE_SLEEP": "3600", **needed})
    assert problems == []
    assert settings.idle_sleep_s == 3600


@pytest.mark.parametrize(
    ("given", "range_"),
    [("10.96.0.0/255.255.0.0", "10.96.0.0/16"), ("FD00:10:96:0::/112", "fd00:10:96::/112")],
)
def test_a_range_of_services_is_handed_on_as_an_api_server_reads_it(given: str, range_: str) -> None:
    assert load_settings({"KNS_SERVICE_CIDR": given}).service_cidr == range_


def test_what_a_setting_needs_is_in_its_description() -> None:
    """docs/configuration.md is made of the descriptions; an operator reads it before kns refuses to start."""
    described = Settings.model_fields["idle_sleep_s"].description or ""
    _, problems = read_settings({"KNS_IDLE_SLEEP": "3600"})
    needed = [f"`{name}`" for name, _ in problems]
    assert f"Needs {' and '.join(needed)}" in described


def test_proxies_are_read_in_either_case() -> None:
    proxy = "http://proxy.example.org:3128"
    assert load_settings({"HTTPS_PROXY": proxy}).proxies_https == proxy
    assert load_settings({"https_proxy": proxy, "HTTPS_PROXY": "http://other.example.org"}).proxies_https == proxy


def test_secrets_leave_the_environment_and_the_rest_stays() -> None:
    environ = {"JARVICE_SCHED_SERVER_KEY": "up:secret", "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET": "x", "PATH": "/bin"}
    forget_secrets(environ)
    assert environ == {"PATH": "/bin"}
