"""The sweeper with the real adapters: its requests to the API server."""

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.kinds import KINDS
from kns.adapters.kube.owned import KubeInputs, build_owned_secret
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.throttle import Throttle
from kns.engine.sweeper import Sweeper, SweepRules
from kns.model.errors import UnavailableError
from kns.objects.namespace import build_namespace
from kns.objects.vault import build_vault_volume
from kns.ports import Kind, World
from kns.stages.orphans import Installation
from kns.stages.swept import SWEPT
from tests.adapters.api_server import ApiServer, failure
from tests.builders import JobBuilder, a_catalog, a_job
from tests.fakes.stores import FakeClock, MemoryOutputStore, MemoryTokenStore, StaticCatalog
from tests.fakes.vcluster import FakeRenderer, FakeVirtualClusters

CORE = "/api/v1"
GONE = "uid-of-no-record"


@pytest.fixture
def records(client: KubeClient) -> KubeRecords:
    """Listed once and not watched. Objects that a test stores are visible at once."""
    records = KubeRecords(client, namespace="kns", clock=FakeClock())
    records.cache._list()
    return records


@pytest.fixture
def sweeper(client: KubeClient, records: KubeRecords) -> Sweeper:
    clock = FakeClock()
    throttle = Throttle(1000, burst=1000, clock=clock)
    return Sweeper(
        SweepRules(installation=Installation("kns", "uid-of-kns"), interval_s=300, grace_s=0),
        kinds=SWEPT,
        world=World(
            cluster=KubeCluster(client, clock=clock, on_change=lambda *_: None, throttle=throttle),
            renderer=FakeRenderer(),
            virtual_clusters=FakeVirtualClusters(),
            outputs=MemoryOutputStore(),
            tokens=MemoryTokenStore(),
            inputs=KubeInputs(client, namespace="kns"),
            catalog=StaticCatalog(a_catalog()),
        ),
        store=records,
        authority=records,
        clock=clock,
        may_work=lambda: True,
    )


def put_all(server: ApiServer, builder: JobBuilder, *, record_uid: str, installation: str = "kns") -> None:
    """The objects of a job outside its namespace, and the namespace, as the stages and stores build them."""
    job = builder.with_vault().build()
    accepted, uid = job.spec.accepted, {"record_uid": record_uid, "installation": installation}
    assert accepted is not None
    assert accepted.vault is not None
    namespace = build_namespace(job.spec, accepted, record_uid=record_uid, installation=installation)
    server.put(CORE, "namespaces", namespace)
    claim = {
        "metadata": {"name": "data", "namespace": job.record, "uid": f"claim-{job.number}"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volume = build_vault_volume(accepted.location, accepted.vault, claim, csi=False, **uid)
    server.put(CORE, "persistentvolumes", volume)
    secret = build_owned_secret(job, name=f"{job.record}-tokens", namespace="kns", data={"password": b"s3cr3t"})
    secret["metadata"]["ownerReferences"][0]["uid"] = record_uid
    server.put(CORE, "secrets", secret)


def test_what_kns_itself_builds_is_known_as_its_own(server: ApiServer, records: KubeRecords, sweeper: Sweeper) -> None:
    """
    Of three jobs, one has a record, one belongs to another installation, and one is an orphan. Only the orphan is
    removed.
    """
    live = records.create(a_job().numbered(7).build().spec)
    put_all(server, a_job().numbered(7), record_uid=live.uid)
    put_all(server, a_job().numbered(8), record_uid=GONE, installation="other")
    server.drop(CORE, "secrets", "kns", "kns-job-8-tokens")  # theirs are in their own namespace
    put_all(server, a_job().numbered(9), record_uid=GONE)
    before = len(server.seen)
    sweeper.sweep()
    sent = [seen for seen in server.seen[before:] if seen.method == "DELETE"]
    assert [seen.path for seen in sent] == [
        f"{CORE}/namespaces/kns-job-9/pods",
        f"{CORE}/namespaces/kns-job-9",
        f"{CORE}/persistentvolumes/kns-job-9-claim-9",
        f"{CORE}/namespaces/kns/secrets/kns-job-9-tokens",
    ]
    assert all(seen.body["preconditions"]["uid"].startswith("uid-") for seen in sent[1:])
    assert (
        len({seen.path for seen in server.seen[before:] if seen.path.startswith(f"{CORE}/namespaces/kns/events/")}) == 3
    )


def test_an_event_is_applied_and_counted_up(server: ApiServer, sweeper: Sweeper) -> None:
    """A namespace that is reported and not removed has one Event after two sweeps."""
    put_all(server, a_job().numbered(9), record_uid=GONE)
    stored = server.find(CORE, "namespaces", "", "kns-job-9")
    assert stored is not None
    del stored["metadata"]["labels"]["kns.io/installation"]
    for _ in range(2):
        sweeper.sweep()
    path = next(seen.path for seen in server.seen if seen.method == "PATCH" and _is_about(seen.body, "kns-job-9"))
    event = server.find(CORE, "events", "kns", path.rpartition("/")[2])
    assert event is not None
    assert (event["count"], event["reason"]) == (2, "OrphanUnmarked")
    assert server.find(CORE, "namespaces", "", "kns-job-9") is not None


def _is_about(event: dict[str, dict[str, str]], name: str) -> bool:
    return event["involvedObject"]["name"] == name


def test_the_volumes_of_a_large_host_come_in_pages(server: ApiServer, sweeper: Sweeper) -> None:
    """Most are of others. All of them together may be larger than an answer, and than the memory of kns."""
    put_all(server, a_job().numbered(9), record_uid=GONE)
    page = KINDS[Kind.PERSISTENT_VOLUME].page
    for number in range(page):
        server.put(CORE, "persistentvolumes", {"metadata": {"name": f"a-{number}", "uid": f"uid-{number}"}, "spec": {}})
    sweeper.sweep()
    volumes = f"{CORE}/persistentvolumes"
    asked = [seen.query for seen in server.seen if seen.path == volumes and seen.method == "GET"]
    assert asked == [{"limit": str(page)}, {"limit": str(page), "continue": str(page)}]
    assert server.find(CORE, "persistentvolumes", "", "kns-job-9-claim-9") is None
    assert server.find(CORE, "persistentvolumes", "", "a-0") is not None


def test_without_an_answer_about_the_records_nothing_goes(server: ApiServer, sweeper: Sweeper) -> None:
    put_all(server, a_job().numbered(9), record_uid=GONE)
    server.script("GET", "/nestedjobs", failure(503, "ServiceUnavailable"))
    with pytest.raises(UnavailableError):
        sweeper.sweep()
    assert server.count("DELETE") == 0


def test_without_the_right_to_list_secrets_the_rest_is_swept(server: ApiServer, sweeper: Sweeper) -> None:
    """This happens after an upgrade without the new Role."""
    put_all(server, a_job().numbered(9), record_uid=GONE)
    server.script("GET", "/secrets", failure(403, "Forbidden", "secrets is forbidden"))
    sweeper.sweep()
    assert server.find(CORE, "namespaces", "", "kns-job-9") is None
    assert server.find(CORE, "secrets", "kns", "kns-job-9-tokens") is not None


def test_a_client_of_the_api_sends_what_it_accepts(server: ApiServer, client: KubeClient) -> None:
    client.request("GET", "/readyz")
    assert server.seen[-1].headers["accept"] == "application/json, */*"
