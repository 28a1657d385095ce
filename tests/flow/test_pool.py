"""The warm pool: members are made through a job's stages, and submissions claim them."""

import base64
import copy
import gzip
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kns.model import names
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.job.job import JobState, StopReason
from kns.model.job.member import Member
from kns.objects.prepared_state import STATE_FILE, build_database
from kns.ports import Kind
from kns.stages.prepared import find_state, prepare_states
from tests.builders import JobBuilder, a_catalog, a_job
from tests.flow.conftest import Simulation
from tests.flow.interruptions import fresh
from tests.flow.pool import PoolSimulation, namespace_of
from tests.states import a_log

SYSTEM, VERSION = "kns-system", "v1.36.0"
NARROW = {"type": "Pod", "max": {"cpu": "4"}}  # admits the chart's pod, but not a control plane side by side


@pytest.fixture
def pool(sim: Simulation) -> PoolSimulation:
    sim.configure(has_pool=True)
    return PoolSimulation(sim)


# --- making


def test_the_pool_makes_members_until_it_has_its_size(pool: PoolSimulation) -> None:
    members = pool.fill()
    assert len(members) == len(pool.members) == 2
    namespace = namespace_of(pool.sim, members[0].number)
    assert namespace["metadata"]["labels"]["kns.io/pool"] == "any"
    assert names.RECORD_UID_ANNOTATION not in namespace["metadata"]["annotations"]
    calls = list(pool.sim.host.calls)
    pool.work(20)
    assert pool.sim.host.calls == calls  # nothing changes, so nothing is written


def test_a_new_leader_goes_on_with_the_members_that_exist(pool: PoolSimulation) -> None:
    for _ in range(14):
        pool.work()
        pool.restart()
    assert len(pool.free) == len(pool.members) == 2
    assert pool.sim.store.allot_number() == 3


def test_members_are_made_at_most_so_many_at_once(pool: PoolSimulation) -> None:
    pool.restart(pools="any=5", at_once=2)
    for _ in range(30):
        pool.work()
        assert sum(not member.is_ready for member in pool.members) <= 2
    assert len(pool.free) == 5


def test_members_of_a_machine_class_and_version_get_its_nodes_and_image(pool: PoolSimulation) -> None:
    pool.restart(pools="kns-large@1.35=1")
    (member,) = pool.fill()
    annotations = namespace_of(pool.sim, member.number)["metadata"]["annotations"]
    assert annotations["kns.io/node-selector"] == "pool=big"
    large = pool.sim.catalog.current().machines["kns-large"]
    assert pool.submit(a_job()).spec.accepted.adopted is None  # type: ignore[union-attr]
    assert pool.submit(a_job().with_accepted(machine=large)).spec.accepted.adopted is None  # type: ignore[union-attr]
    fitting = a_job().with_accepted(machine=large).with_nested(kubernetes_version="v1.35")
    assert pool.submit(fitting).number == member.number


def test_a_pool_of_an_unknown_machine_makes_nothing(pool: PoolSimulation) -> None:
    pool.restart(pools="kns-huge=2")
    pool.work(3)
    assert pool.members == []


def test_a_member_that_cannot_be_made_is_discarded_and_not_tried_again_at_once(pool: PoolSimulation) -> None:
    pool.sim.host.refuse[Kind.RESOURCE_QUOTA] = "exceeded quota"
    pool.work(3)
    assert pool.members == []
    used = pool.sim.store.allot_number()
    pool.work(3)
    assert pool.sim.store.allot_number() == used + 1
    pool.sim.host.refuse.clear()
    pool.work(80)
    assert len(pool.free) == 2


def test_a_member_that_does_not_start_in_time_is_discarded(pool: PoolSimulation) -> None:
    pool.sim.configure(spawn_delay_s=30)
    pool.restart()
    pool.sim.host.schedulable = False
    pool.work(3)
    first = {member.uid for member in pool.members}
    pool.work(40)
    assert first
    assert not first & {member.uid for member in pool.members}


# --- claiming


