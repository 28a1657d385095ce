"""
All manifests of a job, without a cluster: `kns render`.

It reads settings and catalogue as the scheduler does and calls the same builders as the stages. What only a cluster
knows has a placeholder: uids, addresses, certificates. Secrets have their keys and no values, so that the output can be
shown to others. A test compares the objects with those that the stages apply.
"""

import base64
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.helm import HelmRenderer
from kns.model import names
from kns.model.appdef.resources import admits_side_by_side
from kns.model.catalog.catalog import Catalog, CatalogError
from kns.model.catalog.pull_secret import merge_pull_config
from kns.model.errors import KnsError
from kns.model.job.inputs import inline_inputs
from kns.model.job.job import Accepted, JobSpec
from kns.model.job.tokens import TOKEN_LENGTHS, Tokens
from kns.model.reading.parsing import parse_model
from kns.model.site import JobAddress, Site
from kns.model.submit.resolution import fill_api_key
from kns.model.submit.script_data import build_parameter_env, build_secret_parameter_env
from kns.model.submit.submission import Submission, accept, build_spec, find_app
from kns.objects.certificates import build_certificates, build_certs_secret
from kns.objects.control_plane import WORKLOADS, rebuild_chart
from kns.objects.drift import stamp
from kns.objects.gateway import build_http_route, build_shell_route
from kns.objects.ingress import build_ingress
from kns.objects.init import FILES, build_init_job, build_init_secrets, build_init_uploads
from kns.objects.inside import build_job_info, build_pull_secret
from kns.objects.keycloak import build_client_info, build_client_secret
from kns.objects.labels import build_labels
from kns.objects.namespace import (
    build_limit_range,
    build_namespace,
    build_resource_quota,
    build_role_binding,
    list_claimable,
    share_ephemeral,
    share_storage,
)
from kns.objects.network import build_network_policies
from kns.objects.shell import build_shell_deployment, build_shell_secret, build_shell_service, can_log_in
from kns.objects.target import PORT, build_empty_target
from kns.objects.vault import build_vault_class
from kns.objects.vcluster import build_disruption_budget, build_syncer_binding, build_values
from kns.ports import Object, Renderer
from kns.settings import SettingsError, build_site, load_settings
from kns.settings.site import build_terms
from kns.stages.environment import build_proxy_env, build_public_env, build_secret_env, build_uploads

PLACEHOLDER = "made-when-the-job-starts"
UID = "00000000-0000-0000-0000-000000000000"
HOST, INSIDE = "host", "inside"
_SERVICE_CIDR = "10.96.0.0/12"  # kns asks the host for its own
_FIRST = "default"


class RenderError(KnsError):
    """The manifests cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An object on the `HOST` cluster or `INSIDE` the job's own, and the stage that applies it."""

    place: str
    stage: str
    content: Object


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as accepted, on a site. `renderer` is None to leave out the objects of the vcluster chart."""

    spec: JobSpec
    accepted: Accepted
    site: Site
    catalog: Catalog
    renderer: Renderer | None

    @property
    def address(self) -> JobAddress | None:
        return self.site.job_address(self.accepted.number, self.accepted.nested, url=None)

    @property
    def shell(self) -> JobAddress | None:
        """Where the web shell will be; None if the job gets none (`kns.stages.web_shell`)."""
        is_allowed = self.accepted.nested.enable_gotty_shell and self.site.shell_image is not None
        if not is_allowed or self.address is None or not can_log_in(self.spec.user):
            return None
        return self.address.below(names.SHELL_PATH)

    @property
    def pull_config(self) -> str | None:
        """The app's own registry credentials; those of the site are on the host."""
        app = self.catalog.apps.get(self.spec.app)
        return merge_pull_config(app.pullsecret, None, images=()) if app else None


