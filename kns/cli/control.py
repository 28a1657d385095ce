"""Commands that end jobs, let them run longer, or decide what stays of them."""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from kns.cli.exits import CommandError, Exit
from kns.cli.options import ADMINISTRATORS, JobArgument, JobArguments, Output, Timeout, read_job
from kns.cli.screen import Format, Screen
from kns.cli.session import Session, get_session
from kns.cli.waiting import Patient, describe_end, poll
from kns.client import Client
from kns.model.errors import InvalidInputError
from kns.model.job.job import JobState, Rest
from kns.model.reading.duration import format_walltime, parse_walltime

Wait = Annotated[bool, typer.Option("--wait", help="Return when the job has ended and everything of it is removed.")]

control = typer.Typer()


@control.command()
def stop(
    ctx: typer.Context, job: JobArguments, wait: Wait = False, timeout: Timeout = None, output: Output = None
) -> None:
    """
    End jobs. The app's pods of a running job get the site's grace period; a job that has not started is canceled.

    A job that has ended already stays as it is.
    """

    def end(client: Client, found: dict[str, Any]) -> None:
        if found["status"] == JobState.SUBMITTED:
            client.terminate(found["number"])
        else:
            client.shutdown(found["number"])

    _end_all(get_session(ctx), job, end, output, wait=wait, timeout_s=timeout)


@control.command()
def terminate(
    ctx: typer.Context, job: JobArguments, wait: Wait = False, timeout: Timeout = None, output: Output = None
) -> None:
    """End jobs at once, without waiting for the app's pods. A job that has ended already stays as it is."""

    def end(client: Client, found: dict[str, Any]) -> None:
        client.terminate(found["number"])

    _end_all(get_session(ctx), job, end, output, wait=wait, timeout_s=timeout)


@control.command()
def extend(
    ctx: typer.Context,
    job: JobArgument,
    by: Annotated[str | None, typer.Option("--by", metavar="HH:MM:SS", help="How much longer.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HH:MM:SS", help="The walltime from the job's start.")
    ] = None,
    output: Output = None,
) -> None:
    """Let a live job run longer than its walltime, and print the new one. Give --by or --to; --to is safe to repeat."""
    if (by is None) == (to is None):
        raise CommandError(Exit.USAGE, "how long? give --by or --to")
    session = get_session(ctx)
    with session.connect() as client:
        found = client.detail(read_job(job))
        wanted = to if to is not None else _add(found, by or "")
        walltime_s = client.extend(found["number"], wanted)
    screen = session.screen_for(output)
    if screen.output is Format.TABLE:
        screen.line(format_walltime(walltime_s))
    else:
        screen.dump({"number": found["number"], "walltime_seconds": walltime_s})


WaitForRest = Annotated[bool, typer.Option("--wait", help="Return when it is done.")]


@control.command()
def sleep(
    ctx: typer.Context, job: JobArguments, wait: WaitForRest = False, timeout: Timeout = None, output: Output = None
) -> None:
    """
    Put jobs to sleep: their pods end, and what is in their clusters stays.

    A job wakes when somebody opens its page, or by `kns wake`. Its usage stops counting meanwhile, its walltime does
    not.
    """
    _rest_all(get_session(ctx), job, Client.sleep, Rest.ASLEEP, output, wait=wait, timeout_s=timeout)


@control.command()
def wake(
    ctx: typer.Context, job: JobArguments, wait: WaitForRest = False, timeout: Timeout = None, output: Output = None
) -> None:
    """Wake jobs that are asleep. A job that is awake stays as it is."""
    _rest_all(get_session(ctx), job, Client.wake, Rest.AWAKE, output, wait=wait, timeout_s=timeout)


@control.command(rich_help_panel=ADMINISTRATORS)
def keep(
    ctx: typer.Context,
    job: JobArgument,
    undo: Annotated[
        bool, typer.Option("--undo", help="Keep it no longer; if it has ended, remove everything.")
    ] = False,
    output: Output = None,
) -> None:
    """
    Keep everything of a live job after its end, to look into it. Only for system administrators.

    It occupies its nodes until `kns keep --undo` or `kns delete`; nothing else ends that.
    """
    session = get_session(ctx)
    with session.connect() as client:
        number = client.detail(read_job(job))["number"]
        client.keep(number, keep=not undo)
    session.screen_for(output).record({"number": number, "kept": not undo})
    session.screen.note(
        "no longer kept" if undo else "kept after its end; `kns delete` or `kns keep --undo` removes it"
    )


