"""Commands that end jobs, let them run longer, or decide what stays of them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer

from kns.cli.exits import CommandError, Exit, explain_client_error, print_error
from kns.cli.options import ADMINISTRATORS, JobArgument, JobArguments, Output, Timeout, read_job
from kns.cli.screen import Format, Screen
from kns.cli.session import Session, get_session
from kns.cli.waiting import Patient, describe_end, is_unanswered, poll
from kns.client import Client, ClientError, ResponseError
from kns.model.errors import InvalidInputError
from kns.model.job.job import JobState, Rest
from kns.model.reading.duration import format_walltime, parse_walltime

_UNAUTHORIZED, _NOT_FOUND = 401, 404

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
    errors, ended, deleted = _Errors(several=len(job) > 1), list[int](), list[int]()
    with session.connect() as client:
        for each in job:
            with errors.collected(each):
                ended.append(_find_ended(client, each))
        if ended and not yes and not _confirm(", ".join(map(str, ended))):
            raise CommandError(Exit.USAGE, "nothing was deleted; --yes deletes without a question")
        for number in ended:
            with errors.collected(number):
                client.delete(number)
                deleted.append(number)
                session.screen.note(f"job {number}: record deleted")
    errors.end()
    session.screen_for(output).record([{"number": number, "deleted": True} for number in deleted])


def _find_ended(client: Client, job: str) -> int:
    found = client.detail(read_job(job))
    if found["ended"] is None:
        raise CommandError(Exit.REFUSED, f"job {found['number']} has not ended; `kns stop` ends it")
    return int(found["number"])


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
    def act(client: Client, found: dict[str, Any]) -> None:
        number = found["number"]
        if found["ended"] is None:
            try:
                end(client, found)
            except ResponseError as error:
                if error.status != _NOT_FOUND:
                    raise
                found = client.detail(number)  # it may have ended since the first look
                if found["ended"] is None:
                    raise
            else:
                session.screen.note(f"job {number}: end requested")
                return
        session.screen.note(f"{describe_end(found)}, before this command")

    def is_done(found: dict[str, Any]) -> bool:
        if found["ended"] is None or any(
            step["name"] == "remove" and step["state"] == "active" for step in found["steps"]
        ):
            return False
        session.screen.note(describe_end(found))
        return True

    _act_on_all(session, jobs, act, output, is_done=is_done if wait else None, timeout_s=timeout_s)


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
    def act(client: Client, found: dict[str, Any]) -> None:
        ask(client, found["number"])
        session.screen.note(f"job {found['number']}: {'sleep' if wanted is Rest.ASLEEP else 'wake'} requested")

    def is_done(found: dict[str, Any]) -> bool:
        if found["ended"] is not None:
            raise CommandError(Exit.REFUSED, describe_end(found))
        if found.get("rest", Rest.AWAKE) != wanted:  # a server of an earlier release does not say
            return False
        session.screen.note(f"job {found['number']}: {wanted}")
        return True

    _act_on_all(session, jobs, act, output, is_done=is_done if wait else None, timeout_s=timeout_s)


class _Errors:
    """The errors of a command that goes on with its other jobs. Each is a line at once; the first one is the status."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._first: Exit | None = None

    @contextmanager
    def collected(self, job: object = None) -> Iterator[None]:
        """
        An error ends the block. The client's errors do not name the job, so `job` does if there are several.

        Raises:
            ClientError: kns does not answer, or does not accept the credentials. It would be the same with other jobs,
                and each try with a wrong key counts as a failed login.
        """
        try:
            yield
        except CommandError as error:
            self._add(error.status, str(error))
        except ClientError as error:
            if is_unanswered(error) or (isinstance(error, ResponseError) and error.status == _UNAUTHORIZED):
                raise
            status, sentence = explain_client_error(error)
            self._add(status, f"job {job}: {sentence}" if self._several else sentence)

    def _add(self, status: Exit, message: str) -> None:
        print_error(message)
        self._first = self._first or status

    def end(self) -> None:
        """End the command if there was an error."""
        if self._first is not None:
            raise typer.Exit(self._first)


def _act_on_all(
    session: Session,
    jobs: list[str],
    act: Callable[[Client, dict[str, Any]], None],
    output: Format | None,
    *,
    is_done: Callable[[dict[str, Any]], bool] | None,
    timeout_s: float | None,
) -> None:
    """Act on each job, also after an error, and wait until `is_done` for each with which there was none."""
    errors = _Errors(several=len(jobs) > 1)
    numbers: list[int] = []
    with session.connect() as client:
        for job in jobs:
            with errors.collected(job):
                found = client.detail(read_job(job))
                act(client, found)
                numbers.append(found["number"])
        if is_done is not None and numbers:
            with errors.collected():
                _await_all(session, client, numbers, is_done, errors, timeout_s=timeout_s)
        errors.end()
        _record(session.screen_for(output), client, numbers)


def _await_all(
    session: Session,
    client: Client,
    numbers: Sequence[int],
    is_done: Callable[[dict[str, Any]], bool],
    errors: _Errors,
    *,
    timeout_s: float | None,
) -> None:
    """
    Raises:
        CommandError: `timeout_s`, which is for all together, is over.
    """
    waiting, patient = dict.fromkeys(numbers), Patient()

    def list_waiting() -> str:
        return f"job {', '.join(map(str, waiting))}"

    with session.screen.busy(f"waiting for {list_waiting()}"):
        for _ in poll(session, timeout_s=timeout_s, goes_on=lambda: f"not done yet: {list_waiting()}"):
            for number in list(waiting):
                with errors.collected(number):
                    found = patient.ask(partial(client.detail, number))
                    if found is None:  # kns does not answer now, also about the others
                        break
                    if not is_done(found):
                        continue
                del waiting[number]
            if not waiting:
                return


def _record(screen: Screen, client: Client, numbers: Sequence[int]) -> None:
    """The jobs as they are now."""
    if screen.output is not Format.TABLE:
        keys = ("number", "name", "status", "rest", "ended", "message")
        screen.dump([{key: found.get(key) for key in keys} for found in map(client.detail, numbers)])
