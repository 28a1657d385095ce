"""
The renderer: with the real helm and chart where they are found (KNS_HELM or PATH; KNS_VCLUSTER_CHART), and with
programs that play a broken helm.
"""

import base64
import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.adapters import helm as helm_module
from kns.adapters.helm import HelmRenderer
from kns.model.catalog.machine import Machine
from kns.model.errors import RenderError, UnavailableError
from kns.model.job.location import Location
from kns.model.site import VirtualKubernetes, build_tolerations
from kns.objects.control_plane import rebuild_chart
from kns.objects.vcluster import build_values
from kns.ports import Kind
from tests.builders import a_job, a_location
from tests.real_chart import CHART, HELM, real

VIRTUAL = VirtualKubernetes(syncer_image_tag="0.36.1", versions={"v1.36": "v1.36.0"}, service_cidr="10.96.0.0/16")
WITH_VOLUME = VirtualKubernetes(
    syncer_image_tag="0.36.1",
    versions={"v1.36": "v1.36.0"},
    service_cidr="",
    registry="registry.example.org:5000",
    storage_class="fast",
)
SHAPES = {
    "any node": ("appkind=kns", VIRTUAL),
    "a node selector": ("appkind=kns,pool=big,example.org/gpu=", VIRTUAL),
    "a volume and a registry": ("appkind=kns", WITH_VOLUME),
}


class Rendering:
    """One renderer; `runs` counts the processes that it started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = 0
        self.renderer = HelmRenderer(helm=HELM or "helm", chart=CHART)
        run = subprocess.run

        def counted(*args: Any, **options: Any) -> Any:
            self.runs += 1
            return run(*args, **options)

        monkeypatch.setattr(subprocess, "run", counted)

    def render(
        self, number: int, shape: str = "any node", *, shell: bool = False, namespace: str | None = None
    ) -> list[dict[str, Any]]:
        properties, virtual = SHAPES[shape]
        machine = Machine(mc_name="m", mc_cores=2, mc_ram=4, mc_properties=properties)
        accepted = a_job().with_accepted(machine=machine).build().spec.accepted
        assert accepted is not None
        location = Location(number, namespace) if namespace else a_location(number)
        return self.renderer.render(location, lambda at: build_values(at, accepted, virtual, shell=shell))


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch) -> Rendering:
    return Rendering(monkeypatch)


def pod_specs(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [obj["spec"]["template"]["spec"] for obj in objects if "template" in (obj.get("spec") or {})]


@real
def test_nothing_that_an_ingress_controller_obeys_is_copied_to_the_host(rendering: Rendering) -> None:
    """The complete values of the chart, as the syncer reads them. An app's own Ingresses are not copied to the host."""
    (secret,) = (obj for obj in rendering.render(12) if obj["metadata"]["name"] == "vc-config-kns-job-12")
    text = secret.get("stringData", {}).get("config.yaml") or base64.b64decode(secret["data"]["config.yaml"])
    config = yaml.safe_load(text)
    assert config["sync"]["toHost"]["ingresses"]["enabled"] is False
    assert config["sync"]["toHost"].get("customResources") in (None, {})
    assert config["networking"]["replicateServices"] == {"fromHost": [], "toHost": []}
    assert config["controlPlane"]["ingress"]["enabled"] is False


@real
@pytest.mark.parametrize("shape", SHAPES)
def test_the_chart_accepts_the_values(rendering: Rendering, shape: str) -> None:
    """The schema refuses unknown keys. All rendered objects belong to the job and are of kinds that kns applies."""
    objects = rendering.render(12, shape)
    kinds = [obj["kind"] for obj in objects]
    assert kinds[0] == "ServiceAccount"
    assert kinds[-1] == ("StatefulSet" if shape == "a volume and a registry" else "Deployment")
    assert {Kind(kind) for kind in kinds}
    for obj in objects:
        assert obj["metadata"]["namespace"] == "kns-job-12"
        labels = obj["metadata"]["labels"]
        assert (labels["kns.io/job"], labels["app.kubernetes.io/managed-by"]) == ("12", "kns")
    assert "1000000007" not in json.dumps(objects)


@real
def test_nothing_is_cluster_scoped_and_no_right_is_made(rendering: Rendering) -> None:
    """The rights come from one static ClusterRole, so that kns needs no right to grant others."""
    kinds = {obj["kind"] for obj in rendering.render(12)}
    assert kinds <= {"ServiceAccount", "Secret", "ConfigMap", "Service", "Deployment", "StatefulSet"}


@pytest.mark.proves("objects", "Every pod has the toleration with `Exists` and `NoSchedule`")
@real
@pytest.mark.parametrize("shape", SHAPES)
def test_every_pod_tolerates_asks_and_is_placed(rendering: Rendering, shape: str) -> None:
    """Contract E.2 and E.4; explicit resources, so that the tenant's LimitRange does not touch them."""
    specs = pod_specs(rendering.render(12, shape))
    assert specs
    selector = {"pool": "big", "example.org/gpu": ""} if shape == "a node selector" else {}
    for spec in specs:
        assert all(toleration in spec["tolerations"] for toleration in build_tolerations())
        assert (spec.get("nodeSelector") or {}) == selector
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            for part in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][part].keys(), container["name"]


