"""The front end as one value: its routes, the form of its errors, and what its routes need."""

from kns.http.app import FrontEnd
from kns.web import admin, catalog, files, jobs, sign_in
from kns.web.pages import render_error
from kns.web.site import PREFIX, WebSite


def build_front_end(site: WebSite) -> FrontEnd:
    return FrontEnd(
        (jobs.routes, catalog.routes, admin.routes, sign_in.routes, files.routes),
        prefix=PREFIX,
        render_error=render_error,
        state={"web": site},
    )
