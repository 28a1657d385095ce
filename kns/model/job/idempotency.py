"""
Idempotency of submit: one `Idempotency-Key` of one user makes one job in 24 hours, on whichever replica.

The record's name is made from user and key, so the API server refuses a second record. A record exists for longer than
24 hours; a later job with the same key gets the next generation of the name.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256

from kns.model.errors import InvalidInputError
from kns.model.job.job import Job

REMEMBERED = timedelta(hours=24)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_DIGEST_CHARS = 40  # 160 bits: collisions are out of the question, and the name stays short


def digest_request(user: str, key: str) -> str:
    """
    The digest that identifies a user's key. The key itself is not stored.

    Raises:
        InvalidInputError: the key is empty, too long, or not printable ASCII.
    """
    if not _KEY.fullmatch(key):
        raise InvalidInputError("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return sha256(json.dumps([user, key]).encode()).hexdigest()[:_DIGEST_CHARS]


def request_record(request: str, generation: int = 0) -> str:
    """
    The record name for a request.

    >>> request_record("ab12"), request_record("ab12", 2)
    ('kns-request-ab12', 'kns-request-ab12-2')
    """
    return f"kns-request-{request}" + (f"-{generation}" if generation else "")


def read_request(record: str) -> str | None:
    """
    The request of a record's name; None if the record was not made for a request.

    >>> read_request("kns-request-ab12-2"), read_request("kns-job-7")
    ('ab12', None)
    """
    prefix, _, rest = record.partition("kns-request-")
    return rest.partition("-")[0] or None if not prefix else None


def is_remembered(job: Job, now: datetime) -> bool:
    return job.number is not None and now - job.created < REMEMBERED


def find_first(jobs: Iterable[Job], request: str, *, now: datetime) -> Job | None:
    """The job that a repeated request gets; None if there was none in the last 24 hours."""
    name = request_record(request)
    found = [job for job in jobs if job.record.startswith(name) and is_remembered(job, now)]
    return min(found, key=lambda job: job.created, default=None)
