"""
The example apps that no other file is about: each serves its page, its output has the expected lines, and nothing of it
is left at the end.

All start together, so that they spawn at the same time, and stop together.
"""

import base64
import hashlib
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from demo.accounts import ACCOUNTS
from demo.catalog import read_parameters
from demo.leftovers import find_leftovers
from testbed import paths
from tests.e2e.jobs import END_S, JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.portal import Portal
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError

_START_S = 300.0  # as many clusters as there are rows come up at the same time
_REPLACED_S = 60.0
_SHUT_DOWN = "the job was shut down"


@dataclass(frozen=True, slots=True)
class Row:
    """`page` is on its page, `output` are whole lines of its output, in this order."""

    app: str
    page: tuple[str, ...]
    output: tuple[str, ...]


ROWS = (
    Row(
        "kustomize-overlay",
        page=("<h1>Kustomize overlay</h1>", "two servers in namespace board show it"),
        output=(
            "[1/2] namespace, attempt 1",
            "namespace/board created",
            "[2/2] board, attempt 1",
            "service/web created",
        ),
    ),
    Row(
        "helm-chart",
        page=("<h1>Helm chart</h1>", "Release page of chart page 0.1.0, for "),
        output=("[1/1] chart, attempt 1", "STATUS: deployed"),
    ),
    Row(
        "parameters",
        page=("<p>This page came with the submission.</p>", "background: #999999"),
        output=(
            "[1/3] values, attempt 1",
            "greeting is a plain variable: Good morning",
            "configmap/page created",
            "secret/lab created",
            "[2/3] serve, attempt 1",
            "[3/3] web, attempt 1",
        ),
    ),
    Row(
        "storage",
        page=("<h1>Storage</h1>", "written first by "),
        output=("[1/2] claim, attempt 1", "persistentvolumeclaim/data created", "[2/2] web, attempt 1"),
    ),
    Row(
        "two-targets",
        page=("<h1>Two targets: front</h1>", "This is the front target"),
        output=(
            "warning: the AppDef has several targets, only the first is exposed",
            "[1/2] front, attempt 1",
            "service/front created",
            "[2/2] back, attempt 1",
            "service/back created",
        ),
    ),
)
_APPS = [row.app for row in ROWS]

Started = dict[str, TrialJob | AssertionError]


@pytest.fixture(scope="module")
def started(module_jobs: JobKeeper) -> Started:
    """One job of each app. A refusal is kept for the tests of that app, so that the others go on."""
    jobs: Started = {}
    for app in _APPS:
        try:
            jobs[app] = module_jobs.submit(app, application={"parameters": read_parameters(app)})
        except AssertionError as refused:
            jobs[app] = refused
    return jobs


@pytest.fixture(scope="module")
def folders(site: Site, started: Started) -> list[Path]:
    """The folders on the node of the storage example's volumes, while they are claimed."""
    try:
        job = _serving(started, "storage")
    except AssertionError:  # the tests of that app report it; the others need their jobs stopped
        return []
    specs = [volume["spec"] for volume in _claimed_volumes(site, job)]
    return [Path((spec.get("hostPath") or spec.get("local") or {})["path"]) for spec in specs]


@pytest.fixture(scope="module")
def stopped(started: Started, folders: list[Path]) -> dict[str, list[str]]:
    """Shut down all that run; what each had printed by then."""
    printed = {}
    for app, job in started.items():
        if isinstance(job, TrialJob) and job.status()["job_status"] == "PROCESSING STARTING":
            printed[app] = job.tail()
            job.stop("shutdown")
    return printed


def _serving(started: Started, app: str) -> TrialJob:
    job = started[app]
    if isinstance(job, AssertionError):
        raise job
    job.wait_until_serving(timeout_s=_START_S)
    return job


@pytest.mark.parametrize("row", ROWS, ids=_APPS)
def test_it_serves_its_page_and_says_what_it_did(started: Started, row: Row) -> None:
    job = _serving(started, row.app)
    text = job.page()[1]
    assert [part for part in row.page if part not in text] == []
    assert [line for line in job.tail() if line in row.output] == list(row.output)


def test_an_overlay_is_applied_whole(site: Site, started: Started) -> None:
    """Namespace, patch, replicas, and a ConfigMap whose generated name the Deployment follows."""
    job = _serving(started, "kustomize-overlay")
    with nested_kubectl(site.target, job.number) as inside:
        deployment = inside.get("deployment", "web", "--namespace=board")
        pod = deployment["spec"]["template"]["spec"]
        page = inside.get("configmap", pod["volumes"][0]["configMap"]["name"], "--namespace=board")
    assert deployment["spec"]["replicas"] == 2
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "100m", "memory": "48Mi"}
    assert page["metadata"]["name"].startswith("page-")
    assert "<h1>Kustomize overlay</h1>" in page["data"]["index.html"]


