"""The pages about jobs: the list, one job, its output, how to stop it, and the streams that keep pages current."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request, Response

from kns.http.dependencies import Ports
from kns.http.events import render_events
from kns.http.help_page import render_help
from kns.http.routes import GET, POST, Route, Routes
from kns.model.errors import InvalidInputError, TransientError
from kns.model.job.job import Job, JobState
from kns.model.job.timeline import build_timeline, find_active
from kns.model.reading.duration import format_walltime, parse_walltime
from kns.service.catalog import list_apps, require_admin
from kns.service.control import extend, put_to_sleep, shut_down, terminate, wake
from kns.service.errors import InactiveAccountError, NotOfferedError, NotRunningError
from kns.service.explain import explain
from kns.service.find import accepted_of, leads_owner
from kns.service.insight import measure, read_events
from kns.service.ports import ServicePorts
from kns.service.relay import require_cluster
from kns.service.view import list_newest, read_connection, read_output, read_tail
from kns.web.errors import ERRORS
from kns.web.job_view import (
    build_card,
    build_plots,
    build_rows,
    can_extend,
    can_stop,
    count_progress,
    may_sleep,
)
from kns.web.live import EventStream
from kns.web.lookup import NamedJob
from kns.web.pages import HEADERS, MAX_SEARCH, redirect, render_page
from kns.web.site import PREFIX, Web, WebSite
from kns.web.text import clean_output
from kns.web.visitor import Form, Member, SignedIn

SHOWN_LINES = 200  # of the output in a job's page; the whole output is one link away
CARDS = 50  # jobs on one page of the list

_WALLTIME_DIGITS = 9  # of a walltime in seconds
_SAFE_SCHEMES = ("http://", "https://")  # an app's author may write any address, and a browser would run `javascript:`

routes = Routes(ERRORS)


@routes.add(Route("", "The way in.", methods=GET))
def enter(_member: SignedIn) -> Response:
    return redirect(f"{PREFIX}/jobs")


routes.router.add_api_route("", enter, methods=["GET"])  # without the slash, as people type it


@routes.add(Route("jobs", "The visitor's jobs, or those of the team.", methods=GET))
def show_jobs(request: Request, ports: Ports, member: SignedIn) -> Response:
    query, user, now = request.query_params, member.user, ports.clock.now()
    ended, team = query.get("show") == "ended", query.get("of") == "team"
    wanted, page = query.get("q", "")[:MAX_SEARCH].strip(), read_page(query.get("page"))
    shown, has_more = list_newest(
        ports, user, live=not ended, team=team, label=wanted or None, start=(page - 1) * CARDS, most=CARDS
    )
    return render_page(
        "jobs.html",
        title="Jobs of your team" if team else "Jobs",
        current="jobs",
        member=member,
        cards=[build_card(job, now) for job in shown],
        page=page,
        has_more=has_more,
        ended=ended,
        team=team,
        leads=user.team_admin or user.username == user.team,
        wanted=wanted,
        now=now,
    )


def read_page(text: str | None) -> int:
    """The number of a page of a list, from its parameter; 1 if that is none."""
    return int(text) if text and text.isascii() and text.isdigit() and 0 < len(text) <= 4 and int(text) > 0 else 1


@routes.add(Route("jobs/live", "Tells when a job of the visitor has changed.", methods=GET))
async def follow_jobs(request: Request, ports: Ports, site: Web, member: SignedIn) -> Response:
    user = member.user

    def shows(job: Job | None) -> bool:
        """As `show_jobs` with the same parameter."""
        return job is not None and (job.spec.user == user.username or leads_owner(user, job, ports.catalog.current()))

    is_team = request.query_params.get("of") == "team"
    return EventStream(site.live, site.live.listen(user.username, shows=shows if is_team else None))


@routes.add(Route("jobs/{number}", "One job.", methods=GET))
def show_job(request: Request, ports: Ports, site: Web, member: SignedIn, job: NamedJob) -> Response:
    now, steps = ports.clock.now(), build_timeline(job)
    parts = _Parts(ports, job)
    over, total = count_progress(steps)
    accepted = accepted_of(job)
    return render_page(
        "job.html",
        title=f"Job {accepted.number}: {job.spec.label or job.spec.app}",
        current="jobs",
        member=member,
        job=job,
        accepted=accepted,
        card=build_card(job, now),
        now=now,
        rows=build_rows(steps, usual=site.usual.read(ports.jobs, job.spec.app), now=now),
        over=over,
        total=total,
        active=find_active(steps),
        why=parts.explain(),
        link=parts.connect(),
        gateway=_find_gateway(request, ports, site, member, job),
        output=parts.read_output(),
        measured=parts.measure(),
        usage=job.status.usage.at(job.status.end_time or now) if job.status.usage else None,
        plots=build_plots(job, now),
        can_stop=can_stop(job),
        can_extend=can_extend(job),
        can_sleep=may_sleep(job) and ports.has_volume(job),
        can_repeat=job.spec.app in list_apps(ports, member.user),
        is_mine=job.spec.user == member.user.username,
        problem=parts.problem,
    )


def _find_gateway(request: Request, ports: ServicePorts, site: WebSite, member: Member, job: Job) -> str | None:
    """The address of the API server of the job's cluster through kns; None if kubectl cannot use it."""
    try:
        require_cluster(ports, member.user, job)
    except (NotOfferedError, InactiveAccountError, NotRunningError):
        return None
    origin = site.url or f"{request.scope['scheme']}://{request.headers.get('host', '')}"
    # Kubernetes clients send no credentials without TLS.
    return f"{origin}/kns/cluster/{accepted_of(job).number}" if origin.startswith("https://") else None


