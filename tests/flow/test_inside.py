"""The objects that kns puts into a job's virtual cluster, and the job's usage."""

import base64
from collections import Counter
from typing import NoReturn

import pytest

from kns.model import names
from kns.model.appdef.parameters import ParameterValue
from kns.model.appdef.resources import COREDNS, SYNCER
from kns.model.errors import ForbiddenError, KnsError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.inputs import split_inputs
from kns.model.job.job import Job, JobState, StopReason
from kns.model.reading.quantity import add_quantities
from kns.model.site import ClassSettings, KeycloakSettings
from kns.model.submit.script_data import check_script_size
from kns.ports import Kind
from tests.builders import WEB_TARGET, JobBuilder, a_catalog, an_app
from tests.fakes.host import a_copy
from tests.fakes.keycloak import MemoryRealm
from tests.fakes.stores import StaticCatalog
from tests.flow.conftest import Simulation

LAB = {**WEB_TARGET, "service_namespace": "lab"}


@pytest.mark.proves(
    "parameters",
    "ConfigMap and Secret `kns-job` are in `default`, and in each target's namespace as soon as it exists",
)
def test_job_info_is_there_before_the_templates_run(sim: Simulation, job: JobBuilder) -> None:
    _deploy(sim, job)
    config = sim.virtual.objects["ConfigMap", "default", "kns-job"]
    secret = sim.virtual.objects["Secret", "default", "kns-job"]
    assert config["data"]["KNS_JOB_URL"] == "https://kns-job-7.jobs.example.org"
    assert len(secret["stringData"]["KNS_JOB_PASSWORD"]) == 16
    assert not [value for value in config["data"].values() if value == secret["stringData"]["KNS_JOB_PASSWORD"]]
    on_host = sim.host.read(Kind.SECRET, "kns-job-7", "kns-init-env")  # the init pod has the same, and more
    assert on_host is not None
    assert {**config["data"], **secret["stringData"]}.items() <= on_host["stringData"].items()


@pytest.mark.proves(
    "parameters",
    "ConfigMap and Secret `kns-job` are in `default`, and in each target's namespace as soon as it exists",
)
def test_a_target_namespace_gets_it_whenever_it_appears(sim: Simulation, job: JobBuilder) -> None:
    """The app's templates create it, delete it and create it again."""
    _deploy(sim, job.with_nested(targets=[LAB]))
    assert ("Secret", "lab", "kns-job") not in sim.virtual.objects
    for _ in range(2):
        sim.virtual.namespaces.add("lab")
        sim.step()
        assert {("Secret", "lab", "kns-job"), ("ConfigMap", "lab", "kns-job")} <= sim.virtual.objects.keys()
        sim.virtual.drop_namespace("lab")


WEB_OF_LAB = names.host_name("web", "lab", "kns-job-7")


def _make_lab(sim: Simulation) -> None:
    """The namespace with the target's Service, as the app makes it."""
    sim.virtual.namespaces.add("lab")
    sim.host.put(Kind.SERVICE, "kns-job-7", WEB_OF_LAB, a_copy("kns-job-7", namespace="lab"))


def _serve_in_lab(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job.with_nested(targets=[LAB]))
    sim.run(until="wait")
    _make_lab(sim)
    sim.run(until="serving")
    sim.go_on(60)


def test_a_serving_job_with_a_target_in_another_namespace_makes_no_request(
    sim: Simulation, job: JobBuilder, requests: Counter[str]
) -> None:
    """Everything was placed once, and the watches report what could change it."""
    _serve_in_lab(sim, job)
    assert ("Secret", "lab", "kns-job") in sim.virtual.objects
    requests.clear()
    writes = len(sim.store.writes)
    for _ in range(100):  # a change of something else
        sim.step()
    sim.go_on(3000)
    assert (+requests, sim.store.writes[writes:]) == (Counter(), [])


