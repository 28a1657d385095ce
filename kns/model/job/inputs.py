"""
The inputs of a job that are too large for its record: uploaded files and long parameters.

They are in an object of their own beside the record, so that the caches of the records stay small. The record has the
digest of that object and the keys of the values in it.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from kns.model.appdef.parameters import ParameterValue
from kns.model.errors import InvalidInputError
from kns.model.job.job import Accepted, JobSpec, StoredInputs
from kns.model.job.slim import RECORD_BYTES, is_small, measure

MAX_PACKED_BYTES = 700_000  # 930 kB in base64; a Secret is limited to 1 MiB
_PATH = "application.parameters"


@dataclass(frozen=True, slots=True)
class JobInputs:
    """
    `parameters` are the values of all parameters as settled at submit. `uploads` are the contents of the uploaded files
    in base64, by the key of the parameter.
    """

    parameters: tuple[ParameterValue, ...]
    uploads: Mapping[str, Any]


def split_inputs(spec: JobSpec) -> tuple[JobSpec, bytes | None]:
    """
    The spec as it is stored in the record, and the packed inputs that are stored beside it (None if all fit).

    `spec` is accepted. Together with `spec.submission`, the parameters in the record have at most `RECORD_BYTES`.

    Raises:
        InvalidInputError: the inputs are too large even when packed.
    """
    accepted = _accepted(spec)
    shown = _choose_shown(spec)
    settled = [_to_json(value) for value in accepted.parameters]
    if len(shown) == len(spec.parameters) and measure(settled) <= RECORD_BYTES:
        return spec, None
    targets = {value.key for value in accepted.parameters if value.target is not None}
    uploads = {key: value for key, value in spec.parameters.items() if key in targets}
    packed = _pack({"parameters": settled, "uploads": uploads})
    if len(packed) > MAX_PACKED_BYTES:
        raise InvalidInputError(_PATH, f"has {len(packed)} bytes when compressed, a job holds {MAX_PACKED_BYTES}")
    stored = StoredInputs(digest=sha256(packed).hexdigest(), keys=_choose_keys(spec, shown))
    slim = accepted.model_copy(update={"parameters": [], "inputs": stored})
    return spec.model_copy(update={"parameters": shown, "accepted": slim}), packed


def inline_inputs(spec: JobSpec) -> JobInputs:
    """The inputs of a job whose record contains all of them."""
    return JobInputs(tuple(_accepted(spec).parameters), spec.parameters)


def unpack_inputs(packed: bytes, *, digest: str, what: str) -> JobInputs:
    """
    Raises:
        InvalidInputError: the bytes are not those that `split_inputs` returned. `what` names the object.
    """
    if sha256(packed).hexdigest() != digest:
        raise InvalidInputError(what, "was changed since the job was accepted; submit the job again")
    try:
        data = json.loads(gzip.decompress(packed))
        return JobInputs(tuple(ParameterValue.model_validate(each) for each in data["parameters"]), data["uploads"])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InvalidInputError(what, "has no inputs that can be read; submit the job again") from error


def _choose_shown(spec: JobSpec) -> dict[str, Any]:
    """The given values that stay in the record: the smallest ones, as many as fit beside the submission."""
    left = RECORD_BYTES - measure(spec.submission)
    small = {key: value for key, value in spec.parameters.items() if is_small(value)}
    kept = set()
    for key, value in sorted(small.items(), key=measure):
        left -= measure({key: value})
        if left < 0:
            break
        kept.add(key)
    return {key: value for key, value in spec.parameters.items() if key in kept}


def _choose_keys(spec: JobSpec, shown: Mapping[str, Any]) -> list[str]:
    """The keys of the other values, as many as fit."""
    left = RECORD_BYTES - measure(spec.submission) - measure(shown)
    keys = []
    for key in spec.parameters:
        if key not in shown:
            left -= measure(key) + 1
            if left < 0:
                break
            keys.append(key)
    return keys


def _pack(data: Any) -> bytes:
    # ASCII, because UTF-8 cannot encode lone surrogates, which JSON may contain.
    return gzip.compress(json.dumps(data, separators=(",", ":")).encode("ascii"), mtime=0)


def _to_json(value: ParameterValue) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def _accepted(spec: JobSpec) -> Accepted:
    if spec.accepted is None:
        raise ValueError("a job has inputs once it is accepted")
    return spec.accepted
