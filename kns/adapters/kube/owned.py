"""
Data of a record that outlives the job's namespace: its tokens, its output and its large inputs. Each is in a Secret
owned by the record, so it is deleted with the record. The output is in a Secret because apps print passwords.
"""

import base64
import contextlib
import gzip
import threading
from datetime import datetime

from kns.adapters.kube.client import ANSWER_TIMEOUT_S, KubeClient
from kns.adapters.kube.kinds import KINDS
from kns.adapters.kube.throttle import Throttle
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import AlreadyExistsError, InvalidInputError, KnsError, NotFoundError, UnavailableError
from kns.model.job.inputs import MAX_PACKED_BYTES, JobInputs, unpack_inputs
from kns.model.job.job import Job
from kns.model.job.output import CUT, MAX_BYTES, JobOutput, keep_recent, split_lines
from kns.model.job.tokens import TOKEN_LENGTHS, Tokens, make_tokens
from kns.ports import Kind, Object

log = get_logger(__name__)

_SECRETS = KINDS[Kind.SECRET]
_INPUTS_KEY = "inputs.json.gz"
_REMEMBERED = 2000
_FROM_MEMORY = {"resourceVersion": "0"}  # the API server answers from its cache and not from etcd


def build_owned_secret(job: Job, *, name: str, namespace: str, data: dict[str, bytes]) -> Object:
    secret = _build_secret(job.number, name=name, namespace=namespace, data=data)
    owner = {"apiVersion": names.API_VERSION, "kind": names.RECORD_KIND, "name": job.record, "uid": job.uid}
    secret["metadata"]["ownerReferences"] = [owner]
    return secret


def _build_secret(number: int | None, *, name: str, namespace: str, data: dict[str, bytes]) -> Object:
    labels = {names.MANAGED_BY_LABEL: "kns"}
    if number is not None:
        labels[names.JOB_LABEL] = str(number)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


