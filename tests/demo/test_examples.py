"""
The examples are what their papers say: scripts as readable files, images from scratch, pods without privileges.
"""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import catalog
from demo.accounts import ACCOUNTS
from demo.catalog import EXAMPLES, example_ids
from demo.errors import DemoError
from demo.target import ROOT
from kns.cli.unknown import find_unknown_keys
from kns.model.appdef.appdef import parse_appdef

WEB_FILES = sorted(
    file for file in EXAMPLES.glob("*/templates/**/*.yml") if "kind: Deployment" in file.read_text("utf-8")
)
CHARTS = sorted(file.parent for file in EXAMPLES.glob("*/templates/charts/*/Chart.yaml"))
_HELM = shutil.which(os.environ.get("KNS_HELM") or "helm")
_WITHOUT_RESOURCES = {"limits", "two-targets"}  # the LimitRange of the AppDef has them


def _read_appdef(app: str) -> dict[str, Any]:
    return dict(json.loads((EXAMPLES / app / "appdef.json").read_text("utf-8")))


def _items(app: str) -> list[dict[str, Any]]:
    (command,) = _read_appdef(app)["commands"].values()
    nested = command.get("nested_kubernetes") or command["nestedkubernetes"]
    return list(nested["templates"])


@pytest.mark.parametrize("app", example_ids())
def test_appdefs_are_valid_and_have_no_key_that_kns_ignores(app: str) -> None:
    appdef = _read_appdef(app)
    parse_appdef(appdef)
    assert find_unknown_keys(appdef) == []


@pytest.mark.parametrize("app", example_ids())
def test_readmes_say_how_to_try_it(app: str) -> None:
    text = (EXAMPLES / app / "README.md").read_text("utf-8")
    assert text.startswith(f"# {app}\n")
    assert f"`docker build -t localhost/{catalog.example_image(app)} examples/{app}`" in text
    assert f'`make demo ARGS="--app {app}"`' in text


@pytest.mark.parametrize("app", example_ids())
def test_scripts_are_the_files_beside_the_appdef(app: str) -> None:
    in_appdef = [base64.b64decode(item["cmd"]).decode() for item in _items(app) if item["type"] == "custom"]
    beside = [file.read_text("utf-8") for file in sorted((EXAMPLES / app).glob("*.sh"))]
    assert in_appdef == beside


@pytest.mark.parametrize("app", example_ids())
def test_paths_lead_to_files_of_the_image(app: str) -> None:
    paths = [EXAMPLES / app / "templates" / item["path"] for item in _items(app) if item["type"] != "custom"]
    assert [path for path in paths if not path.exists()] == []


@pytest.mark.parametrize("app", example_ids())
def test_images_hold_templates_and_nothing_else(app: str) -> None:
    lines = (EXAMPLES / app / "Dockerfile").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["FROM scratch", "COPY templates /templates"]


def test_the_list_of_examples_is_whole() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| \[(\S+)\]\(\1\) \|", text, re.MULTILINE)) == example_ids()


def test_the_demos_parameters_are_those_of_the_app_and_the_page_is_the_file_beside() -> None:
    values = catalog.read_parameters("parameters")
    (command,) = _read_appdef("parameters")["commands"].values()
    assert values.keys() <= command["parameters"].keys()
    page = (EXAMPLES / "parameters" / "page.html").read_bytes()
    assert base64.b64decode(values["page"], validate=True) == page
    assert len(page) <= command["parameters"]["page"]["size"]
    assert catalog.read_parameters("hello") == {}


def test_two_targets_is_written_the_old_way() -> None:
    """So that the old way is tried on a cluster; it means the same as the new one."""
    parsed = parse_appdef(_read_appdef("two-targets"))
    nested = parsed.commands["Both"].nested_kubernetes
    assert [target.service_name for target in nested.targets] == ["front", "back"]
    assert nested.kubernetes_version == "v1.36"
    assert nested.enable_gotty_shell is False
    assert [item.default for item in nested.limit_range or ()] == [{"cpu": "200m", "memory": "64Mi"}]
    assert parsed.classifications == ["Uncategorized"]


