"""The chart and the virtual clusters, in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kns.model import names
from kns.model.job.location import Location
from kns.ports import Kind, Object
from tests.fakes.host import copy_of


class FakeRenderer:
    """The chart's control plane, reduced to the fields that tests use."""

    def render(self, location: Location, build_values: Callable[[Location], Mapping[str, Any]]) -> list[Object]:
        values = build_values(location)
        name = values["exportKubeConfig"]["context"]
        meta = {"name": name, "namespace": name, "labels": values["controlPlane"]["statefulSet"]["labels"]}
        has_volume = values["controlPlane"]["statefulSet"]["persistence"]["volumeClaim"]["enabled"]
        pod_labels = {"app": "vcluster", "release": name, **values["controlPlane"]["statefulSet"]["pods"]["labels"]}
        return [
            {"kind": "Service", "metadata": dict(meta), "spec": {}},
            {
                "kind": "StatefulSet" if has_volume else "Deployment",
                "metadata": dict(meta),
                "spec": {"template": {"metadata": {"labels": pod_labels}}},
                "additionalSecrets": values["exportKubeConfig"].get("additionalSecrets", []),
            },
        ]


class FakeVirtualClusters:
    def __init__(self) -> None:
        self.ready = True
        self.asked: list[str] = []
        self.namespaces = {"default"}
        self.objects: dict[tuple[str, str, str], Object] = {}  # (kind, namespace, name)
        self.marks: set[str] = set()  # of stage prepare, of all jobs
        self.fault: Exception | None = None

    def is_ready(self, kubeconfig: str) -> bool:
        self.asked.append(kubeconfig)
        return self.ready

    def apply(self, kubeconfig: str, objects: Sequence[Object]) -> None:
        self._fail()
        for obj in objects:
            namespace = obj["metadata"].get("namespace", "")
            if not namespace or namespace in self.namespaces:
                self.objects[obj["kind"], namespace, obj["metadata"]["name"]] = copy_of(obj)
                mark = obj["metadata"].get("annotations", {}).get(names.RECORD_UID_ANNOTATION)
                if mark and namespace == "default":
                    self.marks.add(mark)

    def find_namespaces(self, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]) -> frozenset[str]:
        self._fail()
        return frozenset(each for each in namespaces if (str(kind), each, name) in self.objects)

    def drop_namespace(self, namespace: str) -> None:
        self.namespaces.discard(namespace)
        self.objects = {key: obj for key, obj in self.objects.items() if key[1] != namespace}

    def _fail(self) -> None:
        if self.fault:
            raise self.fault