@pytest.mark.proves(
    "parameters",
    "ConfigMap and Secret `kns-job` are in `default`, and in each target's namespace as soon as it exists",
)
@pytest.mark.parametrize("is_seen", [True, False], ids=["kns sees it gone", "between two looks"])
def test_the_namespace_of_a_serving_job_gets_it_again(sim: Simulation, job: JobBuilder, *, is_seen: bool) -> None:
    """Somebody installs the app anew."""
    _serve_in_lab(sim, job)
    sim.virtual.drop_namespace("lab")
    sim.host.drop(Kind.SERVICE, "kns-job-7", WEB_OF_LAB)
    if is_seen:
        sim.step()
    _make_lab(sim)
    sim.step()
    assert {("Secret", "lab", "kns-job"), ("ConfigMap", "lab", "kns-job")} <= sim.virtual.objects.keys()


def test_a_namespace_without_a_target_is_looked_at_now_and_then(
    sim: Simulation, job: JobBuilder, requests: Counter[str]
) -> None:
    """Nothing tells that somebody made it again."""
    sim.identity = MemoryRealm()
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60))
    sim.virtual.namespaces.add("lab")
    sim.submit(job.with_nested(keycloak={"namespace": "lab"}))
    sim.run(until="serving")
    sim.go_on(120)
    requests.clear()
    sim.go_on(3600)
    assert 6 <= requests["virtual.find_namespaces"] <= 12
    sim.virtual.drop_namespace("lab")
    sim.virtual.namespaces.add("lab")
    sim.go_on(660)
    assert ("Secret", "lab", "kns-job") in sim.virtual.objects


def test_large_parameters_reach_the_app_from_beside_the_record(sim: Simulation, job: JobBuilder) -> None:
    values = [
        ParameterValue(key="file", type="UPLOAD", target="x"),
        ParameterValue(key="text", type="STR", value="y" * 3000, variable=True),
    ]
    given = {"file": base64.b64encode(b"z" * 9000).decode(), "text": "y" * 3000}
    spec, packed = split_inputs(job.with_accepted(parameters=values).with_spec(parameters=given).build().spec)
    assert packed is not None
    sim.store.inputs.packed[7] = packed
    sim.store.add_spec(spec, record=sim.record)
    sim.run(until="serving")
    config = sim.virtual.objects["ConfigMap", "default", "kns-job"]
    assert config["data"]["KNS_PARAM_TEXT"] == "y" * 3000
    assert config["data"]["KNS_PARAM_FILE"] == "/opt/x"
    uploaded = [
        value
        for obj in sim.host.dump()
        if obj["kind"] == "ConfigMap"
        for value in (obj.get("binaryData") or {}).values()
    ]
    assert base64.b64encode(b"z" * 9000).decode() in uploaded


def test_large_parameters_go_with_the_objects_of_their_job(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads them any more; those of all ended jobs would fill the host's etcd. It is one write."""
    spec, packed = split_inputs(job.with_spec(parameters={"file": "x" * 9000}).build().spec)
    assert packed is not None
    sim.store.inputs.packed[7] = packed
    sim.store.add_spec(spec, record=sim.record)
    sim.run(until="serving")
    removals: list[str] = []
    remove = sim.store.inputs.remove

    def count(ended: Job) -> None:
        removals.append(ended.record)
        remove(ended)

    monkeypatch.setattr(sim.store.inputs, "remove", count)
    sim.host.namespace_stuck = "held"
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="removing")
    assert (sim.step().summary, removals) == ("removing", [])
    sim.host.namespace_stuck = None
    sim.run(until="retained")
    assert (sim.store.inputs.packed, removals) == ({}, [sim.record])


@pytest.mark.parametrize("text", ["x" * 60_000, "\u6f22" * 20_000], ids=["ascii", "chinese"])
def test_the_longest_inputs_that_a_submission_can_have_reach_the_job(
    sim: Simulation, job: JobBuilder, text: str
) -> None:
    """A host refuses a Secret above 1 MiB."""
    values = [ParameterValue(key=f"p{number}", type="STR", value=text) for number in range(8)]
    accepted = job.with_accepted(parameters=values).build().spec
    assert accepted.accepted is not None
    check_script_size(values, {}, accepted.accepted.nested)
    spec, packed = split_inputs(accepted)
    assert packed is not None
    sim.store.inputs.packed[7] = packed
    sim.store.add_spec(spec, record=sim.record)
    sim.run(until="serving")


