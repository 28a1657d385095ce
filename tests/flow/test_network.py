"""NetworkPolicies of a job, and the level of Pod Security that the site sets."""

import pytest

from kns.model.site import NetworkSettings
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation


def test_policies_are_there_before_anything_runs(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    applied = [call.removeprefix("apply ") for call in sim.host.calls if call.startswith("apply ")]
    policies = [f"NetworkPolicy kns-job-7/{name}" for name in ("kns-default", "kns-control-plane", "kns-app")]
    assert [call for call in applied if call in policies] == policies
    assert max(map(applied.index, policies)) < applied.index("Deployment kns-job-7/kns-job-7")


def test_a_site_can_do_without_them(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(network=None)
    sim.submit(job)
    sim.run(until="serving")
    assert not [call for call in sim.host.calls if "NetworkPolicy" in call]


def test_the_sites_settings_are_in_them(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(network=NetworkSettings(internet=False))
    sim.submit(job)
    sim.run(until="serving")
    policy = sim.host.read(Kind.NETWORK_POLICY, "kns-job-7", "kns-app")
    assert policy is not None
    assert policy["spec"]["egress"] == []


@pytest.mark.parametrize("level", ["baseline", "privileged"])
def test_the_namespace_enforces_the_sites_pod_security(sim: Simulation, job: JobBuilder, level: str) -> None:
    sim.configure(pod_security=level)
    sim.submit(job)
    sim.step()
    namespace = sim.host.read(Kind.NAMESPACE, "", "kns-job-7")
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level
