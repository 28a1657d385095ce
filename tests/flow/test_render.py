"""`kns render` prints what the stages apply: the same objects, except for what only a cluster knows."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from kns.model.site import GatewayRef, KeycloakSettings
from kns.ports import Object
from kns.render import HOST, INSIDE, PLACEHOLDER, UID, Draft, build_manifests
from tests.builders import JobBuilder, a_catalog, a_command, a_job, an_app, an_appdef
from tests.fakes.host import FakeHost
from tests.fakes.keycloak import MemoryRealm
from tests.fakes.stores import FakeClock
from tests.fakes.vcluster import FakeRenderer
from tests.flow.conftest import Simulation

Key = tuple[str, str, str]


class NotingHost(FakeHost):
    """Notes each object as it was applied first."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.applied: dict[Key, Object] = {}

    def apply(self, obj: Object) -> Object:
        self.applied.setdefault(_key(obj), json.loads(json.dumps(obj)))
        return super().apply(obj)


def _key(obj: Mapping[str, Any]) -> Key:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _compare(obj: Object, uid: str) -> Object:
    """Without what only a cluster knows. Of a Secret the names of its values are left."""
    plain: Object = json.loads(json.dumps(obj).replace(uid, UID))
    for key in ("data", "stringData"):
        if plain["kind"] == "Secret" and key in plain:
            plain[key] = sorted(plain[key])
    if plain["kind"] == "Secret":
        plain["metadata"].pop("ownerReferences", None)
    return plain


SITES: dict[str, dict[str, Any]] = {
    "plain": {},
    "shell and Keycloak": {
        "shell_image": "registry.example.org/kns-gotty:1",
        "keycloak": KeycloakSettings("https://kc.example.org/auth", "jarvice", 60),
    },
    "gateway": {"shell_image": "registry.example.org/kns-gotty:1", "gateway": GatewayRef("kns-system", "jobs")},
    "no network policies": {"network": None},
}


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("extras", [False, True], ids=["a plain job", "a job with everything"])
def test_the_manifests_are_those_that_the_stages_apply(sim: Simulation, name: str, extras: bool) -> None:
    host = NotingHost(sim.clock)
    host.is_prepared, host.watches_routes = sim.host.is_prepared, "gateway" in SITES[name]
    sim.host = host
    sim.configure(**SITES[name])
    if sim.site.keycloak is not None:
        sim.identity = MemoryRealm()
    job = _extend(a_job(), keycloak=sim.site.keycloak is not None) if extras else a_job()
    sim.submit(job)
    sim.run(until="serving")
    for _ in range(5):
        sim.step()
        host.settle()
    spec = sim.job.spec
    assert spec.accepted is not None
    manifests = list(build_manifests(Draft(spec, spec.accepted, sim.site, sim.catalog.current(), FakeRenderer())))
    rendered = {_key(each.content): each.content for each in manifests if each.place == HOST}
    applied = {key: obj for key, obj in host.applied.items() if key[0] != "Event"}
    assert sorted(rendered) == sorted(applied)
    for key, obj in applied.items():
        assert _compare(rendered[key], sim.job.uid) == _compare(obj, sim.job.uid), key
    inside = {_key(each.content) for each in manifests if each.place == INSIDE}
    assert inside <= set(sim.virtual.objects)
    assert {key for key in sim.virtual.objects if key[0] != "Pod"} == inside


def test_no_value_of_a_secret_is_printed(sim: Simulation) -> None:
    parameters = {"own": {"type": "CONST", "value": "%APIKEY%"}}
    appdef = an_appdef(commands={"Hello": a_command(parameters=parameters)})
    auth = {"auths": {"registry.example.org": {"auth": base64.b64encode(b"user:password").decode()}}}
    pullsecret = base64.b64encode(json.dumps(auth).encode()).decode()
    catalog = a_catalog(apps={"hello": an_app(appdef, pullsecret=pullsecret)})
    spec = _extend(a_job(), keycloak=False).build().spec
    assert spec.accepted is not None
    sim.configure(shell_image="registry.example.org/kns-gotty:1")
    manifests = list(build_manifests(Draft(spec, spec.accepted, sim.site, catalog, FakeRenderer())))
    found = [each.content for each in manifests if each.content["kind"] == "Secret"]
    # The chart keeps its values in a Secret. They have nothing secret.
    secrets = [secret for secret in found if not secret["metadata"]["name"].startswith("vc-config-")]
    encoded = base64.b64encode(PLACEHOLDER.encode()).decode()
    assert len(secrets) >= 6
    assert {value for secret in secrets for value in secret.get("stringData", {}).values()} == {PLACEHOLDER}
    assert {value for secret in secrets for value in secret.get("data", {}).values()} == {encoded}


def _extend(job: JobBuilder, *, keycloak: bool) -> JobBuilder:
    nested = {"enable_gotty_shell": "true", **({"keycloak": {"namespace": "lab"}} if keycloak else {})}
    return job.with_nested(**nested).with_vault()
