"""A NestedJob applied with kubectl instead of submitted: the same job, the same checks."""

import json
import secrets
from typing import Any

import pytest

from demo.catalog import EXAMPLES
from demo.errors import DemoError
from demo.overlay import NAMESPACE
from tests.e2e import evidence
from tests.e2e.jobs import END_S, JobKeeper, apply_record
from tests.e2e.portal import Portal
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

_NO_CHANGE = "user, app and machine of a job never change; submit another job"
_NEVER = "of a job never changes; submit another job"


def _a_name() -> str:
    return f"by-hand-{secrets.token_hex(3)}"


def _a_spec(site: Site, **changes: Any) -> dict[str, Any]:
    """The smallest spec; None leaves a key out."""
    spec = {"user": site.user.username, "app": "hello", "machine": {"type": "kns-small"}, **changes}
    return {key: value for key, value in spec.items() if value is not None}


def _patch(site: Site, record: str, spec: dict[str, Any]) -> str:
    patch = json.dumps({"spec": spec})
    return site.kubectl.run("patch", "nj", record, f"--namespace={NAMESPACE}", "--type=merge", f"--patch={patch}")


def _read(site: Site, record: str) -> dict[str, Any]:
    found: dict[str, Any] = site.kubectl.get("nj", record, f"--namespace={NAMESPACE}")
    return found


def test_it_runs_like_a_submitted_one_until_it_is_deleted(site: Site, portal: Portal, jobs: JobKeeper) -> None:
    """
    kns assigns it a number and shows it to its user; it serves; nobody can change what it is; and `kubectl delete nj`
    ends it: the command returns when everything is removed.
    """
    name = _a_name()
    jobs.apply(name, _a_spec(site))

    def accepted() -> dict[str, Any]:
        found = _read(site, name)["spec"].get("accepted")
        if found is None:
            raise NotYetError("spec.accepted is not there")
        return dict(found)

    def explain() -> str:
        return evidence.describe_job(site.kubectl, name, None)

    taken = wait_for(accepted, timeout_s=30, what=f"{name} is accepted", evidence=explain)
    assert taken["submitTime"][:19] == _read(site, name)["metadata"]["creationTimestamp"][:19]
    job = jobs.adopt(taken["number"], taken["name"], record=name)
    job.wait_until_listed()
    entry = portal.get("jobs")[str(job.number)]
    assert (entry["job_name"], entry["job_owner_username"]) == (job.name, site.user.username)
    assert entry["job_api_submission"]["machine"] == {"type": "kns-small", "nodes": 1}
    job.wait_until_serving()
    assert "This page comes from a Kubernetes cluster of its own." in job.page()[1]

    _check_spec_is_frozen(site, name)

    site.kubectl.run("delete", "nj", name, f"--namespace={NAMESPACE}", timeout_s=END_S)
    assert job.is_gone()
    assert site.kubectl.find("nj", name, f"--namespace={NAMESPACE}") is None
    answer = portal.ask("status", number=job.number)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


def _check_spec_is_frozen(site: Site, name: str) -> None:
    """The API server refuses each change, with a message for its author."""
    rows: list[tuple[dict[str, Any], str]] = [
        ({"app": "slow"}, _NO_CHANGE),
        ({"user": "user2"}, _NO_CHANGE),
        ({"machine": {"type": "kns-large"}}, _NO_CHANGE),
        ({"command": "Hello"}, f"command {_NEVER}"),
        ({"walltime": "01:00:00"}, f"walltime {_NEVER}"),
        ({"vault": {"name": "data"}}, f"vault {_NEVER}"),
        ({"parameters": {"workers": 3}}, "parameters of a job never change; submit another job"),
        ({"accepted": {"number": 999_999_999}}, "accepted is written once, by kns"),
        ({"accepted": None}, "accepted is written once, by kns"),
        ({"desiredState": "Paused"}, 'supported values: "Running", "Stopped"'),
    ]
    before = _read(site, name)["spec"]
    for spec, message in rows:
        with pytest.raises(DemoError) as refused:
            _patch(site, name, spec)
        assert message in str(refused.value), spec
    assert _read(site, name)["spec"] == before


