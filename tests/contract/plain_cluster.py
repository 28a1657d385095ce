"""
What `kns.plain` leans on of `kns.plain.ports.Cluster`, run on the in-memory fake, on the adapter over the small API
server, and on the adapter over a real one. A module with the fixture `subject` inherits the class.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from kns.model.errors import AlreadyExistsError, ConflictError, KnsError, NotFoundError, RefusedError
from kns.plain import names
from kns.plain.job import Container, Mount, PlainJob, Port, Variable
from kns.plain.jobs import Build, PlainJobs
from kns.plain.kept import read_name, unpack
from kns.plain.objects import build_job, build_service, mark_job, mark_service
from kns.plain.ports import Cluster, Kept, Object
from kns.plain.state import choose_pod, read_state
from kns.plain.stored import read_stored
from tests.patience import PATIENCE_S

CLUSTER = "c"
RUNNING = {"running": {"startedAt": "2026-01-05T14:15:31Z"}}
ENDED = {"terminated": {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-05T14:16:31Z"}}
JOB = PlainJob(
    name="a job",
    user="ana",
    container=Container("docker.io/library/busybox:1.35"),
    command="echo",
    environment=tuple(Variable(f"NAME_{number}", f"$(value) {number}") for number in range(40)),
    ports=(Port(80),),
    tags=("one",),
)


@dataclass
class Subject:
    """
    A cluster under test, and what its other clients do: the Job controller makes a pod, the node says its status.
    `changes` are the jobs that the cluster announced.
    """

    cluster: Cluster
    put_pod: Callable[[Object], None]
    set_pod_status: Callable[[str, Object], None]
    number: int = 0
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.subscribe(self.changes.append)

    def build(self, job: PlainJob = JOB, *, name: str = "") -> Object:
        self.number += 1
        obj = mark_job(build_job(job, generate_name="x-"), job, cluster=CLUSTER, generate_name="x-")
        del obj["metadata"]["generateName"]
        obj["metadata"]["name"] = name or f"job-{time.monotonic_ns()}-{self.number}"
        return obj

    def create(self, job: PlainJob = JOB) -> Kept:
        return self.cluster.create_job(self.build(job))

    def make_pod(self, job: Kept, *, suffix: str = "pod") -> str:
        spec = build_job(JOB, generate_name="x-")["spec"]["template"]["spec"]
        labels = {"job-name": read_name(job), names.LABEL: CLUSTER}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{read_name(job)}-{suffix}", "labels": labels}}
        self.put_pod({**pod, "spec": spec})
        return f"{read_name(job)}-{suffix}"

    def set_state(self, pod: str, state: Mapping[str, Any], phase: str) -> None:
        status = {
            "name": names.CONTAINER,
            "image": "i",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        self.set_pod_status(pod, {"phase": phase, "containerStatuses": [status]})

    def until(self, holds: Callable[[], bool]) -> None:
        """Watches need a moment."""
        deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not holds():
            assert time.monotonic() < deadline
            pause.wait(0.02)


class ClusterContract:
    def test_a_created_job_is_there_at_once_with_all_that_is_read_of_it(self, subject: Subject) -> None:
        created = subject.create()
        name = read_name(created)
        assert read_stored(created).job == JOB
        assert read_stored(created).uid
        found = subject.cluster.find_job(name)
        assert found is not None
        assert read_stored(found) == read_stored(created)
        assert name in [read_name(each) for each in subject.cluster.list_jobs()]
        assert subject.cluster.find_job(name) == found
        # The watch reports it once more. From then on it is one object, so that what was made of it is used again.
        subject.until(lambda: subject.cluster.find_job(name) is subject.cluster.find_job(name))

    def test_a_name_is_given_once(self, subject: Subject) -> None:
        name = read_name(subject.create())
        with pytest.raises(AlreadyExistsError):
            subject.cluster.create_job(subject.build(name=name))

    def test_an_impossible_job_is_refused(self, subject: Subject) -> None:
        twice = (Mount("/a", {"emptyDir": {}}), Mount("/a", {"emptyDir": {}}))
        with pytest.raises(RefusedError, match="mountPath"):
            subject.create(PlainJob("a", "ana", Container("i"), mounts=twice))

    def test_what_is_not_there(self, subject: Subject) -> None:
        cluster = subject.cluster
        assert (cluster.find_job("none"), cluster.read_job("none"), cluster.find_service("none")) == (None, None, None)
        assert (list(cluster.list_pods("none")), list(cluster.read_pods("none"))) == ([], [])
        assert (cluster.find_warning(["none"]), cluster.read_node("none")) == ("", None)
        cluster.delete_service("none")
        cluster.delete_job("none", uid="x")
        with pytest.raises(NotFoundError):
            cluster.patch_job("none", {"metadata": {}})
        with pytest.raises(NotFoundError):
            cluster.patch_pod("none", {"metadata": {}})

    def test_a_patch_merges_and_refuses_an_old_version(self, subject: Subject) -> None:
        name = read_name(subject.create())
        before = subject.cluster.read_job(name)
        assert before is not None
        version = before["metadata"]["resourceVersion"]
        note = {"metadata": {"resourceVersion": version, "annotations": {names.ASKED: "stop"}}}
        subject.cluster.patch_job(name, note)
        with pytest.raises(ConflictError):
            subject.cluster.patch_job(name, note)
        after = subject.cluster.find_job(name)
        assert after is not None
        assert (read_stored(after).asked, read_stored(after).job) == ("stop", JOB)
        subject.cluster.patch_job(name, {"metadata": {"annotations": {names.ASKED: None}}})
        cleared = subject.cluster.find_job(name)
        assert cleared is not None
        assert read_stored(cleared).asked == ""

    def test_a_service_is_made_once_and_shows_the_port_of_the_nodes(self, subject: Subject) -> None:
        job = subject.create()
        name = read_name(job)
        service = mark_service(
            build_service(JOB, job_id=name, service=name), cluster=CLUSTER, service=name, job_object=job
        )
        subject.cluster.create_service(service)
        subject.cluster.create_service(service)
        subject.until(lambda: subject.cluster.find_service(name) is not None)
        found = subject.cluster.find_service(name)
        assert found is not None
        (port,) = found["spec"]["ports"]
        assert (port["targetPort"], port["protocol"]) == (80, "TCP")
        assert port["nodePort"] >= 30000
        subject.cluster.delete_service(name)
        subject.until(lambda: subject.cluster.find_service(name) is None)

    def test_pods_are_found_by_their_job_and_announced(self, subject: Subject) -> None:
        job = subject.create()
        name = read_name(job)
        subject.changes.clear()
        pod = subject.make_pod(job)
        subject.until(lambda: [each["metadata"]["name"] for each in subject.cluster.list_pods(name)] == [pod])
        subject.until(lambda: name in subject.changes)
        assert [each["metadata"]["name"] for each in subject.cluster.read_pods(name)] == [pod]

    @pytest.mark.parametrize(
        ("state", "phase", "status"), [(RUNNING, "Running", "Running"), (ENDED, "Failed", "Finished")]
    )
    def test_the_state_comes_from_what_is_kept_of_a_pod(
        self, subject: Subject, state: Mapping[str, Any], phase: str, status: str
    ) -> None:
        job = subject.create()
        name = read_name(job)
        pod = subject.make_pod(job)
        subject.set_state(pod, state, phase)

        def read() -> str:
            return str(read_state(read_stored(job), unpack(job), choose_pod(subject.cluster.list_pods(name))).status)

        subject.until(lambda: read() == status)
        assert read_state(read_stored(job), unpack(job), choose_pod(subject.cluster.read_pods(name))).status == status

    def test_the_deadline_of_a_pod_can_be_set(self, subject: Subject) -> None:
        pod = subject.make_pod(subject.create())
        subject.cluster.patch_pod(pod, {"spec": {"activeDeadlineSeconds": 1}})

    def test_logs_commands_and_inputs_need_a_container(self, subject: Subject) -> None:
        cluster = subject.cluster
        with pytest.raises(NotFoundError):
            cluster.open_log("none", names.CONTAINER, stream="", since="", follow=False)
        pod = subject.make_pod(subject.create())
        with contextlib.suppress(RefusedError):  # a pod without a node has an empty log instead
            assert b"".join(cluster.open_log(pod, names.CONTAINER, stream="", since="", follow=False)) == b""
        with pytest.raises(KnsError):
            cluster.run_in(pod, names.CONTAINER, ("true",))
        with pytest.raises(KnsError):
            cluster.send_input(pod, names.CONTAINER, b"x")

    def test_another_job_of_the_name_is_not_deleted(self, subject: Subject) -> None:
        job = subject.create()
        subject.cluster.delete_job(read_name(job), uid="another")
        assert subject.cluster.read_job(read_name(job)) is not None
        subject.changes.clear()
        subject.cluster.delete_job(read_name(job), uid=read_stored(job).uid)
        subject.until(lambda: subject.cluster.find_job(read_name(job)) is None)
        subject.until(lambda: read_name(job) in subject.changes)

    def test_a_job_that_changes_in_nothing_that_is_kept_is_equal_and_has_its_new_version(
        self, subject: Subject
    ) -> None:
        job = subject.create()
        before = subject.cluster.find_job(read_name(job))
        subject.cluster.patch_job(read_name(job), {"metadata": {"annotations": {"example.org/other": "x"}}})
        after = subject.cluster.find_job(read_name(job))
        assert before is not None
        assert after == before
        assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]

    def test_the_jobs_of_kns_plain_stand_on_it(self, subject: Subject, tmp_path: Any) -> None:
        from kns.plain.inputs import InputFiles

        build = Build(
            lambda job, generate_name: build_job(job, generate_name=generate_name),
            lambda job, job_id, service: build_service(job, job_id=job_id, service=service),
        )
        jobs = PlainJobs(subject.cluster, name=CLUSTER, build=build, inputs=InputFiles(tmp_path))
        view = jobs.submit(JOB)
        assert (view.job, jobs.find(view.id, "ana").job) == (JOB, JOB)
        subject.until(lambda: bool(jobs.find(view.id).published))
        assert view.id in [each.id for each in jobs.list_views("ana")]
        assert view.id not in [each.id for each in jobs.list_views("berta")]