class _Parts:
    """
    The parts of a job's page that the host has. If it does not answer, the page shows the rest and says so; after the
    first failure nothing else is asked, so that a page does not wait several times.
    """

    def __init__(self, ports: ServicePorts, job: Job) -> None:
        self._ports, self._job = ports, job
        self.problem = False

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            yield
        except NotRunningError:
            pass
        except TransientError:
            self.problem = True

    def explain(self) -> Any:
        with self._attempt():
            return explain(self._ports, self._job)
        return None

    def connect(self) -> dict[str, Any] | None:
        if not self.problem:
            with self._attempt():
                found = read_connection(self._ports, self._job)
                return {
                    "found": found,
                    "url": _only_web(found.url),
                    "shell": _only_web(found.shell_url),
                    "help": render_help(found) if found.help else "",
                }
        return None

    def read_output(self) -> str | None:
        if not self.problem:
            with self._attempt():
                read = read_output if self._job.is_ended else read_tail
                return clean_output(read(self._ports, self._job, SHOWN_LINES))
        return None

    def measure(self) -> Any:
        if not self.problem and self._job.status.has_been_exposed:
            with self._attempt():
                return measure(self._ports, self._job)
        return None


def _only_web(url: str | None) -> str | None:
    return url if url and url.lower().startswith(_SAFE_SCHEMES) else None


@routes.add(Route("jobs/{number}/live", "Tells when the job has changed.", methods=GET))
async def follow_job(site: Web, member: SignedIn, job: NamedJob) -> Response:
    return EventStream(site.live, site.live.listen(member.user.username, job=job))


@routes.add(Route("jobs/{number}/open", "Go to the job's address.", methods=GET))
def open_job(ports: Ports, job: NamedJob) -> Response:
    url = _only_web(read_connection(ports, job).url)
    return redirect(url or f"{PREFIX}/jobs/{accepted_of(job).number}")


@routes.add(Route("jobs/{number}/output", "The whole output as text.", methods=GET))
def show_output(ports: Ports, job: NamedJob) -> Response:
    text = read_output(ports, job) if job.is_ended else read_tail(ports, job, 0)
    return Response(text.encode("utf-8", "replace"), media_type="text/plain", headers=HEADERS)


