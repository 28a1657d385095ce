"""
The examples are what their papers say: scripts as readable files, images from scratch, pods without privileges.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import catalog
from demo.catalog import EXAMPLES, example_ids
from demo.errors import DemoError

WEB_FILES = sorted(
    file for file in EXAMPLES.glob("*/templates/**/*.yml") if "kind: Deployment" in file.read_text("utf-8")
)


def _items(app: str) -> list[dict[str, Any]]:
    appdef = json.loads((EXAMPLES / app / "appdef.json").read_text("utf-8"))
    (command,) = appdef["commands"].values()
    return list(command["nested_kubernetes"]["templates"])


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


def test_three_kinds_has_one_item_of_each_kind() -> None:
    assert [item["type"] for item in _items("three-kinds")] == ["kubectl", "kustomize", "custom"]


@pytest.mark.parametrize("file", WEB_FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_pods_run_without_privileges(file: Path) -> None:
    documents = [document for document in yaml.safe_load_all(file.read_text("utf-8")) if document]
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert ("resources" in container) is ("limits" not in file.parts)


@pytest.mark.parametrize(
    ("files", "app", "message"),
    [
        ({"appdef.json": "{}"}, "My_App", "examples/My_App: the folder's name is part of an image name"),
        ({"appdef.json": "{}"}, "half", "examples/half/Dockerfile is missing"),
        ({"appdef.json": "{", "Dockerfile": ""}, "cut", "examples/cut/appdef.json: "),
        ({"appdef.json": "{}", "Dockerfile": ""}, "empty", "examples/empty/appdef.json: name: Field required"),
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
