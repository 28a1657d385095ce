"""
Faults of processes and of the network that the simulation cannot have: what hangs and does not fail, a network that is
slow or cut, a clock that jumps, a full store, a processor that is taken away.

All processes are real, on loopback, and only they are disturbed. Each fault strikes a leader that serves, makes and
removes jobs, at a drawn moment of its work, and lasts until what it must cause was seen. Then every job reaches its
page and its end in few reconciles, everything was made once, and nothing is written any more.

KNS_LOOPBACK_ROUNDS is how often each fault is tried, at other moments each time. They take minutes, so only
`make test-deep` runs them.
"""

import base64
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bench.page_server import APP
from bench.scale_jobs import MACHINE
from kns.client import ResponseError
from tests.loopback.proxy import Mode
from tests.loopback.site import STORE_BYTES, Replica, Site, running_site, stopped

ROUNDS = int(os.environ.get("KNS_LOOPBACK_ROUNDS") or 0)

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(ROUNDS == 0, reason="takes minutes: only make test-deep sets KNS_LOOPBACK_ROUNDS"),
]

SERVING = 2  # jobs that are there during all faults
YOUNG = 3  # jobs that each fault meets while they are made
MOMENTS = 50  # writes of the leader: three jobs are made, one is removed
LIFE_RECONCILES = 40  # of one job, from the end of a fault to its own; about ten are usual
_BURSTS, _STOPPED_S, _RUNNING_S = 200, 0.19, 0.01  # a twentieth of a processor
_STEADY_LOOKS = 8  # fewer than between two tries to renew the Lease
_FILLER_BYTES = 1_000_000
_FREE_BYTES = 16 * _FILLER_BYTES  # of the store when the last jobs are submitted; more than etcd stores at once
_JUMP_S = 40 * 86_400  # longer than any walltime, and than the 30 days that records are kept


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("loopback")) as site:
        yield site


@pytest.fixture(scope="module")
def serving(site: Site) -> list[int]:
    numbers = [site.submit(site.replicas[0]) for _ in range(SERVING)]
    site.await_all(numbers, "ready")
    return numbers


# --- the faults: each returns when it is over, and returns the jobs that it has submitted and that go on


Fault = Callable[[Site, Replica, Replica], list[int]]


def pause_the_leader(site: Site, leader: Replica, standby: Replica) -> list[int]:
    """
    It is stopped past its Lease while all its work waits for answers, which are there when it is woken. It must not
    write as if it still led.
    """
    ends = leader.ends
    leader.proxy.set_mode(Mode.SILENT)
    _await_waiting(site, leader)
    with leader.paused():
        leader.proxy.set_mode(Mode.PASS)
        site.wait_for(lambda: standby.kns.is_leading, "the standby leads")
        since = site.trail.position
        _make_progress(site, standby)
        assert leader.ends == ends
    site.wait_for(lambda: leader.ends > ends, "the old leader ends")
    site.settle()
    assert site.trail.list_accepted(since=since, source=leader.proxy.address) == []
    return []


def _await_waiting(site: Site, replica: Replica) -> None:
    """Wait until a replica whose network is silent sends nothing more."""
    held: list[int] = []

    def look() -> bool:
        held.append(replica.proxy.hindered)
        return held[-1] > 0 and held[-_STEADY_LOOKS:] == [held[-1]] * _STEADY_LOOKS

    site.wait_for(look, f"{replica.name} waits for answers")


def isolate_the_leader(site: Site, leader: Replica, standby: Replica) -> list[int]:
    """Its connections go silent, and what it had sent arrives late: when another leads and has gone on."""
    ends = leader.ends
    leader.proxy.set_mode(Mode.SILENT)
    site.wait_for(lambda: leader.ends > ends, "the leader gives up")
    site.wait_for(lambda: standby.kns.is_leading, "the standby leads")
    led = time.monotonic()
    _make_progress(site, standby)
    assert leader.proxy.hindered > 0
    leader.proxy.set_mode(Mode.PASS)
    site.settle()
    assert [write for write in leader.proxy.writes if write.moment > led] == []
    return []


def hang_the_api_server(site: Site, leader: Replica, _standby: Replica) -> list[int]:
    return _hang("kube-apiserver", site, leader)


def hang_etcd(site: Site, leader: Replica, _standby: Replica) -> list[int]:
    return _hang("etcd", site, leader)


def _hang(program: str, site: Site, leader: Replica) -> list[int]:
    ends = leader.ends
    with stopped(site.host.processes[program]):
        site.wait_for(lambda: leader.ends > ends, "the leader gives up")
    return []


def slow_the_network(site: Site, _leader: Replica, standby: Replica) -> list[int]:
    """A job goes from its submission to its page meanwhile."""
    site.set_mode(Mode.SLOW)
    _make_progress(site, standby)
    _restore(site)
    return []


