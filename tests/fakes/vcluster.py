"""The chart and the virtual clusters, in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kns.adapters.kube.virtual import PODS_PER_PAGE
from kns.model import names
from kns.model.job.location import Location
from kns.ports import Kind, Object
from tests.fakes.host import copy_of, require_size


class FakeRenderer:
    """The chart's control plane, reduced to the fields that tests use."""

    def render(self, location: Location, build_values: Callable[[Location], Mapping[str, Any]]) -> list[Object]:
        values = build_values(location)
        name = values["exportKubeConfig"]["context"]
        meta = {"name": name, "namespace": name, "labels": values["controlPlane"]["statefulSet"]["labels"]}
        has_volume = values["controlPlane"]["statefulSet"]["persistence"]["volumeClaim"]["enabled"]
        pod_labels = {"app": "vcluster", "release": name, **values["controlPlane"]["statefulSet"]["pods"]["labels"]}
        config = {**meta, "name": f"vc-config-{name}", "labels": {}}
        return [
            {"kind": "Secret", "metadata": config, "data": {"config.yaml": "Y29uZmln"}},
            {"kind": "Service", "metadata": dict(meta), "spec": {}},
            {
                "kind": "StatefulSet" if has_volume else "Deployment",
                "metadata": dict(meta),
                "spec": {
                    "template": {"metadata": {"labels": pod_labels}, "spec": _build_pod(name, values["controlPlane"])}
                },
                "additionalSecrets": values["exportKubeConfig"].get("additionalSecrets", []),
            },
        ]


def _build_pod(name: str, values: Mapping[str, Any]) -> Object:
    registry = values["advanced"]["defaultImageRegistry"] or "ghcr.io"
    image = f"{registry}/loft-sh/kubernetes:{values['distro']['k8s']['version']}"
    return {
        "initContainers": [{"name": "kubernetes", "image": image}],
        "containers": [{"name": "syncer", "image": "ghcr.io/loft-sh/vcluster-oss:0.36.1"}],
        "volumes": [
            {"name": "vcluster-config", "secret": {"secretName": f"vc-config-{name}"}},
            {"name": "binaries", "emptyDir": {}},
            {"name": "data", "emptyDir": {}},
        ],
    }


class FakeVirtualClusters:
    def __init__(self) -> None:
        self.listening = True
        self.ready = True
        self.asked: list[str] = []
        self.namespaces = {"default"}
        self.objects: dict[tuple[str, str, str], Object] = {}  # (kind, namespace, name)
        self.retried: list[str] = []  # "namespace/name" of each pod whose syncer was woken
        self.marks: set[str] = set()  # of stage prepare, of all jobs
        self.fault: Exception | None = None

    def listens(self, namespace: str, server: str) -> bool:
        return self.listening

    def is_ready(self, namespace: str, kubeconfig: str) -> bool:
        self.asked.append(kubeconfig)
        return self.ready

    def apply(self, namespace: str, kubeconfig: str, objects: Sequence[Object]) -> None:
        self._fail()
        for obj in objects:
            require_size(obj)
            namespace = obj["metadata"].get("namespace", "")
            if not namespace or namespace in self.namespaces:
                self.objects[obj["kind"], namespace, obj["metadata"]["name"]] = copy_of(obj)
                mark = obj["metadata"].get("annotations", {}).get(names.RECORD_UID_ANNOTATION)
                if mark and namespace == "default":
                    self.marks.add(mark)

    def find_namespaces(
        self, namespace: str, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]
    ) -> frozenset[str]:
        self._fail()
        return frozenset(each for each in namespaces if (str(kind), each, name) in self.objects)

    def add_pod(self, namespace: str, name: str, *, created: str = "", node: str = "", phase: str = "Pending") -> None:
        """A pod of the tenant. Without a node it waits, for the host's scheduler or because the host refused it."""
        meta = {"namespace": namespace, "name": name, "creationTimestamp": created}
        spec = {"nodeName": node} if node else {}
        self.objects["Pod", namespace, name] = {"metadata": meta, "spec": spec, "status": {"phase": phase}}

    def retry_pods(self, namespace: str, kubeconfig: str, mark: str, page: str) -> str:
        self._fail()
        waiting = sorted(
            key
            for key, obj in self.objects.items()
            if key[0] == "Pod" and obj["status"]["phase"] == "Pending" and not obj["spec"].get("nodeName")
        )
        start = int(page or "0")
        end = start + PODS_PER_PAGE
        pods = [self.objects[key]["metadata"] for key in waiting[start:end]]
        for meta in sorted(pods, key=lambda meta: str(meta["creationTimestamp"])):
            meta["annotations"] = {**meta.get("annotations", {}), names.RETRIED_ANNOTATION: mark}
            self.retried.append(f"{meta['namespace']}/{meta['name']}")
        return str(end) if end < len(waiting) else ""

    def drop_namespace(self, namespace: str) -> None:
        self.namespaces.discard(namespace)
        self.objects = {key: obj for key, obj in self.objects.items() if key[1] != namespace}

    def _fail(self) -> None:
        if self.fault:
            raise self.fault
