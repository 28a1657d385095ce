"""Commands about what a job printed, and what happened in its namespace: logs, events."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from kns.cli.exits import CommandError, Exit
from kns.cli.options import ADMINISTRATORS, JobArgument, Output, read_job
from kns.cli.screen import Format, Screen
from kns.cli.session import get_session
from kns.cli.waiting import Patient, poll
from kns.client import Client, ResponseError
from kns.model.job.output import CUT

_UNAUTHORIZED = 401

outputs = typer.Typer()


@outputs.command()
def logs(
    ctx: typer.Context,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the job has ended.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Only the last lines; 0 for all.")] = 0,
    output: Output = None,
) -> None:
    """
    Print the output of a job: what deploying it printed, and why it ended.

    It is the same text while the job runs and after its end. With --follow, JSON has one object a line.
    """
    session = get_session(ctx)
    screen = session.screen_for(output)
    ref = read_job(job)
    with session.connect() as client:
        printed: list[str] = []
        patient = Patient(after_first=True)

        def read() -> tuple[dict[str, Any], list[str]]:
            found = client.detail(ref)
            return found, _read_output(client, found, lines=0 if printed or follow else lines)

        for _ in poll(session):
            answer = patient.ask(read)
            if answer is None:
                continue
            found, text = answer
            new = text if not printed else list_new_lines(printed, text)
            _print_lines(screen, found["number"], new[-lines:] if lines and not printed else new, one_by_one=follow)
            printed = text or printed
            if not follow or found["ended"] is not None:
                break
    if not printed:
        session.screen.note("there is no output yet" if found["ended"] is None else "the job ended without output")


def _print_lines(screen: Screen, number: int, lines: Sequence[str], *, one_by_one: bool) -> None:
    if screen.output is Format.TABLE:
        for line in lines:
            screen.log(line)
    elif one_by_one:
        for line in lines:
            screen.stream({"number": number, "line": line})
    else:
        screen.dump({"number": number, "lines": list(lines)})


def _read_output(client: Client, job: dict[str, Any], *, lines: int) -> list[str]:
    if job["started"] is None and job["ended"] is None:
        return []
    if job["ended"] is None:
        return client.tail(job["number"], lines=lines)
    return client.output(job["number"], lines=lines)


def list_new_lines(before: list[str], after: list[str]) -> list[str]:
    """
    The lines of `after` that `before` does not have. Warnings of kns are above the lines of the log and may become
    more, and lines of the log were cut between both, so the log goes on after the first lines that are the last ones of
    `before`.

    >>> list_new_lines(["a", "b"], ["a", "b", "c"])
    ['c']
    >>> list_new_lines(["a", "b", "c"], ["[earlier lines were cut]", "b", "c", "d"])
    ['d']
    >>> list_new_lines(["a"], ["warning", "a", "b"])
    ['warning', 'b']
    >>> list_new_lines(["a"], ["x", "y"])
    ['x', 'y']
    """
    if after[: len(before)] == before:
        return after[len(before) :]
    start, end = _find_last(before, after)
    if start == end:
        return after
    known = {CUT, *before}
    return [*(line for line in after[:start] if line not in known), *after[end:]]


def _find_last(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """
    Where `after` first has lines, as many as possible, that are the last ones of `before`: their start and their end;
    (0, 0) if it has none. The time is linear (the prefix function of Knuth, Morris and Pratt, on both from their ends),
    because a server could send millions of equal lines.

    >>> _find_last("xab", "abc"), _find_last("aaa", "aa"), _find_last("a", "b"), _find_last("", "b")
    ((0, 2), (0, 2), (0, 0), (0, 0))
    >>> _find_last("hab", "whabc"), _find_last("hab", "hbc")
    ((1, 4), (1, 2))
    """
    wanted = before[::-1]
    lengths: list[int] = []  # of the longest own beginning that also ends at each line of `wanted`
    for line in wanted:
        length = lengths[-1] if lengths else 0
        while length and (length == len(wanted) or wanted[length] != line):
            length = lengths[length - 1]
        lengths.append(length + (len(lengths) > length and wanted[length] == line))
    found, shared = (0, 0), 0
    for start in range(len(after) - 1, -1, -1):
        while shared and (shared == len(wanted) or wanted[shared] != after[start]):
            shared = lengths[shared - 1]
        shared += shared < len(wanted) and wanted[shared] == after[start]
        if shared:
            found = start, start + shared
    return found


@outputs.command(rich_help_panel=ADMINISTRATORS)
def events(ctx: typer.Context, job: JobArgument, output: Output = None) -> None:
    """
    Print the newest Kubernetes events of a live job's namespace, oldest first. Only for system administrators.

    `kns explain` shows the newest warnings to everybody who may see the job.
    """
    session = get_session(ctx)
    with session.connect() as client:
        number = client.detail(read_job(job))["number"]
        try:
            lines = client.events(number)
        except ResponseError as error:
            if error.status != _UNAUTHORIZED:
                raise
            raise CommandError(
                Exit.SIGNED_OUT,
                "only system administrators may read all events; `kns explain` shows the newest warnings",
            ) from error
    _print_lines(session.screen_for(output), number, lines, one_by_one=False)
    if not lines:
        session.screen.note("its namespace has no events")
