"""
The init image's runner with the real kubectl and helm, on a real API server.

Its table of faults (init-image/runner/faults.py) matches the messages of these programs.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kns.objects.inside import build_job_info
from kns.objects.plan import build_plan
from tests.builders import a_job
from tests.policies.api_server import ApiServer, RefusedError

ROOT = Path(__file__).resolve().parents[2]
INIT_IMAGE = ROOT / "init-image"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
_HELM_S = 180.0
RECORD_UID = "uid-7"


@dataclass(frozen=True)
class Ended:
    """How a run of the init image ended."""

    code: int
    lines: list[str]
    message: dict[str, Any]


@dataclass(frozen=True)
class Tools:
    """A folder with kubectl, and helm if it is there, and nothing but the system's programs beside."""

    api: ApiServer
    environ: dict[str, str]
    templates: Path
    work: Path

    def run(self, *steps: dict[str, Any], retries: int = 0) -> Ended:
        """Run the init image's entry point on these steps, on a cluster that remembers no finished one."""
        _delete(self.api, "/api/v1/namespaces/kube-system/configmaps/kns-init-progress")
        entries = [{"name": "item", "retries": retries, "retrySleepSeconds": 0} | step for step in steps]
        plan = self.work.parent / "plan.json"
        accepted = a_job().build().spec.accepted
        assert accepted is not None
        document = build_plan(accepted.nested, record_uid=RECORD_UID, wait_limit_s=60)
        plan.write_text(json.dumps({**document, "templatesDir": str(self.templates), "steps": entries}))
        done = subprocess.run(
            [sys.executable, "-I", "-B", INIT_IMAGE, "--plan", plan],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        message = json.loads(Path(self.environ["KNS_TERMINATION_LOG"]).read_text())
        return Ended(done.returncode, done.stdout.splitlines(), message)

    def apply(self, content: str | bytes, **options: int) -> Ended:
        """Run one item of type kubectl on a file with this content."""
        data = content.encode() if isinstance(content, str) else content
        (self.templates / "web.yml").write_bytes(data)
        return self.run({"type": "kubectl", "path": "web.yml"}, **options)


@pytest.fixture
def tools(api: ApiServer, tmp_path: Path) -> Tools:
    """The real kubectl, and helm if it is there."""
    kubectl = shutil.which(os.environ.get("KNS_KUBECTL") or "")
    if kubectl is None:
        pytest.skip("NOT TESTED with the real kubectl: set KNS_KUBECTL")
    for name in ("bin", "templates", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(kubectl)
    helm = shutil.which(os.environ.get("KNS_HELM") or "")
    if helm is not None:
        (tmp_path / "bin" / "helm").symlink_to(helm)
    _delete(api, CONFIG_MAPS + "/big")
    _, mark = build_job_info("default", public={}, secret={}, mark=RECORD_UID)  # what the init pod waits for
    api.apply("/api/v1/namespaces/default/secrets/kns-job", mark)
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    api.apply(f"{accounts}/default", _build("ServiceAccount", "default"))
    return Tools(
        api=api,
        environ={
            "PATH": f"{tmp_path / 'bin'}:{INIT_IMAGE / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path / "work"),
            "KUBECONFIG": str(api.kubeconfig),
            "KNS_WORK_DIR": str(tmp_path / "work"),
            "KNS_TERMINATION_LOG": str(tmp_path / "log"),
        },
        templates=tmp_path / "templates",
        work=tmp_path / "work",
    )


def _delete(api: ApiServer, path: str) -> None:
    try:
        api.call("DELETE", path)
    except RefusedError as error:
        if error.status != 404:
            raise


def _build(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def _config_map(name: str, size: int) -> dict[str, Any]:
    return _build("ConfigMap", name, data={"a": "x" * size})


def _big_crd() -> dict[str, Any]:
    leaf = {"type": "string", "description": "d" * 200}
    group = {"type": "object", "properties": {f"leaf{index}": leaf for index in range(40)}}
    schema = {"type": "object", "properties": {f"group{index}": group for index in range(40)}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "larges.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"kind": "Large", "plural": "larges"},
            "versions": [version],
        },
    }


def _as_yaml(*documents: dict[str, Any]) -> str:
    return "---\n".join(json.dumps(document) + "\n" for document in documents)


def test_a_config_map_of_300_kib_is_applied_and_applied_again(api: ApiServer, tools: Tools) -> None:
    """Client-side apply would copy it into an annotation of at most 256 KiB, at every attempt."""
    for size in (300 * 1024, 310 * 1024):
        ended = tools.apply(_as_yaml(_config_map("small", 1), _config_map("big", size)))
        assert (ended.code, ended.lines[-1]) == (0, "configmap/big serverside-applied")
        assert len(api.call("GET", CONFIG_MAPS + "/big")["data"]["a"]) == size


def test_a_kustomization_with_a_large_object_is_applied(api: ApiServer, tools: Tools) -> None:
    (tools.templates / "web.yml").write_text(_as_yaml(_config_map("big", 300 * 1024)))
    (tools.templates / "kustomization.yaml").write_text("resources: [web.yml]\n")
    ended = tools.run({"type": "kustomize", "path": "."})
    assert ended.code == 0
    assert len(api.call("GET", CONFIG_MAPS + "/big")["data"]["a"]) == 300 * 1024


def test_a_large_crd_and_an_object_of_its_kind_in_one_file_are_applied(api: ApiServer, tools: Tools) -> None:
    """The object follows with the attempt after the one that brought the definition."""
    large = {"apiVersion": "example.org/v1", "kind": "Large", "metadata": {"name": "one"}}
    ended = tools.apply(_as_yaml(_big_crd(), large), retries=20)
    assert ended.code == 0
    assert api.call("GET", "/apis/example.org/v1/namespaces/default/larges/one")["kind"] == "Large"


def test_a_field_that_an_earlier_client_side_apply_set_goes(api: ApiServer, tools: Tools) -> None:
    """A manifest that grows past the limit in a later attempt, as a script may make it."""
    assert tools.apply(_as_yaml(_build("ConfigMap", "big", data={"old": "1"}))).code == 0
    assert tools.apply(_as_yaml(_config_map("big", 300 * 1024))).code == 0
    assert list(api.call("GET", CONFIG_MAPS + "/big")["data"]) == ["a"]


def test_what_only_client_side_apply_takes_is_applied(tools: Tools) -> None:
    """Why server-side apply is not the first choice: it refuses a list entry given twice, and `managedFields`."""
    container = {"name": "a", "image": "b", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "twice", "managedFields": [{"manager": "kubectl", "operation": "Update"}]},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}},
        },
    }
    assert tools.apply(_as_yaml(deployment)).code == 0


GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: encoded\ndata:\n  a: \u00e4\n"


@pytest.mark.parametrize(
    "content",
    [GOOD.encode("utf-8-sig"), GOOD.encode("utf-16"), GOOD.replace("\n", "\r\n").encode()],
    ids=["byte order mark", "UTF-16", "CRLF"],
)
def test_manifests_of_windows_editors_are_applied(api: ApiServer, tools: Tools, content: bytes) -> None:
    """As kubectl takes them."""
    _delete(api, CONFIG_MAPS + "/encoded")
    assert tools.apply(content).code == 0
    assert api.call("GET", CONFIG_MAPS + "/encoded")["data"] == {"a": "\u00e4"}


HEADER = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
FAULTS = {
    "a generated name": (HEADER + "  generateName: run-\n", "kubectl create -f"),
    "a good object before a generated name": (
        _as_yaml(_config_map("ok", 1)) + "---\n" + HEADER + "  generateName: b-\n",
        "kubectl create -f",
    ),
    "no name": (HEADER + "  labels: {a: b}\n", "metadata.name"),
    "no YAML": ("kind: [ConfigMap\n", "not valid YAML"),
    "a tab": (HEADER + "\tname: x\n", "not valid YAML"),
    "no kind": ("apiVersion: v1\nmetadata: {name: x}\n", "no apiVersion or no kind"),
    "no apiVersion": ("kind: ConfigMap\nmetadata: {name: x}\n", "no apiVersion or no kind"),
    "nothing": ("", "no objects"),
    "a comment": ("# later\n", "no objects"),
    "more than 1 MiB": (_as_yaml(_config_map("huge", 1_200_000)), "larger than Kubernetes stores"),
    "more than 3 MiB": (_as_yaml(_config_map("huge", 4_000_000)), "larger than Kubernetes stores"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_manifest_that_can_never_be_applied_is_tried_once(tools: Tools, name: str) -> None:
    content, advice = FAULTS[name]
    _check_tried_once(tools.apply(content, retries=2), advice)


def _check_tried_once(ended: Ended, advice: str) -> None:
    assert (ended.code, ended.message["attempt"], ended.message["reason"]) == (1, 1, "ItemOutOfRetries"), ended.lines
    assert advice in ended.lines[-1]
    assert advice in ended.message["message"]


STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "a file that is not there": ({"type": "kubectl", "path": "none.yml"}, "add the file to the image"),
    "a folder without manifests": ({"type": "kubectl", "path": "texts"}, "must end in .json, .yaml or .yml"),
    "an inline manifest that is no YAML": (
        {"type": "kubectl", "format": "base64", "path": base64.b64encode(b"a: [").decode()},
        "not valid YAML",
    ),
    "no such folder": ({"type": "kustomize", "path": "none"}, "not a folder of the app's image"),
    "no kustomization": ({"type": "kustomize", "path": "texts"}, "kustomization.yaml"),
    "a kustomization that is no YAML": ({"type": "kustomize", "path": "broken"}, "not valid"),
    "a resource that is not there": (
        {"type": "kustomize", "path": "lacking"},
        "names a file that is not in /templates",
    ),
    "a resource with a generated name": ({"type": "kustomize", "path": "generating"}, "kubectl create -f"),
}


@pytest.mark.parametrize("name", STEPS)
def test_an_item_that_can_never_succeed_is_tried_once(tools: Tools, name: str) -> None:
    files = {
        "texts/a.txt": "x",
        "broken/kustomization.yaml": "resources: [a\n",
        "lacking/kustomization.yaml": "resources: [none.yml]\n",
        "generating/kustomization.yaml": "resources: [a.yml]\n",
        "generating/a.yml": HEADER + "  generateName: run-\n",
    }
    for path, text in files.items():
        file = tools.templates / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    step, advice = STEPS[name]
    _check_tried_once(tools.run(step, retries=2), advice)


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "example.org/v9", "kind": "Later", "metadata": {"name": "x"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "later"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "UPPER"}, "spec": {"ports": [{"port": 1}]}},
    ],
    ids=["a kind without its definition", "a namespace that is not there", "an object that is not valid"],
)
def test_what_the_cluster_may_take_later_is_retried(tools: Tools, document: dict[str, Any]) -> None:
    ended = tools.apply(_as_yaml(document), retries=2)
    assert (ended.code, ended.message["attempt"]) == (1, 3)


