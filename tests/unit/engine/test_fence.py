"""A process that is no longer the leader reaches nothing outside."""

from collections.abc import Callable
from functools import partial

import pytest

from kns.engine.fence import fence, fence_world
from kns.model.errors import UnavailableError
from kns.ports import Kind, World
from tests.builders import a_catalog, a_job, a_location
from tests.fakes.host import FakeHost
from tests.fakes.keycloak import MemoryRealm
from tests.fakes.stores import (
    FakeClock,
    MemoryInputStore,
    MemoryJobStore,
    MemoryOutputStore,
    MemoryTokenStore,
    StaticCatalog,
)
from tests.fakes.vcluster import FakeRenderer, FakeVirtualClusters


def test_every_call_asks_anew() -> None:
    answers = [True, False, True]
    store = fence(MemoryJobStore(), lambda: answers.pop(0))
    assert store.allot_number() == 1
    with pytest.raises(UnavailableError, match="allot_number: this process is no longer the leader"):
        store.allot_number()
    assert store.allot_number() == 2


@pytest.mark.parametrize("identity", [MemoryRealm(), None])
def test_every_port_of_the_world_is_fenced(identity: MemoryRealm | None) -> None:
    world = fence_world(
        World(
            cluster=FakeHost(FakeClock()),
            renderer=FakeRenderer(),
            virtual_clusters=FakeVirtualClusters(),
            outputs=MemoryOutputStore(),
            tokens=MemoryTokenStore(),
            inputs=MemoryInputStore(),
            catalog=StaticCatalog(a_catalog()),
            identity=identity,
        ),
        lambda: False,
    )
    assert (world.identity is None) is (identity is None)
    calls: list[Callable[[], object]] = [
        lambda: world.cluster.read(Kind.POD, "x", "y"),
        lambda: world.renderer.render(a_location(), lambda _: {}),
        lambda: world.virtual_clusters.is_ready("", ""),
        lambda: world.outputs.read(a_job().build()),
        lambda: world.tokens.read("x"),
        world.catalog.current,
        *([partial(world.identity.find_client, "x")] if world.identity else []),
    ]
    for call in calls:
        with pytest.raises(UnavailableError, match="no longer the leader"):
            call()
