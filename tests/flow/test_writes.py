"""
What a whole life costs the host's API server in writes, as a table. A change of it shows a new cost at once.

docs/performance.md says what each write is for, and decision 48 which were left out and which could not be.
"""

from collections import Counter

from kns.model.job.job import StopReason
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation

# Before the life: the counter of the numbers and the record. The fakes do not make these two writes.
LIFE = {
    "apply Namespace": 1,
    "apply RoleBinding": 2,  # kns's own rights, and the syncer's
    "apply NetworkPolicy": 3,
    "apply LimitRange": 1,
    "apply ResourceQuota": 2,  # the job's limits; no pods at its end
    "apply PodDisruptionBudget": 1,  # not of a control plane with a volume
    "apply Secret": 4,  # configuration and certificates of the control plane; files and environment of the init pod
    "apply Service": 3,  # the chart's; kns-target before and after the target is known
    "apply Deployment": 1,
    "apply Job": 1,
    "apply Ingress": 1,
    "delete Namespace": 1,
    "delete_pods": 2,  # the tenant's, and those that are left in the terminating namespace
    "tokens": 1,
    "output": 1,
    "request_stop": 1,
    "write_status": 5,  # spawning, started, serving, ended, removed
}


def count_writes(sim: Simulation) -> dict[str, int]:
    host = Counter(" ".join(call.split()[: 1 if call.startswith("delete_pods") else 2]) for call in sim.host.calls)
    records = Counter(write.split()[0] for write in sim.store.writes)
    records.pop("create", None)
    return {**host, **records, "tokens": len(sim.tokens.tokens), "output": sim.outputs.writes}


def test_a_life_makes_these_writes_and_no_other(sim: Simulation, job: JobBuilder) -> None:
    """The fake renders no ServiceAccounts; the chart makes two."""
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert count_writes(sim) == LIFE
