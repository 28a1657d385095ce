"""Settings reach the values that jobs are built from: one row per variable with an effect on jobs."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kns.engine.queue import WorkQueue
from kns.engine.sweeper import SweepRules
from kns.model.catalog.catalog import App
from kns.model.job.conditions import Reason
from kns.model.job.job import Job
from kns.model.site import Site
from kns.ports import Kind
from kns.settings import build_site, build_terms, list_names, load_settings
from kns.stages.environment import build_proxy_env
from kns.stages.orphans import Installation
from kns.wiring import build_sweep_rules
from kns.wiring.parts import _wake
from kns.wiring.use_cases import _build_cluster_access
from tests.builders import JobBuilder, a_job, an_app
from tests.fakes.stores import FakeClock

PROXY = "http://proxy.example.org:3128"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (name for names in list_names() for name in names):
        monkeypatch.delenv(name, raising=False)


def a_site() -> Site:
    return build_site(load_settings(), service_cidr="10.96.0.0/16", installation_uid="uid-of-kns")


SITE: list[tuple[str, str, Callable[[Site], Any], Any, Any]] = [  # variable, value, attribute, unset, set
    ("JARVICE_KNS_KEEP_VCLUSTERS", "true", lambda s: s.keep_vclusters, False, True),
    ("JARVICE_KNS_VCLUSTER_SPAWN_DELAY", "7", lambda s: s.spawn_delay_s, 300, 7),
    ("JARVICE_JOBS_DOMAIN", "jobs.example.org", lambda s: s.jobs_domain and s.jobs_domain.host, None,
     "jobs.example.org"),
    ("KNS_IMAGE_VOLUMES", "true", lambda s: s.mounts_images, False, True),
    ("JARVICE_JOBS_INGRESS_CLASS", "traefik", lambda s: s.ingress.ingress_class, None, "traefik"),
    ("JARVICE_JOBS_INGRESS_ANNOTATIONS", '{"a": "b"}', lambda s: s.ingress.annotations, {}, {"a": "b"}),
    ("JARVICE_JOBS_INGRESS_CERT_SECRET_NAME", "tls", lambda s: s.ingress.cert_secret, None, "tls"),
    ("JARVICE_JOBS_INGRESS_CERT_ISSUER", "ca", lambda s: s.ingress.cert_issuer, None, "ca"),
    ("JARVICE_JOBS_INGRESS_CERT_CLUSTER_ISSUER", "ca", lambda s: s.ingress.cert_cluster_issuer, None, "ca"),
    ("JARVICE_KNS_DEFAULT_STORAGE_CLASS", "fast", lambda s: s.classes.default_storage_class, None, "fast"),
    ("JARVICE_KNS_DYNAMIC_STORAGE_SIZE", "80Gi", lambda s: s.classes.storage_size, "100Gi", "80Gi"),
    ("KNS_EPHEMERAL_STORAGE", "80Gi", lambda s: s.ephemeral_storage, "440Gi", "80Gi"),
    ("JARVICE_KNS_RUNTIME_CLASSES_TO_SYNC", "nvidia", lambda s: s.classes.runtime_classes, (), ("nvidia",)),
    ("JARVICE_KNS_BILLING_PROBE_INTERVAL", "5", lambda s: s.probe_interval_s, 60, 5),
    ("JARVICE_KNS_BILLING_REPORT_INTERVAL", "60", lambda s: s.report_interval_s, 3600, 60),
    ("JARVICE_JOBS_GRACE_PERIOD", "9", lambda s: s.grace_s, 3, 9),
    ("JARVICE_JOBS_IMAGE_PULL_POLICY", "Never", lambda s: s.app_pull_policy, "Always", "Never"),
    ("JARVICE_JOBS_INIT_IMAGE_PULL_POLICY", "Never", lambda s: s.init_pull_policy, "IfNotPresent", "Never"),
    ("JARVICE_KNS_INIT_IMAGE", "x:1", lambda s: s.init_image.partition(":")[0], "localhost/kns-init", "x"),
    ("JARVICE_SYSTEM_NAMESPACE", "lab", lambda s: s.system_namespace, "kns-system", "lab"),
    ("KNS_POD_SECURITY", "privileged", lambda s: s.pod_security, "baseline", "privileged"),
    ("KNS_NETWORK_POLICIES", "false", lambda s: s.network is None, False, True),
    ("KNS_INTERNET_EGRESS", "false", lambda s: s.network and s.network.internet, True, False),
    ("KNS_OPEN_RANGES", "10.1.2.3", lambda s: s.network and s.network.open_ranges, (), ("10.1.2.3/32",)),
    ("KNS_INGRESS_CONTROLLER_NAMESPACE", "traefik", lambda s: s.network and s.network.ingress_namespace, None,
     "traefik"),
    ("KNS_JOB_RUNTIME_CLASS", "kata", lambda s: s.virtual.runtime_class, None, "kata"),
    ("KNS_CONTROL_PLANE_PRIORITY_CLASS", "high", lambda s: s.virtual.priority_class, None, "high"),
    ("KNS_PROTECT_CONTROL_PLANES", "false", lambda s: s.virtual.protect_control_planes, True, False),
    ("KNS_PREPARED_STATE", "false", lambda s: s.virtual.prepared_state, True, False),
    ("KNS_FAST_START", "false", lambda s: s.virtual.fast_start, True, False),
    ("KNS_RETENTION_DAYS", "1", lambda s: s.retention_s, 30 * 86400, 86400),
    ("http_proxy", PROXY, lambda s: s.proxies.http, None, PROXY),
    ("https_proxy", PROXY, lambda s: s.proxies.https, None, PROXY),
    ("no_proxy", "a,b", lambda s: s.proxies.no_proxy, None, "a,b"),
]  # fmt: skip


@pytest.mark.proves("output", "Records and their output stay for 30 days")
@pytest.mark.proves(
    "settings",
    "The grace period, pull policies and a local registry have the effects that their names suggest",
)
@pytest.mark.parametrize(("name", "text", "read", "unset", "value"), SITE, ids=[row[0] for row in SITE])
def test_a_setting_reaches_the_jobs(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, read: Callable[[Site], Any], unset: Any, value: Any
) -> None:
    assert read(a_site()) == unset
    monkeypatch.setenv(name, text)
    assert read(a_site()) == value


@pytest.mark.proves(
    "settings",
    "The grace period, pull policies and a local registry have the effects that their names suggest",
)
@pytest.mark.parametrize(
    ("registry", "base", "image"),
    [
        ("", "", "registry.example.org/apps/hello:1"),
        ("", "apps", "registry.example.org/apps/hello:1"),
        ("local.example.org:5000", "", "local.example.org:5000/jarvice/hello:latest"),
        ("local.example.org:5000", "apps/all", "local.example.org:5000/apps/all/hello:latest"),
    ],
)
def test_a_local_registry_serves_every_app(
    monkeypatch: pytest.MonkeyPatch, registry: str, base: str, image: str
) -> None:
    monkeypatch.setenv("JARVICE_LOCAL_REGISTRY", registry)
    monkeypatch.setenv("JARVICE_LOCAL_REPO_BASE", base)
    assert build_terms(load_settings()).image_of(App.model_validate({**an_app(), "id": "hello"})) == image


@pytest.mark.proves("settings", "Proxies apply to init pods and never to the Kubernetes API")
def test_init_pods_get_the_proxies_and_reach_the_virtual_cluster_without(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_proxy_env(a_site()) == {}
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "lab.example.org")
    env = build_proxy_env(a_site())
    assert env.keys() == {"https_proxy", "no_proxy"}
    assert env["https_proxy"] == PROXY
    direct = env["no_proxy"].split(",")
    assert {"lab.example.org", "10.96.0.0/16", "localhost", "127.0.0.1", "svc"} <= set(direct)


def test_both_service_ranges_of_a_dual_stack_cluster_are_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", PROXY)
    site = build_site(load_settings(), service_cidr="10.96.0.0/16,fd00:10:96::/112", installation_uid="u")
    direct = build_proxy_env(site)["no_proxy"].split(",")
    assert {"10.96.0.0/16", "fd00:10:96::/112", "127.0.0.1", "::1"} <= set(direct)


def test_a_site_whose_range_of_services_nobody_knows_has_no_fast_start() -> None:
    virtual = build_site(load_settings(), service_cidr="", installation_uid="u").virtual
    assert not virtual.fast_start
    assert a_site().virtual.fast_start


def test_the_sweeper_gets_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_sweep_rules(load_settings(), installation_uid="u") == SweepRules(
        installation=Installation("kns-system", "u"), interval_s=300, grace_s=900, max_share=50, dry_run=False
    )
    for name, text in (
        ("JARVICE_SYSTEM_NAMESPACE", "lab"),
        ("KNS_SWEEP_INTERVAL", "5"),
        ("KNS_SWEEP_GRACE", "0"),
        ("KNS_SWEEP_MAX_SHARE", "100"),
        ("KNS_SWEEP_DRY_RUN", "true"),
    ):
        monkeypatch.setenv(name, text)
    assert build_sweep_rules(load_settings(), installation_uid="u") == SweepRules(
        installation=Installation("lab", "u"), interval_s=5, grace_s=0, max_share=100, dry_run=True
    )


@pytest.mark.parametrize(
    ("kind", "ended", "wakes"),
    [
        (Kind.POD, False, True),
        (Kind.POD, True, False),
        (Kind.SERVICE, True, False),
        (Kind.NAMESPACE, True, True),
        (Kind.PERSISTENT_VOLUME, True, True),
    ],
)
def test_an_ended_job_looks_again_only_when_its_namespace_or_a_volume_goes(
    kind: Kind, ended: bool, wakes: bool
) -> None:
    """Everything else goes with the namespace, and each look asks the API server."""
    job = (a_job().ended() if ended else a_job()).build()
    queue = WorkQueue(clock=FakeClock(), rng=random.Random(1))
    _wake(_records_of(job), queue, kind, "kns-job-7")
    assert queue.depth == int(wakes)


@pytest.mark.proves("security", "use up what kns may write, by a Service or control plane that changes all the time")
@pytest.mark.parametrize("kind", [Kind.SERVICE, Kind.PERSISTENT_VOLUME_CLAIM, Kind.POD, Kind.DEPLOYMENT])
def test_changes_of_a_serving_job_are_handled_together(kind: Kind) -> None:
    clock = FakeClock()
    queue = WorkQueue(clock=clock, rng=random.Random(1))
    records = _records_of(a_job().started().exposed().build())
    for _ in range(10):
        _wake(records, queue, kind, "kns-job-7")
        clock.advance(0.09)
    assert queue.depth == 0
    clock.advance(0.1)
    queue.add("other")
    assert (queue.take(), queue.depth) == ("other", 1)
    assert (queue.take(), queue.depth) == (a_job().build().record, 0)


@pytest.mark.parametrize(
    "job",
    [
        a_job().started(),
        a_job().started().exposed().stopping(),
        a_job().started().exposed().resting(Reason.FALLING_ASLEEP),
        a_job().started().exposed().resting(Reason.WAKING, sleep=False),
    ],
    ids=["starting", "stopping", "falling asleep", "waking"],
)
def test_a_job_that_somebody_waits_for_looks_at_once(job: JobBuilder) -> None:
    queue = WorkQueue(clock=FakeClock(), rng=random.Random(1))
    _wake(_records_of(job.build()), queue, Kind.SERVICE, "kns-job-7")
    assert queue.depth == 1


def _records_of(job: Job) -> Any:
    return SimpleNamespace(cache=SimpleNamespace(is_synced=True), find_by_namespace=lambda _: job)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"KNS_CLUSTER_GATEWAY": "off"}, None),
        ({}, (False, False)),
        ({"JARVICE_KNS_ALLOW_GOTTY_SHELL": "true"}, (False, True)),
        ({"KNS_CLUSTER_GATEWAY": "all"}, (True, False)),
    ],
)
def test_which_clusters_users_reach_through_kns(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], expected: tuple[bool, bool] | None
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    parts: Any = SimpleNamespace(settings=load_settings(), cluster=None)
    access = _build_cluster_access(parts)
    assert (access and (access.for_all, access.with_shells)) == expected
