"""What is refused at submit, because the job would only fail later."""

import random
from typing import Any

import pytest

from kns.model.appdef.limit_range import parse_limit_range
from kns.model.appdef.resources import admits_side_by_side, find_limit_range_problems
from kns.model.catalog.catalog import parse_catalog
from kns.model.errors import InvalidInputError
from kns.model.reading.problem import key_path
from kns.model.site import parse_jobs_domain
from kns.model.submit.submission import Submission, Terms, accept, build_spec, find_app
from tests.builders import a_catalog, a_submission, an_app, an_appdef, catalog_files
from tests.fakes.stores import START, MemoryJobStore


@pytest.mark.proves(
    "appdef",
    "`limit_range` of the AppDef replaces the site's; one that keeps out kns's own pods is refused",
)
@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"max": {"cpu": 1}}, "[0].max.cpu"),
        ({"min": {"cpu": "100m"}}, "[0].min.cpu"),
        ({"max_limit_request_ratio": {"cpu": 10}}, "[0].max_limit_request_ratio.cpu"),
        ({"type": "Pod", "max": {"memory": "512Mi"}}, "[0].max.memory"),
        ([{"max": {"cpu": 2}}, {"type": "Pod", "max": {"cpu": 1}}], "[1].max.cpu"),
    ],
)
def test_a_limit_range_that_keeps_our_own_containers_out_is_refused(item: Any, path: str) -> None:
    problems = list(find_limit_range_problems(parse_limit_range(item)))
    assert {key_path(problem.location) for problem in problems} == {path}
    assert all("the container" in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("items", "path", "problem"),
    [
        ({"default_request": {"cpu": 4}, "max": {"cpu": 2}}, "[0].default_request.cpu", "4 is above max 2"),
        ({"default": {"x.org/a": 5}, "min": {"x.org/a": 10}}, "[0].min.x.org/a", "10 is above default 5"),
        ([{}, {"default": {"cpu": 1}}], "[1].type", "an earlier item has the type Container"),
        ([{"type": "PersistentVolumeClaim"}], "[0]", "requires min or max of storage"),
        (
            {"max_limit_request_ratio": {"nvidia.com/gpu": "0.5"}},
            "[0].max_limit_request_ratio.nvidia.com/gpu",
            "must be at least 1",
        ),
        ({"default": {"not a resource": "1"}}, "[0].default.not a resource", "is not a resource"),
        ({"default": {"gpu": "1"}}, "[0].default.gpu", "is not a resource"),
    ],
)
def test_a_limit_range_that_the_host_would_refuse_is_refused_before(items: Any, path: str, problem: str) -> None:
    (found,) = find_limit_range_problems(parse_limit_range(items))
    assert key_path(found.location) == path
    assert problem in found.message


@pytest.mark.parametrize(
    "items",
    [
        [{"default": {"cpu": 1}, "max": {"cpu": 2, "memory": "2Gi"}}, {"type": "Pod", "max": {"cpu": 64}}],
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        {"default": {"nvidia.com/gpu": 1, "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"}},
    ],
)
def test_a_limit_range_for_the_tenant_alone_passes(items: Any) -> None:
    assert list(find_limit_range_problems(parse_limit_range(items))) == []


@pytest.mark.parametrize("text", ["*.jobs.example.org", "jobs example.org", "https://jobs.example.org?x=1"])
def test_a_jobs_domain_that_no_host_name_can_stand_below_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_jobs_domain(text)


def _refusal(body: dict[str, Any], *, apps: dict[str, Any] | None = None, user: str = "user1") -> str:
    store, catalog = MemoryJobStore(first_number=5), a_catalog(apps=apps)
    spec = build_spec(Submission.model_validate(body), user=user, body=body)
    with pytest.raises(InvalidInputError) as refused:
        accept(
            spec,
            app=find_app(catalog, spec),
            catalog=catalog,
            terms=Terms(supported_versions=("v1.36",)),
            now=START,
            rng=random.Random(1),
            allot_number=store.allot_number,
        )
    assert store.allot_number() == 5, "a refusal costs no number"
    return str(refused.value)


VAULTS = {
    "data": {"type": "nfs", "address": "10.0.0.1:/home/ana"},
    "six": {"type": "nfs", "address": "[fd00::1]:/home"},
    "lost": {"type": "nfs", "address": "somewhere"},
    "archive": {"type": "ceph", "address": "10.0.0.1:/x"},
}


@pytest.mark.parametrize(
    ("choice", "frozen"),
    [
        (None, None),
        ({"name": "ephemeral"}, None),
        ({"name": "archive"}, None),
        ({"name": "lost"}, None),
        ({"name": "data"}, ("10.0.0.1", "/home/ana", False, "user1-data")),
        ({"name": "data", "readonly": True}, ("10.0.0.1", "/home/ana", True, "user1-data")),
        ({"name": "six"}, ("fd00::1", "/home", False, "user1-six")),
    ],
    ids=["none", "ephemeral", "not NFS", "no address", "NFS", "read-only", "IPv6"],
)
def test_what_a_job_gets_of_its_vault_is_frozen(
    choice: dict[str, Any] | None, frozen: tuple[str, str, bool, str] | None
) -> None:
    """The record keeps the address, whatever the catalogue contains later."""
    body = a_submission(vault=choice)
    spec = build_spec(Submission.model_validate(body), user="user1", body=body)
    catalog = parse_catalog({**catalog_files(), "vaults.json": {"user1": VAULTS}})
    accepted = accept(
        spec,
        app=find_app(catalog, spec),
        catalog=catalog,
        terms=Terms(supported_versions=("v1.36",)),
        now=START,
        rng=random.Random(1),
        allot_number=lambda: 5,
    )
    vault = accepted.vault
    assert (vault and (vault.server, vault.share, vault.readonly, vault.storage_class)) == frozen


def test_the_apps_own_bound_on_nodes_counts() -> None:
    body = a_submission(machine={"type": "kns-small", "nodes": 2})
    assert _refusal(body, apps={"hello": an_app(an_appdef(scale_max=1))}) == "machine.nodes: this app takes at most 1"


def test_an_inactive_account_is_refused_by_hand_as_over_http() -> None:
    assert _refusal(a_submission(), user="idle1") == "user: the account idle1 is not active"


def test_an_empty_walltime_is_none() -> None:
    body = a_submission(application={"command": "Hello", "walltime": ""})
    assert build_spec(Submission.model_validate(body), user="user1", body=body).walltime is None


@pytest.mark.parametrize(
    ("item", "admitted"),
    [
        ({"type": "Pod", "max": {"cpu": 5, "memory": "4Gi"}}, True),
        ({"type": "Pod", "max": {"cpu": 4}}, False),
        ({"type": "Pod", "max": {"memory": "3Gi"}}, False),
        ({"type": "Pod", "max_limit_request_ratio": {"cpu": 49}}, False),
        ({"type": "Pod", "max_limit_request_ratio": {"cpu": 50}}, True),
        ({"type": "Container", "max": {"cpu": 2, "memory": "2Gi"}}, True),
    ],
)
def test_limits_of_whole_pods_may_not_admit_a_pod_with_a_container_for_each_process(
    item: dict[str, Any], admitted: bool
) -> None:
    """Such a job starts with the chart's pod, which has lower limits."""
    assert admits_side_by_side(parse_limit_range(item)) is admitted
