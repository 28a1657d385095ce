"""The Lease that decides which replica leads (coordination.k8s.io/v1, as Kubernetes' own controllers use it)."""

from datetime import UTC, datetime

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import LEASES
from kns.model import names
from kns.model.errors import AlreadyExistsError, ConflictError, NotFoundError
from kns.ports import Clock, Object

LEASE = "kns-scheduler"
_TIMEOUT_S = 2.0  # a renewal is two calls and must end well before the Lease expires


class KubeLease:
    """
    Implements `ports.Lease`.

    The Lease of another holder has expired if it did not change for its duration on *our* monotonic clock. Its
    timestamps are not used, because the clocks of two nodes may differ by more than the duration.
    """

    def __init__(self, client: KubeClient, *, namespace: str, clock: Clock) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._seen_version = ""
        self._seen_at = 0.0

    def try_acquire(self, *, holder: str, duration_s: float) -> bool:
        path = LEASES.path(self._namespace, LEASE)
        try:
            lease: Object = self._client.request("GET", path, read_timeout_s=_TIMEOUT_S)
        except NotFoundError:
            return self._write("POST", LEASES.path(self._namespace), self._build(holder, duration_s, None))
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self._clock.monotonic()
        spec = lease.get("spec") or {}
        current = spec.get("holderIdentity") or ""
        its_duration_s = float(spec.get("leaseDurationSeconds") or duration_s)
        if current not in ("", holder) and self._clock.monotonic() - self._seen_at < its_duration_s:
            return False
        return self._write("PUT", path, self._build(holder, duration_s, lease))

    def release(self, *, holder: str) -> None:
        path = LEASES.path(self._namespace, LEASE)
        lease: Object = self._client.request("GET", path, read_timeout_s=_TIMEOUT_S)
        if (lease.get("spec") or {}).get("holderIdentity") == holder:
            lease["spec"]["holderIdentity"] = ""
            self._write("PUT", path, lease)

    def _write(self, method: str, path: str, body: Object) -> bool:
        try:
            self._client.request(method, path, body=body, read_timeout_s=_TIMEOUT_S)
        except (ConflictError, AlreadyExistsError):
            return False
        return True

    def _build(self, holder: str, duration_s: float, old: Object | None) -> Object:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = dict(old.get("spec") or {}) if old else {}
        if spec.get("holderIdentity") != holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if old else 0)
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": int(duration_s), "renewTime": now}
        meta = (
            old["metadata"]
            if old
            else {"name": LEASE, "namespace": self._namespace, "labels": {names.MANAGED_BY_LABEL: "kns"}}
        )
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
