"""
Records and namespaces of earlier releases, created in a real cluster while no scheduler runs; this release carries them
on.

They are those of tests/upgrade with numbers of their own, as if made just now. What ran inside them is left out: a
control plane without its pod could not be carried on. The update of an installation with a running job was tried by
hand: docs/reliability.md.
"""

import copy
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE
from kns.model import names
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.scheduler import scheduler_stopped
from tests.e2e.site import Site
from tests.upgrade.stored import StoredLife, list_versions, read_life

COUNTER = ("configmap", "kns-job-numbers", f"--namespace={NAMESPACE}")
STATES = ("submitted", "spawning", "ended", "removed")
_KINDS = ("Namespace", "RoleBinding", "LimitRange", "ResourceQuota")
pytestmark = [
    pytest.mark.alone,
    pytest.mark.proves("main", "Jobs of 0.1.0 continue after an upgrade, whatever their stage"),
]

_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00))"')

Key = tuple[str, str]  # version, state


@pytest.fixture(scope="module")
def carried(site: Site, module_jobs: JobKeeper) -> dict[Key, TrialJob]:
    """One job for each release and state."""
    wanted = [(version, state) for version in list_versions() for state in STATES]
    jobs = {}
    with scheduler_stopped(site.kubectl):
        for key, number in zip(wanted, _take_numbers(site.kubectl, len(wanted)), strict=True):
            life = read_life(*key)
            name = _put(site.kubectl, life, number)
            jobs[key] = module_jobs.adopt(number, name)
    return jobs


def pick(jobs: dict[Key, TrialJob], *states: str) -> list[TrialJob]:
    return [job for (_, state), job in jobs.items() if state in states]


def test_a_live_job_of_an_earlier_release_comes_to_serve_and_leaves_nothing(carried: dict[Key, TrialJob]) -> None:
    jobs = pick(carried, "submitted", "spawning")
    for job in jobs:
        job.wait_until_serving()
        job.stop("shutdown")
    for job in jobs:
        assert job.wait_until_ended() == "COMPLETED"
        job.wait_until_removed()


def test_an_ended_job_of_an_earlier_release_is_removed(carried: dict[Key, TrialJob]) -> None:
    """Its namespace has no mark of the installation and is removed nevertheless."""
    for job in pick(carried, "ended"):
        job.wait_until_removed()
        assert job.entry()["job_status"] == "TERMINATED"


def test_a_removed_job_of_an_earlier_release_is_still_listed(carried: dict[Key, TrialJob]) -> None:
    for job in pick(carried, "removed"):
        assert job.entry()["job_status"] == "TERMINATED"
        assert job.is_gone()


def _take_numbers(kubectl: Kubectl, count: int) -> range:
    """Take them as kns does, which does not run now, so that no job gets one of them a second time."""
    last = int(kubectl.get(*COUNTER)["data"]["last"])
    kubectl.run("patch", *COUNTER, "--type=merge", f"--patch={json.dumps({'data': {'last': str(last + count)}})}")
    return range(last + 1, last + 1 + count)


def _put(kubectl: Kubectl, life: StoredLife, number: int) -> str:
    """Create record and namespace. Returns the job's name."""
    record = _made_now(life, life.record, number)
    status = record.pop("status")
    created = json.loads(kubectl.run("create", "--filename=-", "--output=json", stdin=json.dumps(_new(record))))
    kubectl.run(
        *("patch", "nj", created["metadata"]["name"], f"--namespace={NAMESPACE}", "--subresource=status"),
        *("--type=merge", f"--patch={json.dumps({'status': status})}"),
    )
    for obj in life.objects:
        if obj["kind"] in _KINDS:
            new = _new(_made_now(life, obj, number))
            if annotations := new["metadata"].get("annotations"):
                annotations[names.RECORD_UID_ANNOTATION] = created["metadata"]["uid"]
            kubectl.run("create", "--filename=-", stdin=json.dumps(new))
    return str(record["spec"]["accepted"]["name"])


def _made_now(life: StoredLife, obj: dict[str, Any], number: int) -> dict[str, Any]:
    """The same object with another number; its times are as long ago as they were then."""
    shift = datetime.now(UTC) - life.now

    def later(found: re.Match[str]) -> str:
        return f'"{_write(datetime.fromisoformat(found[1].replace("Z", "+00:00")) + shift)}"'

    text = _TIME.sub(later, json.dumps(obj))
    text = text.replace(f"kns-job-{life.number}", f"kns-job-{number}").replace(
        f"-{life.number:05d}-", f"-{number:05d}-"
    )
    new: dict[str, Any] = json.loads(text)
    labels = new["metadata"].get("labels", {})
    if names.JOB_LABEL in labels:
        labels[names.JOB_LABEL] = str(number)
    if new["kind"] == names.RECORD_KIND:
        new["spec"]["accepted"]["number"] = number
    return new


def _write(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _new(obj: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that the API server sets."""
    meta = {
        key: value for key, value in obj["metadata"].items() if key in ("name", "namespace", "labels", "annotations")
    }
    if obj["kind"] == names.RECORD_KIND:
        meta["finalizers"] = obj["metadata"]["finalizers"]
    return {**copy.deepcopy(obj), "metadata": copy.deepcopy(meta)}