@dataclass(frozen=True)
class Helm:
    """The example's chart, installed by hand and by the example's script."""

    tools: Tools
    script: bytes

    def kill_during(self, version: str) -> None:
        """Start helm on the chart, and kill it once its release is pending."""
        argv = ["helm", "upgrade", "--install", "page", "./charts/page", "--namespace=pages", "--create-namespace"]
        argv += ["--set-literal=user=ana", f"--set-string=job={version}", "--wait", "--timeout=5m"]
        process = subprocess.Popen(
            argv, cwd=self.tools.templates, env=self.tools.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + _HELM_S
            while not self.status().startswith("pending-"):
                assert process.poll() is None, "helm ended by itself"
                assert time.monotonic() < deadline, "the release is not pending"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def status(self) -> str:
        """The newest release's, "" without one."""
        argv = ["helm", "status", "page", "--namespace=pages", "--output=json"]
        done = subprocess.run(argv, env=self.tools.environ, capture_output=True, text=True, check=False)
        return str(json.loads(done.stdout)["info"]["status"]) if done.returncode == 0 else ""

    def run_script(self) -> Ended:
        """The example's, less its wait: no controller starts pods here."""
        script = self.script.replace(b"--wait --timeout 3m", b"--timeout 3m")
        assert script != self.script
        return self.tools.run({"type": "custom", "cmd": base64.b64encode(script).decode()})


@pytest.fixture
def helm(tools: Tools) -> Helm:
    if not (tools.templates.parent / "bin" / "helm").exists():
        pytest.skip("NOT TESTED with the real helm: set KNS_HELM")
    example = ROOT / "examples" / "helm-chart"
    shutil.copytree(example / "templates", tools.templates, dirs_exist_ok=True)
    tools.environ.update(KNS_JOB_USER="ana", KNS_JOB_NUMBER="7")
    subprocess.run(
        ["helm", "uninstall", "page", "--namespace=pages", "--ignore-not-found", "--no-hooks"],
        env=tools.environ,
        check=True,
        capture_output=True,
    )
    return Helm(tools, (example / "install.sh").read_bytes())


@pytest.mark.parametrize("installed", [False, True], ids=["install", "upgrade"])
def test_the_example_goes_on_after_a_helm_that_was_killed(helm: Helm, installed: bool) -> None:
    """As after the loss of the init pod in the middle of `helm --wait`."""
    if installed:
        assert helm.run_script().code == 0
    helm.kill_during("8")
    ended = helm.run_script()
    assert (ended.code, helm.status()) == (0, "deployed"), ended.lines
    assert any("has an unfinished operation, removing its record" in line for line in ended.lines)


def test_a_release_in_order_is_left_alone(helm: Helm) -> None:
    assert helm.run_script().code == 0
    subprocess.run(["kns-helm-unlock", "page", "-n", "pages"], env=helm.tools.environ, check=True)
    assert helm.status() == "deployed"


def test_a_script_without_the_tool_is_told_of_it(helm: Helm) -> None:
    helm.kill_during("8")
    script = b"helm upgrade --install page ./charts/page --namespace pages --set-literal user=ana"
    ended = helm.tools.run({"type": "custom", "cmd": base64.b64encode(script).decode()})
    assert ended.code == 1
    assert any(line.startswith("hint: ") and "kns-helm-unlock" in line for line in ended.lines), ended.lines


@pytest.mark.parametrize("arguments", [[], ["-n", "pages"], ["page", "pages"], ["page", "-n"], ["page", "--all", "x"]])
def test_wrong_usage_of_the_helm_tool_touches_nothing(arguments: list[str]) -> None:
    done = subprocess.run(
        [INIT_IMAGE / "bin" / "kns-helm-unlock", *arguments], capture_output=True, text=True, check=False, env={}
    )
    assert (done.returncode, done.stderr.split()[:2]) == (64, ["usage:", "kns-helm-unlock"])
