"""Commands that read jobs: list, show, explain, watch, open, shell."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from kns.cli.exits import CommandError, Exit
from kns.cli.options import JobArgument, Output, Timeout, read_job
from kns.cli.report import escape
from kns.cli.screen import Format, Screen, build_fitted_table, build_pairs
from kns.cli.session import Session, get_session
from kns.cli.steps import build_timeline, describe_total
from kns.cli.waiting import Patient, Until, describe_end, poll, status_of, wait_for
from kns.client import Client, JobEntry, ResponseError
from kns.model.reading.duration import describe_duration

_CONFLICT = 409

jobs = typer.Typer()

Status = Annotated[str | None, typer.Option("--status", metavar="TEXT", help="Only jobs whose status has this text.")]


@jobs.command("list")
def list_jobs(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Ended jobs as well.")] = False,
    ended: Annotated[bool, typer.Option("--ended", help="Only ended jobs.")] = False,
    team: Annotated[bool, typer.Option("--team", help="The jobs of your team, if you lead one.")] = False,
    label: Annotated[str | None, typer.Option("--label", "-l", help="Only jobs with this text in their label.")] = None,
    app: Annotated[str | None, typer.Option("--app", help="Only jobs of this app.")] = None,
    status: Status = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only the newest.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the list current until Ctrl-C.")] = False,
    output: Output = None,
) -> None:
    """
    List your jobs, oldest first: the live ones, or also those that ended.

    With --watch a terminal shows the list as it changes; a pipe gets each changed job as a line.
    """
    session = get_session(ctx)
    screen = session.screen_for(output)

    def read(client: Client) -> dict[int, JobEntry]:
        found = _read_list(client, live=not ended, ended=ended or everything, team=team, label=label)
        kept = {
            number: job
            for number, job in found.items()
            if app in (None, job["job_application"]) and (status or "").upper() in job["job_status"]
        }
        return dict(list(kept.items())[-limit:]) if limit else kept

    with session.connect() as client:
        if watch:
            _watch_list(session, screen, client, read)
            return
        found = read(client)
        if not found and screen.output is Format.TABLE:
            screen.note("no jobs" if everything or ended else "no live jobs; --all lists those that ended as well")
            return
        screen.show(
            [_job_data(each) for each in found.values()], build_job_table(screen, found, session.surroundings.now())
        )


def _read_list(client: Client, *, live: bool, ended: bool, team: bool, label: str | None) -> dict[int, JobEntry]:
    if not team:
        params = {"label": label} if label is not None else {}
        params |= {"all": "true"} if live and ended else {"completed": "true"} if ended else {}
        return client.list_jobs(params)
    found: dict[int, JobEntry] = {}
    for wanted, completed in ((live, "false"), (ended, "true")):
        if wanted:
            found |= client.list_jobs({"completed": completed}, team=True)
    return {number: job for number, job in sorted(found.items()) if (label or "") in (job["job_label"] or "")}


_COLUMNS = ("JOB", "STATUS", "STAGE", "APP", "MACHINE", "OWNER", "AGE", "LABEL", "ADDRESS")


# What a narrow terminal does not show; `kns show` and a pipe have it.
_LESS = ("ADDRESS", "OWNER", "MACHINE", "STAGE")


def build_job_table(screen: Screen, found: Mapping[int, Mapping[str, Any]], now: datetime) -> Table:
    rows = [_job_row(job, now) for job in found.values()]
    return build_fitted_table(_COLUMNS, rows, width=screen.out.width, less=_LESS, cut="LABEL")


def _job_row(job: Mapping[str, Any], now: datetime) -> tuple[object, ...]:
    age = describe_duration(now.timestamp() - job["job_submit_time"])
    scale = f" x{job['job_mc_scale']}" if job["job_mc_scale"] > 1 else ""
    return (
        job["job_number"],
        job["job_status"],
        job["job_substatus_text"],
        job["job_application"],
        f"{job['job_mc_name']}{scale}",
        job["job_owner_username"],
        age,
        job["job_label"],
        job["job_address"],
    )


def _job_data(job: Mapping[str, Any]) -> dict[str, Any]:
    """A listed job with short keys, the same as those of `show`."""

    def time_of(seconds: int) -> str | None:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}" if seconds else None

    return {
        "number": job["job_number"],
        "name": job["job_name"],
        "user": job["job_owner_username"],
        "app": job["job_application"],
        "command": job["job_command"],
        "machine": job["job_mc_name"],
        "nodes": job["job_mc_scale"],
        "label": job["job_label"],
        "project": job["job_project"],
        "status": job["job_status"],
        "substatus": job["job_substatus_text"],
        "exit_code": job["job_exitcode"],
        "address": job["job_address"],
        "submitted": time_of(job["job_submit_time"]),
        "started": time_of(job["job_start_time"]),
        "ended": time_of(job["job_end_time"]),
    }


def _watch_list(
    session: Session, screen: Screen, client: Client, read: Callable[[Client], dict[int, JobEntry]]
) -> None:
    patient = Patient(after_first=True)
    if screen.is_terminal and screen.output is Format.TABLE:
        with Live(console=screen.out, refresh_per_second=4) as live:
            for _ in poll(session):
                shown = patient.ask(lambda: read(client))
                if shown is not None:
                    live.update(build_job_table(screen, shown, session.surroundings.now()) if shown else "no jobs")
    seen: dict[int, Any] = {}
    for _ in poll(session):
        found = patient.ask(lambda: read(client))
        if found is None:
            continue
        changed = {number: job for number, job in found.items() if seen.get(number) != _state_of(job)}
        gone = [number for number in seen if number not in found]
        seen = {number: _state_of(job) for number, job in found.items()}
        for job in changed.values():
            if screen.output is Format.TABLE:
                screen.line("\t".join(escape(str(cell or "")) for cell in _job_row(job, session.surroundings.now())))
            else:
                screen.stream(_job_data(job))
        for number in gone:
            if screen.output is Format.TABLE:
                screen.line(f"{number}\tleft the list")


def _state_of(job: Mapping[str, Any]) -> tuple[object, ...]:
    return job["job_status"], job["job_substatus"], job["job_address"]


@jobs.command()
def show(ctx: typer.Context, job: JobArgument, output: Output = None) -> None:
    """Show one job: what it is, its times, its timeline, and how to reach it."""
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = client.detail(read_job(job))
        connection = _find_connection(client, found["number"])
    if screen.output is not Format.TABLE:
        screen.dump({**found, "connection": connection})
        return
    screen.draw(build_pairs(_describe(found, connection)))
    screen.draw("")
    screen.draw(build_timeline(found))


def _describe(job: Mapping[str, Any], connection: Mapping[str, Any] | None) -> dict[str, object]:
    reach = connection or {}
    nodes = f" x{job['nodes']}" if job["nodes"] > 1 else ""
    walltime = job["walltime_seconds"]
    return {
        "Job": job["number"],
        "Name": job["name"],
        "App": f"{job['app']}, command {job['command']}",
        "Machine": f"{job['machine']}{nodes}",
        "Owner": job["user"],
        "Label": job["label"],
        "Project": job["project"],
        "Status": job["status"],
        "Stage": job["substatus"],
        "Exit code": job["exit_code"] if job["ended"] else None,
        "Why": job["message"],
        "Submitted": job["submitted"],
        "Started": job["started"],
        "Ended": job["ended"],
        "Age": describe_total(job),
        "Walltime": None if walltime is None else describe_duration(walltime),
        "Walltime ends": job["walltime_end"] if not job["ended"] else None,
        "URL": reach.get("url"),
        "Web shell": reach.get("shell_url"),
        "User": reach.get("user") if reach.get("url") or reach.get("shell_url") else None,
        "Password": reach.get("password") if reach.get("url") or reach.get("shell_url") else None,
    }


def _find_connection(client: Client, number: int) -> dict[str, Any] | None:
    """How to reach the job; None if it cannot be reached now."""
    try:
        return client.connection(number)
    except ResponseError as error:
        if error.status == _CONFLICT:
            return None
        raise


@jobs.command()
def explain(ctx: typer.Context, job: JobArgument, output: Output = None) -> None:
    """Explain in words what a job does or waits for, why, and what you can do."""
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = client.explain(read_job(job))
    if screen.output is not Format.TABLE:
        screen.dump(found)
        return
    for line in _explain_lines(found):
        screen.line(line)


def _explain_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield found["summary"]
    if found["cause"]:
        yield f"Cause: {found['cause']}"
    if found["uses"]:
        uses = (f"{round(use['used'], 2):g} of {round(use['limit'], 2):g} {use['unit']}" for use in found["uses"])
        yield f"It requests {', '.join(uses)}."
    for warning in found["warnings"]:
        times = f", {warning['count']} times" if warning["count"] > 1 else ""
        yield f"Warning: {warning['subject']}: {warning['reason']}{times}: {warning['message']}"
    for advice in found["advice"]:
        yield f"-> {advice}"


@jobs.command()
def watch(
    ctx: typer.Context,
    job: JobArgument,
    until: Annotated[Until, typer.Option("--until", help="When to stop watching.")] = Until.SERVING,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """
    Follow a job's steps until it serves or has ended, and show its timeline.

    Exit status: 0 it serves, or ended COMPLETED; 1 it failed; 7 the timeout; 8 it was terminated or canceled.
    """
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = wait_for(session, screen, client, read_job(job), until=until, timeout_s=timeout)
        finish(screen, client, found)


def finish(screen: Screen, client: Client, job: Mapping[str, Any]) -> None:
    """Print where a serving job is, or how it ended, and end with that status."""
    status = status_of(job)
    if screen.output is not Format.TABLE:
        screen.dump(job)
    elif job["ended"] is None:
        connection = _find_connection(client, job["number"]) or {}
        screen.line(connection.get("url") or f"job {job['number']} serves; it has no URL")
    else:
        screen.line(describe_end(job))
    if status is not Exit.OK:
        raise typer.Exit(status)


OnlyPrint = Annotated[bool, typer.Option("--print", help="Print the URL and open nothing.")]


@jobs.command("open")
def open_job(
    ctx: typer.Context,
    job: JobArgument,
    only_print: OnlyPrint = False,
    output: Output = None,
) -> None:
    """Open a job's URL in the browser, and print it. It may contain a secret of the job."""
    missing = "the job has no URL: its app has no target"
    _open(get_session(ctx), job, "url", output, only_print=only_print, missing=missing)