class _OwnedSecrets:
    def __init__(self, client: KubeClient, *, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def _read(self, name: str) -> dict[str, bytes] | None:
        secret = self._fetch(name)
        return None if secret is None else _decode_data(secret)

    def _fetch(self, name: str, *, recent: bool = False) -> Object | None:
        try:
            secret: Object = self._client.request(
                "GET",
                _SECRETS.path(self._namespace, name),
                query=_FROM_MEMORY if recent else None,
                read_timeout_s=ANSWER_TIMEOUT_S,
            )
        except NotFoundError:
            return None
        return secret


def _is_of_another(secret: Object, job: Job) -> bool:
    """Whether the Secret is of an earlier record of that name. Kubernetes deletes it some time after the record."""
    owners = {each["uid"] for each in secret["metadata"].get("ownerReferences") or ()}
    return bool(owners) and job.uid not in owners


def _decode_data(secret: Object) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


class KubeTokens(_OwnedSecrets):
    """Implements `ports.TokenStore`."""

    def read(self, record: str) -> Tokens | None:
        data = self._read(names.record_secret(record))
        return None if data is None else _read_tokens(data)

    def ensure(self, job: Job) -> Tokens:
        known = self._read_own(job)
        if known is not None:
            return known
        tokens = make_tokens()
        data = {"password": tokens.password.encode()}
        data |= {f"random{length}": token.encode() for length, token in tokens.random.items()}
        body = build_owned_secret(job, name=names.record_secret(job.record), namespace=self._namespace, data=data)
        try:
            self._client.request("POST", _SECRETS.path(self._namespace), body=body)
        except AlreadyExistsError:
            stored = self._read_own(job)
            if stored is not None:
                return stored
            raise
        return tokens

    def _read_own(self, job: Job) -> Tokens | None:
        """
        Raises:
            UnavailableError: there are tokens of an earlier record.
        """
        name = names.record_secret(job.record)
        secret = self._fetch(name)
        if secret is None:
            return None
        if _is_of_another(secret, job):
            raise UnavailableError(
                f"Secret {self._namespace}/{name} is of an earlier record of that name; Kubernetes deletes it soon"
            )
        return _read_tokens(_decode_data(secret))


def _read_tokens(data: dict[str, bytes]) -> Tokens:
    return Tokens(
        password=data["password"].decode(),
        random={length: data[f"random{length}"].decode() for length in TOKEN_LENGTHS},
    )


class KubeInputs(_OwnedSecrets):
    """
    Implements `ports.InputStore`, and stores the inputs of new jobs.

    The Secret is named for the job's number, which no other submission ever gets. It is stored before the record, so it
    has no owner at first. If kns fails in between, the sweeper finds it.
    """

    def store(self, number: int, packed: bytes) -> None:
        """
        Raises:
            AlreadyExistsError: the number was used before, because the counter of the numbers was lost.
        """
        body = _build_secret(
            number, name=names.job_inputs(number), namespace=self._namespace, data={_INPUTS_KEY: packed}
        )
        self._client.request("POST", _SECRETS.path(self._namespace), body=body, read_timeout_s=ANSWER_TIMEOUT_S)

    def adopt(self, job: Job, packed: bytes) -> None:
        """
        Make the record the owner, so that the Secret is deleted with it. An error is only logged: the job is stored
        already, and without an owner the sweeper deletes the Secret.
        """
        name = names.job_inputs(job.number or 0)
        body = build_owned_secret(job, name=name, namespace=self._namespace, data={_INPUTS_KEY: packed})
        self._settle("PUT", name, body)

    def discard(self, number: int) -> None:
        """Delete the inputs of a job that was not stored. An error is only logged, as above."""
        self._settle("DELETE", names.job_inputs(number), None)

    def _settle(self, method: str, name: str, body: Object | None) -> None:
        path = _SECRETS.path(self._namespace, name)
        try:
            self._client.request(method, path, body=body, read_timeout_s=ANSWER_TIMEOUT_S)
        except KnsError as error:
            log.warning("inputs_left_to_the_sweeper", secret=name, error=str(error))

    def read(self, job: Job) -> JobInputs:
        accepted = job.spec.accepted
        if accepted is None or accepted.inputs is None:
            raise ValueError(f"the inputs of {job.record} are in its record")
        name = names.job_inputs(accepted.number)
        data = self._read(name) or {}
        if _INPUTS_KEY not in data:
            raise InvalidInputError(f"Secret {name}", "is missing; submit the job again")
        return unpack_inputs(data[_INPUTS_KEY], digest=accepted.inputs.digest, what=f"Secret {name}")

    def remove(self, job: Job) -> None:
        with contextlib.suppress(NotFoundError):
            self._client.request("DELETE", _SECRETS.path(self._namespace, names.job_inputs(job.number or 0)))


class KubeOutputs(_OwnedSecrets):
    """
    Implements `ports.OutputStore`.

    `_last` avoids writes of unchanged output. It is empty after a restart, which costs one more write per job.
    """

    def __init__(self, client: KubeClient, *, namespace: str, throttle: Throttle) -> None:
        super().__init__(client, namespace=namespace)
        self._throttle = throttle
        self._last: dict[str, int] = {}  # uid of the record -> hash of the output
        self._lock = threading.Lock()

    def read(self, job: Job, *, recent: bool = False) -> JobOutput:
        secret = self._fetch(names.record_output(job.record), recent=recent)
        data = {} if secret is None or _is_of_another(secret, job) else _decode_data(secret)
        return JobOutput(
            head=data.get("head", b"").decode(),
            log=gzip.decompress(data["log.gz"]).decode() if "log.gz" in data else "",
            help=gzip.decompress(data["help.gz"]).decode() if "help.gz" in data else "",
            log_time=datetime.fromisoformat(data["log-time"].decode()) if "log-time" in data else None,
        )

    def write(self, job: Job, output: JobOutput) -> None:
        with self._lock:
            last = self._last.get(job.uid)
        if last == hash(output):
            return
        data = {"head": _encode(output.head), "log.gz": pack_log(output.log)}
        if output.log_time is not None:
            data["log-time"] = output.log_time.isoformat().encode()
        if output.help:
            data["help.gz"] = gzip.compress(_encode(output.help), mtime=0)
        name = names.record_output(job.record)
        body = build_owned_secret(job, name=name, namespace=self._namespace, data=data)
        self._throttle.wait()
        self._put(name, body, is_known=last is not None)
        with self._lock:
            self._last[job.uid] = hash(output)
            while len(self._last) > _REMEMBERED:
                self._last.pop(next(iter(self._last)))

    def _put(self, name: str, body: Object, *, is_known: bool) -> None:
        """
        Create or replace the Secret. The first try is what is usually right: this process knows what it has written,
        and a job of which it wrote nothing is new.
        """
        try:
            if is_known:
                self._client.request("PUT", _SECRETS.path(self._namespace, name), body=body)
            else:
                self._client.request("POST", _SECRETS.path(self._namespace), body=body)
        except NotFoundError:
            self._client.request("POST", _SECRETS.path(self._namespace), body=body)
        except AlreadyExistsError:
            self._client.request("PUT", _SECRETS.path(self._namespace, name), body=body)


def _encode(text: str) -> bytes:
    """Replace lone surrogates, which JSON may contain, so that the output can be stored."""
    return text.encode("utf-8", "replace")


def pack_log(text: str) -> bytes:
    """The compressed log with as many of its last lines as fit. If lines are missing, the first line says so."""
    lines = keep_recent(split_lines(text))
    while True:
        plain = _encode("\n".join(lines))
        if len(plain) <= MAX_BYTES and len(packed := gzip.compress(plain, mtime=0)) <= MAX_PACKED_BYTES:
            return packed
        lines = [CUT, *lines[len(lines) // 4 + 2 :]]
