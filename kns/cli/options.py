"""Arguments and options of several commands."""

import contextlib
import re
from typing import Annotated

import typer

from kns.cli.screen import Format
from kns.client import JobRef
from kns.model import names
from kns.model.appdef.versions import parse_versions
from kns.model.errors import InvalidInputError
from kns.model.reading.duration import MAX_WALLTIME_S


def _check_versions(text: str) -> str:
    try:
        parse_versions(text)
    except InvalidInputError as error:
        raise typer.BadParameter(error.problem) from error
    return text


KubernetesVersions = Annotated[
    str,
    typer.Option(
        "--kubernetes-versions",
        envvar="KNS_KUBERNETES_VERSIONS",
        metavar="LIST",
        callback=_check_versions,
        help="Comma-separated Kubernetes versions of the site, the default first, as in the variable.",
    ),
]


def list_minors(versions: str) -> tuple[str, ...]:
    """
    The minor versions, the default first.

    >>> list_minors("v1.36.0,v1.35.0")
    ('v1.36', 'v1.35')
    """
    return tuple(reversed(parse_versions(versions)))


ADMINISTRATORS = "For system administrators"  # titles in the help
AUTHORS = "For app authors and administrators"
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Number or name of the job.", show_default=False)]
JobArguments = Annotated[list[str], typer.Argument(metavar="JOB", help="Numbers or names of jobs.")]
Output = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="Form of the result.", show_default="table", case_sensitive=False),
]
LONGEST_TIMEOUT_S = MAX_WALLTIME_S  # no job lives longer by its walltime


def read_timeout(text: str) -> float:
    """Seconds. A time that never ends, or is no number, would make a command wait forever."""
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) <= LONGEST_TIMEOUT_S:
            return seconds
    raise typer.BadParameter(f"{text!r} is not a number of seconds from 0 to {LONGEST_TIMEOUT_S}")


Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", parser=read_timeout, help="Give up after this time; exit status 7."),
]
_NUMBER = re.compile(r"#?([0-9]{1,18})")


def read_job(text: str) -> JobRef:
    """
    The number or the name that a user gave for a job.

    >>> read_job("7"), read_job("#7"), read_job("kns-job-7"), read_job("20260105141530-ABCDE-hello-ana_s1")
    (7, 7, 7, '20260105141530-ABCDE-hello-ana_s1')
    """
    match = _NUMBER.fullmatch(text)
    if match is not None:
        return int(match[1])
    return int(text.rpartition("-")[2]) if names.is_job_object_name(text) else text
