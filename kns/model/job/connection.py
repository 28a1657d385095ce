"""
How a user connects to a job: its URL, the URL of its web shell, and the placeholders in an AppDef's texts.

All placeholders (`%PUBLICADDR%` ...) are replaced in one step, so a value that looks like a placeholder stays as it is.
Unknown placeholders stay, too, because `%` is an ordinary character of a URL.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from kns.model import names
from kns.model.job.conditions import ConditionType
from kns.model.job.job import Job
from kns.model.job.tokens import Tokens


def build_substitutions(job: Job, tokens: Tokens) -> dict[str, str]:
    """
    The value of every placeholder, by its name.

    `BASEURL` is the path of the job's URL. It is never empty, because authors write `%PUBLICADDR%%BASEURL%lab`.
    """
    url = job.status.url or ""
    accepted = job.spec.accepted
    return {
        "PUBLICADDR": job.status.address or "",
        "CONNECTURL": url,
        "BASEURL": urlsplit(url).path or "/",
        "JOBNAME": accepted.name if accepted else "",
        "NIMBIXUSER": job.spec.user,
        "NIMBIXPASSWD": tokens.password,
        **{f"RANDOM{length}": token for length, token in tokens.random.items()},
    }


def substitute(text: str, values: Mapping[str, str]) -> str:
    """
    `text` with `%NAME%` replaced for every name in `values`.

    >>> substitute("https://%PUBLICADDR%/a%20b?%NO%", {"PUBLICADDR": "h.example.org"})
    'https://h.example.org/a%20b?%NO%'
    """
    # The pattern contains the names, so that a "%" of other use does not pair with the first one of a placeholder.
    pattern = f"%({'|'.join(map(re.escape, values))})%"
    return re.sub(pattern, lambda match: values.get(match[1], match[0]), text)


def connect_url(job: Job, tokens: Tokens) -> str | None:
    """
    The URL of "connect": the command's own URL if it has one, else the job's. None while the job has no URL.

    A command's URL that starts with `/` is appended to the job's URL; any other is used as written.
    """
    url = job.status.url
    if url is None or job.spec.accepted is None or not job.spec.accepted.url:
        return url
    wanted = substitute(job.spec.accepted.url, build_substitutions(job, tokens))
    return url.rstrip("/") + wanted if wanted.startswith("/") else wanted


def shell_url(job: Job) -> str | None:
    """The URL of the job's web shell; None unless the shell is running."""
    if job.status.url is None or not job.status.is_true(ConditionType.SHELL_READY):
        return None
    return job.status.url.rstrip("/") + names.SHELL_PATH