@control.command(rich_help_panel=ADMINISTRATORS)
def delete(
    ctx: typer.Context,
    job: JobArguments,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = None,
) -> None:
    """
    Delete the records of ended jobs, with their output and whatever was kept. Only for system administrators.

    A record is the account of what a job used. kns deletes it by itself after the site's retention time.
    """
    session = get_session(ctx)
    with session.connect() as client:
        found = [client.detail(read_job(each)) for each in job]
        for each in found:
            if each["ended"] is None:
                raise CommandError(Exit.REFUSED, f"job {each['number']} has not ended; `kns stop` ends it")
        if not yes and not _confirm(", ".join(str(each["number"]) for each in found)):
            raise CommandError(Exit.USAGE, "nothing was deleted; --yes deletes without a question")
        for each in found:
            client.delete(each["number"])
            session.screen.note(f"job {each['number']}: record deleted")
    session.screen_for(output).record([{"number": each["number"], "deleted": True} for each in found])


def _confirm(numbers: str) -> bool:
    return sys.stdin.isatty() and typer.confirm(f"delete the records of {numbers} for good?", err=True)


def _add(job: dict[str, Any], by: str) -> str:
    try:
        added_s = parse_walltime(by, path="--by")
    except InvalidInputError as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    return format_walltime((job["walltime_seconds"] or 0) + added_s)


def _end_all(
    session: Session,
    jobs: list[str],
    end: Callable[[Client, dict[str, Any]], None],
    output: Format | None,
    *,
    wait: bool,
    timeout_s: float | None,
) -> None:
    with session.connect() as client:
        ended = [_end_one(session, client, job, end) for job in jobs]
        if wait:
            for number in ended:
                with session.screen.busy(f"waiting for the removal of job {number}"):
                    _await_removal(session, client, number, timeout_s=timeout_s)
        _record(session.screen_for(output), client, ended)


def _record(screen: Screen, client: Client, numbers: Sequence[int]) -> None:
    """The jobs as they are now."""
    if screen.output is not Format.TABLE:
        keys = ("number", "name", "status", "rest", "ended", "message")
        screen.dump([{key: found.get(key) for key in keys} for found in map(client.detail, numbers)])


def _rest_all(
    session: Session,
    jobs: list[str],
    ask: Callable[[Client, int], None],
    wanted: Rest,
    output: Format | None,
    *,
    wait: bool,
    timeout_s: float | None,
) -> None:
    with session.connect() as client:
        numbers = [int(client.detail(read_job(job))["number"]) for job in jobs]
        for number in numbers:
            ask(client, number)
            session.screen.note(f"job {number}: {'sleep' if wanted is Rest.ASLEEP else 'wake'} requested")
        for number in numbers if wait else ():
            with session.screen.busy(f"waiting until job {number} is {wanted}"):
                _await_rest(session, client, number, wanted, timeout_s=timeout_s)
        _record(session.screen_for(output), client, numbers)


def _await_rest(session: Session, client: Client, number: int, wanted: Rest, *, timeout_s: float | None) -> None:
    patient = Patient()
    for _ in poll(session, timeout_s=timeout_s):
        found = patient.ask(lambda: client.detail(number))
        if found is None:
            continue
        if found["ended"] is not None:
            raise CommandError(Exit.REFUSED, describe_end(found))
        if found["rest"] == wanted:
            session.screen.note(f"job {number}: {wanted}")
            return


def _end_one(session: Session, client: Client, job: str, end: Callable[[Client, dict[str, Any]], None]) -> int:
    found = client.detail(read_job(job))
    number = int(found["number"])
    if found["ended"] is not None:
        session.screen.note(f"{describe_end(found)}, before this command")
        return number
    end(client, found)
    session.screen.note(f"job {number}: end requested")
    return number


def _await_removal(session: Session, client: Client, number: int, *, timeout_s: float | None) -> None:
    patient = Patient()
    for _ in poll(session, timeout_s=timeout_s):
        found = patient.ask(lambda: client.detail(number))
        if found is None or found["ended"] is None:
            continue
        if not any(step["name"] == "remove" and step["state"] == "active" for step in found["steps"]):
            session.screen.note(describe_end(found))
            return
