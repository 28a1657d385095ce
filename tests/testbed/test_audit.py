"""The audit log: what is logged, and that no entry is lost or read twice."""

import json
import pathlib
from typing import Any

import pytest

from testbed import audit, config, layout, parts, paths
from tests.e2e import test_posit, test_posit_nested


def an_entry(verb: str = "get", resource: str = "pods", **more: Any) -> bytes:
    event = {"verb": verb, "user": {"username": "u", "uid": "1"}, "objectRef": {"resource": resource}, **more}
    return json.dumps(event).encode() + b"\n"


def write(path: pathlib.Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.writelines(lines)


def read(log: audit.AuditLog) -> list[str]:
    return [f"{each.verb} {each.resource}" for each in log.read_new()]


def test_the_accounts_of_the_tests_are_logged_and_nobody_else() -> None:
    policy = json.loads(audit.render_policy())
    assert policy["rules"][-1] == {"level": "None"}
    assert [rule["level"] for rule in policy["rules"][:-1]] == ["Metadata"]  # no bodies, which may have secrets
    logged = policy["rules"][0]["userGroups"]
    for namespace in (test_posit.NAMESPACE, test_posit_nested.NAMESPACE):
        assert f"system:serviceaccounts:{namespace}" in logged


def test_the_api_server_gets_the_policy_that_is_written(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its command line changes with the policy, so that `up` restarts it."""
    for name in ("CONFIG", "CNI_CONF"):
        monkeypatch.setattr(paths, name, tmp_path)
    config.write_all()
    before = parts.BY_NAME["kube-apiserver"].argv()
    flags = dict(each.split("=", 1) for each in before if each.startswith("--audit-"))
    assert pathlib.Path(flags["--audit-policy-file"]).read_text() == audit.render_policy()
    assert pathlib.Path(flags["--audit-log-path"]).is_relative_to(paths.STATE)  # `down` deletes it
    assert (int(flags["--audit-log-maxsize"]), int(flags["--audit-log-maxbackup"])) == (
        audit.MAX_LOG_MIB,
        audit.BACKUPS,
    )
    other = audit.render_policy((*layout.AUDITED_NAMESPACES, "another"))
    monkeypatch.setattr(audit, "render_policy", lambda: other)
    assert parts.BY_NAME["kube-apiserver"].argv() != before


def test_an_entry() -> None:
    log = paths.STATE  # only for messages
    event = {
        "verb": "get",
        "user": {"username": "system:serviceaccount:jobs:launcher", "uid": "7"},
        "userAgent": "kns",
        "objectRef": {"resource": "pods", "subresource": "log", "namespace": "jobs", "apiGroup": "metrics.k8s.io"},
        "requestURI": "/api/v1/namespaces/jobs/pods/a/log?follow=true",
        "responseStatus": {"code": 403},
    }
    assert audit._parse(json.dumps(event).encode(), log) == audit.Request(
        user="system:serviceaccount:jobs:launcher",
        uid="7",
        agent="kns",
        verb="get",
        group="metrics.k8s.io",
        resource="pods/log",
        namespace="jobs",
        path="/api/v1/namespaces/jobs/pods/a/log",
        status=403,
    )


def test_an_entry_without_a_resource() -> None:
    event = {"verb": "get", "user": {"username": "u"}, "requestURI": "/version"}
    found = audit._parse(json.dumps(event).encode(), paths.STATE)
    assert (found.resource, found.path, found.status) == ("", "/version", 0)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"verb": "get"}', b'{"verb": "get", "user": "u"}'])
def test_an_unreadable_entry_is_an_error(tmp_path: pathlib.Path, line: bytes) -> None:
    path = tmp_path / "audit.log"
    write(path, line + b"\n")
    with pytest.raises(audit.AuditError, match="cannot be read"):
        read(audit.AuditLog(path))


def test_no_log_has_no_entries(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "audit.log"
    log = audit.AuditLog(path)
    assert read(log) == []
    write(path, an_entry())
    assert read(log) == ["get pods"]


def test_a_rotated_log_is_read_to_its_end(tmp_path: pathlib.Path) -> None:
    path, rotated = tmp_path / "audit.log", tmp_path / "audit-2026-11-28T20-24-57.123.log"
    log = audit.AuditLog(path)
    write(path, an_entry("list"))
    assert read(log) == ["list pods"]
    write(path, an_entry("watch"))
    path.rename(rotated)
    write(path, an_entry("create"))
    assert read(log) == ["watch pods", "create pods"]
    assert read(log) == []
    assert read(audit.AuditLog(path)) == ["list pods", "watch pods", "create pods"]


def test_lost_entries_are_an_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "audit.log"
    log = audit.AuditLog(path)
    write(path, an_entry())
    assert read(log) == ["get pods"]
    new = tmp_path / "new"
    write(new, an_entry())
    new.replace(path)
    with pytest.raises(audit.AuditError, match="rotated more than 1 times"):
        read(log)
