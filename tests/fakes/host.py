"""
A host cluster in memory. It stores what is applied and simulates the controllers that matter to a job.

`settle()` is one step of those controllers: a Deployment gets its pod, the pod becomes ready if it fits a node, the
virtual cluster's syncer writes its certificates and then serves, the web shell runs, an init job's pod waits for the
mark of stage prepare, prints and ends, a claim binds the volume that names it, a deleted volume disappears after its
claim, a terminating namespace disappears. The attributes at the top make each controller fail as the real one does.
"""

import base64
import itertools
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from kns.adapters.kube.keep import choose_copy_keeper, choose_keeper, show_copy
from kns.adapters.recent import RecentObjects
from kns.model import names
from kns.model.errors import ConflictError, ForbiddenError, RefusedError, UnavailableError
from kns.model.job.location import Location
from kns.model.job.member import Member, read_member
from kns.model.job.output import CUT, keep_recent, split_lines
from kns.objects.init import RUN, TAKE, TAKEN_MARK, mounts_app
from kns.objects.prepare_job import CONTAINER as PREPARE
from kns.objects.shell import COMPONENT as SHELL
from kns.ports import MOST_EVENTS, Kind, Object
from tests.fakes.stores import FakeClock, choose_newest

CLUSTER_IP = "10.96.1.7"
MAX_DATA_BYTES = 1024 * 1024
MAX_STORED_BYTES = MAX_DATA_BYTES * 3 // 2
MAX_BODY_BYTES = 3 * MAX_DATA_BYTES
FOR_EVER_S = 600  # longer than any test waits for a pod
Key = tuple[Kind, str, str]
ValueT = TypeVar("ValueT")
UNSCHEDULABLE = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
ADMIN_CONF = b"""\
apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: Y2E=
    server: https://127.0.0.1:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
users:
- name: kubernetes-admin
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
"""  # as the syncer writes it


