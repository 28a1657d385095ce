"""
What stages and pool lean on of `kns.ports.Cluster` when they write, run on the in-memory host and on the adapter over a
real API server. A module with the fixture `subject` inherits the class.

On the real server nothing but the API server runs, so a namespace that terminates stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from kns.model import names
from kns.model.errors import ConflictError, ForbiddenError, RefusedError
from kns.model.job.member import Marks, build_claim, read_member
from kns.objects.namespace import build_namespace
from kns.ports import Cluster, Kind, Object
from tests.builders import a_job
from tests.fakes.stores import START

INSTALLATION = "kns-system"


@dataclass
class Subject:
    """A cluster under test. `put_pod` is what the syncer does; `number` is of a job that has no namespace yet."""

    cluster: Cluster
    number: int
    put_pod: Callable[[str, str, Object], object]
    pass_time: Callable[[], object] = lambda: None

    @property
    def namespace(self) -> str:
        return f"kns-job-{self.number}"

    def build_namespace(self, marks: Marks | None = None) -> Object:
        job = a_job().numbered(self.number).build()
        assert job.spec.accepted is not None
        return build_namespace(job.spec, job.spec.accepted, record_uid="u1", installation=INSTALLATION, member=marks)

    def make_namespace(self) -> Object:
        return self.cluster.apply(self.build_namespace())

    def apply(self, kind: Kind, name: str, version: str, **fields: Any) -> Object:
        meta = {"name": name, "namespace": self.namespace, "labels": {names.JOB_LABEL: str(self.number)}}
        return self.cluster.apply({"apiVersion": version, "kind": str(kind), "metadata": meta, **fields})

    def apply_secret(self, name: str = "one") -> Object:
        return self.apply(Kind.SECRET, name, "v1", data={"a": "YQ=="})

    def end_namespace(self, found: Object) -> bool:
        return self.cluster.delete(Kind.NAMESPACE, "", self.namespace, uid=found["metadata"]["uid"])


class HostContract:
    def test_a_delete_spares_another_object_of_that_name(self, subject: Subject) -> None:
        subject.make_namespace()
        stored, cluster = subject.apply_secret(), subject.cluster
        assert cluster.delete(Kind.SECRET, subject.namespace, "absent") is False
        assert cluster.delete(Kind.SECRET, subject.namespace, "one", uid="another") is False
        assert cluster.read(Kind.SECRET, subject.namespace, "one") is not None
        assert cluster.delete(Kind.SECRET, subject.namespace, "one", uid=stored["metadata"]["uid"]) is True

    def test_a_namespace_begins_to_end_once(self, subject: Subject) -> None:
        """A second request changes nothing, least of all the time since when it ends."""
        found = subject.make_namespace()
        assert subject.end_namespace(found) is True
        ending = subject.cluster.read(Kind.NAMESPACE, "", subject.namespace)
        assert ending is not None
        subject.pass_time()
        subject.end_namespace(found)
        assert subject.cluster.read(Kind.NAMESPACE, "", subject.namespace) == ending
        assert "deletionTimestamp" in subject.make_namespace()["metadata"], "nobody can undo it"

    def test_nothing_is_made_in_a_namespace_that_is_absent_or_ends(self, subject: Subject) -> None:
        with pytest.raises(RefusedError):
            subject.apply_secret()
        found = subject.make_namespace()
        before = subject.apply_secret()
        subject.end_namespace(found)
        with pytest.raises(ForbiddenError):
            subject.apply_secret("two")
        assert subject.apply_secret()["metadata"]["uid"] == before["metadata"]["uid"], "what is there can be changed"

    def test_a_workload_is_scaled_if_it_is_the_same(self, subject: Subject) -> None:
        subject.make_namespace()
        labels = {"app": "web"}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "example.org/a:1"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod}
        stored = subject.apply(Kind.DEPLOYMENT, "web", "apps/v1", spec=spec)
        place, uid = (Kind.DEPLOYMENT, subject.namespace), stored["metadata"]["uid"]
        assert subject.cluster.scale(*place, "absent", 0, uid=uid) is None
        assert subject.cluster.scale(*place, "web", 0, uid="another") is None
        unchanged = subject.cluster.read(*place, "web")
        assert unchanged is not None
        assert unchanged["spec"]["replicas"] == 1
        scaled = subject.cluster.scale(*place, "web", 0, uid=uid)
        assert scaled is not None
        assert scaled["spec"] == {**stored["spec"], "replicas": 0}
        assert subject.cluster.read(*place, "web") == scaled

    def test_a_member_is_claimed_at_the_version_that_was_seen(self, subject: Subject) -> None:
        cluster = subject.cluster
        member = read_member(cluster.apply(subject.build_namespace(Marks("any", "s1"))))
        assert member is not None
        cluster.claim(member, build_claim("c1", START))
        found = cluster.read(Kind.NAMESPACE, "", subject.namespace)
        assert found is not None
        assert found["metadata"]["annotations"][names.POOL_CLAIM_ANNOTATION] == "c1"
        with pytest.raises(ConflictError):
            cluster.claim(member, build_claim("c2", START))
        stale = subject.build_namespace(Marks("any", "s1"))
        stale["metadata"]["resourceVersion"] = member.version
        with pytest.raises(ConflictError):
            cluster.apply(stale)
        place = (Kind.NAMESPACE, "", subject.namespace)
        assert cluster.delete(*place, uid=member.uid, version=member.version) is False
        assert cluster.read(*place) == found
        assert cluster.delete(*place, uid=member.uid, version=found["metadata"]["resourceVersion"]) is True

    def test_pods_end_by_selector_and_a_grace_period_only_becomes_shorter(self, subject: Subject) -> None:
        subject.make_namespace()
        for name, labels in (("web", {"app": "web"}), ("dns", {"app": "dns"}), ("bare", {})):
            subject.put_pod(subject.namespace, name, {"labels": labels})
        for grace_s in (30, 60, 5):
            subject.cluster.delete_pods(subject.namespace, "app!=dns,!spared", grace_s=grace_s)
        pods = subject.cluster.list_metadata(Kind.POD, subject.namespace)
        told = {pod["metadata"]["name"]: pod["metadata"].get("deletionGracePeriodSeconds") for pod in pods}
        assert told == {"web": 5, "bare": 5, "dns": None}
