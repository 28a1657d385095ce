"""Label and annotation keys of plain jobs, and names of their objects."""

import re
import unicodedata

LABEL = "kns.io/plain"  # on the Kubernetes Job, its pod and its Service; the value is the front end's cluster
USER_LABEL = "kns.io/plain-user"  # for people; the user in the stored job counts
STORED = "kns.io/plain-job"  # the job as JSON
ASKED = "kns.io/plain-asked"  # stop, kill or cancel: who ends the job
SUSPENDED = "kns.io/plain-suspended"
END = "kns.io/plain-end"  # how the job ended, as JSON: pods may be deleted before the job expires
STDIN = "kns.io/plain-stdin"  # the token of the input that waits for the container to start
NESTED = "kns.io/plain-nested"  # a job with a cluster of its own: the number of the job of kns that has the cluster
NESTED_OVER = "kns.io/plain-nested-over"  # that job was ended
OWN_PREFIX = "kns.io/plain"

JOB_NAME_LABEL = "job-name"  # Kubernetes sets it on the pods of a Job; Services of the Launcher's templates select it
CONTAINER = "rs-launcher-container"  # the name that the Launcher's templates use

_LONGEST_GENERATED = 57  # of the 63 of a label: the API server adds five characters
_MOST_READ = 200  # characters of a user or a name; normalization needs quadratic time for a text of marks alone
_NOT_DNS = re.compile(r"[^a-z0-9]+")


def generate_name(name: str, user: str) -> str:
    """
    The `generateName` of a job's objects: a DNS label with a dash at the end, for any user and job name.

    >>> generate_name("My Job", "Ana")
    'ana-my-job-'
    >>> generate_name("🎉", "")
    'job-'
    """
    plain = (
        unicodedata.normalize("NFKD", f"{user[:_MOST_READ]} {name[:_MOST_READ]}")
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    safe = _NOT_DNS.sub("-", plain).strip("-")
    while safe and not safe[0].isalpha():  # the name of a Service must begin with a letter
        safe = safe[1:]
    return (safe[: _LONGEST_GENERATED - 1].rstrip("-") or "job") + "-"


def service_name(job_id: str) -> str:
    """
    The Service of a job. Only it has this name, because the job's id is unique.

    >>> service_name("ana-my-job-x7k2p")
    'ana-my-job-x7k2p'
    """
    return job_id
