"""Commands that end jobs."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from kns.cli.options import JobArguments, Timeout, read_job
from kns.cli.session import Session, get_session
from kns.cli.waiting import Patient, describe_end, poll
from kns.client import Client
from kns.model.job.job import JobState

Wait = Annotated[bool, typer.Option("--wait", help="Return when the job has ended and everything of it is removed.")]

control = typer.Typer()


@control.command()
def stop(ctx: typer.Context, job: JobArguments, wait: Wait = False, timeout: Timeout = None) -> None:
    """
    End jobs. The app's pods of a running job get the site's grace period; a job that has not started is canceled.

    A job that has ended already stays as it is.
    """

    def end(client: Client, found: dict[str, Any]) -> None:
        if found["status"] == JobState.SUBMITTED:
            client.terminate(found["number"])
        else:
            client.shutdown(found["number"])

    _end_all(get_session(ctx), job, end, wait=wait, timeout_s=timeout)


@control.command()
def terminate(ctx: typer.Context, job: JobArguments, wait: Wait = False, timeout: Timeout = None) -> None:
    """End jobs at once, without waiting for the app's pods. A job that has ended already stays as it is."""
    _end_all(
        get_session(ctx), job, lambda client, found: client.terminate(found["number"]), wait=wait, timeout_s=timeout
    )


def _end_all(
    session: Session,
    jobs: list[str],
    end: Callable[[Client, dict[str, Any]], None],
    *,
    wait: bool,
    timeout_s: float | None,
) -> None:
    with session.connect() as client:
        ended = [_end_one(session, client, job, end) for job in jobs]
        if wait:
            for number in ended:
                _await_removal(session, client, number, timeout_s=timeout_s)


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
        removal = next(step for step in found["steps"] if step["name"] == "remove")
        if removal["state"] != "active":
            session.screen.note(describe_end(found))
            return
