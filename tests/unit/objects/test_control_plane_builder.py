"""The pod of a control plane whose processes run side by side."""

import base64
import copy
import gzip
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kns.model.appdef.resources import CONTROL_PLANE, SIDE_BY_SIDE, SYNCER
from kns.model.reading.quantity import parse_quantity
from kns.objects.control_plane import rebuild_chart, run_side_by_side
from kns.objects.vcluster import build_values
from tests.builders import a_location
from tests.unit.objects.shared import VIRTUAL, accepted_on

SYNCER_CONTAINER = {
    "name": "syncer",
    "image": "vcluster-oss:0.36.1",
    "env": [{"name": "VCLUSTER_NAME"}],
    "resources": {},
}
WORKLOAD: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "kns-job-7"},
    "spec": {
        "replicas": 1,
        "template": {
            "metadata": {"labels": {"app": "vcluster"}},
            "spec": {
                "initContainers": [{"name": "kubernetes", "image": "kubernetes:v1.36.3", "imagePullPolicy": "Always"}],
                "containers": [SYNCER_CONTAINER],
                "volumes": [
                    {"name": "vcluster-config", "secret": {"secretName": "vc-config-kns-job-7"}},
                    {"name": "binaries", "emptyDir": {}},
                    {"name": "data", "emptyDir": {}},
                ],
                "tolerations": [{"key": "a"}],
            },
        },
    },
}


CONFIG: dict[str, Any] = {
    "kind": "Secret",
    "metadata": {"name": "vc-config-kns-job-7"},
    "data": {"config.yaml": "Y29uZmln"},
}


def _rebuild() -> dict[str, Any]:
    spec: dict[str, Any] = run_side_by_side(WORKLOAD, a_location(), service_cidr="10.96.0.0/16", has_state=False)[
        "spec"
    ]
    return spec