def test_a_job_gets_a_member_and_lives_in_it_as_in_its_own(pool: PoolSimulation) -> None:
    numbers = {member.number for member in pool.fill()}
    job = pool.submit(a_job())
    assert job.number in numbers
    assert job.record == f"kns-job-{job.number}"
    sim = pool.sim
    made = [call for call in sim.host.calls if f"kns-job-{job.number}/kns-job-{job.number}" in call]
    sim.run(until="serving")
    assert sim.job.status.url == f"https://kns-job-{job.number}.jobs.example.org"
    assert [call for call in sim.host.calls if f"kns-job-{job.number}/kns-job-{job.number}" in call][:-1] == made
    assert job.number not in {member.number for member in pool.members}  # it is the job's now
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.COMPLETED
    assert not [line for line in sim.host.left if f"kns-job-{job.number}/" in line]


@pytest.mark.parametrize("shell", [False, True], ids=["plain", "with vault and shell"])
def test_a_claimed_cluster_is_what_a_cold_one_is(sim: Simulation, shell: bool) -> None:
    """Every object on the host and inside, whole. Only times, uids, keys and the mark of the claim differ."""
    sim.configure(shell_image="registry.example.org/kns-gotty:1", has_pool=True)
    job = a_job().numbered(1)
    if shell:
        job = job.with_vault().with_nested(enable_gotty_shell=True)
        sim.host.claims = {"data-x-lab-x-kns-job-1": "user1-data"}
    cold = _live(Simulation(**{**vars(sim), **_anew(sim)}), job, pools="")
    warm = _live(sim, job, pools="any+shell=1" if shell else "any=1")
    assert warm == cold


def _live(sim: Simulation, job: JobBuilder, *, pools: str) -> dict[str, Any]:
    pool = PoolSimulation(sim, pools=pools)
    assert len(pool.fill()) == (1 if pools else 0)
    stored = pool.submit(job)
    assert stored.spec.accepted is not None
    assert (stored.spec.accepted.adopted is not None) is bool(pools)
    sim.run(until="serving")
    for _ in range(3):
        sim.host.settle()
        sim.step()
    host = {f"{obj['kind']} {obj['metadata']['name']}": _plain(obj) for obj in sim.host.dump()}
    inside = {" ".join(key): obj for key, obj in sim.virtual.objects.items()}
    conditions = [(c.type, c.status, c.reason) for c in sim.job.status.conditions]
    return {"host": host, "inside": inside, "conditions": conditions, "url": sim.job.status.url}


_PEM = "(LS0tLS1C|YXBpVmVyc2lvb)[A-Za-z0-9+/=]+"  # base64 of "-----B", and of "apiVersion": a kubeconfig with keys


def _plain(obj: dict[str, Any]) -> Any:
    found = copy.deepcopy(obj)
    for key in ("uid", "resourceVersion", "creationTimestamp"):
        found["metadata"].pop(key, None)
    annotations = found["metadata"].get("annotations") or {}
    for key in (names.POOL_CLAIM_ANNOTATION, names.POOL_CLAIM_TIME_ANNOTATION, names.RECORD_UID_ANNOTATION):
        annotations.pop(key, None)
    text = json.dumps(found, sort_keys=True)
    return json.loads(re.sub(rf"2026-01-05T[0-9:.+Z]+|uid-[0-9]+|{_PEM}", "", text))


def _anew(sim: Simulation) -> dict[str, Any]:
    new = fresh(sim)
    new["host"].claims = dict(sim.host.claims)
    return new


@pytest.mark.parametrize(
    "job",
    [
        a_job().with_nested(kubernetes_version="v1.35"),
        a_job().with_nested(enable_gotty_shell=True),
        a_job().with_accepted(machine=a_catalog().machines["kns-large"]),
        a_job().with_nested(limit_range=[NARROW]),
    ],
    ids=["another version", "with a shell", "on other nodes", "with limits that need the chart's pod"],
)
def test_a_job_of_another_shape_starts_cold(pool: PoolSimulation, job: JobBuilder) -> None:
    pool.sim.configure(shell_image="registry.example.org/kns-gotty:1")
    pool.restart()
    assert len(pool.fill()) == 2
    assert pool.submit(job).spec.accepted.adopted is None  # type: ignore[union-attr]
    assert len(pool.free) == 2


