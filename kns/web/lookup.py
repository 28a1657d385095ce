"""The job that an address names."""

import re
from typing import Annotated

from fastapi import Depends

from kns.http.dependencies import Ports
from kns.model.catalog.catalog import User
from kns.model.job.job import Job
from kns.service.errors import UnknownJobError
from kns.service.find import JobRef, fetch_job, find_job
from kns.service.ports import ServicePorts
from kns.web.visitor import SignedIn

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")  # 64 bits


def read_number(text: str) -> int:
    """
    Raises:
        UnknownJobError: no job has such a number.
    """
    if not _NUMBER.fullmatch(text):
        raise UnknownJobError(f"{text[:40]!r} is not the number of a job")
    return int(text)


def find_visible_job(ports: ServicePorts, user: User, number: int) -> Job:
    """
    Raises:
        UnknownJobError: there is no such job, or the user may not see it.
    """
    ref = JobRef(number)
    return find_job(ports, user, ref) or fetch_job(ports, user, ref)


def _find_named_job(number: str, ports: Ports, member: SignedIn) -> Job:
    return find_visible_job(ports, member.user, read_number(number))


NamedJob = Annotated[Job, Depends(_find_named_job)]