@pytest.mark.parametrize("name", ["kns-job-999999", "kns-request-0"])
def test_names_of_kns_own_are_refused(site: Site, name: str) -> None:
    """Such a record would block the submit that gets that number."""
    with pytest.raises(DemoError) as refused:
        apply_record(site, name, _a_spec(site))
    assert "are kns's own; choose another" in str(refused.value)
    assert site.kubectl.find("nj", name, f"--namespace={NAMESPACE}") is None


def test_the_api_server_accepts_the_example(site: Site) -> None:
    """All its rules, in a dry run."""
    said = site.kubectl.run("apply", "--dry-run=server", f"--filename={EXAMPLES / 'job.yaml'}")
    assert said.strip() == "nestedjob.kns.io/hello-by-hand created (server dry run)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"app": None}, "spec.app: Required value"),
        ({"user": None}, "spec.user: Required value"),
        ({"user": ""}, "spec.user: Invalid value"),
        ({"machine": None}, "spec.machine: Required value"),
        ({"machine": {}}, "spec.machine.type: Required value"),
        ({"machine": {"type": "kns-small", "nodes": 0}}, "spec.machine.nodes: Invalid value"),
        ({"machine": {"type": "kns-small", "nodes": "two"}}, "spec.machine.nodes: Invalid value"),
        ({"walltime": "one hour"}, "spec.walltime: Invalid value"),
        ({"label": "x" * 256}, "spec.label: Too long"),
        ({"desiredState": "Paused"}, "spec.desiredState: Unsupported value"),
        ({"parameters": []}, "spec.parameters: Invalid value"),
        ({"nodes": 2}, 'unknown field "spec.nodes"'),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_the_api_server_refuses_a_bad_one(site: Site, changes: dict[str, Any], message: str) -> None:
    """The CRD's schema refuses it at `kubectl apply` and not minutes later; the message names the key."""
    name = _a_name()
    with pytest.raises(DemoError) as refused:
        apply_record(site, name, _a_spec(site, **changes))
    assert message in str(refused.value)
    assert site.kubectl.find("nj", name, f"--namespace={NAMESPACE}") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"app": "no-such-app"}, "app: 'no-such-app' is not in the catalogue"),
        ({"user": "nobody"}, "user: 'nobody' is not in the user catalogue"),
        ({"machine": {"type": "plain"}}, "machine.type: 'plain' lacks appkind=kns, so it runs no nested jobs"),
        ({"command": "Goodbye"}, "application.command: 'Goodbye' is not a command of this app"),
    ],
    ids=["app", "user", "machine", "command"],
)
def test_what_the_catalogue_does_not_have_ends_as_an_error(
    site: Site, jobs: JobKeeper, changes: dict[str, Any], message: str
) -> None:
    """The API server does not know the catalogue: kns ends such a record, with the message that a submit would get."""
    name = _a_name()
    jobs.apply(name, _a_spec(site, **changes))

    def ended() -> dict[str, Any]:
        status = _read(site, name).get("status", {})
        if status.get("jobStatus") != "COMPLETED WITH ERROR":
            raise NotYetError(str(status))
        return dict(status)

    status = wait_for(ended, timeout_s=30, what=f"the end of {name}")
    assert (status["reason"], status["exitCode"], status["message"]) == ("NotAccepted", 1, message)
    assert "accepted" not in _read(site, name)["spec"]


def test_a_stopped_job_is_not_started_again(site: Site, jobs: JobKeeper) -> None:
    """The API server refuses the change."""
    name = _a_name()
    jobs.apply(name, _a_spec(site, app="no-such-app"))
    _patch(site, name, {"desiredState": "Stopped"})
    with pytest.raises(DemoError) as refused:
        _patch(site, name, {"desiredState": "Running"})
    assert "a stopped job is never started again; submit another job" in str(refused.value)