def test_a_chart_is_a_release_of_the_jobs_own_cluster(site: Site, started: Started) -> None:
    """Helm's record is inside, the job's number is on the page, and the pods ran before the item ended."""
    job = _serving(started, "helm-chart")
    assert f"for {site.user.username} in job {job.number}." in job.page()[1]
    with nested_kubectl(site.target, job.number) as inside:
        release = inside.get("secret", "sh.helm.release.v1.page.v1", "--namespace=pages")
        assert inside.get("deployment", "page", "--namespace=pages")["status"]["readyReplicas"] == 1
    assert release["metadata"]["labels"]["status"] == "deployed"
    assert site.kubectl.find("secret", "sh.helm.release.v1.page.v1", f"--namespace={job.namespace}") is None


def test_values_arrive_as_parameters_and_as_secrets(site: Site, started: Started) -> None:
    """Defaults, constants, substitutions; the account variable; password and token as `info` gives them."""
    job = _serving(started, "parameters")
    info = job.info()
    (token,) = parse_qs(urlsplit(info["url"]).query)["token"]
    assert len(token) == 32
    variable = _lab_token(site)
    lines = html.unescape(job.page()[1]).splitlines()
    expected = [
        f"KNS_PARAM_CORES={job.record()['spec']['accepted']['machine']['mc_cores']}",
        "KNS_PARAM_DETAIL=everything",
        "KNS_PARAM_GREETING=Good morning",
        "KNS_PARAM_REFRESH=30",
        "KNS_PARAM_THEME=#999999",
        "KNS_PARAM_TITLE=First run",
        "KNS_PARAM_VERBOSE=true",
        "KNS_PARAM_WORKERS=2",
        f"SHA-256 of KNS_JOB_PASSWORD: {_hash(info['password'])}",
        f"SHA-256 of KNS_RANDOM32: {_hash(token)}",
        f"SHA-256 of LAB_TOKEN: {_hash(variable)}",
    ]
    assert [line for line in lines if line in expected] == expected


def test_scripts_find_the_same_in_jobenv_and_no_secret_is_printed(site: Site, started: Started) -> None:
    job = _serving(started, "parameters")
    lines = job.tail()
    keys = {line.removeprefix("jobenv.sh has ") for line in lines if line.startswith("jobenv.sh has ")}
    assert {"KNS_PARAM_TITLE", "KNS_PARAM_WORKERS", "KNS_PARAM_DETAIL", "greeting", "LAB_TOKEN"} <= keys
    assert "theme" not in keys, "only a parameter with variable: true is a plain variable"
    secrets = (_lab_token(site), job.info()["password"])
    assert not [line for line in lines if any(secret in line for secret in secrets)]