@pytest.mark.parametrize(
    "job",
    [
        a_job().with_vault(),
        a_job().with_nested(kubernetes_version="v1.36"),
        a_job().owned_by("user2"),
        a_job().without_target(),
        a_job().with_nested(limit_range=[{"type": "Container", "default": {"cpu": "2"}}]),
        a_job().with_nested(limit_range=[{"type": "Pod", "max": {"cpu": "100"}}]),
        a_job().with_spec(machine=a_job().build().spec.machine.model_copy(update={"nodes": 3})),
    ],
    ids=["vault", "default version by name", "another user", "no target", "own limits", "wide limits", "more nodes"],
)
def test_what_the_stages_set_at_the_claim_does_not_matter(pool: PoolSimulation, job: JobBuilder) -> None:
    pool.fill()
    assert pool.submit(job).spec.accepted.adopted is not None  # type: ignore[union-attr]
    pool.sim.run(until="serving")


def test_the_site_s_limits_decide_the_layout_of_members(pool: PoolSimulation) -> None:
    pool.sim.configure(limit_range=(LimitRangeItem.model_validate(NARROW),))
    pool.restart()
    members = pool.fill()
    assert not [call for call in pool.sim.host.calls if "-certs" in call]
    wide = a_job().with_nested(limit_range=[{"type": "Container", "default": {"cpu": "2"}}])
    assert pool.submit(wide).spec.accepted.adopted is None  # type: ignore[union-attr]
    assert pool.submit(a_job()).number in {member.number for member in members}


def test_each_member_has_its_own_keys_and_state_and_a_claim_leaves_them_alone(pool: PoolSimulation) -> None:
    host = pool.sim.host
    host.put(Kind.NAMESPACE, "", SYSTEM, {})
    host.prepare_log = a_log()
    for _ in range(3):
        prepare_states(host, SYSTEM, pool.sim.site.virtual, [VERSION], now=pool.sim.clock.now())
        host.settle()
    state = find_state(host, SYSTEM, VERSION, pool.sim.site.virtual.kubernetes_image(VERSION))
    assert state is not None
    members = pool.fill()
    assert len(members) == 2
    made = {member.number: _fast_start(pool, member) for member in members}
    for member in members:
        keys, stored = made[member.number]
        assert len(keys["data"]) == 29
        assert "kine" in stored["data"]
        database = build_database(state, now=member.created, seed=member.uid)
        assert gzip.decompress(base64.b64decode(stored["data"][STATE_FILE])) == database
    one, other = made.values()
    assert not set(one[0]["data"].values()) & set(other[0]["data"].values())
    assert one[1]["data"] != other[1]["data"]

    calls = len(host.calls)
    job = pool.submit(a_job())
    pool.sim.run(until="serving")
    member = next(member for member in members if member.number == job.number)
    assert _fast_start(pool, member) == made[member.number]
    inside = [call for call in host.calls[calls:] if member.namespace in call]
    assert inside
    assert not [call for call in inside if "-certs" in call or "vc-config" in call]


def _fast_start(pool: PoolSimulation, member: Member) -> tuple[Any, Any]:
    """The Secret with the certificates, and that with the state and the placeholder of kine."""
    host, namespace = pool.sim.host, member.namespace
    return (
        host.read(Kind.SECRET, namespace, f"{namespace}-certs"),
        host.read(Kind.SECRET, namespace, f"vc-config-{namespace}"),
    )


def test_a_member_has_default_limits_and_a_claim_sets_those_of_the_job(pool: PoolSimulation) -> None:
    machine = a_job().build().spec.machine.model_copy(update={"nodes": 3})
    job = a_job().with_spec(machine=machine).with_nested(limit_range=[{"type": "Container", "default": {"cpu": "2"}}])
    before = _limits(pool.sim, pool.fill()[0].number)
    number = pool.submit(job).number
    assert number is not None
    pool.sim.run(until="serving")
    cold = Simulation(**{**vars(pool.sim), **_anew(pool.sim)})
    cold.submit(job)
    cold.run(until="serving")
    assert before != _limits(pool.sim, number) == _limits(cold, 7)


def _limits(sim: Simulation, number: int) -> tuple[Any, Any]:
    namespace = f"kns-job-{number}"
    quota = sim.host.read(Kind.RESOURCE_QUOTA, namespace, names.RESOURCE_QUOTA)
    limit_range = sim.host.read(Kind.LIMIT_RANGE, namespace, names.LIMIT_RANGE)
    assert quota is not None
    assert limit_range is not None
    assert "limits.ephemeral-storage" in quota["spec"]["hard"]
    return quota["spec"], limit_range["spec"]