@pytest.mark.parametrize("packed", [None, b"changed"])
def test_a_job_without_its_inputs_ends_with_that_reason(sim: Simulation, job: JobBuilder, packed: bytes | None) -> None:
    spec, _ = split_inputs(job.with_spec(parameters={"file": "x" * 9000}).build().spec)
    if packed is not None:
        sim.store.inputs.packed[7] = packed
    sim.store.add_spec(spec, record=sim.record)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.FAILED
    assert "Secret kns-job-7-inputs" in str(sim.job.status.message)


@pytest.mark.parametrize("fault", [UnavailableError("gone"), ForbiddenError("webhook says no")])
def test_a_virtual_cluster_that_says_no_later_holds_nothing_up(
    sim: Simulation, job: JobBuilder, fault: KnsError
) -> None:
    _deploy(sim, job.with_nested(targets=[LAB]))
    sim.virtual.fault = fault
    sim.host.init_exit = {"exitCode": 0}
    for _ in range(3):
        sim.host.settle()
        sim.step()
    assert sim.job.status.is_true(ConditionType.DEPLOYED)
    assert sim.job.status.reason == Reason.NO_TARGET


@pytest.mark.proves(
    "objects",
    "A job can claim storage of the default class only, and sees no other ([storage](decisions/0012-storage-of-a-"
    "job.md))",
)
@pytest.mark.proves(
    "settings",
    "A storage or runtime class that the host does not have causes a warning at the start and is not shown inside",
)
def test_classes_of_the_host_show_inside(sim: Simulation, job: JobBuilder) -> None:
    """The default storage class and the configured runtime classes, except those that the host does not have."""
    sim.host.put(Kind.STORAGE_CLASS, "", "jarvice-user", {"provisioner": "p"})
    sim.host.put(Kind.STORAGE_CLASS, "", "fast", {"provisioner": "q"})
    sim.host.put(Kind.RUNTIME_CLASS, "", "nvidia", {"handler": "nvidia"})
    sim.configure(classes=ClassSettings("jarvice-user", "80Gi", ("nvidia", "gvisor")))
    sim.submit(job)
    sim.run(until="serving")
    kinds = {(kind, name) for kind, _, name in sim.virtual.objects if kind.endswith("Class")}
    assert kinds == {("StorageClass", "jarvice-user"), ("RuntimeClass", "nvidia")}
    quota = sim.host.read(Kind.RESOURCE_QUOTA, "kns-job-7", "kns-quota")
    assert quota is not None
    hard = quota["spec"]["hard"]
    assert hard["jarvice-user.storageclass.storage.k8s.io/requests.storage"] == "80Gi"
    assert hard["fast.storageclass.storage.k8s.io/requests.storage"] == "0"
    namespace = sim.host.read(Kind.NAMESPACE, "", "kns-job-7")
    assert namespace is not None
    assert namespace["metadata"]["annotations"]["kns.io/storage-classes"] == "jarvice-user"


@pytest.mark.parametrize("on_host", [True, False])
def test_the_app_is_told_the_default_class_only_if_the_host_has_it(
    sim: Simulation, job: JobBuilder, *, on_host: bool
) -> None:
    if on_host:
        sim.host.put(Kind.STORAGE_CLASS, "", "jarvice-user", {"provisioner": "p"})
    sim.configure(classes=ClassSettings("jarvice-user", "80Gi"))
    sim.submit(job)
    sim.run(until="serving")
    info = sim.virtual.objects["ConfigMap", "default", "kns-job"]
    assert info["data"]["KNS_DEFAULT_STORAGE_CLASS"] == ("jarvice-user" if on_host else "")


