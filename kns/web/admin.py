"""The administrator's view: who uses what, why jobs failed, and all live jobs."""

from fastapi import Request, Response

from kns.http.dependencies import Ports
from kns.http.routes import GET, Route, Routes
from kns.service.overview import list_all_live, read_overview
from kns.web.errors import ERRORS
from kns.web.job_view import build_card
from kns.web.jobs import CARDS, read_page
from kns.web.live import EventStream
from kns.web.pages import render_page
from kns.web.site import Web
from kns.web.visitor import Administrator

routes = Routes(ERRORS)


@routes.add(Route("admin", "The whole installation; for administrators.", methods=GET))
def show_overview(request: Request, ports: Ports, member: Administrator) -> Response:
    page, now = read_page(request.query_params.get("page")), ports.clock.now()
    overview = read_overview(ports, member.user)
    live, has_more = list_all_live(ports, member.user, start=(page - 1) * CARDS, most=CARDS)
    return render_page(
        "admin.html",
        title="Administration",
        current="admin",
        member=member,
        overview=overview,
        live=[build_card(job, now) for job in live],
        failed=[build_card(job, now) for job in overview.failed],
        page=page,
        has_more=has_more,
        now=now,
    )


@routes.add(Route("admin/live", "Tells when a job has changed.", methods=GET))
async def follow_all(site: Web, member: Administrator) -> Response:
    return EventStream(site.live, site.live.listen(member.user.username, shows=lambda _job: True))
