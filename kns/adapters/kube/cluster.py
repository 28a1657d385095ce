"""The host cluster: watch caches for objects that are read often, direct calls for all others."""

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from kns.adapters.kube.addresses import READ_ADDRESSES
from kns.adapters.kube.belonging import index_member, index_namespace, is_of_job, namespace_of
from kns.adapters.kube.client import ANSWER_TIMEOUT_S, APPLY, MERGE, METADATA, KubeClient
from kns.adapters.kube.keep import choose_copy_keeper, choose_keeper, keep_event, show_copy
from kns.adapters.kube.kinds import COPIED, KINDS, OPTIONAL, WATCHED
from kns.adapters.kube.nodes import walk
from kns.adapters.kube.throttle import Throttle
from kns.adapters.kube.watch import WatchCache
from kns.adapters.recent import RecentObjects
from kns.adapters.retry import retry_while_forbidden
from kns.logs import get_logger
from kns.model import names
from kns.model.catalog.free import NOTHING, Amounts, Selector, add_amounts, read_selector
from kns.model.errors import ConflictError, ForbiddenError, KnsError, NotFoundError, RefusedError, TransientError
from kns.model.job.location import Location
from kns.model.job.member import Member, read_member
from kns.model.job.output import CUT, MAX_BYTES, MAX_LINES
from kns.model.reading.event_time import read_event_time
from kns.model.reading.quantity import parse_quantity
from kns.ports import MOST_EVENTS, MOST_EVENTS_READ, MOST_WARNINGS, Clock, Kind, Object

_CLOSE_TRIES = 3  # of a log that is too long, before its length is reduced quickly
_NAMESPACE, _ADDRESS, _MEMBER = "namespace", "address", "member"  # the indexes of the caches
_REQUESTS = ("requests.cpu", "requests.memory", "requests.nvidia.com/gpu")
_TEXTS = frozenset({"annotations", "labels", "managedFields"})
_READY_PAGE = 20  # pods; a pod of a tenant may have 256 KiB of annotations
_LOG_TIMEOUT_S = 10.0  # without a byte, however long the log takes: a lost node's kubelet never answers
_LEAST_S = 2.0  # for another page of Events
_FORMER_RETRY_S = 60.0
_LIST_TIMEOUT_S = 10.0  # HTTP requests wait for lists too, and must be answered within 20 s

log = get_logger(__name__)