@jobs.command()
def shell(
    ctx: typer.Context,
    job: JobArgument,
    only_print: OnlyPrint = False,
    output: Output = None,
) -> None:
    """Open a job's web shell in the browser, and print its URL. `kns show` has user and password for it."""
    missing = "the job has no web shell, or it is not running; `kns explain` and `kns show` say more"
    _open(get_session(ctx), job, "shell_url", output, only_print=only_print, missing=missing)


def _open(session: Session, job: str, key: str, output: Format | None, *, only_print: bool, missing: str) -> None:
    screen = session.screen_for(output)
    with session.connect() as client:
        found = client.detail(read_job(job))
        reach = _find_connection(client, found["number"])
    if reach is None:
        number, status = found["number"], found["status"]
        waits = f"job {number} does not serve yet, it is {status}; `kns watch {number}` waits until it does"
        raise CommandError(Exit.REFUSED, waits if found["ended"] is None else describe_end(found))
    url = reach[key]
    if url is None:
        raise CommandError(Exit.REFUSED, missing)
    if screen.output is not Format.TABLE:
        screen.dump({"number": found["number"], "url": url})
        return
    screen.line(url)
    is_web = str(url).startswith(("http://", "https://"))  # the URL may come from an app's author
    if not only_print and screen.is_terminal and is_web and not session.surroundings.open_url(url):
        screen.note("there is no browser to open it in")