def silence_the_network(site: Site, leader: Replica, _standby: Replica) -> list[int]:
    return _hinder(Mode.SILENT, site, leader)


def halve_the_answers(site: Site, leader: Replica, _standby: Replica) -> list[int]:
    return _hinder(Mode.HALF, site, leader)


def cut_the_network(site: Site, leader: Replica, _standby: Replica) -> list[int]:
    return _hinder(Mode.CUT, site, leader)


def _hinder(mode: Mode, site: Site, leader: Replica) -> list[int]:
    ends = leader.ends
    site.set_mode(mode)
    site.wait_for(lambda: leader.ends > ends, "the leader gives up")
    _restore(site)
    return []


def silence_the_watches(site: Site, _leader: Replica, standby: Replica) -> list[int]:
    """The leader keeps its Lease, and only learns of a new job when it replaces its watches."""
    site.set_mode(Mode.NO_EVENTS)
    _make_progress(site, standby)
    _restore(site)
    return []


def starve_the_leader(site: Site, leader: Replica, _standby: Replica) -> list[int]:
    return _starve(leader.kns.pid, lambda: leader.kns.is_running)


def starve_the_api_server(site: Site, _leader: Replica, _standby: Replica) -> list[int]:
    return _starve(site.host.processes["kube-apiserver"], lambda: True)


def _starve(pid: int, is_running: Callable[[], bool]) -> list[int]:
    """As by a machine whose processors are busy. A replica that gives up its Lease meanwhile is done."""
    for _ in range(_BURSTS):
        if not is_running():
            break
        with stopped(pid):
            time.sleep(_STOPPED_S)
        time.sleep(_RUNNING_S)
    return []


def fill_etcd(site: Site, leader: Replica, standby: Replica) -> list[int]:
    """
    Every write is refused with 500, that of the Lease too, until an administrator makes room. The leader's writes are
    held meanwhile, so that they arrive when the store is full.
    """
    ends = leader.ends
    with httpx.Client(base_url=site.host.store_url, trust_env=False, timeout=60) as store:
        try:
            filled = _fill(store, up_to=STORE_BYTES - _FREE_BYTES)
            moment = len(leader.proxy.writes) + YOUNG
            young = [site.submit(standby) for _ in range(YOUNG)]
            _await_write(site, leader, moment, young)
            leader.proxy.set_mode(Mode.SILENT)
            _fill(store, first=filled)
            since = site.trail.position
            leader.proxy.set_mode(Mode.PASS)
            site.wait_for(lambda: _is_refused(site, since), "a write for a job is refused")
            with pytest.raises(ResponseError) as refusal:
                standby.client.submit(standby.client.build_submission(APP, MACHINE))
            assert refusal.value.status >= 500
            site.wait_for(lambda: leader.ends > ends, "the leader gives up")
        finally:
            _make_room(store)
    return young


def _is_refused(site: Site, since: int) -> bool:
    return any(each.status >= 500 and not each.is_lease for each in site.trail.read(since=since))


def _fill(store: httpx.Client, *, first: int = 0, up_to: int | None = None) -> int:
    """Store what is not Kubernetes' until etcd holds so many bytes, or refuses it. Returns the number of the next."""
    number = first
    while up_to is None or _read_size(store) < up_to:
        key, value = f"filler/{number}".encode(), os.urandom(_FILLER_BYTES)
        body = {"key": base64.b64encode(key).decode(), "value": base64.b64encode(value).decode()}
        answer = store.post("/v3/kv/put", json=body)
        if "space exceeded" in answer.text:
            assert up_to is None, answer.text
            break
        assert answer.status_code == 200, answer.text
        number += 1
        assert number * _FILLER_BYTES < 2 * STORE_BYTES, "etcd takes more than it may hold"
    return number


def _read_size(store: httpx.Client) -> int:
    return int(_ask(store, "/v3/maintenance/status", {})["dbSize"])


def _make_room(store: httpx.Client) -> None:
    """What an administrator does: delete, compact, defragment, disarm the alarm."""
    begin, end = (base64.b64encode(key).decode() for key in (b"filler/", b"filler0"))
    deleted = _ask(store, "/v3/kv/deleterange", {"key": begin, "range_end": end})
    _ask(store, "/v3/kv/compaction", {"revision": deleted["header"]["revision"], "physical": True})
    _ask(store, "/v3/maintenance/defragment", {})
    for alarm in _ask(store, "/v3/maintenance/alarm", {"action": "GET"}).get("alarms", ()):
        _ask(store, "/v3/maintenance/alarm", {"action": "DEACTIVATE", **alarm})


