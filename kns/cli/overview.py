"""Commands about what is used: by one job, by a user, and for administrators by all."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from kns.cli.options import ADMINISTRATORS, JobArgument, Output, read_job
from kns.cli.screen import Format, Screen, build_pairs, build_table
from kns.cli.session import get_session
from kns.cli.steps import describe_total

_KIB_PER_GIB = 1024**2
_MESSAGE = 200  # characters of a message in a table

overviews = typer.Typer()


@overviews.command(rich_help_panel="Jobs")
def usage(ctx: typer.Context, job: JobArgument, output: Output = None) -> None:
    """Show what a job uses now, what its pods request, and what they requested in all."""
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = client.detail(read_job(job))
        measured = client.metrics(found["number"])
    requested = found.get("usage") or {}
    if screen.output is not Format.TABLE:
        screen.dump({"requested": requested or None, "measured": measured})
        return
    if not requested and measured is None:
        screen.note("nothing yet: the job has not started")
    screen.draw(build_pairs({**_describe_measured(measured or {}), **_describe_requested(requested, found)}))


def _describe_measured(found: Mapping[str, int]) -> dict[str, object]:
    if not found:
        return {}
    used, total = (found[key] / _KIB_PER_GIB for key in ("memory_used", "memory_total"))
    return {"CPU now": f"{found['cpu_used']} % of the machine", "Memory now": f"{used:.2f} of {total:.1f} GiB"}


def _describe_requested(found: Mapping[str, float], job: Mapping[str, Any]) -> dict[str, object]:
    if not found:
        return {}
    gpus = f", {found['gpus']:g} GPUs" if found["gpus"] else ""
    gpu_hours = f", {found['gpu_hours']:.2f} GPU hours" if found["gpu_hours"] else ""
    hours = f"{found['core_hours']:.2f} core hours, {found['memory_gib_hours']:.2f} GiB hours{gpu_hours}"
    now = f"{found['cores']:g} cores, {found['memory_gib']:g} GiB{gpus}"
    return {"Requested now": None if job["ended"] else now, "Requested in all": hours}


@overviews.command()
def limits(ctx: typer.Context, output: Output = None) -> None:
    """Show how many live jobs you have, and how many you may have."""
    session = get_session(ctx)
    with session.connect() as client:
        found = client.limits()
    most = found["live_jobs_limit"]
    pairs = {"Live jobs": found["live_jobs"], "At most": "no limit" if most is None else most}
    session.screen_for(output).show(found, build_pairs({key: str(value) for key, value in pairs.items()}))


@overviews.command(rich_help_panel=ADMINISTRATORS)
def overview(
    ctx: typer.Context,
    page: Annotated[int, typer.Option("--page", min=1, max=9999, help="Older live jobs; each page has 50.")] = 1,
    output: Output = None,
) -> None:
    """
    Show the whole installation: who uses what, why jobs failed, orphans, live jobs. Only for system administrators.
    """
    session = get_session(ctx)
    screen = session.screen_for(output)
    with session.connect() as client:
        found = client.overview(page=page)
    if screen.output is Format.TABLE:
        _draw(screen, found)
    else:
        screen.dump(found)


def _draw(screen: Screen, found: Mapping[str, Any]) -> None:
    limit = found["live_jobs_limit"]
    screen.draw(
        build_pairs(
            {
                "Starting": str(found["starting"]),
                "Running": str(found["running"]),
                "Live jobs of one user": "no limit" if limit is None else f"at most {limit}",
            }
        )
    )
    for title, table in _tables(found):
        screen.draw("")
        screen.draw(title)
        screen.draw(table)
    if found["orphans"] is None:
        screen.warn("the orphans cannot be read now")
    if found["more"]:
        screen.note("--page shows older live jobs")


def _tables(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those that have rows, with their titles."""
    users = [
        (each["user"], each["live_jobs"], each["cores"], each["memory_gib"], each["gpus"]) for each in found["users"]
    ]
    failed = [(job["number"], job["app"], job["user"], job["reason"], _cut(job["message"])) for job in found["failed"]]
    live = [
        (job["number"], job["status"], job["substatus"], job["user"], job["app"], job["machine"], describe_total(job))
        for job in found["live"]
    ]
    tables = (
        ("Who uses what", ("USER", "JOBS", "CORES", "GIB", "GPUS"), users),
        ("Why jobs failed", ("REASON", "JOBS"), [(each["reason"], each["count"]) for each in found["failures"]]),
        ("The newest failed jobs", ("JOB", "APP", "USER", "REASON", "MESSAGE"), failed),
        (
            "Orphans of the last hour",
            ("TIME", "REASON", "TIMES", "MESSAGE"),
            [(each["time"], each["reason"], each["count"], _cut(each["message"])) for each in found["orphans"] or ()],
        ),
        ("Live jobs", ("JOB", "STATUS", "STAGE", "USER", "APP", "MACHINE", "AGE"), live),
    )
    for title, columns, rows in tables:
        if rows:
            yield title, build_table(columns, rows, wraps="MESSAGE")


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _MESSAGE else f"{text[: _MESSAGE - 1]}…"