class FakeHost:
    """Implements `ports.Cluster`. `calls` lists every change, as `<verb> <kind> <namespace>/<name>`."""

    def __init__(self, clock: FakeClock) -> None:
        self.schedulable = True
        self.init_exit: dict[str, Any] | None = {"exitCode": 0}  # None: the init pod never ends
        self.init_log = "[1/1] web, attempt 1\nservice/web created\n"
        self.take_log: str | None = None
        self.prepare_log: str | None = None
        self.pull_error: str | None = None
        self.init_pod_status: dict[str, Any] | None = None  # the init pod has this status and makes no progress
        self.control_plane_down = False  # its pod stays, with a container that crashes
        self.probes_late = False  # the syncer runs, and the kubelet's probes have not passed yet
        self.refused_pod: str | None = None
        self.shell_waits: str | None = None  # why the web shell's container waits; None: it runs
        self.shell_account = True
        self.shell_log: str | None = ""
        self.app_starts = True  # whether the app's pod becomes ready
        self.has_scaled = False
        self.target_appears = True
        self.stuck_pods: set[str] = set()  # their node is lost: they never go, and nobody can read their logs
        self.claims: dict[str, str] = {}  # claims that the templates make: name on the host -> class
        self.namespace_stuck: str | None = None
        self.refuse: dict[Kind, str] = {}
        self.webhooks: dict[Kind, Callable[[Object], None]] = {}  # each changes what is applied of this kind
        self.watches_routes = False  # the site has a Gateway, or the host has the kind
        self.route_cache: str | None = None  # why the cache of HTTPRoutes is not filled; None: it is
        self.route_reason = "Accepted"  # what the Gateway's controller says of each HTTPRoute; "": nothing
        self.is_prepared: Callable[[str], bool] = lambda record_uid: True  # whether the virtual cluster has its mark
        self.calls: list[str] = []
        self._clock = clock
        self._shared = RecentObjects(self.read, clock=clock)
        self._objects: dict[Key, Object] = {}
        self._uids = itertools.count(1)
        self._versions = itertools.count(1)

    # --- ports.Cluster

    def observe(self, kind: Kind, namespace: str, name: str) -> Object | None:
        if kind is Kind.HTTP_ROUTE:
            if not self.watches_routes:
                return None
            self._require_route_cache()
        found = self._objects.get((kind, "" if kind is Kind.NAMESPACE else namespace, name))
        if found is None or names.JOB_LABEL not in (found["metadata"].get("labels") or {}):
            return None
        return _as_cached(kind, found)

    def observe_job(self, kind: Kind, location: Location) -> Sequence[Object]:
        return [
            _as_cached(kind, obj)
            for (k, namespace, _), obj in self._objects.items()
            if k is kind
            and namespace in ("", location.namespace)
            and (labels := obj["metadata"].get("labels") or {}).get(names.JOB_LABEL) == str(location.number)
            and names.SYNCED_LABEL not in labels
        ]

    def observe_routes_at(self, host: str, path: str) -> Sequence[Object]:
        if self.watches_routes:
            self._require_route_cache()
        return [
            copy_of(obj)
            for (kind, namespace, _), obj in self._objects.items()
            if (kind is Kind.INGRESS or (kind is Kind.HTTP_ROUTE and self.watches_routes))
            and names.is_job_object_name(namespace)
            and names.JOB_LABEL in (labels := obj["metadata"].get("labels") or {})
            and names.SYNCED_LABEL not in labels
            and (host, path) in _list_addresses(obj)
        ]

    def _require_route_cache(self) -> None:
        if self.route_cache is not None:
            raise UnavailableError(f"the cache of httproutes is not filled yet: {self.route_cache}")

    def observe_copies(self, kind: Kind, location: Location) -> Sequence[Object]:
        return [
            show_copy(choose_copy_keeper(kind)(copy_of(obj)))
            for (k, namespace, _), obj in self._objects.items()
            if (k, namespace) == (kind, location.namespace)
            and names.SYNCED_LABEL in (obj["metadata"].get("labels") or {})
        ]

    def observe_copy(self, kind: Kind, location: Location, name: str) -> Object | None:
        found = self.observe_copies(kind, location)
        return next((obj for obj in found if obj["metadata"]["name"] == name), None)

    def observe_members(self, installation: str) -> Sequence[Member]:
        namespaces = [obj for (kind, _, _), obj in self._objects.items() if kind is Kind.NAMESPACE]
        ours = [obj for obj in namespaces if _is_of(obj, installation)]
        return [member for obj in ours if (member := read_member(_as_cached(Kind.NAMESPACE, obj))) is not None]

    def observe_free_members(self, installation: str, shape: str) -> Sequence[Member]:
        members = self.observe_members(installation)
        return [member for member in members if member.is_free and member.marks.shape == shape]

    def claim(self, member: Member, annotations: Mapping[str, str]) -> None:
        found = self._objects.get((Kind.NAMESPACE, "", member.namespace))
        if found is None or (found["metadata"]["uid"], self._version_of(found)) != (member.uid, member.version):
            raise ConflictError(f"PATCH namespaces/{member.namespace}: 409, changed since {member.version}")
        self.calls.append(f"claim Namespace /{member.namespace}")
        found["metadata"]["annotations"].update(annotations)
        self._touch(found)

    def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return copy_of(self._objects.get((kind, "" if kind is Kind.NAMESPACE else namespace, name)))

    def read_shared(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return copy_of(self._shared.read(kind, namespace, name))

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        return [
            copy_of(obj)
            for (k, ns, _), obj in self._objects.items()
            if k is kind and ns == namespace and _matches(selector, obj["metadata"].get("labels") or {})
        ]

    def walk_objects(self, kind: Kind) -> Iterator[Object]:
        for place, obj in list(self._objects.items()):
            if place[0] is kind:
                yield copy_of(obj)

    def list_events(self, namespace: str, about: str) -> Sequence[Object]:
        events = self.list_objects(Kind.EVENT, namespace)
        return choose_newest([event for event in events if event["involvedObject"].get("name") == about], MOST_EVENTS)

    def list_metadata(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        dropped = {"annotations", "labels", "managedFields"} if kind is Kind.POD else set()
        found = (obj["metadata"] for obj in self.list_objects(kind, namespace, selector))
        return [{"metadata": {key: value for key, value in meta.items() if key not in dropped}} for meta in found]

    def apply(self, obj: Object) -> Object:
        kind, meta = Kind(obj["kind"]), obj["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        if kind in self.refuse:
            raise RefusedError(f"PATCH {kind}: 403, {self.refuse[kind]}")
        if namespace and (Kind.NAMESPACE, "", namespace) not in self._objects:
            raise RefusedError(f"PATCH {kind}: 404, namespaces {namespace!r} not found")
        old = self._objects.get((kind, namespace, name))
        place = self._objects.get((Kind.NAMESPACE, "", namespace), {"metadata": {}})
        if old is None and "deletionTimestamp" in place["metadata"]:
            raise ForbiddenError(f"PATCH {kind} {namespace}/{name}: 403, namespace {namespace} is being terminated")
        version = meta.get("resourceVersion")
        if version is not None and (old is None or self._version_of(old) != version):
            raise ConflictError(f"PATCH {kind} {namespace}/{name}: 409, changed since {version}")
        require_size(obj)
        self.calls.append(f"apply {kind} {namespace}/{name}")
        if kind is Kind.NAMESPACE and old is not None:
            obj = self._keep_fields_of_others(obj, old)
        if kind in self.webhooks:
            obj = copy_of(obj)
            self.webhooks[kind](obj)
        return self.put(kind, namespace, name, obj)

    @staticmethod
    def _keep_fields_of_others(obj: Object, old: Object) -> Object:
        """A claim is a patch, so apply does not own its annotations. Nobody can undo a deletion."""
        claim = (names.POOL_CLAIM_ANNOTATION, names.POOL_CLAIM_TIME_ANNOTATION)
        before = old["metadata"].get("annotations") or {}
        kept = {key: value for key, value in before.items() if key in claim}
        meta = {**obj["metadata"], "annotations": {**kept, **(obj["metadata"].get("annotations") or {})}}
        if "deletionTimestamp" in old["metadata"]:
            meta["deletionTimestamp"] = old["metadata"]["deletionTimestamp"]
        return {**obj, "metadata": meta}

    def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, version: str | None = None
    ) -> bool:
        found = self._objects.get((kind, namespace, name))
        if found is None or (uid is not None and found["metadata"]["uid"] != uid):
            return False
        if version is not None and self._version_of(found) != version:
            return False
        self.calls.append(f"delete {kind} {namespace}/{name}")
        if "deletionTimestamp" not in found["metadata"]:
            found["metadata"]["deletionTimestamp"] = self._clock.now().isoformat()
            self._touch(found)
        return True

    def delete_pods(self, namespace: str, selector: str, *, grace_s: int) -> None:
        self.calls.append(f"delete_pods {namespace} {selector} grace={grace_s}")
        for pod in self.list_objects(Kind.POD, namespace, selector):
            self._end_pod(self._objects[Kind.POD, namespace, pod["metadata"]["name"]], grace_s)

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int, *, uid: str) -> Object | None:
        found = self._objects.get((kind, namespace, name))
        if found is None or found["metadata"]["uid"] != uid:
            return None
        if kind in self.refuse:
            raise RefusedError(f"PATCH {kind}: 403, {self.refuse[kind]}")
        self.calls.append(f"scale {kind} {namespace}/{name} to {replicas}")
        self.has_scaled = True
        found["spec"]["replicas"] = replicas
        return copy_of(found)

    def has_ready_pod(self, namespace: str, selector: str) -> bool:
        pods = self.list_objects(Kind.POD, namespace, selector)
        return any(_is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)

    def pod_log(self, namespace: str, pod: str, container: str) -> str | None:
        log = self._read_log(namespace, pod, container)
        return None if log is None else _cut(log)

    def pod_log_start(self, namespace: str, pod: str, container: str, *, limit_bytes: int) -> str | None:
        log = self._read_log(namespace, pod, container)
        return None if log is None else log.encode()[:limit_bytes].decode("utf-8", "replace")

    def _read_log(self, namespace: str, pod: str, container: str) -> str | None:
        found = self._objects.get((Kind.POD, namespace, pod))
        if found is None or container == TAKE:
            return self.take_log if found else None
        if container == SHELL:
            return self.shell_log
        assert container in (RUN, PREPARE)
        if pod in self.stuck_pods:
            raise UnavailableError(f"GET pods/{pod}/log: no answer (ReadTimeoutError)")
        log = found.get("log")
        # A pod that mounts the app image takes the templates itself, and prints what the container TAKE would.
        return f"{self.take_log or ''}{TAKEN_MARK}{log or ''}" if mounts_app(found) else log

    # --- a watch cache that is behind

    def snapshot(self) -> "FakeHost":
        """A copy of all objects that no longer changes."""
        still = FakeHost(self._clock)
        still._objects = copy_of(self._objects)
        still.watches_routes, still.route_cache = self.watches_routes, self.route_cache
        return still

    def learn(self, obj: Object) -> None:
        """A cache shows immediately what its own process stored."""
        self._objects[Kind(obj["kind"]), obj["metadata"].get("namespace", ""), obj["metadata"]["name"]] = copy_of(obj)

    # --- changes by tests

    def put(self, kind: Kind, namespace: str, name: str, obj: Mapping[str, Any]) -> Object:
        key = (kind, namespace, name)
        old = self._objects.get(key)
        new = copy_of(dict(obj))
        new.setdefault("kind", str(kind))
        meta = new.setdefault("metadata", {})
        meta |= {"name": name, "uid": old["metadata"]["uid"] if old else f"uid-{next(self._uids)}"}
        if kind is Kind.SERVICE:
            new.setdefault("spec", {}).setdefault("clusterIP", CLUSTER_IP)
        meta.setdefault("creationTimestamp", self._now())
        if old:
            meta["creationTimestamp"] = old["metadata"]["creationTimestamp"]
            new = {**old, **new}
        if kind is Kind.NAMESPACE:
            self._touch(new)
        self._objects[key] = new
        return copy_of(new)

    def _now(self) -> str:
        return self._clock.now().isoformat()

    def _touch(self, namespace: Object) -> None:
        """A new resourceVersion. Only namespaces have one here, because only of them kns uses it."""
        if namespace["kind"] == Kind.NAMESPACE:
            namespace["metadata"]["resourceVersion"] = str(next(self._versions))

    @staticmethod
    def _version_of(obj: Object) -> str:
        return str(obj["metadata"].get("resourceVersion"))

    def put_claim(self, namespace: str, name: str, storage_class: str, **spec: Any) -> Object:
        """A tenant's claim as the syncer copies it to the host."""
        wanted = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {
            "metadata": {"namespace": namespace, "labels": {names.SYNCED_LABEL: namespace}},
            "spec": {"storageClassName": storage_class, **wanted, **spec},
        }
        return self.put(Kind.PERSISTENT_VOLUME_CLAIM, namespace, name, claim)

    def drop(self, kind: Kind, namespace: str, name: str) -> None:
        del self._objects[kind, namespace, name]

    def change(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], None]) -> None:
        change(self._objects[kind, namespace, name])

    @property
    def left(self) -> list[str]:
        """All objects, as `<kind> <namespace>/<name>`."""
        return sorted(f"{kind} {namespace}/{name}" for kind, namespace, name in self._objects)

    def dump(self) -> list[Object]:
        """All objects, each with its namespace, for `restore`."""
        return [
            {**obj, "metadata": {**obj["metadata"], **({"namespace": namespace} if namespace else {})}}
            for (_, namespace, _), obj in self._objects.items()
        ]

    def restore(self, objects: Sequence[Object]) -> None:
        """Restore the objects of `dump`, including their uids."""
        for obj in copy_of(list(objects)):
            meta = obj["metadata"]
            if obj["kind"] == Kind.SERVICE:
                obj["spec"] = {"clusterIP": CLUSTER_IP, **(obj.get("spec") or {})}
            self._objects[Kind(obj["kind"]), meta.get("namespace", ""), meta["name"]] = obj
        self._uids = itertools.count(len(self._objects) + 1000)  # above all existing ones

    def settle(self) -> None:
        for kind, namespace, name in list(self._objects):
            obj = self._objects.get((kind, namespace, name))
            if obj is None:
                continue
            if obj["metadata"].get("deletionTimestamp"):
                self._finish_deletion(kind, namespace, name, obj)
            elif (kind, name) == (Kind.DEPLOYMENT, names.SHELL):
                self._run_shell(namespace, obj)
            elif kind in (Kind.DEPLOYMENT, Kind.STATEFUL_SET):
                self._run_control_plane(namespace, name, obj)
            elif kind is Kind.JOB and name.startswith("kns-prepare-"):
                self._run_prepare(namespace, name, obj)
            elif kind is Kind.JOB:
                self._run_init(namespace, name, obj)
            elif kind is Kind.PERSISTENT_VOLUME_CLAIM:
                self._bind(obj)
            elif kind is Kind.HTTP_ROUTE and self.route_reason:
                self._judge_route(namespace, obj)

    # --- the controllers

    def _judge_route(self, namespace: str, route: Object) -> None:
        """As the controller of the Gateway does, with the standard's conditions."""
        backends = [ref["name"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"]]
        missing = [name for name in backends if (Kind.SERVICE, namespace, name) not in self._objects]
        accepted = self.route_reason == "Accepted"
        conditions = [
            {"type": "Accepted", "status": "True" if accepted else "False", "reason": self.route_reason},
            {
                "type": "ResolvedRefs",
                "status": "False" if missing else "True",
                "reason": "BackendNotFound" if missing else "ResolvedRefs",
                "message": f"no Service {', '.join(missing)}" if missing else "",
            },
        ]
        parents = [{"parentRef": ref, "conditions": conditions} for ref in route["spec"]["parentRefs"]]
        route["status"] = {"parents": parents}

    def _run_shell(self, namespace: str, deployment: Object) -> None:
        pod_key = (Kind.POD, namespace, f"{names.SHELL}-0")
        if deployment["spec"].get("replicas") == 0:
            self._scale_down(pod_key, deployment)
            return
        if pod_key not in self._objects:
            if not self._may_create_pod(namespace):
                return
            self.put(*pod_key, {"metadata": {"labels": deployment["spec"]["template"]["metadata"]["labels"]}})
        state = {"waiting": {"reason": self.shell_waits, "message": "no"}} if self.shell_waits else {"running": {}}
        self._objects[pod_key]["status"] = {"containerStatuses": [{"name": "shell", "state": state}]}
        deployment["status"] = {"replicas": 1, "readyReplicas": 0 if self.shell_waits else 1}

    def _scale_down(self, pod_key: Key, workload: Object) -> None:
        """As the controllers do it: the pod gets its grace period, and the status counts it until it is gone."""
        pod = self._objects.get(pod_key)
        if pod is None:
            workload["status"] = {"replicas": 0, "readyReplicas": 0}
        else:
            self._end_pod(pod, 15)

    def _finish_deletion(self, kind: Kind, namespace: str, name: str, obj: Object) -> None:
        if kind is Kind.PERSISTENT_VOLUME and self._claim_of(obj) is not None:
            return  # Kubernetes protects a bound volume
        if kind is Kind.POD and (name in self.stuck_pods or self._first_grace_s(obj) > FOR_EVER_S):
            return
        if kind is not Kind.NAMESPACE:
            del self._objects[kind, namespace, name]
            if kind is Kind.DEPLOYMENT:
                self._objects.pop((Kind.POD, namespace, f"{name}-0"), None)
        elif self.namespace_stuck:
            obj["status"] = {"conditions": [{"type": "X", "status": "True", "message": self.namespace_stuck}]}
        elif not self._await_pods(name):
            for key in [key for key in self._objects if key[1] == name]:
                del self._objects[key]
            if not obj["metadata"].get("finalizers"):  # the real one says nothing of them either
                del self._objects[kind, namespace, name]

    @staticmethod
    def _end_pod(pod: Object, grace_s: int) -> None:
        """
        As Kubernetes does it: a running grace period can only become shorter, and does so in the pod's object only. Its
        kubelet waits for the first one.
        """
        meta = pod["metadata"]
        meta.setdefault("deletionTimestamp", "now")
        first_s = meta.get("deletionGracePeriodSeconds", grace_s)
        pod.setdefault("kubelet", {"graceSeconds": first_s})
        meta["deletionGracePeriodSeconds"] = min(first_s, grace_s)

    @staticmethod
    def _first_grace_s(pod: Object) -> int:
        told = pod.get("kubelet", {}).get("graceSeconds")
        return int(pod["metadata"].get("deletionGracePeriodSeconds", 0) if told is None else told)

    def _may_create_pod(self, namespace: str) -> bool:
        """Neither a quota of no pods nor the end of the namespace refuses it."""
        quota = self._objects.get((Kind.RESOURCE_QUOTA, namespace, names.DRAIN_QUOTA))
        is_full = quota is not None and quota["spec"]["hard"].get("pods") == "0"
        is_ending = self._objects[Kind.NAMESPACE, "", namespace]["metadata"].get("deletionTimestamp") is not None
        return not is_full and not is_ending

    def _await_pods(self, namespace: str) -> bool:
        """A terminating namespace ends its pods, each with its own grace period. Returns whether one never ends."""
        pods = [obj for (kind, ns, _), obj in self._objects.items() if (kind, ns) == (Kind.POD, namespace)]
        for pod in pods:
            self._end_pod(pod, pod.get("spec", {}).get("terminationGracePeriodSeconds", 30))
        return any(self._first_grace_s(pod) > FOR_EVER_S for pod in pods)

    def _claim_of(self, volume: Object) -> Object | None:
        """The claim that a volume names, if a claim with that uid exists."""
        ref = volume["spec"]["claimRef"]
        claim = self._objects.get((Kind.PERSISTENT_VOLUME_CLAIM, ref["namespace"], ref["name"]))
        return claim if claim is not None and claim["metadata"]["uid"] == ref["uid"] else None

    def _bind(self, claim: Object) -> None:
        for (kind, _, name), volume in self._objects.items():
            wanted = claim["spec"].get("volumeName", name)
            if kind is Kind.PERSISTENT_VOLUME and wanted == name and self._claim_of(volume) is claim:
                claim["spec"]["volumeName"] = name
                claim["status"] = {"phase": "Bound"}

    def _run_control_plane(self, namespace: str, name: str, deployment: Object) -> None:
        pod_key = (Kind.POD, namespace, f"{name}-0")
        if deployment["spec"].get("replicas") == 0:
            self._scale_down(pod_key, deployment)
            return
        is_new = pod_key not in self._objects
        if is_new:
            if not self._may_create_pod(namespace):
                return
            labels = {**deployment["spec"]["template"]["metadata"]["labels"]}
            self.put(*pod_key, {"metadata": {"labels": labels}})
        if not self.schedulable:
            condition = {"type": "PodScheduled", "status": "False", "message": UNSCHEDULABLE}
            self._objects[pod_key]["status"] = {"conditions": [condition]}
            return
        if self.control_plane_down:
            waiting = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
            self._objects[pod_key]["status"] = {
                "containerStatuses": [{"name": "syncer", "state": {"waiting": waiting}}]
            }
            deployment["status"] = {"readyReplicas": 0}
            return
        certs = (Kind.SECRET, namespace, f"{name}-certs")
        if certs not in self._objects:  # the syncer keeps what it finds
            self.put(*certs, {"data": {"admin.conf": base64.b64encode(ADMIN_CONF).decode()}})
        if self.probes_late:
            self._objects[pod_key]["status"] = {"containerStatuses": [{"name": "syncer", "state": {"running": {}}}]}
            deployment["status"] = {"readyReplicas": 0}
            return
        if is_new and not (deployment.get("status") or {}).get("readyReplicas"):  # a control plane starts for a while
            return
        ready = self._objects[pod_key].get("status", {}).get("conditions", [{}])[0]
        if (ready.get("type"), ready.get("status")) != ("Ready", "True"):
            now = self._clock.now().isoformat()
            self._objects[pod_key]["status"] = {
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]
            }
        deployment["status"] = {"replicas": 1, "readyReplicas": 1}
        for secret in deployment.get("additionalSecrets", ()) if self.shell_account else ():
            data = {"certificate-authority": "Y2E=", "token": base64.b64encode(b"token-inside").decode()}
            self.put(Kind.SECRET, namespace, secret["name"], {"data": data})

    def _run_prepare(self, namespace: str, name: str, job: Object) -> None:
        """A pod waits for the ConfigMap that it mounts; then it prints `prepare_log`, or fails if that is None."""
        if (Kind.CONFIG_MAP, namespace, name) not in self._objects or job.get("status"):
            return
        good = self.prepare_log is not None
        pod = {
            "metadata": {"labels": {"batch.kubernetes.io/job-name": name}},
            "status": {"phase": "Succeeded" if good else "Failed", "containerStatuses": [{"imageID": "sha256:1"}]},
            "log": self.prepare_log or "no space left on device",
        }
        self.put(Kind.POD, namespace, f"{name}-1", pod)
        job["status"] = {"succeeded": 1} if good else {"failed": 1}

    def _find_missing_env(self, namespace: str, job: Object) -> str:
        """The first object that a container of the Job takes its environment from and that does not exist, or ""."""
        kinds = {"configMapRef": Kind.CONFIG_MAP, "secretRef": Kind.SECRET}
        pod = job["spec"]["template"].get("spec") or {}  # stored lives have none
        sources = [source for each in pod.get("containers", ()) for source in each.get("envFrom", ())]
        for source in sources:
            for key, ref in source.items():
                if (kinds[key], namespace, ref["name"]) not in self._objects:
                    return f"{kinds[key].lower()} {ref['name']!r}"
        return ""

    def _run_init(self, namespace: str, name: str, job: Object) -> None:
        if self.refused_pod:
            event = {"reason": "FailedCreate", "message": self.refused_pod, "involvedObject": {"name": name}}
            self.put(Kind.EVENT, namespace, "refused", event)
            return
        pod_key = (Kind.POD, namespace, f"{name}-0")
        if job.get("status") and pod_key not in self._objects:  # a Job that has ended makes no pod again
            self._sync_app(namespace, job)
            return
        labels = {**job["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        if pod_key not in self._objects:
            if not self._may_create_pod(namespace):
                return
            template = job["spec"]["template"]
            self.put(*pod_key, {"metadata": {**template["metadata"], "labels": labels}, "spec": template["spec"]})
        pod = self._objects[pod_key]
        if pod["metadata"]["name"] in self.stuck_pods:
            return
        if self.init_pod_status is not None:
            pod["status"] = self.init_pod_status
            return
        if self.pull_error:
            waiting = {"reason": "ImagePullBackOff", "message": self.pull_error}
            status = {"initContainerStatuses": [{"name": TAKE, "state": {"waiting": waiting}}]}
            if mounts_app(pod):
                (app,) = (volume["image"] for volume in pod["spec"]["volumes"] if "image" in volume)
                waiting["message"] = f'Back-off pulling image "{app["reference"]}": {self.pull_error}'
                status = {"containerStatuses": [{"name": RUN, "state": {"waiting": waiting}}]}
            if pod.get("status") != status:  # the kubelet reports it, too
                about = {"kind": "Pod", "name": f"{name}-0", "uid": pod["metadata"]["uid"]}
                event = {"reason": "BackOff", "type": "Normal", "involvedObject": about}
                now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
                self.put(Kind.EVENT, namespace, f"{name}-0.BackOff", {**event, "lastTimestamp": now})
            pod["status"] = status
            return
        if missing := self._find_missing_env(namespace, job):
            waiting = {"reason": "CreateContainerConfigError", "message": f"{missing} not found"}
            pod["status"] = {"containerStatuses": [{"name": RUN, "state": {"waiting": waiting}}]}
            return
        plan = json.loads(self._read_plan(namespace))
        if "awaits" in plan and not self.is_prepared(plan["awaits"]["value"]):  # the container waits inside
            pod["status"] = {"containerStatuses": [{"name": RUN, "state": {"running": {}}}]}
            return
        pod["log"] = self.init_log
        for claim, storage_class in self.claims.items():
            if (Kind.PERSISTENT_VOLUME_CLAIM, namespace, claim) not in self._objects:
                self.put_claim(namespace, claim, storage_class)
        if self.init_exit is None:
            pod["status"] = {"containerStatuses": [{"name": RUN, "state": {"running": {}}}]}
            return
        kind = "Failed" if self.init_exit["exitCode"] else "Complete"
        if not job.get("status"):
            now = self._now()
            end = {"terminated": {**self.init_exit, "finishedAt": now}}
            pod["status"] = {"containerStatuses": [{"name": RUN, "state": end}]}
            job["status"] = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": now}]}
        self._sync_app(namespace, job)

    def _read_plan(self, namespace: str) -> str:
        secret = self._objects[Kind.SECRET, namespace, names.INIT_SECRET]
        text = (secret.get("stringData") or {}).get("plan.json")
        if text is None:  # an init job of 0.1.0 has it in a ConfigMap
            text = self._objects[Kind.CONFIG_MAP, namespace, "kns-init-plan"]["data"]["plan.json"]
        return str(text)

    def _sync_app(self, namespace: str, job: Object) -> None:
        """What the templates made inside: a running syncer copies it, and makes a pod again that somebody deleted."""
        is_complete = job["status"]["conditions"][0]["type"] == "Complete"
        control_plane = self._objects.get((Kind.POD, namespace, f"{namespace}-0"))
        if not (is_complete and self.target_appears) or control_plane is None:
            return
        self.put(Kind.SERVICE, namespace, names.host_name("web", "default", namespace), a_copy(namespace))
        web = (Kind.POD, namespace, f"web-x-default-x-{namespace}")
        if web in self._objects:
            now = self._now()
            ready = {"type": "Ready", "status": "True" if self.app_starts else "False", "lastTransitionTime": now}
            self._objects[web].setdefault("status", {"phase": "Running", "conditions": [ready]})
        elif self._may_create_pod(namespace):
            labels = {"app": "web", names.SYNCED_LABEL: namespace, names.SYNCED_NAMESPACE_LABEL: "default"}
            self.put(*web, {"metadata": {"labels": labels}})


def _cut(log: str) -> str:
    """The end of a log within the bounds of `KubeCluster.pod_log`."""
    kept = keep_recent(split_lines(log))
    return "".join(f"{line}\n" for line in kept) if kept[:1] == [CUT] else log


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _is_of(namespace: Object, installation: str) -> bool:
    return bool((namespace["metadata"].get("labels") or {}).get(names.INSTALLATION_LABEL) == installation)


def _as_cached(kind: Kind, obj: Object) -> Object:
    """A copy of the fields that the watch caches hold."""
    return choose_keeper(kind)(copy_of(obj))


def require_size(obj: Object) -> None:
    """The API server's limits of a request and of the data of a Secret or a ConfigMap, and etcd's of other objects."""
    where = f"PATCH {obj['kind']} {obj['metadata']['name']}"
    sent = len(json.dumps(obj))
    if sent > MAX_BODY_BYTES:
        raise RefusedError(f"{where}: 413, Request entity too large: limit is {MAX_BODY_BYTES}")
    if obj["kind"] not in (Kind.SECRET, Kind.CONFIG_MAP):
        if sent > MAX_STORED_BYTES:
            raise UnavailableError(f"{where}: 500, etcdserver: request is too large")
        return
    is_secret = obj["kind"] == Kind.SECRET
    texts = (obj.get("stringData" if is_secret else "data") or {}).values()
    encoded = (obj.get("data" if is_secret else "binaryData") or {}).values()
    sizes = [*(len(text.encode()) for text in texts), *(len(base64.b64decode(text)) for text in encoded)]
    if sum(sizes) > MAX_DATA_BYTES:
        raise RefusedError(f"{where}: 422, data: Too long: may not be more than {MAX_DATA_BYTES} bytes")


def copy_of(value: ValueT) -> ValueT:
    """A deep copy, several times faster than `copy.deepcopy`; simulations make millions of them."""
    copied: ValueT = pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    return copied


def a_copy(vcluster: str, *, namespace: str = "default", **spec: Any) -> Object:
    """A tenant's Service as vcluster copies it to the host; `spec` replaces keys of its spec."""
    mark = {names.SYNCED_LABEL: vcluster, names.SYNCED_NAMESPACE_LABEL: namespace}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP", "targetPort": "http"}]
    default = {"type": "ClusterIP", "selector": {"app": "web", **mark}, "ports": ports}
    return {"metadata": {"labels": mark}, "spec": {**default, **spec}}


def _list_addresses(route: Object) -> set[tuple[str, str]]:
    """Host and path of everything that an Ingress or an HTTPRoute routes."""
    spec = route["spec"]
    if "hostnames" in spec:
        matches = [match for rule in spec["rules"] for match in rule["matches"]]
        return {(host, match["path"]["value"]) for host in spec["hostnames"] for match in matches}
    return {(rule.get("host"), path["path"]) for rule in spec.get("rules") or () for path in rule["http"]["paths"]}


def _matches(selector: str, labels: Mapping[str, str]) -> bool:
    for term in filter(None, selector.split(",")):
        key, equals, value = term.partition("=")
        if key.startswith("!"):
            if key[1:] in labels:
                return False
        elif key.endswith("!"):
            if labels.get(key[:-1]) == value:
                return False
        elif (key not in labels) if not equals else labels.get(key) != value:
            return False
    return True