def test_a_claim_is_one_write_in_place_of_that_of_a_number(pool: PoolSimulation) -> None:
    """So a submission costs no write more than without a pool."""
    pool.fill()
    draft = a_job().build().spec
    assert draft.accepted is not None
    calls, number = len(pool.sim.host.calls), pool.sim.store.allot_number()
    member = pool.claims.claim(draft, draft.accepted)
    assert member is not None
    assert pool.sim.host.calls[calls:] == [f"claim Namespace /{member.namespace}"]
    assert pool.sim.store.allot_number() == number + 1


def test_the_pool_is_measured(pool: PoolSimulation) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"kns_pool_{name}", labels) or 0.0

    hits, misses = value("claims_total", outcome="hit"), value("claims_total", outcome="miss")
    claims, made = value("claim_duration_seconds_count"), value("member_made_seconds_count")
    surplus = value("discarded_total", reason="surplus")
    pool.fill()
    pool.work(1, after_s=100)
    pool.work(1)
    assert (value("wanted", pool="any"), value("ready", pool="any"), value("making", pool="any")) == (2, 2, 0)
    assert value("oldest_seconds", pool="any") > 100
    assert value("member_made_seconds_count") == made + 2
    pool.restart(pools="any=1")
    pool.work(2)
    assert (value("wanted", pool="any"), value("ready", pool="any")) == (1, 1)
    assert value("discarded_total", reason="surplus") == surplus + 1
    for _ in range(2):
        pool.submit(a_job())
    pool.work(1)
    assert value("ready", pool="any") == 0
    assert value("claims_total", outcome="hit") == hits + 1
    assert value("claims_total", outcome="miss") == misses + 1
    assert value("claim_duration_seconds_count") == claims + 1


def test_a_pool_whose_machine_leaves_the_catalogue_is_measured_as_empty(pool: PoolSimulation) -> None:
    """Otherwise its last numbers would stay, and say that members are ready."""

    def value(name: str) -> float | None:
        return REGISTRY.get_sample_value(f"kns_pool_{name}", {"pool": "kns-small"})

    pool.restart(pools="kns-small=2")
    pool.fill()
    pool.work(1)
    assert [value(name) for name in ("wanted", "ready", "making")] == [2, 2, 0]
    machines = dict(pool.sim.catalog.catalog.machines)
    del machines["kns-small"]
    pool.sim.catalog.catalog = replace(pool.sim.catalog.catalog, machines=machines)
    pool.work(2)
    assert pool.members == []
    assert [value(name) for name in ("wanted", "ready", "making", "oldest_seconds")] == [2, 0, 0, 0]


def test_a_member_that_is_claimed_while_it_is_discarded_is_not_counted(
    pool: PoolSimulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("kns_pool_discarded_total", {"reason": "surplus"}) or 0.0

    pool.fill()
    draft, before, delete = a_job().build().spec, count(), pool.sim.host.delete
    accepted = draft.accepted
    assert accepted is not None

    def claim_first(*args: Any, **options: Any) -> bool:
        for _ in pool.free:
            pool.claims.claim(draft, accepted)
        return delete(*args, **options)

    monkeypatch.setattr(pool.sim.host, "delete", claim_first)
    pool.restart(pools="any=1")
    pool.work(1)
    assert not any(member.terminating for member in pool.members)
    assert count() == before


def test_the_pools_are_listed_with_their_members(pool: PoolSimulation) -> None:
    pool.restart(pools="kns-large=1,any=2,any@1.35=0")
    pool.fill()
    pool.submit(a_job())
    assert [(each.name, each.wanted, each.ready, each.making, each.claimed) for each in pool.claims.list_pools()] == [
        ("kns-large", 1, 1, 0, 0),
        ("any", 2, 1, 0, 1),
        ("any.v1.35", 0, 0, 0, 0),
    ]
    pool.sim.run(until="serving")
    pool.work(1)
    any_ = pool.claims.list_pools()[1]
    assert (any_.ready, any_.making, any_.claimed) == (1, 1, 0)
    assert any_.oldest == min(member.created for member in pool.free if member.marks.pool == "any")