def _lab_token(site: Site) -> str:
    return str(ACCOUNTS[site.user.username]["variables"]["LAB_TOKEN"])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", None),
        ("workers", 9),
        ("workers", "two"),
        ("theme", "blue"),
        ("refresh", 15),
        ("refresh", 70),
        ("-verbose", "perhaps"),
        ("cores", "64"),
        ("page", "not base64!"),
        ("page", base64.b64encode(b"x" * 4097).decode()),
    ],
    ids=[
        *("title missing", "too many", "no number", "not a choice", "off step", "off range", "no bool", "const"),
        *("upload not base64", "upload too large"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(portal: Portal, key: str, value: Any) -> None:
    """Submit answers 400, and no job is made."""
    label = "with a wrong value"
    values = {**read_parameters("parameters"), key: value}
    parameters = {name: given for name, given in values.items() if given is not None}
    submission = portal.build_submission("parameters", application={"parameters": parameters}, job_label=label)
    answer = portal.send("POST", "/jarvice/submit", json=submission)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"Missing or Malformed API Syntax: application.parameters.{key}: ")
    assert portal.get("jobs", all="true", label=label) == {}


def test_an_account_without_the_required_variable_is_refused(other: Portal) -> None:
    """user2 lacks LAB_TOKEN; the message names it."""
    submission = other.build_submission("parameters", application={"parameters": read_parameters("parameters")})
    answer = other.send("POST", "/jarvice/submit", json=submission)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Missing or Malformed API Syntax: variables.LAB_TOKEN: ")


def test_a_file_on_the_default_class_survives_its_pod(site: Site, started: Started, folders: list[Path]) -> None:
    """The claim names no class; the pod is deleted, and the one in its place finds what the first one wrote."""
    job = _serving(started, "storage")
    first, starts = _read_storage(job)
    assert len(starts) == 1
    with nested_kubectl(site.target, job.number) as inside:
        claim = inside.get("persistentvolumeclaim", "data", "--namespace=default")
        classes = inside.get("storageclasses")["items"]
        inside.run("delete", "pod", "--selector=app=web", "--namespace=default", timeout_s=_REPLACED_S)
    assert claim["status"]["phase"] == "Bound"
    default = "storageclass.kubernetes.io/is-default-class"
    marked = [c["metadata"]["name"] for c in classes if c["metadata"].get("annotations", {}).get(default) == "true"]
    assert marked == [claim["spec"]["storageClassName"]]

    def replaced() -> list[str]:
        code, text = job.page()
        if code != 200 or text.count("started: ") < 2:
            raise NotYetError(f"{code}: {text}")
        return text.splitlines()

    job.wait_for(replaced, timeout_s=_REPLACED_S, what="the page of another pod")
    again, later = _read_storage(job)
    assert again == first
    if site.target.is_testbed:
        assert [folder / "first.txt" for folder in folders if not (folder / "first.txt").is_file()] == []
    assert later[0] == starts[0]
    assert later[1] != starts[0]


def _read_storage(job: TrialJob) -> tuple[list[str], list[str]]:
    """The lines of its page about the first pod, and those about all pods."""
    lines = job.page()[1].splitlines()
    return (
        [line for line in lines if line.startswith("written first by ")],
        [line for line in lines if line.startswith("started: ")],
    )


def test_only_the_first_target_is_exposed(site: Site, started: Started) -> None:
    """One Ingress with one path; the pods on the host carry the LimitRange that the AppDef has as base64."""
    job = _serving(started, "two-targets")
    ingresses = site.kubectl.get("ingresses", f"--namespace={job.namespace}")["items"]
    paths = [path for ingress in ingresses for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert len(paths) == 1
    pods = job.pods(selector="vcluster.loft.sh/namespace=default")
    resources = [pod["spec"]["containers"][0]["resources"] for pod in pods]
    limited = {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "20m", "memory": "32Mi"}}
    assert [{part: _without_ephemeral(each[part]) for part in limited} for each in resources] == [limited, limited]
    help_text = job.info()["help"]
    assert "gotty-shell" not in help_text, "the AppDef says no to the shell"


def _without_ephemeral(quantities: dict[str, str]) -> dict[str, str]:
    """kns adds the share of ephemeral storage to the AppDef's limits: tests/e2e/test_limits.py."""
    return {name: amount for name, amount in quantities.items() if name != "ephemeral-storage"}


@pytest.mark.parametrize("app", _APPS)
def test_at_the_end_nothing_is_left_but_the_record(
    site: Site, started: Started, stopped: dict[str, list[str]], app: str
) -> None:
    """Last of this file: all are shut down and COMPLETED, the output is kept, no object and no volume is left."""
    job = started[app]
    if isinstance(job, AssertionError):
        raise job
    assert job.wait_until_ended(timeout_s=END_S) == "COMPLETED"
    assert job.output() == [*stopped[app], _SHUT_DOWN]
    job.wait_until_removed()

    def gone() -> None:
        claimed = [volume["metadata"]["name"] for volume in _claimed_volumes(site, job)]
        if strays := [*find_leftovers(site.kubectl, job.number).strays, *claimed]:
            raise NotYetError(", ".join(strays))

    job.wait_for(gone, timeout_s=END_S, what="nothing left")


def test_a_volume_of_the_default_class_takes_its_directory_along(
    site: Site, started: Started, folders: list[Path], stopped: dict[str, list[str]]
) -> None:
    """On the node, which is this machine, the directory existed with what the pods wrote, and is gone."""
    job = started["storage"]
    if not site.target.is_testbed:
        pytest.skip("the nodes of a cluster other than the testbed are out of reach")
    assert isinstance(job, TrialJob)
    assert len(folders) == 1
    assert folders[0].parent == paths.VOLUMES
    job.wait_until_removed()

    def gone() -> None:
        if folders[0].exists():
            raise NotYetError(f"{folders[0]} is there")

    job.wait_for(gone, timeout_s=END_S, what="no directory left on the node")


def _claimed_volumes(site: Site, job: TrialJob) -> list[dict[str, Any]]:
    volumes = site.kubectl.get("persistentvolumes")["items"]
    return [volume for volume in volumes if _claimant(volume) == job.namespace]


def _claimant(volume: dict[str, Any]) -> str:
    """The namespace whose claim has it, "" for none."""
    return str((volume["spec"].get("claimRef") or {}).get("namespace", ""))