@routes.add(Route("jobs/{number}/events", "Events of the job's namespace; for administrators.", methods=GET))
def show_events(ports: Ports, member: SignedIn, job: NamedJob) -> Response:
    require_admin(member.user)
    events = "" if job.is_ended else render_events(read_events(ports, job))
    number = accepted_of(job).number
    return render_page(
        "events.html",
        title=f"Events of job {number}",
        current="jobs",
        member=member,
        number=number,
        events=events,
        job=job,
    )


@routes.add(Route("jobs/{number}/stop", "Ask whether to stop the job.", methods=GET))
def confirm_stop(ports: Ports, member: SignedIn, job: NamedJob) -> Response:
    return render_page(
        "stop.html",
        title=f"Stop job {accepted_of(job).number}?",
        current="jobs",
        member=member,
        job=job,
        card=build_card(job, ports.clock.now()),
        is_running=_is_running(job),
        is_mine=job.spec.user == member.user.username,
    )


@routes.add(Route("jobs/{number}/stop", "Stop the job.", methods=POST))
def stop_job(ports: Ports, job: NamedJob, form: Form) -> Response:
    """A job that starts has nothing to shut down, so it is ended at once."""
    if _is_running(job) and form.text("how") != "now":
        shut_down(ports, job)
    else:
        terminate(ports, job)
    return redirect(f"{PREFIX}/jobs/{accepted_of(job).number}")


@routes.add(Route("jobs/{number}/sleep", "Put the job to sleep.", methods=POST))
def put_job_to_sleep(ports: Ports, member: SignedIn, job: NamedJob, _form: Form) -> Response:
    put_to_sleep(ports, member.user, job)
    return redirect(f"{PREFIX}/jobs/{accepted_of(job).number}")


@routes.add(Route("jobs/{number}/wake", "Wake the job.", methods=POST))
def wake_job(ports: Ports, member: SignedIn, job: NamedJob, _form: Form) -> Response:
    wake(ports, member.user, job)
    return redirect(f"{PREFIX}/jobs/{accepted_of(job).number}")


@routes.add(Route("jobs/{number}/extend", "Ask how much longer the job may run.", methods=GET))
def ask_extension(ports: Ports, member: SignedIn, job: NamedJob) -> Response:
    return _render_extension(ports, member, job)


@routes.add(Route("jobs/{number}/extend", "Extend the walltime.", methods=POST))
def extend_job(ports: Ports, member: SignedIn, job: NamedJob, form: Form) -> Response:
    """The form has the walltime that it was made for, so that sending it twice extends once."""
    by, known = form.text("by").strip(), form.text("from")
    try:
        base_s = int(known) if known.isascii() and known.isdigit() and len(known) <= _WALLTIME_DIGITS else 0
        extend(ports, member.user, job, format_walltime(base_s + parse_walltime(by, path="by")))
    except InvalidInputError as error:
        return _render_extension(ports, member, job, by=by, refused=error.problem, status=400)
    except (NotRunningError, InactiveAccountError) as error:
        status = 403 if isinstance(error, InactiveAccountError) else 409
        return _render_extension(ports, member, job, by=by, refused=str(error), status=status)
    return redirect(f"{PREFIX}/jobs/{accepted_of(job).number}")


def _render_extension(
    ports: ServicePorts, member: Member, job: Job, *, by: str = "", refused: str = "", status: int = 200
) -> Response:
    number = accepted_of(job).number
    return render_page(
        "extend.html",
        title=f"Let job {number} run longer",
        current="jobs",
        member=member,
        status=status,
        job=job,
        card=build_card(job, ports.clock.now()),
        can_extend=can_extend(job),
        is_mine=job.spec.user == member.user.username,
        by=by,
        refused=refused,
    )


def _is_running(job: Job) -> bool:
    return job.status.job_status is JobState.PROCESSING
