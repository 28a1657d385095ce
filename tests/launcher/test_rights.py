"""The comparison of an account's requests with the minimal Role."""

from dataclasses import replace

import pytest

from kns.launcher.tools.roles import MINIMAL
from testbed.audit import Request
from tests.launcher.rights import NEVER_LOGGED, compare

IN = "jobs"
LIST_PODS = Request("u", "1", "kns", "list", "", "pods", IN, "/api/v1/namespaces/jobs/pods", 200)


def test_what_the_role_allows_is_used() -> None:
    asked = [
        LIST_PODS,
        replace(LIST_PODS, verb="get", resource="pods/log"),
        replace(LIST_PODS, verb="create", group="batch", resource="jobs"),
        replace(LIST_PODS, verb="get", resource="nodes", namespace=""),
        replace(LIST_PODS, verb="get", resource="", namespace="", path="/version"),
    ]
    found = compare(asked, namespace=IN)
    assert (found.count, found.beyond, found.refused) == (5, frozenset(), frozenset())
    used = {"list pods", "get pods/log", "create jobs.batch", "get nodes"}
    assert found.unused.isdisjoint(used)
    assert len(found.unused) == sum(map(len, MINIMAL.values())) + 1 - len(used)
    assert found.unused > NEVER_LOGGED


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (replace(LIST_PODS, verb="get"), "get pods in jobs"),
        (replace(LIST_PODS, namespace="other"), "list pods in other"),
        (replace(LIST_PODS, namespace=""), "list pods"),
        (replace(LIST_PODS, group="metrics.k8s.io"), "list pods.metrics.k8s.io in jobs"),
        (replace(LIST_PODS, resource="pods/exec", verb="delete"), "delete pods/exec in jobs"),
        (replace(LIST_PODS, resource="nodes", verb="list", namespace=""), "list nodes"),
        (replace(LIST_PODS, resource="nodes", verb="get"), "get nodes in jobs"),
        (replace(LIST_PODS, resource="", namespace="", path="/metrics", verb="get"), "get /metrics"),
        (replace(LIST_PODS, resource="", namespace="", path="/version", verb="post"), "post /version"),
    ],
)
def test_everything_else_is_beyond_it(request_: Request, said: str) -> None:
    assert compare([LIST_PODS, request_], namespace=IN).beyond == {said}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_request(status: int) -> None:
    """Also if the Role of this checkout has it: then that in the cluster is another one."""
    found = compare([replace(LIST_PODS, status=status)], namespace=IN)
    assert (found.beyond, found.refused) == (frozenset(), frozenset({"list pods in jobs"}))
