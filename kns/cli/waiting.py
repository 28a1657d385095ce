"""Wait for a job: poll it, show what changes, and end with the status that says how it went."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from rich.live import Live
from rich.text import Text

from kns.cli.exits import CommandError, Exit
from kns.cli.screen import Format, Screen
from kns.cli.session import Session
from kns.cli.steps import build_timeline, describe_offset, is_over, is_serving, list_changes
from kns.client import Client, ClientError, JobRef, NoResponseError, ResponseError
from kns.model.job.job import JobState

FIRST_POLL_S, LONGEST_POLL_S = 1.0, 5.0  # a start takes some ten seconds; a job may then run for days
_GROWTH = 1.1
_PATIENCE = 22  # polls in a row without an answer, a minute: kns restarts, or a block (429) ends, in that time
_TOO_MANY, _SERVER_ERROR = 429, 500
_STATUSES: dict[str, Exit] = {JobState.COMPLETED: Exit.OK, JobState.FAILED: Exit.FAILED}


T = TypeVar("T")


class Until(StrEnum):
    SERVING = "serving"
    ENDED = "ended"


def poll(
    session: Session, *, timeout_s: float | None = None, goes_on: Callable[[], str] = lambda: "the job goes on"
) -> Iterator[None]:
    """
    Yields at once, and then after growing delays. `goes_on` is for the error: it says what is not done yet.

    Raises:
        CommandError: `timeout_s` is over.
    """
    machine, delay_s = session.surroundings, FIRST_POLL_S
    deadline = None if timeout_s is None else machine.monotonic() + timeout_s
    while True:
        yield
        if deadline is not None:
            left_s = deadline - machine.monotonic()
            if left_s <= 0:
                raise CommandError(Exit.TIMED_OUT, f"gave up after {timeout_s:g} s; {goes_on()}")
            delay_s = min(delay_s, left_s)
        machine.sleep(delay_s)
        delay_s = min(delay_s * _GROWTH, LONGEST_POLL_S)


def is_unanswered(error: ClientError) -> bool:
    """Whether kns does not answer, or the proxy before it says so, as while it restarts."""
    return isinstance(error, NoResponseError) or (isinstance(error, ResponseError) and error.status >= _SERVER_ERROR)


def is_passing(error: ClientError) -> bool:
    """Whether it may be over soon. Somebody else's failed logins block a user for up to a minute (status 429)."""
    return is_unanswered(error) or (isinstance(error, ResponseError) and error.status == _TOO_MANY)


class Patient:
    """
    Repeats a call while kns does not answer, or asks to come again later: a replica may restart at any moment. With
    `after_first` only once it has answered, so that a wrong address is reported at once.
    """

    def __init__(self, *, after_first: bool = False) -> None:
        self._most = 1 if after_first else _PATIENCE
        self._failures = 0

    def ask(self, call: Callable[[], T]) -> T | None:
        """The answer; None if there was none this time."""
        try:
            found = call()
        except ClientError as error:
            self._failures += 1
            if not is_passing(error) or self._failures >= self._most:
                raise
            return None
        self._failures, self._most = 0, _PATIENCE
        return found


def wait_for(
    session: Session, screen: Screen, client: Client, job: JobRef, *, until: Until, timeout_s: float | None
) -> dict[str, Any]:
    """
    Follow a job until it serves or has ended, and return it as it is then. A table of its steps is kept current on a
    terminal; elsewhere each change is a line on stdout.
    """
    is_shown = screen.output is Format.TABLE
    if not (is_shown and screen.is_terminal):
        return _follow(session, client, job, until, timeout_s, _print_changes(screen) if is_shown else _show_nothing)
    with Live(Text(""), console=screen.out, refresh_per_second=4, transient=True) as live:
        found = _follow(session, client, job, until, timeout_s, lambda each: live.update(build_timeline(each)))
    screen.draw(build_timeline(found))
    return found


def _follow(
    session: Session,
    client: Client,
    job: JobRef,
    until: Until,
    timeout_s: float | None,
    show: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    patient = Patient()
    for _ in poll(session, timeout_s=timeout_s, goes_on=lambda: describe_living(job)):
        found = patient.ask(lambda: client.detail(job))
        if found is None:
            continue
        show(found)
        if is_over(found) or (until is Until.SERVING and is_serving(found)):
            return found
    raise AssertionError("poll never ends")


def _show_nothing(job: Mapping[str, Any]) -> None:
    del job


def _print_changes(screen: Screen) -> Callable[[dict[str, Any]], None]:
    seen: list[Mapping[str, Any]] = []

    def show(job: dict[str, Any]) -> None:
        for step in list_changes(seen, job["steps"]):
            at = describe_offset(job["submitted"], step["ended"] or job["now"])
            message = f": {step['message']}" if step["message"] else ""
            screen.line(f"{at}  {step['title']}: {step['state']}{message}")
        seen[:] = job["steps"]

    return show


def status_of(job: Mapping[str, Any]) -> Exit:
    """The exit status for a job: OK while it lives."""
    if not is_over(job):
        return Exit.OK
    return _STATUSES.get(job["status"], Exit.STOPPED)


def describe_living(job: JobRef) -> str:
    """
    What a command says that ends before the job.

    >>> describe_living(7)
    'job 7 goes on; end it with `kns terminate 7`'
    """
    return f"job {job} goes on; end it with `kns terminate {job}`"


def describe_end(job: Mapping[str, Any]) -> str:
    """
    >>> describe_end({"number": 7, "status": "CANCELED", "message": "the job was terminated", "ended": "x"})
    'job 7 ended CANCELED: the job was terminated'
    """
    return f"job {job['number']} ended {job['status']}" + (f": {job['message']}" if job["message"] else "")
