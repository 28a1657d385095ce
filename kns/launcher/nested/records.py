"""
How the record of a nested job and its job of kns name each other. Pure.

The record has the number of the job of kns in an annotation. The label of the job of kns has the record's name, after a
mark by which a plugin knows its own among all jobs of the account.
"""

import copy
import hashlib
import json
import re

from kns.plain import names
from kns.plain.kept import read_nested_note
from kns.plain.ports import Kept
from kns.plain.stored import Object

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # of an object; it becomes a part of URLs
_NUMBER = re.compile(r"[0-9]{1,18}")


def build_record(obj: Object, number: int) -> Object:
    """The Kubernetes Job in the plugin's namespace: suspended, so it never gets a pod."""
    record = copy.deepcopy(obj)
    record["metadata"].setdefault("annotations", {})[names.NESTED] = str(number)
    record["spec"]["suspend"] = True
    return record


def read_number(obj: Kept) -> int | None:
    """The job of kns of a nested job; None for a plain one."""
    text = read_nested_note(obj, names.NESTED)
    return int(text) if _NUMBER.fullmatch(text) else None


def read_end_pod(obj: Kept) -> str:
    """The name of the pod of a job that has ended, "" if it has none."""
    text = read_nested_note(obj, names.END)
    if not text:
        return ""
    try:
        return str(json.loads(text).get("pod") or "")
    except (ValueError, AttributeError):  # somebody changed it by hand
        return ""


def is_over(obj: Kept) -> bool:
    """Whether the job's cluster was ended after the job."""
    return read_nested_note(obj, names.NESTED_OVER) == "true"


def build_mark(place: str) -> str:
    """The mark of the plugins that share the records in `place`."""
    return f"posit-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


def build_label(mark: str, job_id: str) -> str:
    """
    The label of the job of kns for a record.

    >>> is_marked(build_label("posit-1", "x"), "posit-1"), is_marked("not-posit-1 x", "posit-1")
    (True, False)
    """
    return f"{mark} {job_id}"


def is_marked(label: str, mark: str) -> bool:
    """Whether a job of kns with that label belongs to a record of the plugins with that mark."""
    return label.startswith(f"{mark} ")


def read_job_id(label: str) -> str:
    """The record's name in a label; "" if no record can have that name."""
    _, _, job_id = label.partition(" ")
    return job_id if NAME.fullmatch(job_id) else ""