class KubeCluster:
    """
    Implements `ports.Cluster`.

    `on_change` receives the kind and the job's namespace of a changed object. `throttle` limits the rate of writes.
    `optional` lists the optional kinds that the settings need. If the host does not have such a kind, its cache never
    syncs, so nothing may wait for it. Of the others, running jobs may have objects from earlier settings; kns watches
    them if the host has the kind when kns starts.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        clock: Clock,
        on_change: Callable[[Kind, str], None],
        throttle: Throttle,
        optional: Sequence[Kind] = (),
    ) -> None:
        self._client = client
        self._clock = clock
        self._throttle = throttle
        self._on_change = on_change
        self._shared = RecentObjects(self.read, clock=clock)
        self._caches = {
            kind: WatchCache(
                client,
                KINDS[kind],
                clock=clock,
                keep=choose_keeper(kind),
                selector=names.OWN_SELECTOR,
                wanted=partial(is_of_job, kind),
                indexes={_NAMESPACE: partial(index_namespace, kind)}
                | ({_ADDRESS: READ_ADDRESSES[kind]} if kind in READ_ADDRESSES else {})
                | ({_MEMBER: index_member} if kind is Kind.NAMESPACE else {}),
                on_change=partial(self._announce_own, kind),
            )
            for kind in (*WATCHED, *OPTIONAL)
        }
        self._former = frozenset(OPTIONAL) - frozenset(optional)
        self._copies = {
            kind: WatchCache(
                client,
                KINDS[kind],
                clock=clock,
                called=f"copies of {KINDS[kind].plural}" if kind in self._caches else "",
                keep=choose_copy_keeper(kind),
                selector=names.SYNCED_LABEL,
                wanted=partial(is_of_job, kind),
                indexes={_NAMESPACE: partial(index_namespace, kind)},
                on_change=partial(self._announce, kind),
            )
            for kind in COPIED
        }

    @property
    def caches(self) -> Sequence[WatchCache[Object]]:
        """Those that must be up to date. Kinds of earlier settings are not among them: the host may not have them."""
        own = (cache for kind, cache in self._caches.items() if kind not in self._former)
        return (*own, *self._copies.values())

    @property
    def required_caches(self) -> Sequence[WatchCache[Object]]:
        """The caches that must have synced before the first reconcile."""
        own = (cache for kind, cache in self._caches.items() if not KINDS[kind].optional)
        return (*own, *self._copies.values())

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        runs = [(cache.kind, cache.run) for cache in self.caches]
        runs += [(self._caches[kind].kind, partial(self._run_former, kind)) for kind in self._former]
        threads = [threading.Thread(target=run, args=(stop,), name=f"watch-{kind}", daemon=True) for kind, run in runs]
        for thread in threads:
            thread.start()
        return threads

    def _run_former(self, kind: Kind, stop: threading.Event) -> None:
        """Watch a kind of earlier settings, unless the host does not have it."""
        row, told = KINDS[kind], False
        while not stop.is_set():
            try:
                self._client.request("GET", row.path(), query={"labelSelector": names.OWN_SELECTOR, "limit": "1"})
            except NotFoundError:
                return
            except KnsError as error:  # for some moments also if the host has just started
                if not told:
                    log.warning("kind_not_watched", kind=row.plural, error=str(error), retry_s=_FORMER_RETRY_S)
                told = True
                stop.wait(_FORMER_RETRY_S)
            else:
                self._caches[kind].run(stop)

    def observe(self, kind: Kind, namespace: str, name: str) -> Object | None:
        cache = self._caches[kind]
        if kind in self._former and not cache.is_synced:
            return None
        return cache.get(namespace if KINDS[kind].namespaced else "", name)

    def observe_job(self, kind: Kind, location: Location) -> Sequence[Object]:
        label = str(location.number)
        found = self._caches[kind].select(_NAMESPACE, location.namespace)
        return [obj for obj in found if (obj["metadata"].get("labels") or {}).get(names.JOB_LABEL) == label]

    def observe_routes_at(self, host: str, path: str) -> Sequence[Object]:
        kinds = [kind for kind in READ_ADDRESSES if kind not in self._former or self._caches[kind].is_synced]
        return [route for kind in kinds for route in self._caches[kind].select(_ADDRESS, (host, path))]

    def observe_copies(self, kind: Kind, location: Location) -> Sequence[Object]:
        # By namespace and not by label, because tenants control the labels of copies.
        return [show_copy(kept) for kept in self._copies[kind].select(_NAMESPACE, location.namespace)]

    def observe_copy(self, kind: Kind, location: Location, name: str) -> Object | None:
        kept = self._copies[kind].get(location.namespace, name)
        return None if kept is None else show_copy(kept)

    def observe_members(self, installation: str) -> Sequence[Member]:
        return self._select_members(installation)

    def observe_free_members(self, installation: str, shape: str) -> Sequence[Member]:
        return self._select_members(installation, shape)

    def claim(self, member: Member, annotations: Mapping[str, str]) -> None:
        meta = {"uid": member.uid, "resourceVersion": member.version, "annotations": dict(annotations)}
        path = KINDS[Kind.NAMESPACE].path("", member.namespace)
        query = {"fieldManager": names.FIELD_MANAGER}
        try:
            stored = self._client.request(
                "PATCH",
                path,
                query=query,
                body={"metadata": meta},
                content_type=MERGE,
                read_timeout_s=ANSWER_TIMEOUT_S,
            )
        except NotFoundError as error:
            raise ConflictError(str(error)) from error
        self._caches[Kind.NAMESPACE].put(stored)

    def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            obj: Object = self._client.request("GET", KINDS[kind].path(namespace, name))
        except NotFoundError:
            return None
        return obj

    def read_shared(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._shared.read(kind, namespace, name)

    def sum_requests(self) -> dict[Selector, Amounts]:
        """
        What the pods of all jobs and pool members on the host request, kns's own pods included, by the nodes that the
        job's machine selects. It walks through all quotas in memory, so call it now and then only.
        """
        sums: dict[Selector, Amounts] = {}
        for quota in self._caches[Kind.RESOURCE_QUOTA].all_objects():
            if quota["metadata"]["name"] != names.RESOURCE_QUOTA:
                continue
            namespace = self._caches[Kind.NAMESPACE].get("", quota["metadata"]["namespace"])
            if namespace is not None:
                selector = _read_selector(namespace["metadata"].get("annotations") or {})
                sums[selector] = add_amounts((sums.get(selector, NOTHING), _read_requests(quota)))
        return sums

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        query = {"labelSelector": selector} if selector else None
        path = KINDS[kind].path(namespace)
        items: list[Object] = self._client.request("GET", path, query=query, read_timeout_s=_LIST_TIMEOUT_S)["items"]
        return items

    def walk_objects(self, kind: Kind) -> Iterator[Object]:
        return walk(self._client, KINDS[kind])

    def list_events(self, namespace: str, about: str = "") -> Sequence[Object]:
        return self._list_events(namespace, f"involvedObject.name={about}" if about else "", most=MOST_EVENTS)

    def list_warnings(self, namespace: str) -> Sequence[Object]:
        return self._list_events(namespace, "type=Warning", most=MOST_WARNINGS)

    def _list_events(self, namespace: str, selector: str, *, most: int) -> Sequence[Object]:
        """The newest, one page in memory at a time. All pages together have the time of one list."""
        query = {"limit": str(MOST_EVENTS), **({"fieldSelector": selector} if selector else {})}
        path = KINDS[Kind.EVENT].path(namespace)
        newest: list[Object] = []
        end, left_s = self._clock.monotonic() + _LIST_TIMEOUT_S, _LIST_TIMEOUT_S
        for _ in range(MOST_EVENTS_READ // MOST_EVENTS):
            try:
                found = self._client.request("GET", path, query=query, read_timeout_s=left_s)
            except TransientError:
                if newest:  # what was read is an answer
                    break
                raise
            page = map(keep_event, found["items"] or ())  # null if the list is empty
            newest = heapq.nlargest(most, [*newest, *page], key=read_event_time)
            token, left_s = (found.get("metadata") or {}).get("continue"), end - self._clock.monotonic()
            if not token or left_s < _LEAST_S:
                break
            query["continue"] = token
        return newest

    def list_metadata(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        row = KINDS[kind]
        # Version 0: the API server answers from memory, in one page. Otherwise it reads whole objects from its store.
        query = {"limit": str(row.metadata_page)} if row.metadata_page else {"resourceVersion": "0"}
        if selector:
            query["labelSelector"] = selector
        found = self._client.walk(row.path(namespace), query=query, read_timeout_s=_LIST_TIMEOUT_S, accept=METADATA)
        return [_drop_texts(item) if row.metadata_page else item for item in found]

    def apply(self, obj: Object) -> Object:
        kind, meta = Kind(obj["kind"]), obj["metadata"]
        path = KINDS[kind].path(meta.get("namespace", ""), meta["name"])
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        self._throttle.wait()
        try:
            stored: Object = self._client.request("PATCH", path, query=query, body=obj, content_type=APPLY)
        except NotFoundError as error:  # the namespace was deleted meanwhile
            raise RefusedError(f"apply {kind} {meta.get('namespace', '')}/{meta['name']}: {error}") from error
        if kind in self._caches:
            self._caches[kind].put(stored)
        if (kind, meta["name"]) == (Kind.ROLE_BINDING, names.KNS_ROLE_BINDING):
            self._await_rights(meta["namespace"])
        return stored

    def _await_rights(self, namespace: str) -> None:
        """
        Wait a moment until the API server knows kns's own rights in a namespace. Otherwise it would refuse the next
        write, and the whole stage would be repeated. A read of something that only this role allows tells.
        """
        with suppress(ForbiddenError):  # the next write says so, too
            retry_while_forbidden(self.read)(Kind.SECRET, namespace, names.PULL_SECRET)

    def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, version: str | None = None
    ) -> bool:
        wanted = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value}
        body = {"preconditions": wanted} if wanted else None
        self._throttle.wait()
        try:
            self._client.request("DELETE", KINDS[kind].path(namespace, name), body=body)
        except (NotFoundError, ConflictError):
            return False  # deleted, changed, or replaced by another object of that name
        return True

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int, *, uid: str) -> Object | None:
        # A merge patch: with server-side apply, kns would have to repeat everything else that it ever applied. The
        # subresource `scale` would need a right of its own.
        body = {"metadata": {"uid": uid}, "spec": {"replicas": replicas}}
        self._throttle.wait()
        try:
            stored: Object = self._client.request(
                "PATCH",
                KINDS[kind].path(namespace, name),
                query={"fieldManager": names.FIELD_MANAGER},
                body=body,
                content_type=MERGE,
            )
        except (NotFoundError, ConflictError):
            return None
        except RefusedError:  # another uid is no conflict for the API server, but a change of what cannot change
            found = self.read(kind, namespace, name)
            if found is not None and found["metadata"]["uid"] == uid:
                raise
            return None
        if kind in self._caches:
            self._caches[kind].put(stored)
        return stored

    def has_ready_pod(self, namespace: str, selector: str) -> bool:
        # One page: the pods of one app are few, and a tenant that makes many must not make this call expensive.
        query = {
            "labelSelector": selector,
            "fieldSelector": "status.phase=Running",
            "limit": str(_READY_PAGE),
        }
        found = self._client.request(
            "GET", KINDS[Kind.POD].path(namespace), query=query, read_timeout_s=_LIST_TIMEOUT_S
        )
        return any(map(_is_ready, found["items"] or ()))

    def delete_pods(self, namespace: str, selector: str, *, grace_s: int) -> None:
        self._throttle.wait()
        # The answer holds every pod as the tenant made it, so it is not read.
        self._client.request(
            "DELETE",
            KINDS[Kind.POD].path(namespace),
            query={"labelSelector": selector} if selector else None,
            body={"gracePeriodSeconds": grace_s},
            discard=True,
        )

    def pod_log(self, namespace: str, pod: str, container: str) -> str | None:
        lines = MAX_LINES + 1  # one line more than kns stores shows that the log is longer
        # The byte limit cuts off the newest lines, so a log that reaches it is requested again with as many lines as
        # fitted: usually the newest are as long as those before.
        attempt = 0
        while True:
            attempt += 1
            raw = self._read_log(namespace, pod, container, {"tailLines": str(lines), "limitBytes": str(MAX_BYTES)})
            if raw is None:
                return None
            if len(raw) < MAX_BYTES or lines == 1:
                break
            fitting = raw.count(b"\n") * 19 // 20
            is_close = attempt <= _CLOSE_TRIES or fitting <= lines * 3 // 4
            lines = max(1, fitting if is_close else lines // 4)
        text = raw.decode("utf-8", "replace")
        if lines <= MAX_LINES:
            return f"{CUT}\n{text}"
        return text if text.count("\n") < lines else CUT + "\n" + text.partition("\n")[2]

    def pod_log_start(self, namespace: str, pod: str, container: str, *, limit_bytes: int) -> str | None:
        raw = self._read_log(namespace, pod, container, {"limitBytes": str(limit_bytes)})
        return None if raw is None else raw.decode("utf-8", "replace")

    def _read_log(self, namespace: str, pod: str, container: str, bounds: Mapping[str, str]) -> bytes | None:
        path = KINDS[Kind.POD].path(namespace, pod) + "/log"
        query = {"container": container, **bounds}
        try:
            return self._client.read_bytes(path, query=query, read_timeout_s=_LOG_TIMEOUT_S)
        except (NotFoundError, RefusedError):  # 400 while the container waits to start
            return None

    def _select_members(self, *values: str) -> Sequence[Member]:
        found = self._caches[Kind.NAMESPACE].select(_MEMBER, values)
        return [member for obj in found if (member := read_member(obj)) is not None]

    def _announce_own(self, kind: Kind, obj: Object) -> None:
        if (
            kind is not Kind.SERVICE or obj["metadata"]["name"] == names.TARGET
        ):  # nothing that is kept of the others changes
            self._announce(kind, obj)

    def _announce(self, kind: Kind, obj: Object) -> None:
        if is_of_job(kind, obj):
            self._on_change(kind, namespace_of(kind, obj))


def _read_selector(annotations: Mapping[str, str]) -> Selector:
    """As `kns.objects.namespace` writes it for the admission policies."""
    pairs = (part.partition("=") for part in annotations.get(names.NODE_SELECTOR_ANNOTATION, "").split(",") if part)
    return read_selector({key: value for key, _, value in pairs})


def _read_requests(quota: Object) -> Amounts:
    """What the quota counts; nothing while the host has not counted."""
    used = (quota.get("status") or {}).get("used") or {}
    cores, memory, gpus = (parse_quantity(str(used.get(key, "0"))) for key in _REQUESTS)
    return cores, memory, gpus


def _is_ready(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp") is not None:
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _drop_texts(obj: Object) -> Object:
    """Metadata without what a tenant can make large."""
    return {"metadata": {key: value for key, value in obj["metadata"].items() if key not in _TEXTS}}
