"""The chart is tried at start, before the first job needs it: its version, and its schema with the values of kns."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from kns.adapters.helm import TRIED_CHARTS, HelmRenderer, read_chart_version
from kns.model.errors import RenderError
from kns.model.site import VirtualKubernetes
from kns.preflight import check_site
from kns.start_checks import warn_of_unfit_chart
from tests.real_chart import CHART, HELM, real

VIRTUAL = VirtualKubernetes(syncer_image_tag="0.36.1", versions={"v1.36": "v1.36.0"}, service_cidr="10.96.0.0/16")
CHART_YAML = b"apiVersion: v2\nname: vcluster\nversion: 0.99.0\n"


def a_chart(tmp_path: Path, **files: bytes) -> Path:
    """A packaged chart with these files; underscores in a name become dots."""
    chart = tmp_path / "chart.tgz"
    with tarfile.open(chart, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"vcluster/{name.replace('_', '.')}")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return chart


def look(chart: Path, virtual: VirtualKubernetes = VIRTUAL) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        warn_of_unfit_chart(chart, HelmRenderer(helm=HELM or "helm", chart=chart), virtual)
    return [dict(line) for line in logs]


@real
def test_the_chart_of_this_release_is_a_tried_one_and_takes_all_values() -> None:
    assert read_chart_version(CHART) in TRIED_CHARTS
    assert look(CHART) == []


@real
def test_a_chart_whose_schema_refuses_the_values_is_an_error(tmp_path: Path) -> None:
    schema = b'{"type": "object", "properties": {"sync": {"type": "string"}}}'
    (line,) = look(a_chart(tmp_path, Chart_yaml=CHART_YAML, values_schema_json=schema))
    assert (line["event"], line["log_level"], line["effect"]) == (
        "chart_unfit",
        "error",
        "no job starts until it renders",
    )
    assert "sync" in line["error"]


@real
def test_a_chart_that_was_not_tried_is_a_warning(tmp_path: Path) -> None:
    (line,) = look(a_chart(tmp_path, Chart_yaml=CHART_YAML))
    assert (line["event"], line["version"], line["tried"]) == ("chart_untried", "0.99.0", TRIED_CHARTS)


def test_a_missing_chart_is_an_error_and_no_crash(tmp_path: Path) -> None:
    (line,) = look(tmp_path / "chart.tgz")
    assert (line["event"], line["log_level"]) == ("chart_unfit", "error")


@pytest.mark.parametrize(
    ("sentence", "files"),
    [
        ("no Chart.yaml", {"values_yaml": b"{}"}),
        ("one that is no YAML", {"Chart_yaml": b"{"}),
        ("one without a version", {"Chart_yaml": b"name: vcluster\n"}),
        ("one that is a list", {"Chart_yaml": b"[]"}),
    ],
)
def test_what_is_no_chart(tmp_path: Path, sentence: str, files: dict[str, bytes]) -> None:
    with pytest.raises(RenderError, match="is no packaged chart"):
        read_chart_version(a_chart(tmp_path, **files))


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    chart = tmp_path / "chart.tgz"
    chart.write_bytes(b"<html>not found</html>")
    with pytest.raises(RenderError, match="is no packaged chart"):
        read_chart_version(chart)


@real
@pytest.mark.parametrize(
    ("files", "severity", "said"),
    [
        ({"Chart_yaml": CHART_YAML}, "warning", "version 0.99.0 accepts the values of kns, but this release was not"),
        ({"Chart_yaml": CHART_YAML, "values_schema_json": b'{"required": ["x"]}'}, "fault", "missing property 'x'"),
    ],
)
def test_preflight_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], severity: str, said: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KNS_HELM", HELM or "helm")
    monkeypatch.setenv("KNS_VCLUSTER_CHART", str(a_chart(tmp_path, **files)))
    monkeypatch.setattr("kns.preflight.configure_logging", lambda level: None)
    found = next(finding for finding in check_site() if finding.check == "vcluster chart")
    assert str(found.severity) == severity
    assert said in found.said
