"""
The demo's catalogue: its accounts, its machines, every app in examples/, and that of `make conformance`. The parser of
kns checks it before it is used.
"""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.accounts import VAULTS, build_users
from demo.errors import DemoError
from demo.files import write_private
from demo.target import ROOT, Target
from kns.model.appdef.appdef import parse_appdef
from kns.model.catalog.catalog import CatalogError, parse_catalog
from kns.model.errors import InvalidInputError

EXAMPLES = ROOT / "examples"
MACHINES = Path(__file__).resolve().parent / "catalog" / "machines.json"
# Apps that are no examples. Each deploys what `hello` does.
APPS = MACHINES.parent / "apps"


def example_ids() -> list[str]:
    """
    The names of the apps in examples/, which include `hello`.
    """
    return sorted(file.parent.name for file in EXAMPLES.glob("*/appdef.json"))


def check_example(app: str) -> None:
    """
    Check an example before any image is built.

    Raises:
        DemoError: the image could not be built, or kns would refuse the AppDef.
    """
    folder = EXAMPLES / app
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", app):
        raise DemoError(
            f"examples/{app}: the folder name becomes part of an image name; use lower-case letters, digits and '-'"
        )
    if not (folder / "Dockerfile").is_file():
        raise DemoError(
            f"examples/{app}/Dockerfile is missing; two lines suffice: FROM scratch, COPY templates /templates"
        )
    try:
        parse_appdef(json.loads((folder / "appdef.json").read_text("utf-8")))
    except (ValueError, InvalidInputError) as error:
        file = f"examples/{app}/appdef.json"
        raise DemoError(f"{file}: {error}; `make validate FILE={file}` lists every problem with its line") from error


def read_parameters(app: str) -> dict[str, Any]:
    """
    The parameter values of an example, from its `parameters.json` if that file exists.
    """
    file = EXAMPLES / app / "parameters.json"
    return dict(json.loads(file.read_text("utf-8"))) if file.exists() else {}


def example_image(app: str) -> str:
    """
    The image of an example, without its registry.
    """
    return f"kns-example-{app}:1"


def build_catalog(target: Target, keys: Mapping[str, str]) -> dict[str, Any]:
    """
    The decoded files of the catalogue, by the flat names that a Secret allows.

    Raises:
        DemoError: kns would refuse the catalogue. The message names file and key.
    """
    files: dict[str, Any] = {
        "users.json": build_users(keys),
        "machines.json": json.loads(MACHINES.read_text("utf-8")),
        "vaults.json": {user: dict(vaults) for user, vaults in VAULTS.items()},
    }
    for app in example_ids():
        data = json.loads((EXAMPLES / app / "appdef.json").read_text("utf-8"))
        files[f"apps.{app}.json"] = {"data": data, "repo": target.image(example_image(app)), "public": True}
    for file in sorted(APPS.glob("*.json")):
        data = json.loads(file.read_text("utf-8"))
        files[f"apps.{file.name}"] = {"data": data, "repo": target.image(example_image("hello")), "public": True}
    try:
        parse_catalog(files)
    except CatalogError as error:
        raise DemoError(f"kns would refuse the demo's catalogue: {error}") from error
    return files


def build_secret(files: Mapping[str, Any]) -> dict[str, Any]:
    """
    The Secret that `manifests/deployment.yaml` mounts. It uses `data`, so that kubectl detects an unchanged Secret.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "kns-catalog",
            "namespace": "kns-system",
            "labels": {"app.kubernetes.io/part-of": "kns"},
        },
        "data": {
            name: base64.b64encode(json.dumps(content, indent=1).encode()).decode() for name, content in files.items()
        },
    }


def write_directory(folder: Path, files: Mapping[str, Any]) -> None:
    """
    Write the catalogue to a directory, for a scheduler outside the cluster.
    """
    for stale in folder.glob("*.json"):
        stale.unlink()
    for name, content in files.items():
        write_private(folder / name, json.dumps(content, indent=1))
