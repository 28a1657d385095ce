"""
Records and catalogue entries as the public API shows them. Pure; every key and type is the contract's.

Generated clients convert nothing: an integer is a real integer, and what may be missing is `null`.
"""

from datetime import datetime
from html import escape
from typing import Any

from kns.api.appdef_entry import appdef_entry
from kns.model import names
from kns.model.catalog.catalog import App
from kns.model.catalog.machine import Machine
from kns.model.job.connection import build_substitutions, connect_url, shell_url, substitute
from kns.model.job.job import SUBSTATUS_TEXT, Accepted, Job
from kns.model.job.tokens import Tokens
from kns.model.reading.duration import format_walltime
from kns.model.submit.submission import redact_submission


def accepted_of(job: Job) -> Accepted:
    """
    Raises:
        ValueError: the job was not accepted yet, so it has no number and no public shape.
    """
    if job.spec.accepted is None:
        raise ValueError(f"record {job.record} is not accepted yet")
    return job.spec.accepted


def status_entry(job: Job, *, now: datetime) -> dict[str, Any]:
    """The ten keys of `status`."""
    status = job.status
    return {
        "job_name": accepted_of(job).name,
        "job_status": str(status.job_status),
        "job_substatus": int(status.substatus),
        "job_submit_time": _epoch(job.submit_time),
        "job_start_time": _epoch(status.start_time),
        "job_end_time": _epoch(status.end_time),
        "job_application": job.spec.app,
        "job_command": accepted_of(job).command,
        "job_walltime": format_walltime(elapsed_s(job, now)) if job.is_ended else None,
        "job_project": job.spec.project,
    }


def job_entry(job: Job, *, now: datetime) -> dict[str, Any]:
    """An entry of `jobs`: the keys of `status` and the rest."""
    accepted = accepted_of(job)
    run_s = int(elapsed_s(job, now))
    return {
        **status_entry(job, now=now),
        "job_number": accepted.number,
        "job_owner_username": job.spec.user,
        "job_payer": accepted.payer,
        "job_label": job.spec.label,
        "job_substatus_text": SUBSTATUS_TEXT[job.status.substatus],
        "job_api_submission": _submission_entry(job),
        "job_address": job.status.address,
        "job_nodes": "",
        "job_mc_name": accepted.machine.mc_name,
        "job_mc_scale": job.spec.machine.nodes,
        "job_exitcode": job.status.exit_code,
        "job_sched_id": names.SCHEDULER_ID,
        "job_sched_job_id": names.job_object_name(accepted.number),
        "job_after": None,
        "job_price": 0,
        "job_app_price": 0,
        "job_app_discount": 0,
        "job_mc_discount": 0,
        "job_billing_code": accepted.billing_code,
        "job_billed": False,
        "job_dashboard_visible": 1,
        "job_stats": {
            "compute_time": run_s,
            "queue_time": int(_queue_s(job, now)),
            "wall_time": run_s,
            "job_count": 1,
            "app_cost": 0,
            "compute_cost": 0,
        },
    }


def _submission_entry(job: Job) -> dict[str, Any]:
    """
    The submission without its key. What every client reads is the spec's: a submission may leave it out, a record
    applied by hand has none, and the parameters of a job are held only there.
    """
    spec = job.spec
    known: dict[str, dict[str, Any]] = {
        "application": {"command": accepted_of(job).command, "parameters": spec.parameters},
        "machine": {"type": spec.machine.type, "nodes": spec.machine.nodes},
        "user": {"username": spec.user},
    }
    shown = redact_submission(spec.submission)
    return {"app": spec.app, **shown, **{key: {**_as_map(shown.get(key)), **part} for key, part in known.items()}}


def _as_map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _epoch(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0


def elapsed_s(job: Job, now: datetime) -> float:
    """Seconds since the start, to the end if there is one; 0 for a job that never started."""
    start, end = job.status.start_time, job.status.end_time
    return max(0.0, ((end or now) - start).total_seconds()) if start else 0.0


def _queue_s(job: Job, now: datetime) -> float:
    """Seconds from submit to start, or to the end of a job that never started."""
    until = job.status.start_time or job.status.end_time or now
    return max(0.0, (until - job.submit_time).total_seconds())


def info_entry(job: Job, tokens: Tokens, *, help_page: str = "") -> dict[str, Any]:
    """
    The answer of `info`; a job without a target has no URL, and the help says only who may log in.

    `help_page` is the app's own HTML, put behind ours; what is filled into it is escaped.
    """
    url = connect_url(job, tokens)
    ours = _help_html(user=job.spec.user, password=tokens.password, url=url, shell=shell_url(job))
    values = {key: escape(value) for key, value in build_substitutions(job, tokens).items()}
    return {
        "url": url,
        "about": None,
        "help": ours + substitute(help_page, values),
        "actions": {},
        "address": job.status.address or "",
        "password": tokens.password,
    }


def _help_html(*, user: str, password: str, url: str | None, shell: str | None) -> str:
    credentials = (
        f"<h3>Credentials</h3>\n<p>user: <code>{escape(user)}</code><br>password: <code>{escape(password)}</code></p>\n"
    )
    urls = [_link(url)] if url else []
    if shell:
        urls.append(f"shell: {_link(shell)}")
    return (f"<h3>Urls</h3>\n<p>{'<br>'.join(urls)}</p>\n" if urls else "") + credentials


def _link(url: str) -> str:
    """A link only for http(s): the URL may be an app author's text, and the portal shows it as HTML."""
    text = escape(url)
    return f'<a href="{text}">{text}</a>' if url.lower().startswith(("http://", "https://")) else text


def app_entry(app: App, *, with_repo: bool) -> dict[str, Any]:
    """An entry of `apps`; anonymous callers are not told where the image lies."""
    entry = {
        "id": app.id,
        "data": appdef_entry(app),
        "price": _number(app.price),
        "owner": _number(app.owner),
        "arch": app.arch,
        "privs": list(app.privs),
        "src": app.src,
        "updated": app.updated,
        "checkedout": app.checkedout,
        "certified": app.certified,
        "walltime": app.walltime,
    }
    return {**entry, "repo": app.repo} if with_repo else entry


def machine_entry(machine: Machine) -> dict[str, Any]:
    return {**machine.model_dump(mode="json"), "mc_price": _number(machine.mc_price)}


def _number(value: float) -> int | float:
    """A whole number without `.0`: right for a client that reads a number and for one that reads an integer."""
    whole = int(value)
    return whole if whole == value else value
