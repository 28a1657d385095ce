"""
A job in a namespace with a virtual cluster that existed before the job's record.

The namespace's number differs from the job's, so a module that derives a name from the job's number fails here.
"""

import json
import re
from dataclasses import replace

import pytest

from kns.model import names
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import AdoptedNamespace, JobState, StopReason
from kns.model.site import KeycloakSettings
from kns.ports import Kind
from kns.stages import NESTED_JOB, STAGES
from tests.builders import JobBuilder, a_job
from tests.fakes.keycloak import MemoryRealm
from tests.flow.conftest import Simulation

MADE_AHEAD = "kns-job-900"
CLAIM = f"data-x-lab-x-{MADE_AHEAD}"


def make_ahead(sim: Simulation, job: JobBuilder) -> AdoptedNamespace:
    """A namespace with a running virtual cluster. It is labelled with the job's number and belongs to no record."""
    nobody = AdoptedNamespace(name=MADE_AHEAD, uid="none")
    sim.lifecycle = replace(NESTED_JOB, stages=STAGES[:2])
    sim.submit(job.with_accepted(adopted=nobody))
    sim.run(until="serving")
    sim.store.force_away(sim.record)
    sim.outputs.outputs.clear()
    sim.lifecycle = NESTED_JOB
    sim.host.change(
        Kind.NAMESPACE, "", MADE_AHEAD, lambda obj: obj["metadata"]["annotations"].pop(names.RECORD_UID_ANNOTATION)
    )
    sim.host.calls.clear()
    namespace = sim.host.read(Kind.NAMESPACE, "", MADE_AHEAD)
    assert namespace is not None
    return AdoptedNamespace(name=MADE_AHEAD, uid=namespace["metadata"]["uid"])


def with_everything(sim: Simulation) -> JobBuilder:
    sim.configure(
        shell_image="registry.example.org/kns-gotty:1",
        keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60),
    )
    sim.identity = MemoryRealm()
    sim.host.claims = {CLAIM: "user1-data"}
    return a_job().with_vault().with_nested(enable_gotty_shell=True, keycloak={"namespace": "lab"})


def test_a_job_lives_and_ends_in_the_namespace_that_its_record_names(sim: Simulation) -> None:
    job = with_everything(sim)
    adopted = make_ahead(sim, job)
    sim.submit(job.with_accepted(adopted=adopted))
    sim.run(until="serving")
    for _ in range(2):  # the volume is bound and the shell runs after the job is exposed
        sim.host.settle()
        sim.step()

    assert sim.job.status.url == "https://kns-job-7.jobs.example.org"
    assert sim.job.status.is_true(ConditionType.SHELL_READY)
    claim = sim.host.read(Kind.PERSISTENT_VOLUME_CLAIM, MADE_AHEAD, CLAIM)
    assert claim is not None
    assert claim["status"] == {"phase": "Bound"}
    namespaces = {line.split(" ", 1)[1].split("/", 1)[0] for line in sim.host.left}
    assert namespaces == {"", MADE_AHEAD}
    assert not [call for call in sim.host.calls if call.startswith(f"apply Deployment {MADE_AHEAD}/{MADE_AHEAD}")]
    # The job's public name is its address, its Keycloak client's id and its shell's title, and nothing else.
    texts = {f"{obj['kind']} {obj['metadata']['name']}": json.dumps(obj) for obj in sim.host.dump()}
    named = {name for name, text in texts.items() if re.search(r"kns-job-7(?!\.jobs)", text)}
    assert named == {"Secret kns-init-env", "Deployment kns-shell"}

    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.COMPLETED
    assert sim.host.left == []


def test_the_first_reconcile_marks_the_namespace_with_the_record(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job.with_accepted(adopted=make_ahead(sim, job)))
    sim.step()
    namespace = sim.host.read(Kind.NAMESPACE, "", MADE_AHEAD)
    assert namespace is not None
    assert namespace["metadata"]["annotations"][names.RECORD_UID_ANNOTATION] == sim.job.uid


def test_the_record_says_that_the_cluster_is_usable_before_anything_is_made_in_it(
    sim: Simulation, job: JobBuilder
) -> None:
    """The init pod takes longest, so its Job comes even before that."""
    sim.submit(job.with_accepted(adopted=make_ahead(sim, job)))
    inside = dict(sim.virtual.objects)
    assert sim.step().summary == "started"
    status = sim.job.status
    assert (status.job_status, status.activity) == (JobState.PROCESSING, "preparing virtual cluster")
    assert [c.type for c in status.conditions if c.is_true] == ["NamespaceReady", "VirtualClusterReady"]
    assert f"Job {MADE_AHEAD}/kns-init" in sim.host.left
    assert sim.virtual.objects == inside


def test_a_record_deleted_before_the_first_reconcile_takes_the_namespace_along(
    sim: Simulation, job: JobBuilder
) -> None:
    sim.submit(job.with_accepted(adopted=make_ahead(sim, job)))
    sim.store.delete(sim.job)
    sim.run(until="released")
    assert sim.host.left == []


@pytest.mark.parametrize("owner", ["another record", "no record"])
def test_a_namespace_that_is_not_the_one_named_is_neither_used_nor_removed(
    sim: Simulation, job: JobBuilder, owner: str
) -> None:
    """The namespace was adopted by another record, or it is a later namespace of the same name."""
    adopted = make_ahead(sim, job)
    if owner == "another record":
        sim.host.change(
            Kind.NAMESPACE,
            "",
            MADE_AHEAD,
            lambda obj: obj["metadata"]["annotations"].update({names.RECORD_UID_ANNOTATION: "another"}),
        )
    else:
        adopted = AdoptedNamespace(name=MADE_AHEAD, uid="uid-of-an-earlier-one")
    before = sim.host.left
    sim.submit(job.with_accepted(adopted=adopted))
    sim.run(until="retained")
    assert sim.job.status.reason == Reason.NAMESPACE_FOREIGN
    assert sim.host.left == before