@real
def test_an_idle_control_plane_is_probed_rarely_and_a_starting_one_often(rendering: Rendering) -> None:
    (pod,) = pod_specs(rendering.render(12)[-1:])
    syncer = next(each for each in pod["containers"] if each["name"] == "syncer")
    assert syncer["startupProbe"]["periodSeconds"] == 1
    for kind in ("readinessProbe", "livenessProbe"):
        probe = syncer[kind]
        assert probe["periodSeconds"] >= 10, kind
        assert probe["periodSeconds"] * probe["failureThreshold"] == 120, f"{kind}: as the chart's, 60 times 2 s"


@real
@pytest.mark.parametrize("shape", SHAPES)
def test_the_chart_s_pod_can_be_rebuilt_side_by_side(rendering: Rendering, shape: str) -> None:
    """The builder names a container, an init container and two volumes of the chart."""
    objects = rebuild_chart(
        rendering.render(12, shape),
        a_location(12),
        service_cidr="10.96.0.0/16",
        state={"state.db.gz": b"", "programs": b""},
    )
    rebuilt = objects[-1]
    (pod,) = pod_specs([rebuilt])
    data = next(obj["data"] for obj in objects if obj["kind"] == "Secret")
    assert data.keys() == {"config.yaml", "kine", "state.db.gz", "programs"}
    names = {each["name"] for each in pod["volumes"]}
    if rebuilt["kind"] == "StatefulSet":
        names |= {claim["metadata"]["name"] for claim in rebuilt["spec"]["volumeClaimTemplates"]}
    mounts = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
    assert mounts == names
    assert not pod["initContainers"]
    registry = "registry.example.org:5000/" if shape == "a volume and a registry" else ""
    programs = {each["image"] for each in pod["containers"] if each["name"] != "syncer"}
    assert programs == {f"{registry or 'ghcr.io/'}loft-sh/kubernetes:v1.36.0"}
    for container in pod["containers"]:
        for part in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][part].keys(), container["name"]


@pytest.mark.proves("objects", "Every pod has the toleration with `Exists` and `NoSchedule`")
@real
def test_the_nested_dns_tolerates_and_asks_too(rendering: Rendering) -> None:
    """CoreDNS is in the values of the config, and becomes a pod on the host."""
    config = next(obj for obj in rendering.render(12) if obj["kind"] == "Secret")
    text = base64.b64decode(config["data"]["config.yaml"]).decode()
    values = yaml.safe_load(text)
    assert values["controlPlane"]["coredns"]["deployment"]["resources"]["limits"].keys() >= {"cpu", "memory"}
    wanted = {f"{toleration['key']}:NoSchedule" for toleration in build_tolerations()}
    assert set(values["sync"]["toHost"]["pods"]["enforceTolerations"]) == wanted


@real
@pytest.mark.parametrize("shell", [True, False])
def test_the_shells_account_is_in_the_config_only_if_there_is_a_shell(rendering: Rendering, shell: bool) -> None:
    """What the syncer reads at its start: an account with a role, and its token in a Secret in the job's namespace."""
    config = next(obj for obj in rendering.render(12, shell=shell) if obj["kind"] == "Secret")
    values = yaml.safe_load(base64.b64decode(config["data"]["config.yaml"]))
    access = {
        "name": "kns-shell-access",
        "context": "kns-job-12",
        "server": "https://kns-job-12.kns-job-12:443",
        "serviceAccount": {"name": "kns-shell", "namespace": "kube-system", "clusterRole": "cluster-admin"},
    }
    assert values["exportKubeConfig"].get("additionalSecrets", []) == ([access] if shell else [])


@pytest.mark.proves(
    "objects",
    "Namespace, virtual cluster and Ingress of a job share one name; labels and annotation are fixed",
)
@real
def test_the_secret_has_the_jobs_own_config(rendering: Rendering) -> None:
    """The number is replaced inside the base64 too."""
    for number in (12, 13):
        secret = next(obj for obj in rendering.render(number) if obj["kind"] == "Secret")
        assert "stringData" not in secret
        config = yaml.safe_load(base64.b64decode(secret["data"]["config.yaml"]))
        assert config["exportKubeConfig"]["context"] == f"kns-job-{number}"
        assert secret["metadata"]["name"] == f"vc-config-kns-job-{number}"


@real
def test_the_namespace_need_not_have_the_jobs_number(rendering: Rendering) -> None:
    """As with a namespace that the job adopted."""
    objects = rendering.render(12, namespace="kns-job-900")
    assert {obj["metadata"]["namespace"] for obj in objects} == {"kns-job-900"}
    assert {obj["metadata"]["labels"]["kns.io/job"] for obj in objects} == {"12"}
    config = next(obj for obj in objects if obj["kind"] == "Secret")["data"]["config.yaml"]
    assert "kns-job-12" not in json.dumps(objects) + base64.b64decode(config).decode()


