"""The records over a real API server: what it takes, refuses, and keeps."""

from collections.abc import Iterator

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect
from kns.adapters.kube.owned import KubeInputs
from kns.adapters.kube.records import KubeRecords
from kns.model.errors import ConflictError, RefusedError
from kns.model.job.inputs import split_inputs
from kns.model.job.job import JobState
from kns.model.job.usage import Usage
from tests.builders import a_job
from tests.fakes.stores import START, FakeClock
from tests.policies.api_server import ApiServer

NAMESPACE = "records"
PATH = f"/apis/kns.io/v1alpha1/namespaces/{NAMESPACE}/nestedjobs"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def client(records_api: ApiServer) -> Iterator[KubeClient]:
    records_api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    client = connect(records_api.kubeconfig)
    yield client
    client.close()


@pytest.fixture
def records(client: KubeClient) -> KubeRecords:
    records = KubeRecords(client, namespace=NAMESPACE, clock=FakeClock())
    records.cache._list()
    return records


def test_a_status_is_written_without_the_rest_of_the_record(api: ApiServer, records: KubeRecords) -> None:
    """The subresource ignores everything else, so neither spec nor labels need to be in the cache."""
    job = records.create(a_job().numbered(1).build().spec)
    before = api.call("GET", f"{PATH}/{job.record}")
    records.write_status(job, job.status.model_copy(update={"job_status": JobState.CANCELED, "message": "gone"}))
    after = api.call("GET", f"{PATH}/{job.record}")
    assert after["status"]["message"] == "gone"
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["finalizers"] == before["metadata"]["finalizers"]
    read = records.find(1)
    assert read is not None
    assert read.spec == job.spec
    with pytest.raises(ConflictError):
        records.write_status(job, job.status)


def test_large_inputs_are_stored_beside_the_record_which_owns_them(
    api: ApiServer, client: KubeClient, records: KubeRecords
) -> None:
    given = a_job().numbered(2).with_spec(parameters={"data": "QUJD" * 1000, "size": 2}).build().spec
    spec, inputs = split_inputs(given)
    job = records.create(spec, inputs=inputs)
    assert job.spec.parameters == {"size": 2}
    secret = api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/kns-job-2-inputs")
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [job.uid]
    assert KubeInputs(client, namespace=NAMESPACE).read(job).parameters == ()
    change = {"spec": {"accepted": {"inputs": {"digest": "0" * 64}}}}
    with pytest.raises(Exception, match=r"accepted\.inputs is written once, by kns"):
        api.call("PATCH", f"{PATH}/{job.record}", change, content_type=MERGE)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("machine", {"mc_cores": 64}),
        ("machine", {"mc_properties": "example.org/pool=other"}),
        ("nested", {"version": "v1.1"}),
        ("nested", {"templates": []}),
        ("url", "https://other.example.org"),
        ("connectable", False),
        ("billingCode", 7),
    ],
)
def test_what_the_job_runs_and_where_is_frozen(api: ApiServer, client: KubeClient, field: str, change: object) -> None:
    """Whoever may edit records could otherwise give a job nodes, limits or objects that nobody checked."""
    records = KubeRecords(client, namespace=NAMESPACE, clock=FakeClock())
    records.cache._list()
    job = records.find(4) or records.create(a_job().numbered(4).build().spec)
    with pytest.raises(Exception, match=rf"accepted\..*{field}.* written once, by kns"):
        api.call("PATCH", f"{PATH}/{job.record}", {"spec": {"accepted": {field: change}}}, content_type=MERGE)
    records.set_keep(job, keep=not job.spec.keep)


def test_a_record_that_the_schema_refuses_leaves_no_inputs(client: KubeClient, records: KubeRecords) -> None:
    given = a_job().numbered(3).with_spec(parameters={"data": "x" * 5000}, app="a" * 300).build().spec
    spec, inputs = split_inputs(given)
    with pytest.raises(RefusedError):
        records.create(spec, inputs=inputs)
    secrets = client.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")["items"]
    assert "kns-job-3-inputs" not in [secret["metadata"]["name"] for secret in secrets]


def test_a_job_is_kept_and_no_longer(records: KubeRecords) -> None:
    job = records.create(a_job().numbered(21).build().spec)
    for keep in (True, False):
        records.set_keep(job, keep=keep)
        found = records.find(21)
        assert found is not None
        assert found.spec.keep is keep


def test_a_job_sleeps_and_its_usage_pauses(records: KubeRecords) -> None:
    job = records.create(a_job().numbered(22).build().spec)
    for asleep in (True, False):
        records.set_sleep(job, asleep=asleep)
        found = records.find(22)
        assert found is not None
        assert found.spec.sleep is asleep
        assert records.count_sleeping() == int(asleep)
    usage = Usage(time=START).pause(START)
    assert found is not None
    records.write_status(found, a_job().exposed().with_status(usage=usage, usage_reports=(usage,)).build().status)
    stored = records.fetch(22)
    assert stored is not None
    assert stored.status.usage is not None
    assert stored.status.usage.paused
    assert stored.status.usage_reports[0].paused


def test_a_walltime_is_extended_and_never_gets_shorter(api: ApiServer, records: KubeRecords) -> None:
    job = records.create(a_job().numbered(20).with_accepted(walltime_s=3600).build().spec)
    records.extend_walltime(job, 7200)
    found = records.find(20)
    assert found is not None
    assert found.walltime_s == 7200
    change = {"spec": {"extendedWalltimeS": 7000}}
    for refused in (change, {"spec": {"extendedWalltimeS": None}}):
        with pytest.raises(Exception, match="extendedWalltimeS never gets shorter"):
            api.call("PATCH", f"{PATH}/{job.record}", refused, content_type=MERGE)
    with pytest.raises(Exception, match="359999999"):
        api.call("PATCH", f"{PATH}/{job.record}", {"spec": {"extendedWalltimeS": 360_000_000}}, content_type=MERGE)