def render_job(body: Mapping[str, Any], *, user: str, number: int, chart: bool) -> Iterator[tuple[str, str, Object]]:
    """
    Place, stage and object of each manifest, in the order in which they are applied. `body` is a submission of `user`
    without credentials; `number` is that of the job.

    Raises:
        KnsError: settings, catalogue or submission are wrong, or helm or the chart is missing.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        raise RenderError("; ".join(f"{name}: {problem}" for name, problem in error.problems)) from error
    catalogue = CatalogDirectory(settings.catalog_dir)
    try:
        catalogue.load()
    except CatalogError as error:
        raise RenderError(f"{settings.catalog_dir}: {error}; `kns catalog check` lists every problem") from error
    catalog = catalogue.current()
    spec = build_spec(parse_model(Submission, body), user=user, body=dict(body), may_be_urgent=False)
    accepted = accept(
        spec,
        app=find_app(catalog, spec),
        catalog=catalog,
        terms=build_terms(settings),
        now=SystemClock().now(),
        rng=random.SystemRandom(),
        allot_number=lambda: number,
    )
    helm = shutil.which(settings.helm)
    if chart and (helm is None or not settings.chart.is_file()):
        missing = f"KNS_HELM ({settings.helm})" if helm is None else f"KNS_VCLUSTER_CHART ({settings.chart})"
        raise RenderError(f"{missing} does not exist; set it, or leave out the objects of vcluster with --no-chart")
    renderer = HelmRenderer(helm=helm, chart=settings.chart) if chart and helm is not None else None
    site = build_site(settings, service_cidr=_SERVICE_CIDR, installation_uid=UID, mounts_images=True)
    for each in build_manifests(Draft(spec, accepted, site, catalog, renderer)):
        yield each.place, each.stage, each.content


def build_manifests(draft: Draft) -> Iterator[Manifest]:
    """In the order of the stages; `kns.stages` says what each is for."""
    for stage, objects in (
        ("namespace", _build_room(draft)),
        ("vcluster", _build_control_plane(draft)),
        ("keycloak", _build_client(draft)),
        ("init", _build_init(draft)),
        ("ingress", _build_front(draft)),
        ("shell", _build_shell(draft)),
    ):
        for content in objects:
            yield Manifest(HOST, stage, content)
    for content in _build_inside(draft):
        yield Manifest(INSIDE, "prepare", content)


def _build_room(draft: Draft) -> Iterator[Object]:
    spec, accepted, site = draft.spec, draft.accepted, draft.site
    location, nodes = accepted.location, spec.machine.nodes
    default = site.classes.default_storage_class
    storage = share_storage(
        [default] if default else [],
        default=default,
        size=site.classes.storage_size,
        control_plane=site.virtual.storage_class or None,
    )
    yield build_namespace(
        spec,
        accepted,
        record_uid=UID,
        installation=site.system_namespace,
        storage_classes=list_claimable(storage, accepted.vault),
        pod_security=site.pod_security,
        runtime_class=site.virtual.runtime_class,
    )
    yield build_role_binding(location, service_account=site.service_account, system_namespace=site.system_namespace)
    if site.network is not None:
        yield from build_network_policies(location, site.network, system_namespace=site.system_namespace)
    ephemeral = share_ephemeral(accepted.machine, nodes=nodes, per_node=site.ephemeral_storage)
    yield build_limit_range(location, accepted.nested.limit_range or site.limit_range, ephemeral=ephemeral, nodes=nodes)
    has_shell = draft.shell is not None
    yield build_resource_quota(accepted, nodes=nodes, ephemeral=ephemeral, storage=storage, shell=has_shell)
    if draft.pull_config is not None:
        yield _conceal(build_pull_secret(location.namespace, draft.pull_config, labels=build_labels(location)))


def _build_control_plane(draft: Draft) -> Iterator[Object]:
    accepted, site = draft.accepted, draft.site
    location, has_shell = accepted.location, draft.shell is not None
    items = accepted.nested.limit_range or site.limit_range
    virtual = site.virtual if admits_side_by_side(items) else replace(site.virtual, fast_start=False)
    yield build_syncer_binding(location)
    if virtual.protect_control_planes and virtual.storage_class is None:
        yield build_disruption_budget(location)
    values = partial(
        build_values, accepted=accepted, virtual=virtual, pull_secret=draft.pull_config is not None, shell=has_shell
    )
    objects = draft.renderer.render(location, values) if draft.renderer is not None else []
    if virtual.fast_start and objects:
        objects = rebuild_chart(objects, location, service_cidr=virtual.service_cidr, state={})
    yield from (obj for obj in objects if obj["kind"] not in WORKLOADS)
    if virtual.fast_start:
        content = build_certificates(location, service_cidr=virtual.service_cidr, now=SystemClock().now())
        yield _conceal(build_certs_secret(location, content, service_uid=UID))
    yield from (obj for obj in objects if obj["kind"] in WORKLOADS)


def _build_client(draft: Draft) -> Iterator[Object]:
    accepted, settings = draft.accepted, draft.site.keycloak
    if accepted.nested.keycloak is not None and settings is not None:
        info = build_client_info(accepted.number, settings, PLACEHOLDER)
        yield _conceal(build_client_secret(accepted.location, info))


def _read_info(draft: Draft) -> tuple[dict[str, str], dict[str, str]]:
    """The data of ConfigMap and Secret `kns-job`."""
    accepted = draft.accepted
    parameters = fill_api_key(inline_inputs(draft.spec.model_copy(update={"accepted": accepted})).parameters, "")
    default = draft.site.classes.default_storage_class or ""
    client = draft.site.keycloak
    wants_client = accepted.nested.keycloak is not None and client is not None
    return (
        {
            **build_parameter_env(parameters),
            **build_public_env(draft.spec, accepted, draft.address, default_class=default),
        },
        {
            **build_secret_parameter_env(parameters),
            **build_secret_env(Tokens(PLACEHOLDER, dict.fromkeys(TOKEN_LENGTHS, PLACEHOLDER))),
            **(build_client_info(accepted.number, client, PLACEHOLDER) if wants_client and client else {}),
        },
    )


def _build_init(draft: Draft) -> Iterator[Object]:
    spec, accepted, site = draft.spec, draft.accepted, draft.site
    inputs = inline_inputs(spec.model_copy(update={"accepted": accepted}))
    uploads = build_uploads(inputs.parameters, inputs.uploads)
    variables = draft.catalog.find_variables(spec.user, accepted.variables, inherited=accepted.inherited_variables)
    if uploads:
        yield build_init_uploads(accepted.location, uploads)
    public, secret = _read_info(draft)
    env = {**public, **secret, **build_proxy_env(site), **variables}
    for each in build_init_secrets(accepted.location, files=dict.fromkeys(FILES, PLACEHOLDER), env=env):
        yield _conceal(each)
    yield build_init_job(accepted, site, uploads=uploads, pull_secret=draft.pull_config is not None)


def _build_front(draft: Draft) -> Iterator[Object]:
    location, address, gateway = draft.accepted.location, draft.address, draft.site.gateway
    if address is None:
        return
    yield stamp(build_empty_target(location))
    if gateway is None:
        settings = draft.site.ingress
        yield stamp(
            build_ingress(location, address=address, service=names.TARGET, settings=settings, shell=draft.shell)
        )
        return
    route = build_http_route(
        location, name=location.ingress, address=address, service=names.TARGET, port=PORT, gateway=gateway
    )
    yield stamp(route)
    if draft.shell is not None:
        yield stamp(build_shell_route(location, address=draft.shell, gateway=gateway))


def _build_shell(draft: Draft) -> Iterator[Object]:
    address, image, location = draft.shell, draft.site.shell_image, draft.accepted.location
    if address is None or image is None:
        return
    secret = build_shell_secret(location, user=draft.spec.user, password=PLACEHOLDER, kubeconfig=PLACEHOLDER)
    yield _conceal(secret)
    yield build_shell_service(location)
    has_pull_secret = draft.pull_config is not None
    yield build_shell_deployment(draft.accepted, draft.site, image=image, address=address, pull_secret=has_pull_secret)


def _build_inside(draft: Draft) -> Iterator[Object]:
    """What kns itself makes in the job's cluster. The host's storage and runtime classes are not known here."""
    if draft.accepted.vault is not None:
        yield build_vault_class(draft.accepted.vault)
    if draft.pull_config is not None:
        yield _conceal(build_pull_secret(_FIRST, draft.pull_config))
    public, secret = _read_info(draft)
    for each in build_job_info(_FIRST, public=public, secret=secret, mark=UID):
        yield _conceal(each)


def _conceal(obj: Object) -> Object:
    """A Secret without its values. Other objects stay as they are."""
    if obj["kind"] != "Secret":
        return obj
    encoded = base64.b64encode(PLACEHOLDER.encode()).decode()
    values = {"stringData": PLACEHOLDER, "data": encoded}
    return {**obj, **{key: dict.fromkeys(obj[key], value) for key, value in values.items() if key in obj}}