@real
def test_a_second_job_of_a_shape_needs_no_process(rendering: Rendering) -> None:
    first, second = rendering.render(1), rendering.render(22)
    assert rendering.runs == 1
    assert [obj["metadata"]["name"].replace("kns-job-1", "kns-job-22") for obj in first] == [
        obj["metadata"]["name"] for obj in second
    ]
    rendering.render(3, "a node selector")
    assert rendering.runs == 2


@real
def test_a_jobs_objects_are_its_own(rendering: Rendering) -> None:
    """Changes that a caller makes to them do not appear in the next job."""
    rendering.render(1)[0]["metadata"]["name"] = "spoiled"
    assert rendering.render(1)[0]["metadata"]["name"] == "vc-kns-job-1"


@real
def test_a_value_that_the_chart_refuses_is_reported_in_helms_words(rendering: Rendering) -> None:
    with pytest.raises(RenderError, match=r"helm template .*vcluster.*noSuchKey"):
        rendering.renderer.render(a_location(1), lambda _: {"noSuchKey": 1})


@real
def test_a_refused_shape_is_not_remembered(rendering: Rendering) -> None:
    for _ in range(2):
        with pytest.raises(RenderError):
            rendering.renderer.render(a_location(1), lambda _: {"noSuchKey": 1})
    assert rendering.runs == 2


# --- a helm that misbehaves


def fake(tmp_path: Path, script: str) -> HelmRenderer:
    program = tmp_path / "helm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return HelmRenderer(helm=str(program), chart=Path("chart.tgz"))


def test_a_helm_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helm_module, "TIMEOUT_S", 3.0)  # within which, on a busy machine, the program begins
    renderer = fake(tmp_path, f"echo $$ > {tmp_path}/pid\nexec sleep 1000")
    with pytest.raises(UnavailableError, match=r"helm template chart\.tgz: .*timed out"):
        renderer.render(a_location(1), lambda _: {})
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Error: no' >&2; exit 1", "helm template chart.tgz: Error: no"),
        ("printf 'a: [' ", "the output is not YAML"),
        ("printf 'kind: ClusterRole\\nmetadata: {name: x}\\n'", "kinds that kns does not apply: ClusterRole"),
    ],
    ids=["its own words", "not YAML", "a kind that kns has no right for"],
)
def test_what_helm_should_not_say(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(RenderError, match=message.replace("(", r"\(")):
        fake(tmp_path, script).render(a_location(1), lambda _: {})


def test_a_helm_that_was_killed_says_nothing_about_the_values(tmp_path: Path) -> None:
    """For example, memory ran out. The next reconcile may succeed, so the job does not end."""
    with pytest.raises(UnavailableError, match="killed by signal 9"):
        fake(tmp_path, "kill -9 $$").render(a_location(1), lambda _: {})


def test_no_helm_at_all(tmp_path: Path) -> None:
    """The node causes this, not the job, so the call is retried."""
    with pytest.raises(UnavailableError, match=r"helm template chart\.tgz"):
        HelmRenderer(helm=str(tmp_path / "none"), chart=Path("chart.tgz")).render(a_location(1), lambda _: {})


def test_helm_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig, no proxy, no plugin folder, no secret."""
    monkeypatch.setenv("SOME_SECRET", "s3cr3t")
    renderer = fake(tmp_path, f"env > {tmp_path}/env; cat > {tmp_path}/values; pwd > {tmp_path}/cwd")
    assert renderer.render(a_location(1), lambda _: {"a": 1}) == []
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert "SOME_SECRET" not in seen
    assert seen["KUBECONFIG"] == "/dev/null"
    assert json.loads((tmp_path / "values").read_text()) == {"a": 1}
    assert not Path((tmp_path / "cwd").read_text().strip()).exists()


def test_the_order_to_apply_is_by_kind(tmp_path: Path) -> None:
    objects = "\n---\n".join(
        f"kind: {kind}\nmetadata: {{name: x}}" for kind in ("Deployment", "Service", "ServiceAccount", "ConfigMap")
    )
    (tmp_path / "out").write_text(objects)
    rendered = fake(tmp_path, f"cat {tmp_path}/out").render(a_location(1), lambda _: {})
    assert [obj["kind"] for obj in rendered] == ["ServiceAccount", "ConfigMap", "Service", "Deployment"]


def test_only_so_many_shapes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helm_module, "_SHAPES_KEPT", 2)
    renderer = fake(tmp_path, f"echo run >> {tmp_path}/runs")
    for shape in (1, 2, 3, 3, 1):
        renderer.render(a_location(1), lambda _, shape=shape: {"shape": shape})  # type: ignore[misc]  # mypy infers no lambda default
    assert (tmp_path / "runs").read_text().split() == ["run"] * 4