@pytest.mark.proves(
    "objects",
    "Pull credentials are the app's, plus those of the site's for the job's registries "
    "([secrets](decisions/0008-catalogue-secrets.md))",
)
def test_an_apps_pull_secret_reaches_the_job(sim: Simulation, job: JobBuilder) -> None:
    """On the host for the init pod and copied pods, inside for pods that name it; never in the record."""
    secret = "eyJhdXRocyI6IHsicmVnaXN0cnkuZXhhbXBsZS5vcmciOiB7ImF1dGgiOiAiYTpiIn19fQ=="
    sim.catalog = StaticCatalog(a_catalog(apps={"hello": an_app(pullsecret=secret)}))
    sim.submit(job)
    sim.run(until="serving")
    assert sim.host.read(Kind.SECRET, "kns-job-7", "kns-pull") is not None
    init = sim.host.read(Kind.JOB, "kns-job-7", "kns-init")
    assert init is not None
    assert init["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "kns-pull"}]
    assert ("Secret", "default", "kns-pull") in sim.virtual.objects
    assert secret not in sim.job.spec.model_dump_json()


@pytest.mark.proves(
    "appdef",
    "`/etc/NAE/help.html` of the image follows kns's own help ([help page](decisions/0011-help-page.md))",
)
@pytest.mark.parametrize("mounts_images", [False, True])
def test_the_apps_help_page_is_kept(sim: Simulation, job: JobBuilder, mounts_images: bool) -> None:
    sim.configure(mounts_images=mounts_images)
    sim.host.take_log = "warning: cut\n--- /etc/NAE/help.html\n<p>%NIMBIXUSER%</p>\n"
    sim.submit(job)
    sim.run(until="serving")
    output = sim.outputs.read(sim.job)
    assert output.help == "<p>%NIMBIXUSER%</p>\n"
    assert output.log == sim.host.init_log
    assert "help.html" not in output.render()
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert sim.outputs.read(sim.job).help == output.help


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), UnavailableError("injected")], ids=["bug", "outage"])
def test_usage_is_counted_while_a_stage_raises(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The last stages of a job depend on what the tenant does, so an error of theirs must not stop its meter."""
    sim.submit(job)
    sim.run(until="serving")
    _request(sim, "2", "1Gi")
    sim.clock.advance(61)

    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(sim.host, "observe_copy", fail)
    with pytest.raises(type(error)):
        sim.step()
    assert sim.job.status.reason == Reason.RETRYING
    assert sim.job.status.usage is not None
    assert (sim.job.status.usage.time, sim.job.status.usage.rates) == (sim.clock.now(), (2.0, 1.0, 0.0, 0.0))


@pytest.mark.proves(
    "settings",
    "Usage is sampled every 60 s and recorded every 3600 s; both variables are in seconds "
    "([usage](decisions/0010-usage.md))",
)
def test_usage_is_counted_while_the_job_runs(sim: Simulation, job: JobBuilder) -> None:
    """Two cores for an hour, then none: the record has one report per interval and one at the end."""
    sim.configure(report_interval_s=1800)
    sim.submit(job)
    sim.run(until="serving")
    _request(sim, "2", "1Gi")
    sim.clock.advance(61)
    began = sim.clock.now()
    sim.step()
    assert sim.job.status.usage is not None
    assert (sim.job.status.usage.time, sim.job.status.usage.rates) == (began, (2.0, 1.0, 0.0, 0.0))

    for _ in range(60):
        sim.clock.advance(60)
        sim.step()
    assert len(sim.job.status.usage_reports) == 2
    _request(sim, "0", "0")
    sim.step()
    sim.clock.advance(600)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    last = sim.job.status.usage_reports[-1]
    assert sim.job.status.job_status is JobState.TERMINATED
    assert last.time == sim.job.status.end_time
    assert last.core_seconds == 2 * 3600
    assert last.gib_seconds == 3600
    assert sim.job.status.start_time is not None
    assert last.seconds == (last.time - sim.job.status.start_time).total_seconds()


def _deploy(sim: Simulation, job: JobBuilder) -> None:
    """Reconcile until the templates are being applied; they never finish."""
    sim.host.init_exit = None
    sim.submit(job)
    sim.live_until(lambda: sim.job.status.reason == Reason.INIT_RUNNING)


def _request(sim: Simulation, cores: str, memory: str) -> None:
    """The use of the quota if the tenant's pods request that much."""
    used = {
        "requests.cpu": add_quantities(cores, SYNCER["requests"]["cpu"], COREDNS["requests"]["cpu"]),
        "requests.memory": add_quantities(memory, SYNCER["requests"]["memory"], COREDNS["requests"]["memory"]),
    }
    sim.host.change(Kind.RESOURCE_QUOTA, "kns-job-7", "kns-quota", lambda quota: quota.update(status={"used": used}))
