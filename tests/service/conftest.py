import random

import pytest

from kns.adapters.sliding_window import SlidingWindow
from kns.model.submit.submission import Terms
from kns.service.ports import Limits, ServicePorts
from tests.builders import a_catalog
from tests.fakes.stores import (
    AlwaysReady,
    FakeClock,
    MemoryJobStore,
    MemoryNamespaces,
    MemoryOutputStore,
    MemoryTokenStore,
    StaticCatalog,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryJobStore:
    return MemoryJobStore(clock)


@pytest.fixture
def ports(store: MemoryJobStore, clock: FakeClock) -> ServicePorts:
    return ServicePorts(
        jobs=store,
        outputs=MemoryOutputStore(),
        tokens=MemoryTokenStore(),
        catalog=StaticCatalog(a_catalog()),
        health=AlwaysReady(),
        clock=clock,
        terms=Terms(supported_versions=("v1.36",)),
        rng=random.Random(7),
        namespaces=MemoryNamespaces(),
        limits=Limits(
            failed_logins=SlidingWindow(3, clock=clock),
            submits=SlidingWindow(10, clock=clock),
            lookups=SlidingWindow(10, clock=clock),
        ),
    )
