"""The lists of a watch cache from a real API server: as a stream, and in pages where it has no such streams."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect
from kns.adapters.kube.kinds import KINDS
from kns.adapters.kube.watch import WatchCache
from kns.ports import Kind, Object
from tests.fakes.stores import FakeClock
from tests.policies.api_server import find_programs, running

ROW = replace(KINDS[Kind.CONFIG_MAP], page=4)
PATH = ROW.path("default")


@pytest.fixture(scope="module", params=[True, False], ids=["as by default", "as before Kubernetes 1.34"])
def has_streams(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, *, has_streams: bool) -> Iterator[KubeClient]:
    programs = find_programs()
    if programs is None:
        pytest.skip("NOT TESTED against the real API server: set KNS_KUBE_APISERVER and KNS_ETCD")
    flags = () if has_streams else ("--feature-gates=WatchList=false",)
    folder: Path = tmp_path_factory.mktemp("api")
    with running(folder, programs, flags=flags) as server:
        client = connect(server.kubeconfig)
        yield client
        client.close()


def test_a_list_has_all_objects_and_the_version_to_go_on_from(client: KubeClient, *, has_streams: bool) -> None:
    cache: WatchCache[Object] = WatchCache(
        client, ROW, clock=FakeClock(), keep=lambda obj: obj, namespace="default", selector="test"
    )
    empty = int(cache._list())
    assert (cache.all_objects(), cache._streams_lists) == ([], has_streams)
    for number in range(10):
        meta = {"name": f"map-{number}", "labels": {"test": "yes"}}
        client.request("POST", PATH, body={"metadata": meta})
    client.request("POST", PATH, body={"metadata": {"name": "other"}})
    version = int(cache._list())
    stored = {obj["metadata"]["name"]: obj for obj in cache.all_objects()}
    assert sorted(stored) == [f"map-{number}" for number in range(10)]
    assert stored["map-3"]["metadata"] == client.request("GET", f"{PATH}/map-3")["metadata"]
    assert empty < max(int(obj["metadata"]["resourceVersion"]) for obj in stored.values()) <= version
