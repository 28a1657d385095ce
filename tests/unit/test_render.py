"""`kns render` as a program: settings and catalogue as the scheduler reads them, and errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.model.errors import KnsError
from kns.render import render_job
from tests.builders import catalog_files

HELM, CHART = os.environ.get("KNS_HELM"), os.environ.get("KNS_VCLUSTER_CHART")
JOB = ("hello", "--user", "user1", "--machine", "kns-small")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    for path, data in catalog_files().items():
        file = tmp_path / "catalog" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data))
    variables = {"KNS_CATALOG_DIR": str(tmp_path / "catalog"), "KNS_CONFIG_DIR": str(tmp_path / "none")}
    return {**variables, "JARVICE_JOBS_DOMAIN": "jobs.example.org", "PATH": os.environ["PATH"]}


def render(environ: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kns", "render", *args]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_the_manifests_are_yaml_documents_in_order(environ: dict[str, str]) -> None:
    done = render(environ, *JOB, "--no-chart", "--number", "42", "-l", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    objects = list(yaml.safe_load_all(done.stdout))
    assert objects[0]["kind"] == "Namespace"
    assert objects[0]["metadata"]["name"] == "kns-job-42"
    assert {"NetworkPolicy", "ResourceQuota", "LimitRange", "Job", "Ingress"} <= {each["kind"] for each in objects}
    assert "# stage ingress, on the host cluster" in done.stdout
    assert "# stage prepare, in the job's own cluster" in done.stdout
    assert "&id0" not in done.stdout, "no references between parts"
    listed = json.loads(render(environ, *JOB, "--no-chart", "-o", "json").stdout)
    assert [each["place"] for each in listed][:1] == ["host"]
    assert len(listed) == len(objects)


def test_the_chart_is_rendered_by_helm(environ: dict[str, str]) -> None:
    if not HELM or not CHART:
        pytest.skip("NOT TESTED against the real helm and chart: set KNS_HELM and KNS_VCLUSTER_CHART")
    done = render({**environ, "KNS_HELM": HELM, "KNS_VCLUSTER_CHART": CHART}, *JOB)
    assert done.returncode == 0, done.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(done.stdout)]
    assert "Deployment" in kinds
    assert kinds.count("Namespace") == 1


REFUSALS: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({}, {"KNS_WORKERS": "many"}, "KNS_WORKERS: "),
    ({}, {"KNS_CATALOG_DIR": "/nowhere"}, "/nowhere: "),
    ({"app": "other"}, {}, "app: 'other' is not in the catalogue"),
    ({"machine": {"type": "huge"}}, {}, "machine.type: "),
    ({}, {"KNS_HELM": "/no/helm"}, r"KNS_HELM \(/no/helm\) does not exist; set it, or leave out"),
]


@pytest.mark.parametrize(("changes", "variables", "words"), REFUSALS, ids=[row[2] for row in REFUSALS])
def test_what_is_wrong_is_said(
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    variables: dict[str, str],
    words: str,
) -> None:
    for name, value in {**environ, **variables}.items():
        monkeypatch.setenv(name, value)
    body = {"app": "hello", "machine": {"type": "kns-small"}, **changes}
    with pytest.raises(KnsError, match=words):
        list(render_job(body, user="user1", number=1, chart="KNS_HELM" in variables))


def test_a_mistake_is_one_line_with_its_status(environ: dict[str, str]) -> None:
    done = render(environ, "other", *JOB[1:], "--no-chart")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == "kns: app: 'other' is not in the catalogue\n"
