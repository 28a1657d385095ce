"""The wiring of preflight: the findings without a cluster. A missing cluster is a finding and not a crash."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kns.model.findings import Finding, Severity
from kns.preflight import check_site
from kns.settings import list_names
from tests.builders import catalog_files


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (name for names in list_names() for name in names):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("kns.preflight.configure_logging", lambda level: None)
    for path, data in catalog_files().items():
        file = tmp_path / "catalog" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data))
    monkeypatch.setenv("KNS_CATALOG_DIR", str(tmp_path / "catalog"))


def look() -> dict[str, Finding]:
    return {finding.check: finding for finding in check_site()}


def test_invalid_settings_are_reported_as_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNS_WORKERS", "many")
    monkeypatch.setenv("KNS_HTTP_PORT", "0")
    found = look()
    assert found.keys() == {"KNS_WORKERS", "KNS_HTTP_PORT"}
    assert {finding.severity for finding in found.values()} == {Severity.FAULT}


def test_catalogue_and_images_are_looked_at_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNS_TYPO", "1")
    found = look()
    assert found["catalogue"].severity is Severity.OK
    assert found["catalogue"].said == "2 apps, 2 machines for nested jobs"
    assert found["KNS_TYPO"].severity is Severity.WARNING
    assert found["JARVICE_KNS_INIT_IMAGE"].severity is Severity.WARNING
    assert "JARVICE_KNS_GOTTY_IMAGE" not in found
    assert found["KNS_VCLUSTER_CHART"].severity is Severity.FAULT
    assert found["host API"].severity is Severity.FAULT
    assert found["Keycloak"].severity is Severity.OK


@pytest.mark.parametrize(
    ("variables", "warns"),
    [({}, True), ({"KNS_NAME_SERVERS": "10.0.0.2"}, False), ({"KNS_NETWORK_POLICIES": "false"}, False)],
)
def test_an_open_port_53_is_a_warning(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], warns: bool) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("KNS_NAME_SERVERS" in look()) is warns


def test_a_bad_catalogue_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "catalog" / "machines.json").write_text("{")
    assert "machines.json" in look()["catalogue"].said


def test_images_that_have_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JARVICE_KNS_INIT_IMAGE", "registry.example.org/kns-init:1")
    monkeypatch.setenv("JARVICE_KNS_ALLOW_GOTTY_SHELL", "true")
    found = look()
    assert found["JARVICE_KNS_INIT_IMAGE"].severity is Severity.OK
    assert found["JARVICE_KNS_GOTTY_IMAGE"].severity is Severity.WARNING


def test_a_keycloak_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    for part, value in (("URL", "http://127.0.0.1:1"), ("REALM", "r"), ("CLIENT_ID", "kns"), ("CLIENT_SECRET", "s")):
        monkeypatch.setenv(f"JARVICE_KNS_KEYCLOAK_{part}", value)
    assert look()["Keycloak"].severity is Severity.FAULT


def test_the_command_is_there() -> None:
    command = [sys.executable, "-m", "kns", "preflight", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert {"check", "verdict", "said", "todo"} == json.loads(done.stdout)[0].keys()