def test_three_kinds_has_one_item_of_each_kind() -> None:
    assert [item["type"] for item in _items("three-kinds")] == ["kubectl", "kustomize", "custom"]


@pytest.mark.parametrize("file", WEB_FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_pods_run_without_privileges(file: Path) -> None:
    documents = [document for document in yaml.safe_load_all(file.read_text("utf-8")) if document]
    _check_pods(documents, with_resources=not _WITHOUT_RESOURCES.intersection(file.parts))


def _check_pods(documents: list[dict[str, Any]], *, with_resources: bool) -> None:
    """The one Deployment among them; its image is one that the testbed has."""
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["image"] == "docker.io/library/busybox:1.35"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert ("resources" in container) is with_resources


def _render(*command: str | Path) -> list[dict[str, Any]]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.mark.skipif(_HELM is None, reason="NOT TESTED against the real helm: there is none (set KNS_HELM)")
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_charts_render_and_their_pods_run_without_privileges(chart: Path) -> None:
    assert _HELM is not None
    linted = subprocess.run([_HELM, "lint", "--strict", chart], capture_output=True, text=True, timeout=60, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    user = "o'brien, <b>{x}"  # as the script gives it: no character of it means anything to helm
    rendered = _render(_HELM, "template", "page", chart, "--set-literal", f"user={user}", "--set-string", "job=0123")
    _check_pods(rendered, with_resources=True)
    (page,) = [document for document in rendered if document["kind"] == "ConfigMap"]
    assert "for o&#39;brien, &lt;b&gt;{x} in job 0123." in page["data"]["index.html"]


def test_the_overlay_names_only_what_is_there() -> None:
    """What kustomize would say, without kustomize: resources, files and the namespace that the first item makes."""
    templates = EXAMPLES / "kustomize-overlay" / "templates"
    overlay = templates / "overlays" / "lab"
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text("utf-8"))
    (generator,) = kustomization["configMapGenerator"]
    named = [*kustomization["resources"], *generator["files"]]
    assert [name for name in named if not (overlay / name).exists()] == []
    namespace = yaml.safe_load((templates / "namespace.yml").read_text("utf-8"))
    assert kustomization["namespace"] == namespace["metadata"]["name"] == "board"
    deployment = yaml.safe_load((templates / "base" / "deployment.yml").read_text("utf-8"))
    assert deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == generator["name"]


def test_the_job_by_hand_uses_keys_of_the_crd_and_names_of_the_catalogue() -> None:
    record = yaml.safe_load((EXAMPLES / "job.yaml").read_text("utf-8"))
    crd = yaml.safe_load((ROOT / "manifests" / "crd-nestedjob.yaml").read_text("utf-8"))
    assert (record["apiVersion"], record["kind"]) == ("kns.io/v1alpha1", crd["spec"]["names"]["kind"])
    (version,) = crd["spec"]["versions"]
    known = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert record["spec"].keys() <= known.keys()
    assert record["spec"]["app"] in example_ids()
    assert record["spec"]["user"] in ACCOUNTS
    assert record["spec"]["machine"]["type"] in json.loads(catalog.MACHINES.read_text("utf-8"))


@pytest.mark.parametrize(
    ("files", "app", "message"),
    [
        ({"appdef.json": "{}"}, "My_App", "examples/My_App: the folder name becomes part of an image name"),
        ({"appdef.json": "{}"}, "half", "examples/half/Dockerfile is missing"),
        ({"appdef.json": "{", "Dockerfile": ""}, "cut", "examples/cut/appdef.json: "),
        (
            {"appdef.json": "{}", "Dockerfile": ""},
            "empty",
            "name: Field required; `make validate FILE=examples/empty/app",
        ),
    ],
)
def test_a_bad_example_is_named_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], app: str, message: str
) -> None:
    monkeypatch.setattr(catalog, "EXAMPLES", tmp_path)
    (tmp_path / app).mkdir()
    for name, text in files.items():
        (tmp_path / app / name).write_text(text)
    with pytest.raises(DemoError) as refused:
        catalog.check_example(app)
    assert message in str(refused.value)