def _ask(store: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = store.post(path, json=body)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    found: dict[str, Any] = answer.json()
    return found


def _make_progress(site: Site, replica: Replica) -> None:
    """A job from its submission to its page, and to its removal, in spite of the fault."""
    number = site.submit(replica)
    site.await_all([number], "ready")
    site.terminate(number, replica)
    site.await_all([number], "gone")


def _restore(site: Site) -> None:
    for each in site.replicas:
        assert each.proxy.hindered > 0, f"the fault did not meet {each.name}"
    site.set_mode(Mode.PASS)


FAULTS: tuple[Fault, ...] = (
    pause_the_leader,
    isolate_the_leader,
    hang_the_api_server,
    hang_etcd,
    slow_the_network,
    silence_the_network,
    halve_the_answers,
    cut_the_network,
    silence_the_watches,
    starve_the_leader,
    starve_the_api_server,
    fill_etcd,
)


@pytest.mark.proves("faults", "leader paused (SIGSTOP) until its successor has led a whole job")
@pytest.mark.proves("faults", "only the leader's network silent, until its successor has led a whole job")
@pytest.mark.proves("faults", "API server or etcd hangs (SIGSTOP)")
@pytest.mark.proves("faults", "network of both replicas silent: connections stay open, nothing arrives")
@pytest.mark.proves("faults", "half of each answer arrives, then nothing more")
@pytest.mark.proves("faults", "network cut: connections closed, new ones refused")
@pytest.mark.proves("faults", "network slow: 0.4 s for each packet, in both directions")
@pytest.mark.proves("faults", "open watches say nothing more, while requests work")
@pytest.mark.proves("faults", "leader, or API server, gets a twentieth of a processor")
@pytest.mark.proves("faults", "etcd is full (`--quota-backend-bytes`)")
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_costs_jobs_their_own_time(
    site: Site,
    serving: list[int],
    fault: Fault,
    turn: int,
) -> None:
    site.settle()
    leader, standby = site.find_pair()
    ending = site.submit(standby)
    site.await_all([ending], "ready")
    made = {number: site.look(number) for number in serving}
    moment = len(leader.proxy.writes) + random.Random(f"{fault.__name__} {turn}").randrange(1, MOMENTS)
    site.terminate(ending, standby)
    young = [site.submit(standby) for _ in range(YOUNG)]
    _await_write(site, leader, moment, young)

    try:
        young += fault(site, leader, standby)
    finally:
        site.set_mode(Mode.PASS)

    site.settle()
    before = site.count_reconciles()
    site.await_all(young, "ready")
    site.await_all([ending], "gone")
    assert {number: site.look(number) for number in serving} == made
    for number in young:
        site.terminate(number, standby)
    site.await_all(young, "gone")
    reconciles = site.count_since(before)
    assert reconciles <= LIFE_RECONCILES * (SERVING + 1 + len(young))
    site.await_nothing_left([ending, *young])
    site.check_quiet([*serving, ending, *young])
    assert site.trail.find_made_twice() == []
    site.check_logs()


def _await_write(site: Site, leader: Replica, moment: int, young: list[int]) -> None:
    """Wait until the leader sends its `moment`-th write, or has no more to do."""
    site.wait_for(
        lambda: len(leader.proxy.writes) >= moment or all(site.has(number, "ready") for number in young),
        f"write {moment} of the leader",
    )


@pytest.mark.proves("faults", "this machine's clock jumps by 40 days, forwards or back")
@pytest.mark.parametrize("ahead_s", [_JUMP_S, -_JUMP_S], ids=["ahead", "behind"])
def test_a_clock_that_jumps_ends_no_job(site: Site, ahead_s: int) -> None:
    """By this machine's clock the walltime and every limit of a stage are over. The API server's clock contradicts."""
    site.settle()
    leader, standby = site.find_pair()
    timed = site.submit(standby, walltime="01:00:00")
    ended = site.submit(standby)
    site.await_all([timed, ended], "ready")
    site.terminate(ended, standby)
    site.await_all([ended], "gone")
    young = [site.submit(standby) for _ in range(YOUNG)]
    _await_write(site, leader, len(leader.proxy.writes) + YOUNG, young)
    site.ahead.write_text(str(ahead_s))
    try:
        site.touch(timed)
        site.touch(ended)
        site.await_all(young, "ready")
        site.check_quiet([timed, ended, *young])
    finally:
        site.ahead.write_text("0")
    assert site.read_record(timed)["status"]["jobStatus"] == "PROCESSING STARTING"
    for number in (timed, *young):
        site.terminate(number, standby)
    site.await_all([timed, *young], "gone")
    site.await_nothing_left([timed, ended, *young])
    site.check_logs()
