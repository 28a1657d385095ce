"""`kns prepare` makes no state that no job would use, and says which setting is in the way."""

from types import SimpleNamespace

import pytest

from kns.model.findings import Finding, Severity
from kns.prepare import prepare_site
from kns.settings import list_names


@pytest.mark.parametrize(
    ("variables", "said", "todo"),
    [
        ({"KNS_PREPARED_STATE": "false"}, "KNS_PREPARED_STATE is false", "set KNS_PREPARED_STATE=true"),
        ({"KNS_FAST_START": "false"}, "KNS_FAST_START is false", "set KNS_FAST_START=true"),
        ({"KNS_FAST_START": "false", "KNS_SERVICE_CIDR": ""}, "KNS_FAST_START is false", "set KNS_FAST_START=true"),
        ({"KNS_SERVICE_CIDR": ""}, "the host does not tell its range of ClusterIPs", "set KNS_SERVICE_CIDR"),
    ],
)
def test_a_state_that_no_job_would_use_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str, todo: str
) -> None:
    for name in (name for names in list_names() for name in names):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"KNS_SERVICE_CIDR": "10.96.0.0/16", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("kns.prepare.configure_logging", lambda level: None)
    monkeypatch.setattr("kns.prepare.connect", lambda _: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr("kns.prepare.find_service_cidr", lambda _: "")
    monkeypatch.setattr("kns.prepare.KubeCluster", lambda *_, **__: pytest.fail("the host is changed"))
    said = f"{said}, so no job would use a prepared state"
    assert list(prepare_site(all_versions=False)) == [Finding("prepared state", Severity.FAULT, said, todo)]
