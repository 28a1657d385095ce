"""
The keys that sign the sessions of the page, in one Secret that all replicas read. The first replica that needs a key
makes it.
"""

import base64
import secrets
import threading
from contextlib import suppress

from kns.adapters.kube.client import ANSWER_TIMEOUT_S, KubeClient
from kns.adapters.kube.kinds import KINDS
from kns.model import names
from kns.model.errors import AlreadyExistsError, NotFoundError, UnavailableError
from kns.ports import Clock, Kind, Object

AGE_S = 60.0  # a key that an administrator replaces is effective after this time
_KEY_BYTES = 48
_LEAST = 32  # characters of a key that is accepted; a shorter one could be guessed
_SECRETS = KINDS[Kind.SECRET]
_KEY, _OLD_KEY = "key", "old-key"


class KubeSessionKeys:
    """
    Implements `ports.SessionKeys`.

    The Secret `kns-web-session` has `key`, and while it is being replaced `old-key`, which still reads sessions. If the
    host does not answer, the keys that were read last remain in use.
    """

    def __init__(self, client: KubeClient, *, namespace: str, clock: Clock) -> None:
        self._client, self._namespace, self._clock = client, namespace, clock
        self._lock = threading.Lock()
        self._keys: tuple[str, ...] = ()
        self._read_at = float("-inf")

    def read(self) -> tuple[str, ...]:
        if self._clock.monotonic() - self._read_at < AGE_S:
            return self._keys
        with self._lock:
            if self._clock.monotonic() - self._read_at >= AGE_S:
                self._renew()
            return self._keys

    def _renew(self) -> None:
        try:
            self._keys = self._fetch() or self._create()
        except UnavailableError:
            if not self._keys:
                raise
        self._read_at = self._clock.monotonic()

    def _fetch(self) -> tuple[str, ...] | None:
        path = _SECRETS.path(self._namespace, names.WEB_SESSION_SECRET)
        try:
            secret: Object = self._client.request("GET", path, read_timeout_s=ANSWER_TIMEOUT_S)
        except NotFoundError:
            return None
        data = secret.get("data") or {}
        keys = [
            base64.b64decode(data[name]).decode("utf-8", "replace").strip() for name in (_OLD_KEY, _KEY) if name in data
        ]
        if _KEY not in data or min(map(len, keys)) < _LEAST:
            raise UnavailableError(
                f"Secret {self._namespace}/{names.WEB_SESSION_SECRET}: {_KEY} needs {_LEAST} characters or more; "
                "delete the Secret, then kns makes a new one"
            )
        return tuple(keys)

    def _create(self) -> tuple[str, ...]:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": names.WEB_SESSION_SECRET, "namespace": self._namespace},
            "data": {_KEY: base64.b64encode(secrets.token_urlsafe(_KEY_BYTES).encode()).decode()},
        }
        path = _SECRETS.path(self._namespace)
        with suppress(AlreadyExistsError):  # another replica was faster; its key counts
            self._client.request("POST", path, body=body, read_timeout_s=ANSWER_TIMEOUT_S)
        keys = self._fetch()
        if keys is None:
            raise UnavailableError(f"Secret {self._namespace}/{names.WEB_SESSION_SECRET} was deleted while it was made")
        return keys
