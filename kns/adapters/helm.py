"""
Render the packaged chart with `helm template`, with a temporary home directory and without access to a cluster.

A killed helm leaves nothing behind, because it only prints. Most jobs differ only in namespace and number, so the
result is cached with placeholders for both: the first job with given values runs helm, later ones a text replacement.
The chart stores the values in a Secret, which is decoded before and encoded after the replacement.
"""

import base64
import json
import os
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from kns.model import names
from kns.model.errors import RenderError, UnavailableError, clip
from kns.model.job.location import Location
from kns.ports import Object

TRIED_CHARTS = ("0.36.1",)  # the versions that the end-to-end tests ran with
TIMEOUT_S = 30.0
_CHART_FILE = "*/Chart.yaml"  # a chart's own comes before those of its dependencies
_CHART_FILE_BYTES = 64 * 1024  # of a Chart.yaml, which has 1 KiB
_PLACEHOLDER = Location(1000000007, "kns-job-1000000009")  # a number and a name that no chart contains
_SHAPES_KEPT = 64
_ORDER = ("ServiceAccount", "Secret", "ConfigMap", "Service", "Deployment", "StatefulSet")


def read_chart_version(chart: Path) -> str:
    """
    The version in a packaged chart's Chart.yaml.

    Raises:
        RenderError: the file is no packaged chart.
    """
    try:
        with tarfile.open(chart) as archive:
            member = next(each for each in archive if each.isfile() and PurePosixPath(each.name).match(_CHART_FILE))
            opened = archive.extractfile(member)
            read: Any = yaml.safe_load(opened.read(_CHART_FILE_BYTES)) if opened else None
        return str(read["version"])
    except (OSError, tarfile.TarError, StopIteration, yaml.YAMLError, KeyError, TypeError) as error:
        raise RenderError(f"{chart.name} is no packaged chart: {error or 'it has no Chart.yaml'}") from error


def digest_chart(chart: Path) -> str:
    """The SHA-256 of a packaged chart."""
    return sha256(chart.read_bytes()).hexdigest()


class HelmRenderer:
    """Implements `ports.Renderer`."""

    def __init__(self, *, helm: str, chart: Path) -> None:
        self._helm = helm
        self._chart = chart
        self._shapes: dict[str, str] = {}
        self._lock = threading.Lock()

    def render(self, location: Location, build_values: Callable[[Location], Mapping[str, Any]]) -> list[Object]:
        """The objects in the order to apply them; workloads come last."""
        shape = json.dumps(build_values(_PLACEHOLDER), sort_keys=True)
        with self._lock:  # one helm at a time, so that a burst of equal jobs runs it once
            rendered = self._shapes.get(shape)
            if rendered is None:
                rendered = self._run(shape)
                self._shapes[shape] = rendered
                while len(self._shapes) > _SHAPES_KEPT:
                    self._shapes.pop(next(iter(self._shapes)))
        text = rendered.replace(_PLACEHOLDER.namespace, location.namespace)
        objects: list[Object] = json.loads(text.replace(str(_PLACEHOLDER.number), str(location.number)))
        return [_close_secret(_label(obj, location)) for obj in objects]

    def _run(self, values: str) -> str:
        with tempfile.TemporaryDirectory(prefix="kns-helm-") as home:
            release, namespace = _PLACEHOLDER.vcluster, _PLACEHOLDER.namespace
            argv = [self._helm, "template", release, str(self._chart), "-n", namespace, "-f", "-"]
            env = {"HOME": home, "PATH": os.defpath, "KUBECONFIG": "/dev/null", "HELM_CACHE_HOME": home}
            try:
                done = subprocess.run(
                    argv, input=values.encode(), env=env, capture_output=True, timeout=TIMEOUT_S, check=False, cwd=home
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise UnavailableError(f"helm template {self._chart.name}: {error}") from error
        if done.returncode < 0:
            raise UnavailableError(f"helm template {self._chart.name}: killed by signal {-done.returncode}")
        if done.returncode != 0:
            raise RenderError(f"helm template {self._chart.name}: {clip(done.stderr.decode('utf-8', 'replace'))}")
        try:
            objects = [_open_secret(obj) for obj in yaml.safe_load_all(done.stdout) if obj]
        except yaml.YAMLError as error:
            raise RenderError(f"helm template {self._chart.name}: the output is not YAML") from error
        unknown = {obj["kind"] for obj in objects} - set(_ORDER)
        if unknown:
            raise RenderError(
                f"chart {self._chart.name} has kinds that kns does not apply: {', '.join(sorted(unknown))}"
            )
        return json.dumps(sorted(objects, key=lambda obj: _ORDER.index(obj["kind"])))


def _label(obj: Object, location: Location) -> Object:
    """Add the labels of kns, because the chart does not label all of its objects."""
    labels = {names.MANAGED_BY_LABEL: "kns", names.JOB_LABEL: str(location.number)}
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), **labels}}}


def _open_secret(obj: Object) -> Object:
    if obj["kind"] != "Secret":
        return obj
    plain = {key: base64.b64decode(value).decode() for key, value in (obj.pop("data", None) or {}).items()}
    return {**obj, "stringData": {**plain, **obj.get("stringData", {})}}


def _close_secret(obj: Object) -> Object:
    if obj["kind"] != "Secret":
        return obj
    data = {key: base64.b64encode(value.encode()).decode() for key, value in obj.pop("stringData").items()}
    return {**obj, "data": data}
