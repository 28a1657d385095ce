"""The HTTP servers: one for the front ends, behind the pages that wake sleeping jobs, and one for the metrics."""

from functools import partial

import uvicorn
from starlette.types import ASGIApp

from kns import __version__, metrics
from kns.adapters.kube.session_keys import KubeSessionKeys
from kns.api.front_ends import SOCKETS_AT, list_front_ends
from kns.http.app import FrontEnd, build_app
from kns.http.server import ServerConfig
from kns.model import names
from kns.model.job.job import Job
from kns.service.control import wake_visited
from kns.service.overview import UsualDurations
from kns.service.ports import ServicePorts
from kns.web import build_front_end
from kns.web.site import WebSite
from kns.web.wake_page import Visits, WakePages
from kns.wiring.keycloak import build_sign_in
from kns.wiring.parts import Parts
from kns.wiring.use_cases import build_service


def build_servers(parts: Parts) -> dict[str, uvicorn.Server]:
    """The keys are the variables that set their ports."""
    settings, service = parts.settings, build_service(parts)
    server_key = settings.server_key.get_secret_value() if settings.server_key else None
    app = build_app(service, (*list_front_ends(server_key=server_key), *_build_page(parts)), version=__version__)
    build_config = partial(
        ServerConfig,
        host=settings.http_host,
        trusted_proxies=settings.trusted_proxies,
        request_limit_s=settings.request_limit_s,
    )
    return {
        "KNS_HTTP_PORT": uvicorn.Server(
            build_config(
                _wrap(parts, app, service),
                port=settings.http_port,
                sockets_at=None if service.clusters is None else SOCKETS_AT,
            )
        ),
        "KNS_METRICS_PORT": uvicorn.Server(build_config(metrics.build_app(), port=settings.metrics_port)),
    }


def _build_page(parts: Parts) -> tuple[FrontEnd, ...]:
    settings = parts.settings
    if not settings.web_page:
        return ()
    return (
        build_front_end(
            WebSite(
                keys=KubeSessionKeys(parts.client, namespace=parts.namespace, clock=parts.clock),
                live=parts.pages,
                usual=UsualDurations(parts.clock),
                url=settings.web_url,
                provider=build_sign_in(settings),
            )
        ),
    )


def _wrap(parts: Parts, app: ASGIApp, service: ServicePorts) -> ASGIApp:
    visits = Visits(
        find_job=partial(_find_visited, parts),
        is_jobs_host=partial(_is_jobs_host, parts),
        wake=partial(wake_visited, service),
    )
    return WakePages(app, visits, clock=parts.clock)


def _find_visited(parts: Parts, host: str, path: str) -> Job | None:
    """The job whose Ingress or HTTPRoute routes this address."""
    for route in parts.cluster.observe_routes_at(host, path):
        job = parts.records.find_by_namespace(route["metadata"]["namespace"])
        if job is not None:
            return job
    return None


def _is_jobs_host(parts: Parts, host: str) -> bool:
    """Whether the host name is that of a single job, which may not exist any more."""
    domain = parts.settings.jobs_domain
    name, _, rest = host.partition(".")
    return domain is not None and rest == domain.host and names.is_job_object_name(name)
