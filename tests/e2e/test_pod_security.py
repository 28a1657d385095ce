"""
A site that lets its tenants onto the nodes: KNS_POD_SECURITY=privileged. It needs the setting and a change of the
policy, as docs/security.md says. The setting alone opens nothing, and host paths stay closed in any case.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.scheduler import Settings
from tests.e2e.site import Site
from tests.e2e.stolen import Thief, create, require_refused, with_token_of
from tests.e2e.tenant import ROOT_VOLUME, a_pod, await_event, host_copy
from tests.e2e.waiting import NotYetError, wait_for

_POLICY = "kns-scheduler"
_LEVELS = ("levels", "['baseline', 'restricted']", "['baseline', 'restricted', 'privileged']")
_SOON_S = 60.0  # until the API server applies a policy that was changed
_PRIVILEGED: dict[str, Any] = {"securityContext": {"privileged": True}}


pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def _setting(settings: Settings) -> None:
    settings.use(KNS_POD_SECURITY="privileged")


def _try_a_namespace(thief: Thief) -> int:
    """Try in a dry run what kns would create; the status of the answer."""
    labels = {
        "app.kubernetes.io/managed-by": "kns",
        "kns.io/job": "900000000000000000",
        "kns.io/installation": NAMESPACE,
        "pod-security.kubernetes.io/enforce": "privileged",
    }
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "kns-job-900000000000000000", "labels": labels},
    }
    answer = thief.tries(create("make a namespace", "/api/v1/namespaces", body))
    if answer.status_code != 201:
        require_refused(answer)
    return answer.status_code


@contextlib.contextmanager
def _policy_admits(site: Site, thief: Thief) -> Iterator[None]:
    """Add `privileged` to the policy's levels, and remove it afterwards; each time, wait until that has effect."""

    def write(before: str, after: str) -> None:
        variables = site.kubectl.get("validatingadmissionpolicy", _POLICY)["spec"]["variables"]
        (index,) = (i for i, variable in enumerate(variables) if variable["name"] == _LEVELS[0])
        path = f"/spec/variables/{index}/expression"
        patch = [{"op": "test", "path": path, "value": before}, {"op": "replace", "path": path, "value": after}]
        site.kubectl.run("patch", "validatingadmissionpolicy", _POLICY, "--type=json", f"--patch={json.dumps(patch)}")

    def await_status(wanted: int) -> None:
        def probe() -> None:
            if (status := _try_a_namespace(thief)) != wanted:
                raise NotYetError(f"a privileged namespace: {status}")

        wait_for(probe, timeout_s=_SOON_S, what=f"the policy answering {wanted}")

    _, usual, wide = _LEVELS
    write(usual, wide)
    try:
        await_status(201)
        yield
    finally:
        write(wide, usual)
        await_status(422)


def test_the_setting_alone_opens_nothing(jobs: JobKeeper) -> None:
    """The job ends, and its output says why."""
    job = jobs.submit("hello")
    assert job.wait_until_ended() == "COMPLETED WITH ERROR"
    status = job.record()["status"]
    assert status["reason"] == "RefusedByHost"
    assert "enforces Pod Security baseline or restricted" in status["message"]
    assert job.output()[-1] == status["message"]
    assert job.is_gone()


def test_with_both_a_tenant_may_be_privileged_and_still_mount_no_path_of_the_host(site: Site, jobs: JobKeeper) -> None:
    with with_token_of(site, "kns-sa", NAMESPACE) as thief, _policy_admits(site, thief):
        job = jobs.submit("hello")
        job.wait_until_serving()
        labels = site.kubectl.get("namespace", job.namespace)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
        with nested_kubectl(site.target, job.number) as inside:
            for pod in (a_pod("privileged", container=_PRIVILEGED), a_pod("host-path", **ROOT_VOLUME)):
                inside.run("apply", "--filename=-", stdin=json.dumps(pod))
            copy = host_copy(site, job, "privileged")
            assert copy["spec"]["containers"][0]["securityContext"]["privileged"] is True
            await_event(job, inside, "host-path", "may not mount storage by itself")
        job.stop("terminate")
        assert job.wait_until_ended() == "TERMINATED"
        job.wait_until_removed()