def _rebuild_all(**state: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The data of the Secret with the configuration, and the volumes of the pod by their names."""
    config, workload = rebuild_chart([CONFIG, WORKLOAD], a_location(), service_cidr="10.96.0.0/16", state=state)
    data = {key: base64.b64decode(value) for key, value in config["data"].items()}
    return data, {each["name"]: each for each in workload["spec"]["template"]["spec"]["volumes"]}


def _container(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in _rebuild()["template"]["spec"]["containers"] if c["name"] == name)
    return found


def test_each_process_has_a_container_with_the_programs_of_the_official_image() -> None:
    pod = _rebuild()["template"]["spec"]
    assert [each["name"] for each in pod["containers"]] == [
        "kine",
        "kube-apiserver",
        "syncer",
        "kube-controller-manager",
    ]
    assert pod["initContainers"] == []
    for each in pod["containers"]:
        if each["name"] != "syncer":
            assert (each["image"], each["imagePullPolicy"]) == ("kubernetes:v1.36.3", "Always")
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_rest_of_the_chart_s_workload_stays() -> None:
    before = copy.deepcopy(WORKLOAD)
    spec = _rebuild()
    assert before == WORKLOAD
    assert spec["replicas"] == 1
    assert spec["template"]["metadata"] == {"labels": {"app": "vcluster"}}
    assert spec["template"]["spec"]["tolerations"] == [{"key": "a"}]
    syncer = _container("syncer")
    assert syncer == {**SYNCER_CONTAINER, "resources": SIDE_BY_SIDE["syncer"], "env": syncer["env"]}
    assert {"name": "VCLUSTER_NAME"} in syncer["env"]
    assert {"name": "data", "emptyDir": {}} in spec["template"]["spec"]["volumes"]


def test_the_syncer_starts_neither_api_server_nor_controllers() -> None:
    k8s = build_values(a_location(), accepted_on(), VIRTUAL)["controlPlane"]["distro"]["k8s"]
    assert k8s["apiServer"] == k8s["controllerManager"] == {"enabled": False}


def test_the_syncer_finds_a_placeholder_of_kine_that_runs_and_does_not_end(tmp_path: Path) -> None:
    """The container ends if it does."""
    data, volumes = _rebuild_all()
    assert volumes["binaries"]["secret"] == {
        "secretName": "vc-config-kns-job-7",
        "items": [{"key": "kine", "path": "kine"}],
        "defaultMode": 0o555,
    }
    program = tmp_path / "kine"
    program.write_bytes(data["kine"])
    program.chmod(0o555)
    with subprocess.Popen([str(program), "--endpoint=sqlite:///data/state.db"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()


def test_each_volume_shows_only_its_own_keys_of_the_one_secret() -> None:
    """One object for all, so that a job costs fewer writes; the chart's configuration stays as it is."""
    before = copy.deepcopy((CONFIG, WORKLOAD))
    data, volumes = _rebuild_all(**{"state.db.gz": b"state", "programs": b"1 2 3"})
    assert before == (CONFIG, WORKLOAD)
    assert data.keys() == {"config.yaml", "kine", "state.db.gz", "programs"}
    assert (data["config.yaml"], data["state.db.gz"]) == (b"config", b"state")
    keys = {
        name: [item["key"] for item in volume["secret"]["items"]]
        for name, volume in volumes.items()
        if "items" in volume.get("secret", {})
    }
    assert keys == {
        "vcluster-config": ["config.yaml"],
        "binaries": ["kine"],
        "prepared": ["state.db.gz", "programs"],
    }
    assert "prepared" not in _rebuild_all()[1]


def test_every_file_that_a_process_reads_is_in_the_secret() -> None:
    from kns.objects.certificates import build_certificates
    from tests.unit.objects.test_certificates import NOW

    content = build_certificates(a_location(), service_cidr="10.96.0.0/16", now=NOW)
    pod = _rebuild()["template"]["spec"]
    named = {
        file
        for each in pod["containers"]
        for argument in each.get("args", ())
        for file in re.findall(r"/etc/kubernetes/pki/(\S+)", argument)
    }
    assert len(named) > 10
    assert named <= content.keys()
    for name in ("kube-apiserver", "kube-controller-manager"):
        assert {"name": "pki", "mountPath": "/etc/kubernetes/pki", "readOnly": True} in _container(name)["volumeMounts"]
    (pki,) = (each for each in pod["volumes"] if each["name"] == "pki")
    assert pki["secret"]["secretName"] == "kns-job-7-certs"


def test_the_api_server_is_reached_only_from_inside_the_pod() -> None:
    assert "--bind-address=127.0.0.1" in _container("kube-apiserver")["args"]
    assert not _container("kube-apiserver").get("ports")


def test_the_api_server_counts_no_objects_for_a_metric() -> None:
    assert "--etcd-count-metric-poll-period=0" in _container("kube-apiserver")["args"]


def test_kine_ends_after_the_api_server() -> None:
    """The API server deletes its lease at its end. Without kine it would wait for that until it is killed."""
    shell, flags, script = _container("kine")["lifecycle"]["preStop"]["exec"]["command"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = script.replace(f":{6443:04X} ", f":{server.getsockname()[1]:04X} ")
        hook = subprocess.Popen([shell, flags, script])
        with pytest.raises(subprocess.TimeoutExpired):
            hook.wait(0.3)
    assert hook.wait(10) == 0


def test_kine_sends_few_messages_to_an_idle_api_server() -> None:
    assert "--watch-progress-notify-interval=60s" in _container("kine")["args"]


def test_the_first_pod_of_a_namespace_does_not_wait_for_kine() -> None:
    assert "--watch-cache-sizes=limitranges#0,resourcequotas#0" in _container("kube-apiserver")["args"]


def test_both_layouts_request_the_same() -> None:
    """A job's usage is what its quota counts, minus this."""
    for resource in ("cpu", "memory", "ephemeral-storage"):
        wanted = parse_quantity(SYNCER["requests"][resource])
        assert parse_quantity(CONTROL_PLANE["requests"][resource]) == wanted
        assert parse_quantity(CONTROL_PLANE["limits"][resource]) >= parse_quantity(SYNCER["limits"][resource])


def test_every_process_collects_its_garbage_early() -> None:
    for each in _rebuild()["template"]["spec"]["containers"]:
        assert {"name": "GOGC", "value": "50"} in each["env"]


def test_a_job_that_wakes_does_not_wait_for_a_stream_of_each_kind() -> None:
    """Of the controller manager kns sets no feature gate: one that a version has locked would stop it."""
    env = {each["name"]: each.get("value") for each in _container("syncer")["env"]}
    assert env["KUBE_FEATURE_WatchListClient"] == "false"
    assert not any("feature-gates" in flag for flag in _container("kube-controller-manager")["args"])


class _KineContainer:
    """The container of kine with its folders below `folder`, and a kine that prints what it was given."""

    def __init__(self, folder: Path) -> None:
        self.data, self.prepared, self.programs = folder / "data", folder / "prepared", folder / "kubernetes"
        for each in (self.data, self.prepared, self.programs):
            each.mkdir()
        for name, size in (("kube-apiserver", 7), ("kube-controller-manager", 5)):
            (self.programs / name).write_bytes(b"x" * size)
        kine = self.programs / "kine"
        kine.write_text("#!/bin/sh\necho kine $1\n")
        kine.chmod(0o755)
        self._folder = folder
        self.sizes = f"{kine.stat().st_size} 7 5"

    def offer(self, programs: str, content: bytes = gzip.compress(b"prepared")) -> None:
        (self.prepared / "programs").write_text(programs)
        (self.prepared / "state.db.gz").write_bytes(content)

    def start(self) -> str:
        container = next(c for c in _rebuild()["template"]["spec"]["containers"] if c["name"] == "kine")
        shell, flags, script, name = container["command"]
        for path in ("/data", "/prepared", "/kubernetes"):
            script = script.replace(path, f"{self._folder}{path}")
        done = subprocess.run([shell, flags, script, name, "--flag"], capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture
def kine(tmp_path: Path) -> _KineContainer:
    return _KineContainer(tmp_path)


def test_kine_starts_with_the_prepared_state(kine: _KineContainer) -> None:
    kine.offer(kine.sizes)
    assert kine.start() == "kine --flag\n"
    assert (kine.data / "state.db").read_bytes() == b"prepared"


def test_kine_starts_without_a_prepared_state(kine: _KineContainer) -> None:
    assert kine.start() == "kine --flag\n"
    assert not list(kine.data.iterdir())


def test_a_restart_keeps_the_data_and_removes_the_socket(kine: _KineContainer) -> None:
    kine.offer(kine.sizes)
    (kine.data / "state.db").write_bytes(b"of the job")
    (kine.data / "kine.sock").touch()
    assert kine.start() == "kine --flag\n"
    assert [(file.name, file.read_bytes()) for file in kine.data.iterdir()] == [("state.db", b"of the job")]


def test_a_state_of_other_programs_is_not_used(kine: _KineContainer) -> None:
    """The image was pushed again under the same tag."""
    kine.offer("1 2 3")
    assert kine.start().startswith("kns: the prepared state is not used: it is of other programs")
    assert not list(kine.data.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"prepared" * 1000)[:-20]], ids=["empty", "no gzip", "cut off"]
)
def test_a_state_that_cannot_be_unpacked_is_not_used(kine: _KineContainer, content: bytes) -> None:
    kine.offer(kine.sizes, content)
    assert kine.start().startswith("kns: the prepared state is not used: it cannot be unpacked")
    assert not list(kine.data.iterdir())
